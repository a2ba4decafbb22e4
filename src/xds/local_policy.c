#include "base/memory.h"
#include "xds/local_file_internal.h"

#include <stddef.h>

struct policy_reading {
    struct policy_header header;
    struct policy_builder *builder;
};

/* "!Exact s", "!Prefix s", "!Suffix s" or "!Presence []". */
static bool read_text_match(
    struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder, enum policy_field field)
{
    static const char *const tags[] = { "!Exact", "!Prefix", "!Suffix", "!Presence" };
    size_t length = 0;
    const char *tag = fy_node_get_tag(node, &length);
    for (size_t i = 0; tag != NULL && i < ARRAY_LENGTH(tags); i++) {
        struct bytes text = { 0 };
        if (!bytes_equal_string(bytes_of(tag, length), tags[i])) {
            continue;
        }
        if (i != POLICY_PRESENCE && !yaml_text(reader, node, &text)) {
            return false;
        }
        policy_builder_add_text(builder, field, (enum policy_text_kind)i, text);
        return true;
    }
    return yaml_fail(reader, node, "a string match is written !Exact s, !Prefix s, !Suffix s or !Presence []");
}

static bool read_cidr_match(
    struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder, enum policy_field field)
{
    struct bytes text;
    struct cidr cidr;
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    if (!cidr_parse((const char *)text.data, &cidr)) {
        return yaml_fail(reader, node, "`%s` is not a CIDR block", (const char *)text.data);
    }
    policy_builder_add_cidr(builder, field, &cidr);
    return true;
}

static bool read_port_match(
    struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder, enum policy_field field)
{
    uint16_t port;
    if (!yaml_port(reader, node, &port)) {
        return false;
    }
    policy_builder_add_port(builder, field, port);
    return true;
}

static bool read_account_match(
    struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder, enum policy_field field)
{
    struct account {
        struct bytes namespace_, service_account;
    } account;
    static const struct yaml_key keys[] = {
        { "namespace", yaml_text, offsetof(struct account, namespace_), true },
        { "serviceAccount", yaml_text, offsetof(struct account, service_account), true },
    };
    if (!yaml_mapping(reader, node, keys, ARRAY_LENGTH(keys), NULL, &account)) {
        return false;
    }
    policy_builder_add_account(builder, field, account.namespace_, account.service_account);
    return true;
}

typedef bool read_match_value(
    struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder, enum policy_field field);

static const struct match_key {
    const char *name;
    enum policy_field field;
    read_match_value *read;
} match_keys[] = {
    { "namespaces", POLICY_NAMESPACES, read_text_match },
    { "notNamespaces", POLICY_NOT_NAMESPACES, read_text_match },
    { "principals", POLICY_PRINCIPALS, read_text_match },
    { "notPrincipals", POLICY_NOT_PRINCIPALS, read_text_match },
    { "sourceIps", POLICY_SOURCE_IPS, read_cidr_match },
    { "notSourceIps", POLICY_NOT_SOURCE_IPS, read_cidr_match },
    { "destinationIps", POLICY_DESTINATION_IPS, read_cidr_match },
    { "notDestinationIps", POLICY_NOT_DESTINATION_IPS, read_cidr_match },
    { "destinationPorts", POLICY_DESTINATION_PORTS, read_port_match },
    { "notDestinationPorts", POLICY_NOT_DESTINATION_PORTS, read_port_match },
    { "serviceAccounts", POLICY_SERVICE_ACCOUNTS, read_account_match },
    { "notServiceAccounts", POLICY_NOT_SERVICE_ACCOUNTS, read_account_match },
};

static const struct match_key *find_match_key(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(match_keys); i++) {
        if (bytes_equal_string(name, match_keys[i].name)) {
            return &match_keys[i];
        }
    }
    return NULL;
}

static bool read_match_list(
    struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder, const struct match_key *key)
{
    size_t count;
    if (!yaml_sequence(reader, node, &count)) {
        return false;
    }
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!key->read(reader, item, builder, key->field)) {
            return false;
        }
    }
    return true;
}

/* A key we do not know is a constraint we do not know: the match then can only deny (mesh/policy.h). */
static bool read_match(struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder)
{
    size_t count;
    if (!yaml_pairs(reader, node, &count)) {
        return false;
    }
    policy_builder_begin_match(builder);
    void *position = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(node, &position)) != NULL) {
        struct bytes name;
        if (!yaml_text(reader, fy_node_pair_key(pair), &name)) {
            return false;
        }
        const struct match_key *key = find_match_key(name);
        if (key == NULL) {
            policy_builder_mark_unknown_field(builder);
            continue;
        }
        struct fy_node *value = fy_node_pair_value(pair);
        if (value == NULL || !read_match_list(reader, value, builder, key)) {
            return value == NULL ? yaml_fail(reader, fy_node_pair_key(pair), "`%s` has no value", key->name) : false;
        }
    }
    return true;
}

/* Each item of a list. */
static bool read_each(struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder,
    bool (*read_item)(struct yaml_reader *reader, struct fy_node *item, struct policy_builder *builder))
{
    size_t count;
    if (!yaml_sequence(reader, node, &count)) {
        return false;
    }
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!read_item(reader, item, builder)) {
            return false;
        }
    }
    return true;
}

static bool read_clause(struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder)
{
    policy_builder_begin_clause(builder);
    return read_each(reader, node, builder, read_match);
}

static bool read_rule(struct yaml_reader *reader, struct fy_node *node, struct policy_builder *builder)
{
    policy_builder_begin_rule(builder);
    return read_each(reader, node, builder, read_clause);
}

static bool read_rules(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    const struct policy_reading *reading = target;
    return read_each(reader, node, reading->builder, read_rule);
}

static bool read_scope(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Global", "Namespace", "WorkloadSelector" };
    struct policy_reading *reading = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    reading->header.scope = (enum policy_scope)chosen;
    return is_good;
}

static bool read_action(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Allow", "Deny" };
    struct policy_reading *reading = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    reading->header.action = (enum policy_action)chosen;
    return is_good;
}

static const struct yaml_key policy_keys[] = {
    { "name", yaml_text, offsetof(struct policy_reading, header.name), true },
    { "namespace", yaml_text, offsetof(struct policy_reading, header.namespace_), true },
    { "scope", read_scope, 0, true },
    { "action", read_action, 0, true },
    { "rules", read_rules, 0, true },
    { "dryRun", yaml_bool, offsetof(struct policy_reading, header.is_dry_run), true },
};

struct policy *local_policy_read(struct yaml_reader *reader, struct fy_node *node)
{
    struct policy_reading reading = { .builder = policy_builder_new() };
    struct policy *policy = NULL;
    if (yaml_mapping(reader, node, policy_keys, ARRAY_LENGTH(policy_keys), NULL, &reading)) {
        char *key = arena_format(&reader->arena, "%s/%s", (const char *)reading.header.namespace_.data,
            (const char *)reading.header.name.data);
        reading.header.key = bytes_of_string(key);
        struct result made = policy_builder_finish(reading.builder, &reading.header, &policy);
        if (!result_is_ok(&made)) {
            yaml_fail(reader, node, "%s", made.message);
            policy = NULL;
        }
    }
    policy_builder_free(reading.builder);
    return policy;
}
