/* istio.workload.Workload: see address_codec.h. */
#include "xds/address_codec.h"
#include "xds/gateway_decoder.h"

/* Field numbers of wire-protocols §2. */
enum workload_field {
    WORKLOAD_FIELD_NAME = 1,
    WORKLOAD_FIELD_NAMESPACE = 2,
    WORKLOAD_FIELD_ADDRESSES = 3,
    WORKLOAD_FIELD_NETWORK = 4,
    WORKLOAD_FIELD_TUNNEL_PROTOCOL = 5,
    WORKLOAD_FIELD_TRUST_DOMAIN = 6,
    WORKLOAD_FIELD_SERVICE_ACCOUNT = 7,
    WORKLOAD_FIELD_WAYPOINT = 8,
    WORKLOAD_FIELD_NODE = 9,
    WORKLOAD_FIELD_CANONICAL_NAME = 10,
    WORKLOAD_FIELD_CANONICAL_REVISION = 11,
    WORKLOAD_FIELD_WORKLOAD_TYPE = 12,
    WORKLOAD_FIELD_WORKLOAD_NAME = 13,
    WORKLOAD_FIELD_NATIVE_TUNNEL = 14,
    WORKLOAD_FIELD_AUTHORIZATION_POLICIES = 16,
    WORKLOAD_FIELD_STATUS = 17,
    WORKLOAD_FIELD_CLUSTER_ID = 18,
    WORKLOAD_FIELD_NETWORK_GATEWAY = 19,
    WORKLOAD_FIELD_UID = 20,
    WORKLOAD_FIELD_HOSTNAME = 21,
    WORKLOAD_FIELD_SERVICES = 22,
    WORKLOAD_FIELD_APPLICATION_TUNNEL = 23,
    WORKLOAD_FIELD_LOCALITY = 24,
    WORKLOAD_FIELD_NETWORK_MODE = 25,
    WORKLOAD_FIELD_CAPACITY = 27,
    WORKLOAD_FIELD_END,
};

/* The string fields, and where each goes. */
static const struct text_field {
    const char *name; /* NULL: not a string field */
    enum workload_text text;
} text_fields[WORKLOAD_FIELD_END] = {
    [WORKLOAD_FIELD_NAME] = { "Workload.name", WORKLOAD_NAME },
    [WORKLOAD_FIELD_NAMESPACE] = { "Workload.namespace", WORKLOAD_NAMESPACE },
    [WORKLOAD_FIELD_NETWORK] = { "Workload.network", WORKLOAD_NETWORK },
    [WORKLOAD_FIELD_TRUST_DOMAIN] = { "Workload.trust_domain", WORKLOAD_TRUST_DOMAIN },
    [WORKLOAD_FIELD_SERVICE_ACCOUNT] = { "Workload.service_account", WORKLOAD_SERVICE_ACCOUNT },
    [WORKLOAD_FIELD_NODE] = { "Workload.node", WORKLOAD_NODE },
    [WORKLOAD_FIELD_CANONICAL_NAME] = { "Workload.canonical_name", WORKLOAD_CANONICAL_NAME },
    [WORKLOAD_FIELD_CANONICAL_REVISION] = { "Workload.canonical_revision", WORKLOAD_CANONICAL_REVISION },
    [WORKLOAD_FIELD_WORKLOAD_NAME] = { "Workload.workload_name", WORKLOAD_OWNER_NAME },
    [WORKLOAD_FIELD_CLUSTER_ID] = { "Workload.cluster_id", WORKLOAD_CLUSTER_ID },
    [WORKLOAD_FIELD_UID] = { "Workload.uid", WORKLOAD_UID },
    [WORKLOAD_FIELD_HOSTNAME] = { "Workload.hostname", WORKLOAD_HOSTNAME },
};

/* The repeated fields are collected in arrays of the arena, which double when they are full. */
struct workload_walk {
    struct resource_decoder *decoder;
    struct workload_spec spec;
    struct ip_address *addresses;
    struct workload_service_spec *services;
    struct bytes *policy_keys;
    size_t address_capacity, service_capacity, policy_capacity;
};

#define REPEATED_LEAST 4

/* The array with room for one more behind its `count`. */
static void *with_room(struct workload_walk *walk, void *array, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? REPEATED_LEAST : 2 * *capacity;
    void *larger = arena_allocate(&walk->decoder->arena, *capacity * item_size);
    if (count > 0) {
        memcpy(larger, array, count * item_size);
    }
    return larger;
}

static bool decode_address(struct workload_walk *walk, const struct protobuf_field *field)
{
    struct bytes raw;
    walk->addresses =
        with_room(walk, walk->addresses, walk->spec.address_count, &walk->address_capacity, sizeof *walk->addresses);
    return resource_message(walk->decoder, field, "Workload.addresses", &raw) &&
           resource_ip(walk->decoder, raw, &walk->addresses[walk->spec.address_count++]);
}

