/* An authorization policy (wire-protocols §3): rules of clauses of matches over typed values.
 *
 * Immutable once made, counted, flat: one allocation whose rules, clauses, matches and values are four arrays that index
 * each other. Any thread may read, reference and release. Made by a builder, for one thread, in reading order:
 * rule, clause, match, values. */
#ifndef AMBAR_MESH_POLICY_H
#define AMBAR_MESH_POLICY_H

#include "base/address.h"

enum policy_scope { POLICY_GLOBAL = 0, POLICY_NAMESPACE, POLICY_WORKLOAD_SELECTOR };
enum policy_action { POLICY_ALLOW = 0, POLICY_DENY };

/* The lists of a match; the numbers are those of the wire. Even ones are negated: none of their values may match. */
enum policy_field {
    POLICY_NAMESPACES = 1,
    POLICY_NOT_NAMESPACES,
    POLICY_PRINCIPALS,
    POLICY_NOT_PRINCIPALS,
    POLICY_SOURCE_IPS,
    POLICY_NOT_SOURCE_IPS,
    POLICY_DESTINATION_IPS,
    POLICY_NOT_DESTINATION_IPS,
    POLICY_DESTINATION_PORTS,
    POLICY_NOT_DESTINATION_PORTS,
    POLICY_SERVICE_ACCOUNTS,
    POLICY_NOT_SERVICE_ACCOUNTS,
    POLICY_FIELD_END,
};

enum policy_text_kind { POLICY_EXACT, POLICY_PREFIX, POLICY_SUFFIX, POLICY_PRESENCE };

/* Which member is used follows from the field of the list it is in. */
union policy_value {
    struct {
        const char *text; /* "" for presence */
        uint32_t length;
        uint8_t kind; /* enum policy_text_kind */
    } text;           /* namespaces, principals */
    struct cidr cidr; /* IPs */
    uint16_t port;
    struct {
        const char *namespace_, *service_account;
    } account;
};

struct policy_range {
    uint32_t first, count;
};

struct policy_match {
    struct policy_range lists[POLICY_FIELD_END - 1]; /* by field - 1: values */
    /* Bit `field`: a value of that list could not be read. Such a match is never true in an ALLOW; in a DENY the list
     * counts as met, so that an error can only deny more. */
    uint16_t unparsable_fields;
    bool has_unknown_field; /* a constraint of a kind we do not know; treated the same */
};

struct policy {
    _Atomic uint32_t references;
    uint8_t scope;  /* enum policy_scope */
    uint8_t action; /* enum policy_action */
    bool is_dry_run;
    const char *key; /* the resource name it is stored under, "namespace/name" */
    const char *name, *namespace_;
    const struct policy_range *rules;   /* of clauses; one of them must hold */
    const struct policy_range *clauses; /* of matches; all of a rule must hold */
    const struct policy_match *matches; /* one of a clause must hold */
    const union policy_value *values;
    uint32_t rule_count, clause_count, match_count, value_count;
};

static inline bool policy_field_is_negated(enum policy_field field)
{
    return (field & 1) == 0;
}

struct policy_builder;

struct policy_builder *policy_builder_new(void);
void policy_builder_free(struct policy_builder *builder); /* NULL is allowed */
void policy_builder_begin_rule(struct policy_builder *builder);
void policy_builder_begin_clause(struct policy_builder *builder);
void policy_builder_begin_match(struct policy_builder *builder);
/* The values of one list need not be adjacent. Texts are copied; one with a NUL inside counts as unparsable. */
void policy_builder_add_text(
    struct policy_builder *builder, enum policy_field field, enum policy_text_kind kind, struct bytes text);
void policy_builder_add_cidr(struct policy_builder *builder, enum policy_field field, const struct cidr *cidr);
void policy_builder_add_port(struct policy_builder *builder, enum policy_field field, uint16_t port);
void policy_builder_add_account(
    struct policy_builder *builder, enum policy_field field, struct bytes namespace_, struct bytes service_account);
void policy_builder_mark_unparsable(struct policy_builder *builder, enum policy_field field);
void policy_builder_mark_unknown_field(struct policy_builder *builder);

struct policy_header {
    struct bytes key, name, namespace_;
    enum policy_scope scope;
    enum policy_action action;
    bool is_dry_run;
};
/* Fails on texts that contain a NUL. The builder stays the caller's and is empty again. */
struct result policy_builder_finish(
    struct policy_builder *builder, const struct policy_header *header, struct policy **policy);

struct policy *policy_reference(const struct policy *policy);
void policy_release(struct policy *policy);

#endif
