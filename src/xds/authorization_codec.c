#include "xds/authorization_codec.h"

#include "xds/resource_decoder.h"

struct policy_walk {
    struct resource_decoder *decoder;
    struct policy_builder *builder;
    struct policy_header header;
};

static const char *const match_field_names[POLICY_FIELD_END] = {
    [POLICY_NAMESPACES] = "Match.namespaces",
    [POLICY_NOT_NAMESPACES] = "Match.not_namespaces",
    [POLICY_PRINCIPALS] = "Match.principals",
    [POLICY_NOT_PRINCIPALS] = "Match.not_principals",
    [POLICY_SOURCE_IPS] = "Match.source_ips",
    [POLICY_NOT_SOURCE_IPS] = "Match.not_source_ips",
    [POLICY_DESTINATION_IPS] = "Match.destination_ips",
    [POLICY_NOT_DESTINATION_IPS] = "Match.not_destination_ips",
    [POLICY_DESTINATION_PORTS] = "Match.destination_ports",
    [POLICY_NOT_DESTINATION_PORTS] = "Match.not_destination_ports",
    [POLICY_SERVICE_ACCOUNTS] = "Match.service_accounts",
    [POLICY_NOT_SERVICE_ACCOUNTS] = "Match.not_service_accounts",
};

/* StringMatch: the numbers of its oneof are those of the kinds, from 1. A kind we do not know leaves the oneof unset. */
static bool decode_text(struct policy_walk *walk, enum policy_field list, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    enum policy_text_kind kind = POLICY_EXACT;
    struct bytes text = { 0 };
    bool has_kind = false;
    bool is_known = true;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number < 1 || field.number > POLICY_PRESENCE + 1) {
            is_known = false;
            continue;
        }
        kind = (enum policy_text_kind)(field.number - 1);
        bool is_good = kind == POLICY_PRESENCE ? resource_message(walk->decoder, &field, match_field_names[list], &text)
                                               : resource_text(walk->decoder, &field, match_field_names[list], &text);
        if (!is_good) {
            return false;
        }
        has_kind = true;
    }
    if (!resource_end(walk->decoder, &cursor, match_field_names[list])) {
        return false;
    }
    if (!has_kind || !is_known) {
        policy_builder_mark_unparsable(walk->builder, list);
        return true;
    }
    policy_builder_add_text(walk->builder, list, kind, kind == POLICY_PRESENCE ? (struct bytes){ 0 } : text);
    return true;
}

/* False when bytes and length do not make a block of addresses. */
static bool make_cidr(struct bytes raw, uint64_t length, struct cidr *cidr)
{
    if (!ip_from_bytes(raw, &cidr->ip)) {
        return false;
    }
    /* A mapped address is read as IPv4, as those it is compared with are; its prefix counted from the IPv6 form. */
    uint64_t mapped_bits = raw.length == 16 && cidr->ip.family == IP_V4 ? 96 : 0;
    uint64_t full = cidr->ip.family == IP_V4 ? 32 : 128;
    if (length < mapped_bits || length - mapped_bits > full) {
        return false;
    }
    cidr->prefix_bits = (uint8_t)(length - mapped_bits);
    return true;
}

/* Address: unlike in workloads, an absent length is a prefix of 0. */
static bool decode_cidr(struct policy_walk *walk, enum policy_field list, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    struct bytes raw = { 0 };
    uint64_t length = 0;
    bool is_known = true;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == 1 && !resource_message(walk->decoder, &field, match_field_names[list], &raw)) {
            return false;
        }
        if (field.number == 2 && !resource_number(walk->decoder, &field, match_field_names[list], &length)) {
            return false;
        }
        is_known = is_known && (field.number == 1 || field.number == 2);
    }
    if (!resource_end(walk->decoder, &cursor, match_field_names[list])) {
        return false;
    }
    struct cidr cidr;
    if (!is_known || !make_cidr(raw, length, &cidr)) {
        policy_builder_mark_unparsable(walk->builder, list);
        return true;
    }
    policy_builder_add_cidr(walk->builder, list, &cidr);
    return true;
}

static bool decode_account(struct policy_walk *walk, enum policy_field list, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    struct bytes namespace_ = { 0 };
    struct bytes service_account = { 0 };
    bool is_known = true;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == 1 && !resource_text(walk->decoder, &field, match_field_names[list], &namespace_)) {
            return false;
        }
        if (field.number == 2 && !resource_text(walk->decoder, &field, match_field_names[list], &service_account)) {
            return false;
        }
        is_known = is_known && (field.number == 1 || field.number == 2);
    }
    if (!resource_end(walk->decoder, &cursor, match_field_names[list])) {
        return false;
    }
    if (!is_known) {
        policy_builder_mark_unparsable(walk->builder, list);
        return true;
    }
    policy_builder_add_account(walk->builder, list, namespace_, service_account);
    return true;
}