static bool decode_policy_key(struct workload_walk *walk, const struct protobuf_field *field)
{
    walk->policy_keys =
        with_room(walk, walk->policy_keys, walk->spec.policy_count, &walk->policy_capacity, sizeof *walk->policy_keys);
    return resource_text(
        walk->decoder, field, "Workload.authorization_policies", &walk->policy_keys[walk->spec.policy_count++]);
}

/* A map entry: 1 "namespace/hostname", 2 PortList with its ports in field 1. */
static bool decode_service(struct workload_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    walk->services =
        with_room(walk, walk->services, walk->spec.service_count, &walk->service_capacity, sizeof *walk->services);
    struct workload_service_spec *service = &walk->services[walk->spec.service_count++];
    struct bytes entry;
    if (!resource_message(decoder, field, "Workload.services", &entry)) {
        return false;
    }
    struct cursor cursor = cursor_of(entry);
    struct protobuf_field part;
    while (protobuf_next_field(&cursor, &part)) {
        struct bytes ports;
        if (part.number == 1 && !resource_text(decoder, &part, "Workload.services", &service->key)) {
            return false;
        }
        if (part.number == 2 && (!resource_message(decoder, &part, "Workload.services", &ports) ||
                                    !ports_decode(decoder, ports, 1, &service->ports, &service->port_count))) {
            return false;
        }
    }
    return resource_end(decoder, &cursor, "Workload.services");
}

static bool decode_application_tunnel(struct workload_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    struct workload_spec *spec = &walk->spec;
    struct bytes message;
    if (!resource_message(decoder, field, "Workload.application_tunnel", &message)) {
        return false;
    }
    spec->has_application_tunnel = true;
    struct cursor cursor = cursor_of(message);
    struct protobuf_field part;
    while (protobuf_next_field(&cursor, &part)) {
        uint32_t protocol;
        uint64_t port;
        if (part.number == 1) {
            if (!resource_known_enum(decoder, &part, "ApplicationTunnel.protocol", TUNNEL_PROXY, &protocol)) {
                return false;
            }
            spec->tunnel_protocol = protocol;
        } else if (part.number == 2) {
            if (!resource_number(decoder, &part, "ApplicationTunnel.port", &port)) {
                return false;
            }
            spec->application_tunnel_port = (uint16_t)port;
        }
    }
    return resource_end(decoder, &cursor, "ApplicationTunnel");
}

