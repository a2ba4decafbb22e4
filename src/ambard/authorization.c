/* An Authorization and its bytes. */
#include "ambard/authorization.h"

#include "ambard/wire.h"
#include "base/address.h"
#include "base/memory.h"
#include "base/text.h"

bool authorization_match_is_empty(const struct authorization_match *match)
{
    const struct kube_strings *lists = &match->namespaces;
    for (size_t i = 0; i < sizeof *match / sizeof *lists; i++) {
        if (lists[i].count > 0) {
            return false;
        }
    }
    return true;
}

static bool clause_can_hold(const struct authorization_clause *clause)
{
    for (size_t i = 0; i < clause->count; i++) {
        if (!authorization_match_is_empty(&clause->matches[i])) {
            return true;
        }
    }
    return clause->count == 0;
}

bool authorization_can_fire(const struct authorization *authorization)
{
    for (size_t i = 0; i < authorization->group_count; i++) {
        const struct authorization_group *group = &authorization->groups[i];
        bool can_hold = true;
        for (size_t j = 0; j < group->count; j++) {
            can_hold = can_hold && clause_can_hold(&group->clauses[j]);
        }
        if (can_hold) {
            return true;
        }
    }
    return false;
}

/* ---- values ---- */

/* `*` is presence, `*x` a suffix, `x*` a prefix, the rest exact. */
static void encode_text(struct writer *out, const char *text)
{
    enum { EXACT = 1, PREFIX = 2, SUFFIX = 3, PRESENCE = 4 };
    size_t length = strlen(text);
    if (strcmp(text, "*") == 0) {
        wire_bytes(out, PRESENCE, bytes_of(text, 0));
    } else if (text[0] == '*') {
        wire_string_always(out, SUFFIX, text + 1);
    } else if (text[length - 1] == '*') {
        wire_bytes(out, PREFIX, bytes_of(text, length - 1));
    } else {
        wire_string_always(out, EXACT, text);
    }
}

static void encode_texts(struct writer *out, unsigned field, const struct kube_strings *values)
{
    for (size_t i = 0; i < values->count; i++) {
        if (values->items[i][0] == '\0') {
            continue; /* validation refuses it; it would match nothing */
        }
        size_t mark = wire_begin(out, field);
        encode_text(out, values->items[i]);
        wire_end(out, mark);
    }
}

static void encode_blocks(struct writer *out, unsigned field, const struct kube_strings *values)
{
    for (size_t i = 0; i < values->count; i++) {
        struct cidr block;
        if (!cidr_parse(values->items[i], &block)) {
            continue;
        }
        size_t mark = wire_begin(out, field);
        wire_bytes(out, 1, ip_bytes(&block.ip));
        wire_number(out, 2, block.prefix_bits);
        wire_end(out, mark);
    }
}

static void encode_ports(struct writer *out, unsigned field, const struct kube_strings *values)
{
    if (values->count == 0) {
        return;
    }
    size_t mark = wire_begin(out, field);
    for (size_t i = 0; i < values->count; i++) {
        uint64_t port;
        if (text_to_u64(values->items[i], 65535, &port)) {
            writer_add_varint(out, port);
        }
    }
    wire_end(out, mark);
}

/* A bare name is one of the policy's own namespace. */
static void encode_service_accounts(
    struct writer *out, unsigned field, const struct kube_strings *values, const char *namespace_)
{
    for (size_t i = 0; i < values->count; i++) {
        const char *slash = strchr(values->items[i], '/');
        size_t mark = wire_begin(out, field);
        if (slash == NULL) {
            wire_string(out, 1, namespace_);
            wire_string(out, 2, values->items[i]);
        } else {
            wire_bytes(out, 1, bytes_of(values->items[i], (size_t)(slash - values->items[i])));
            wire_string(out, 2, slash + 1);
        }
        wire_end(out, mark);
    }
}

/* ---- the tree ---- */

static void encode_match(struct writer *out, const struct authorization_match *match, const char *namespace_)
{
    encode_texts(out, 1, &match->namespaces);
    encode_texts(out, 2, &match->not_namespaces);
    encode_texts(out, 3, &match->principals);
    encode_texts(out, 4, &match->not_principals);
    encode_blocks(out, 5, &match->source_ips);
    encode_blocks(out, 6, &match->not_source_ips);
    encode_blocks(out, 7, &match->destination_ips);
    encode_blocks(out, 8, &match->not_destination_ips);
    encode_ports(out, 9, &match->destination_ports);
    encode_ports(out, 10, &match->not_destination_ports);
    encode_service_accounts(out, 11, &match->service_accounts, namespace_);
    encode_service_accounts(out, 12, &match->not_service_accounts, namespace_);
}

static void encode_clause(struct writer *out, const struct authorization_clause *clause, const char *namespace_)
{
    size_t mark = wire_begin(out, 1);
    for (size_t i = 0; i < clause->count; i++) {
        size_t match_mark = wire_begin(out, 2); /* `matches` is number 2; 1 is unused */
        encode_match(out, &clause->matches[i], namespace_);
        wire_end(out, match_mark);
    }
    wire_end(out, mark);
}

void authorization_encode(const struct authorization *authorization, struct writer *out)
{
    wire_string(out, 1, authorization->name);
    wire_string(out, 2, authorization->namespace_);
    wire_number(out, 3, (uint64_t)authorization->scope);
    wire_number(out, 4, (uint64_t)authorization->action);
    for (size_t i = 0; i < authorization->group_count; i++) {
        size_t mark = wire_begin(out, 5);
        for (size_t j = 0; j < authorization->groups[i].count; j++) {
            encode_clause(out, &authorization->groups[i].clauses[j], authorization->namespace_);
        }
        wire_end(out, mark);
    }
}
