#include "xds/address_codec.h"

#include "xds/gateway_decoder.h"

/* Field numbers of istio.workload.Service (wire-protocols §2). */
enum service_field {
    SERVICE_FIELD_NAME = 1,
    SERVICE_FIELD_NAMESPACE = 2,
    SERVICE_FIELD_HOSTNAME = 3,
    SERVICE_FIELD_ADDRESSES = 4,
    SERVICE_FIELD_PORTS = 5,
    SERVICE_FIELD_SUBJECT_ALT_NAMES = 6,
    SERVICE_FIELD_WAYPOINT = 7,
    SERVICE_FIELD_LOAD_BALANCING = 8,
    SERVICE_FIELD_IP_FAMILIES = 9,
    SERVICE_FIELD_CANONICAL = 11,
    SERVICE_FIELD_WEIGHTED_WAYPOINTS = 13,
    SERVICE_FIELD_VISIBILITY = 14,
};

struct service_walk {
    struct resource_decoder *decoder;
    struct service_spec spec;
    struct service_vip_spec *vips;
    struct bytes *subject_alt_names;
    struct weighted_waypoint_spec *weighted_waypoints;
};

static void count_repeated(struct service_walk *walk, struct bytes message)
{
    struct arena *arena = &walk->decoder->arena;
    size_t vips = resource_count(message, SERVICE_FIELD_ADDRESSES);
    size_t names = resource_count(message, SERVICE_FIELD_SUBJECT_ALT_NAMES);
    size_t waypoints = resource_count(message, SERVICE_FIELD_WEIGHTED_WAYPOINTS);
    walk->spec.vips = walk->vips = arena_allocate(arena, vips * sizeof *walk->vips);
    walk->spec.subject_alt_names = walk->subject_alt_names =
        arena_allocate(arena, names * sizeof *walk->subject_alt_names);
    walk->spec.weighted_waypoints = walk->weighted_waypoints =
        arena_allocate(arena, waypoints * sizeof *walk->weighted_waypoints);
}

static bool decode_vip(struct service_walk *walk, const struct protobuf_field *field)
{
    struct service_vip_spec *vip = &walk->vips[walk->spec.vip_count++];
    struct bytes message;
    return resource_message(walk->decoder, field, "Service.addresses", &message) &&
           network_address_decode(walk->decoder, message, &vip->network, &vip->cidr);
}

static bool decode_weighted_waypoint(struct service_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    struct weighted_waypoint_spec *waypoint = &walk->weighted_waypoints[walk->spec.weighted_waypoint_count++];
    struct bytes message;
    if (!resource_message(decoder, field, "Service.weighted_waypoints", &message)) {
        return false;
    }
    struct cursor cursor = cursor_of(message);
    struct protobuf_field part;
    while (protobuf_next_field(&cursor, &part)) {
        struct bytes destination;
        uint64_t weight;
        if (part.number == 1 && (!resource_message(decoder, &part, "WeightedWaypoint.destination", &destination) ||
                                    !gateway_decode(decoder, destination, &waypoint->destination))) {
            return false;
        }
        if (part.number == 2) {
            if (!resource_number(decoder, &part, "WeightedWaypoint.weight", &weight)) {
                return false;
            }
            waypoint->weight = (uint32_t)weight;
        }
    }
    if (!resource_end(decoder, &cursor, "WeightedWaypoint")) {
        return false;
    }
    return waypoint->destination.kind != GATEWAY_NONE ||
           resource_fail(decoder, "nonempty gateway address is missing address");
}

static bool decode_scopes(struct service_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    struct service_spec *spec = &walk->spec;
    struct resource_numbers numbers;
    uint64_t scope;
    if (!resource_numbers_begin(decoder, field, "LoadBalancing.routing_preference", &numbers)) {
        return false;
    }
    while (resource_numbers_next(&numbers, &scope)) {
        int32_t value = (int32_t)(uint32_t)scope;
        if (value == 0) {
            return resource_fail(decoder, "unknown enum: invalid target");
        }
        if (value < 0 || value > SCOPE_NETWORK) {
            return resource_fail(decoder, "decode error: unknown enumeration value %d", (int)value);
        }
        if (spec->scope_count == LOAD_BALANCING_SCOPES_MAXIMUM) {
            return resource_fail(decoder, "more than %d load balancing preferences", LOAD_BALANCING_SCOPES_MAXIMUM);
        }
        spec->scopes[spec->scope_count++] = (uint8_t)value;
    }
    return resource_numbers_end(decoder, &numbers, "LoadBalancing.routing_preference");
}