static bool decode_locality(struct workload_walk *walk, const struct protobuf_field *field)
{
    static const enum workload_text texts[] = { WORKLOAD_REGION, WORKLOAD_ZONE, WORKLOAD_SUBZONE };
    struct bytes message;
    if (!resource_message(walk->decoder, field, "Workload.locality", &message)) {
        return false;
    }
    struct cursor cursor = cursor_of(message);
    struct protobuf_field part;
    while (protobuf_next_field(&cursor, &part)) {
        if (part.number >= 1 && part.number <= 3 &&
            !resource_text(walk->decoder, &part, "Locality", &walk->spec.texts[texts[part.number - 1]])) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Locality");
}

/* google.protobuf.UInt32Value: present and empty is 0. */
static bool decode_capacity(struct workload_walk *walk, const struct protobuf_field *field)
{
    struct bytes message;
    if (!resource_message(walk->decoder, field, "Workload.capacity", &message)) {
        return false;
    }
    struct cursor cursor = cursor_of(message);
    struct protobuf_field part;
    uint64_t capacity = 0;
    while (protobuf_next_field(&cursor, &part)) {
        if (part.number == 1 && !resource_number(walk->decoder, &part, "Workload.capacity", &capacity)) {
            return false;
        }
    }
    walk->spec.capacity = (uint32_t)capacity;
    return resource_end(walk->decoder, &cursor, "Workload.capacity");
}

static bool decode_tunnel_protocol(struct workload_walk *walk, const struct protobuf_field *field)
{
    enum { LEGACY_ISTIO_MTLS = 2 };
    uint32_t protocol;
    if (!resource_known_enum(walk->decoder, field, "Workload.tunnel_protocol", LEGACY_ISTIO_MTLS, &protocol)) {
        return false;
    }
    if (protocol == LEGACY_ISTIO_MTLS) {
        return resource_fail(walk->decoder, "unknown enum: unsupported tunnel protocol: legacy istio mtls");
    }
    walk->spec.protocol = protocol;
    return true;
}

/* A type we do not know is read as the first one. */
static bool decode_workload_type(struct workload_walk *walk, const struct protobuf_field *field)
{
    static const char *const types[] = { "deployment", "cronjob", "pod", "job" };
    int32_t type;
    if (!resource_enum(walk->decoder, field, "Workload.workload_type", &type)) {
        return false;
    }
    bool is_known = type >= 0 && type < (int32_t)(sizeof types / sizeof types[0]);
    walk->spec.texts[WORKLOAD_TYPE] = bytes_of_string(types[is_known ? type : 0]);
    return true;
}

static bool decode_flags(struct workload_walk *walk, const struct protobuf_field *field)
{
    struct resource_decoder *decoder = walk->decoder;
    uint64_t number;
    uint32_t value;
    switch (field->number) {
    case WORKLOAD_FIELD_NATIVE_TUNNEL:
        if (!resource_number(decoder, field, "Workload.native_tunnel", &number)) {
            return false;
        }
        walk->spec.has_native_tunnel = number != 0;
        return true;
    case WORKLOAD_FIELD_STATUS:
        if (!resource_known_enum(decoder, field, "Workload.status", 1, &value)) {
            return false;
        }
        walk->spec.is_healthy = value == 0;
        return true;
    case WORKLOAD_FIELD_NETWORK_MODE:
        if (!resource_known_enum(decoder, field, "Workload.network_mode", WORKLOAD_HOST_NETWORK, &value)) {
            return false;
        }
        walk->spec.network_mode = value;
        return true;
    }
    return true;
}

static bool decode_gateway(
    struct workload_walk *walk, const struct protobuf_field *field, const char *name, struct gateway_spec *gateway)
{
    struct bytes message;
    return resource_message(walk->decoder, field, name, &message) && gateway_decode(walk->decoder, message, gateway);
}

static bool decode_field(struct workload_walk *walk, const struct protobuf_field *field)
{
    if (field->number >= WORKLOAD_FIELD_END) {
        return true;
    }
    const struct text_field *text = &text_fields[field->number];
    if (text->name != NULL) {
        return resource_text(walk->decoder, field, text->name, &walk->spec.texts[text->text]);
    }
    switch (field->number) {
    case WORKLOAD_FIELD_ADDRESSES:
        return decode_address(walk, field);
    case WORKLOAD_FIELD_TUNNEL_PROTOCOL:
        return decode_tunnel_protocol(walk, field);
    case WORKLOAD_FIELD_WAYPOINT:
        return decode_gateway(walk, field, "Workload.waypoint", &walk->spec.waypoint);
    case WORKLOAD_FIELD_WORKLOAD_TYPE:
        return decode_workload_type(walk, field);
    case WORKLOAD_FIELD_AUTHORIZATION_POLICIES:
        return decode_policy_key(walk, field);
    case WORKLOAD_FIELD_NETWORK_GATEWAY:
        return decode_gateway(walk, field, "Workload.network_gateway", &walk->spec.network_gateway);
    case WORKLOAD_FIELD_SERVICES:
        return decode_service(walk, field);
    case WORKLOAD_FIELD_APPLICATION_TUNNEL:
        return decode_application_tunnel(walk, field);
    case WORKLOAD_FIELD_LOCALITY:
        return decode_locality(walk, field);
    case WORKLOAD_FIELD_CAPACITY:
        return decode_capacity(walk, field);
    default:
        return decode_flags(walk, field);
    }
}

static void set_default(struct workload_spec *spec, enum workload_text text, const char *value)
{
    if (spec->texts[text].length == 0) {
        spec->texts[text] = bytes_of_string(value);
    }
}

static bool decode_fields(struct workload_walk *walk, struct bytes message)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (!decode_field(walk, &field)) {
            return false;
        }
    }
    return resource_end(walk->decoder, &cursor, "Workload");
}

struct result workload_decode(struct bytes message, struct workload **workload)
{
    struct resource_decoder decoder = { 0 };
    struct workload_walk walk = { .decoder = &decoder, .spec = workload_spec_initial() };
    struct result result;
    if (decode_fields(&walk, message)) {
        walk.spec.addresses = walk.addresses;
        walk.spec.services = walk.services;
        walk.spec.policy_keys = walk.policy_keys;
        set_default(&walk.spec, WORKLOAD_TRUST_DOMAIN, "cluster.local");
        set_default(&walk.spec, WORKLOAD_SERVICE_ACCOUNT, "default");
        set_default(&walk.spec, WORKLOAD_CLUSTER_ID, "Kubernetes");
        set_default(&walk.spec, WORKLOAD_TYPE, "deployment");
        result = workload_new(&walk.spec, workload);
    } else {
        result = decoder.error;
    }
    arena_free(&decoder.arena);
    return result;
}