/* The reference cuts ports to 16 bits; a number that is no port cannot have been meant, so here it is unparsable. */
static bool decode_ports(struct policy_walk *walk, enum policy_field list, const struct protobuf_field *field)
{
    struct resource_numbers numbers;
    uint64_t port;
    if (!resource_numbers_begin(walk->decoder, field, match_field_names[list], &numbers)) {
        return false;
    }
    while (resource_numbers_next(&numbers, &port)) {
        if (port > UINT16_MAX) {
            policy_builder_mark_unparsable(walk->builder, list);
            continue;
        }
        policy_builder_add_port(walk->builder, list, (uint16_t)port);
    }
    return resource_numbers_end(walk->decoder, &numbers, match_field_names[list]);
}

static bool decode_match_field(struct policy_walk *walk, const struct protobuf_field *field)
{
    enum { MATCH_FIELD_EXTENSIONS = 13 };
    if (field->number == MATCH_FIELD_EXTENSIONS) {
        return true;
    }
    if (field->number < POLICY_NAMESPACES || field->number >= POLICY_FIELD_END) {
        policy_builder_mark_unknown_field(walk->builder);
        return true;
    }
    enum policy_field list = (enum policy_field)field->number;
    if (list == POLICY_DESTINATION_PORTS || list == POLICY_NOT_DESTINATION_PORTS) {
        return decode_ports(walk, list, field);
    }
    struct bytes message;
    if (!resource_message(walk->decoder, field, match_field_names[list], &message)) {
        return false;
    }
    if (list <= POLICY_NOT_PRINCIPALS) {
        return decode_text(walk, list, message);
    }
    if (list <= POLICY_NOT_DESTINATION_IPS) {
        return decode_cidr(walk, list, message);
    }
    return decode_account(walk, list, message);
}

static bool decode_match(struct policy_walk *walk, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    policy_builder_begin_match(walk->builder);
    while (protobuf_next_field(&cursor, &field)) {
        if (!decode_match_field(walk, &field)) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Match");
}

/* Rules: its matches are field 2, field 1 is unused. */
static bool decode_clause(struct policy_walk *walk, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    policy_builder_begin_clause(walk->builder);
    while (protobuf_next_field(&cursor, &field)) {
        struct bytes match;
        if (field.number == 2 &&
            (!resource_message(walk->decoder, &field, "Rules.matches", &match) || !decode_match(walk, match))) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Rules");
}

static bool decode_rule(struct policy_walk *walk, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    policy_builder_begin_rule(walk->builder);
    while (protobuf_next_field(&cursor, &field)) {
        struct bytes clause;
        if (field.number == 1 &&
            (!resource_message(walk->decoder, &field, "Group.rules", &clause) || !decode_clause(walk, clause))) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Group");
}

static bool decode_field(struct policy_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    struct policy_header *header = &walk->header;
    struct bytes rule;
    uint32_t value;
    uint64_t number;
    switch (field->number) {
    case 1:
        return resource_text(decoder, field, "Authorization.name", &header->name);
    case 2:
        return resource_text(decoder, field, "Authorization.namespace", &header->namespace_);
    case 3:
        if (!resource_known_enum(decoder, field, "Authorization.scope", POLICY_WORKLOAD_SELECTOR, &value)) {
            return false;
        }
        header->scope = (enum policy_scope)value;
        return true;
    case 4:
        if (!resource_known_enum(decoder, field, "Authorization.action", POLICY_DENY, &value)) {
            return false;
        }
        header->action = (enum policy_action)value;
        return true;
    case 5:
        return resource_message(decoder, field, "Authorization.groups", &rule) && decode_rule(walk, rule);
    case 6:
        if (!resource_number(decoder, field, "Authorization.dry_run", &number)) {
            return false;
        }
        header->is_dry_run = number != 0;
        return true;
    default:
        return true;
    }
}

static bool decode_fields(struct policy_walk *walk, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (!decode_field(walk, &field)) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Authorization");
}

struct result authorization_decode(struct bytes message, struct bytes resource_name, struct policy **policy)
{
    struct resource_decoder decoder = { 0 };
    struct policy_walk walk = { .decoder = &decoder, .builder = policy_builder_new(), .header.key = resource_name };
    struct result result =
        decode_fields(&walk, message) ? policy_builder_finish(walk.builder, &walk.header, policy) : decoder.error;
    policy_builder_free(walk.builder);
    arena_free(&decoder.arena);
    return result;
}