static bool decode_load_balancing(struct service_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    struct bytes message;
    if (!resource_message(decoder, field, "Service.load_balancing", &message)) {
        return false;
    }
    walk->spec.has_load_balancing = true;
    struct cursor cursor = cursor_of(message);
    struct protobuf_field part;
    while (protobuf_next_field(&cursor, &part)) {
        uint32_t value;
        if (part.number == 1 && !decode_scopes(walk, &part)) {
            return false;
        }
        if (part.number == 2) {
            if (!resource_known_enum(decoder, &part, "LoadBalancing.mode", BALANCE_PASSTHROUGH, &value)) {
                return false;
            }
            walk->spec.mode = value;
        }
        if (part.number == 3) {
            if (!resource_known_enum(decoder, &part, "LoadBalancing.health_policy", 1, &value)) {
                return false;
            }
            walk->spec.allows_unhealthy = value == 1;
        }
    }
    return resource_end(decoder, &cursor, "LoadBalancing");
}

static bool decode_flags(struct service_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    uint32_t value;
    uint64_t number;
    int32_t visibility;
    switch (field->number) {
    case SERVICE_FIELD_IP_FAMILIES:
        if (!resource_known_enum(decoder, field, "Service.ip_families", FAMILIES_DUAL, &value)) {
            return false;
        }
        walk->spec.ip_families = value;
        return true;
    case SERVICE_FIELD_CANONICAL:
        if (!resource_number(decoder, field, "Service.canonical", &number)) {
            return false;
        }
        walk->spec.is_canonical = number != 0;
        return true;
    case SERVICE_FIELD_VISIBILITY:
        if (!resource_enum(decoder, field, "Service.visibility", &visibility)) {
            return false;
        }
        walk->spec.is_namespace_private = visibility == 1;
        return true;
    }
    return true;
}

static bool decode_field(struct service_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    struct service_spec *spec = &walk->spec;
    struct bytes message;
    switch (field->number) {
    case SERVICE_FIELD_NAME:
        return resource_text(decoder, field, "Service.name", &spec->name);
    case SERVICE_FIELD_NAMESPACE:
        return resource_text(decoder, field, "Service.namespace", &spec->namespace_);
    case SERVICE_FIELD_HOSTNAME:
        return resource_text(decoder, field, "Service.hostname", &spec->hostname);
    case SERVICE_FIELD_ADDRESSES:
        return decode_vip(walk, field);
    case SERVICE_FIELD_SUBJECT_ALT_NAMES:
        return resource_text(
            decoder, field, "Service.subject_alt_names", &walk->subject_alt_names[spec->subject_alt_name_count++]);
    case SERVICE_FIELD_WAYPOINT:
        return resource_message(decoder, field, "Service.waypoint", &message) &&
               gateway_decode(decoder, message, &spec->waypoint);
    case SERVICE_FIELD_LOAD_BALANCING:
        return decode_load_balancing(walk, field);
    case SERVICE_FIELD_WEIGHTED_WAYPOINTS:
        return decode_weighted_waypoint(walk, field);
    default:
        return decode_flags(walk, field);
    }
}

static bool decode_fields(struct service_walk *walk, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (!decode_field(walk, &field)) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Service") &&
           ports_decode(walk->decoder, message, SERVICE_FIELD_PORTS, &walk->spec.ports, &walk->spec.port_count);
}

struct result service_decode(struct bytes message, struct service **service)
{
    struct resource_decoder decoder = { 0 };
    struct service_walk walk = { .decoder = &decoder };
    count_repeated(&walk, message);
    struct result result = decode_fields(&walk, message) ? service_new(&walk.spec, service) : decoder.error;
    arena_free(&decoder.arena);
    return result;
}

struct result address_decode(struct bytes message, struct decoded_address *decoded)
{
    struct resource_decoder decoder = { 0 };
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    struct bytes chosen = { 0 };
    uint32_t type = 0;
    *decoded = (struct decoded_address){ 0 };
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number != 1 && field.number != 2) {
            continue;
        }
        if (!resource_message(&decoder, &field, field.number == 1 ? "Address.workload" : "Address.service", &chosen)) {
            return decoder.error;
        }
        type = field.number;
    }
    if (!resource_end(&decoder, &cursor, "Address")) {
        return decoder.error;
    }
    if (type == 0) {
        return result_fail(RESULT_INVALID, "unknown address type");
    }
    return type == 1 ? workload_decode(chosen, &decoded->workload) : service_decode(chosen, &decoded->service);
}
