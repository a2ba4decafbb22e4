#include "base/memory.h"
#include "xds/local_file_internal.h"

#include <stddef.h>

bool local_pair_split(struct bytes text, struct bytes *left, struct bytes *right)
{
    const uint8_t *slash = memchr(text.data, '/', text.length);
    if (slash == NULL) {
        return false;
    }
    size_t length = (size_t)(slash - text.data);
    *left = bytes_of(text.data, length);
    *right = bytes_of(slash + 1, text.length - length - 1);
    return true;
}

/* "network/ip" or "namespace/hostname". */
static bool read_destination(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct gateway_spec *gateway = target;
    struct bytes text;
    struct bytes left;
    struct bytes right;
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    if (!local_pair_split(text, &left, &right) || right.length == 0) {
        return yaml_fail(reader, node, "`%s` is neither network/ip nor namespace/hostname", (const char *)text.data);
    }
    if (ip_parse_bytes(right, &gateway->ip)) {
        gateway->kind = GATEWAY_ADDRESS;
        gateway->network = left;
        return true;
    }
    gateway->kind = GATEWAY_HOSTNAME;
    gateway->namespace_ = left;
    gateway->hostname = right;
    return true;
}

bool local_gateway_read(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "destination", read_destination, 0, true },
        { "hboneMtlsPort", yaml_port, offsetof(struct gateway_spec, hbone_mtls_port), true },
    };
    return yaml_mapping(reader, node, keys, ARRAY_LENGTH(keys), NULL, target);
}

bool local_ports_read(
    struct yaml_reader *reader, struct fy_node *node, const struct port_mapping **ports, size_t *count)
{
    if (!yaml_pairs(reader, node, count)) {
        return false;
    }
    struct port_mapping *read = arena_allocate(&reader->arena, *count * sizeof *read);
    void *position = NULL;
    struct fy_node_pair *pair;
    for (size_t i = 0; (pair = fy_node_mapping_iterate(node, &position)) != NULL && i < *count; i++) {
        if (!yaml_port(reader, fy_node_pair_key(pair), &read[i].service_port) ||
            !yaml_port(reader, fy_node_pair_value(pair), &read[i].target_port)) {
            return false;
        }
    }
    *ports = read;
    return true;
}

bool local_health_read(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Healthy", "Unhealthy" };
    size_t chosen;
    if (!yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen)) {
        return false;
    }
    *(bool *)target = chosen == 0;
    return true;
}

static bool read_addresses(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct workload_spec *spec = target;
    if (!yaml_sequence(reader, node, &spec->address_count)) {
        return false;
    }
    struct ip_address *addresses = arena_allocate(&reader->arena, spec->address_count * sizeof *addresses);
    spec->addresses = addresses;
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        struct bytes text;
        if (!yaml_text(reader, item, &text)) {
            return false;
        }
        if (!ip_parse_bytes(text, addresses++)) {
            return yaml_fail(reader, item, "`%s` is not an IP address", (const char *)text.data);
        }
    }
    return true;
}

static bool read_services(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct workload_spec *spec = target;
    if (!yaml_pairs(reader, node, &spec->service_count)) {
        return false;
    }
    struct workload_service_spec *services = arena_allocate(&reader->arena, spec->service_count * sizeof *services);
    spec->services = services;
    void *position = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(node, &position)) != NULL) {
        if (!yaml_text(reader, fy_node_pair_key(pair), &services->key) ||
            !local_ports_read(reader, fy_node_pair_value(pair), &services->ports, &services->port_count)) {
            return false;
        }
        services++;
    }
    return true;
}

static bool read_policies(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct workload_spec *spec = target;
    if (!yaml_sequence(reader, node, &spec->policy_count)) {
        return false;
    }
    struct bytes *keys = arena_allocate(&reader->arena, spec->policy_count * sizeof *keys);
    spec->policy_keys = keys;
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!yaml_text(reader, item, keys++)) {
            return false;
        }
    }
    return true;
}

static bool read_protocol(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "TCP", "HBONE" };
    struct workload_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->protocol = (enum workload_protocol)chosen;
    return is_good;
}

static bool read_network_mode(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Standard", "HostNetwork" };
    struct workload_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->network_mode = (enum workload_network_mode)chosen;
    return is_good;
}

static bool read_tunnel_protocol(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "NONE", "PROXY" };
    struct workload_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->tunnel_protocol = (enum tunnel_protocol)chosen;
    return is_good;
}

static bool read_application_tunnel(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "protocol", read_tunnel_protocol, 0, true },
        { "port", yaml_port, offsetof(struct workload_spec, application_tunnel_port), false },
    };
    struct workload_spec *spec = target;
    spec->has_application_tunnel = true;
    return yaml_mapping(reader, node, keys, ARRAY_LENGTH(keys), NULL, target);
}

#define TEXT_KEY(name_, text_)                                                                                         \
    {                                                                                                                  \
        (name_), yaml_text, offsetof(struct workload_spec, texts) + (text_) * sizeof(struct bytes), false              \
    }

static bool read_locality(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "region", yaml_text, offsetof(struct workload_spec, texts[WORKLOAD_REGION]), true },
        { "zone", yaml_text, offsetof(struct workload_spec, texts[WORKLOAD_ZONE]), true },
        { "subzone", yaml_text, offsetof(struct workload_spec, texts[WORKLOAD_SUBZONE]), true },
    };
    return yaml_mapping(reader, node, keys, ARRAY_LENGTH(keys), yaml_ignore_key, target);
}

/* ztunnel-management §4. The defaults of xDS do not apply: what is not written is empty. */
static const struct yaml_key workload_keys[] = {
    { "workloadIps", read_addresses, 0, true },
    { "namespace", yaml_text, offsetof(struct workload_spec, texts[WORKLOAD_NAMESPACE]), true },
    { "services", read_services, 0, true },
    TEXT_KEY("uid", WORKLOAD_UID),
    TEXT_KEY("name", WORKLOAD_NAME),
    TEXT_KEY("trustDomain", WORKLOAD_TRUST_DOMAIN),
    TEXT_KEY("serviceAccount", WORKLOAD_SERVICE_ACCOUNT),
    TEXT_KEY("network", WORKLOAD_NETWORK),
    TEXT_KEY("workloadName", WORKLOAD_OWNER_NAME),
    TEXT_KEY("workloadType", WORKLOAD_TYPE),
    TEXT_KEY("canonicalName", WORKLOAD_CANONICAL_NAME),
    TEXT_KEY("canonicalRevision", WORKLOAD_CANONICAL_REVISION),
    TEXT_KEY("hostname", WORKLOAD_HOSTNAME),
    TEXT_KEY("node", WORKLOAD_NODE),
    TEXT_KEY("clusterId", WORKLOAD_CLUSTER_ID),
    { "protocol", read_protocol, 0, false },
    { "networkMode", read_network_mode, 0, false },
    { "status", local_health_read, offsetof(struct workload_spec, is_healthy), false },
    { "waypoint", local_gateway_read, offsetof(struct workload_spec, waypoint), false },
    { "networkGateway", local_gateway_read, offsetof(struct workload_spec, network_gateway), false },
    { "applicationTunnel", read_application_tunnel, 0, false },
    { "nativeTunnel", yaml_bool, offsetof(struct workload_spec, has_native_tunnel), false },
    { "authorizationPolicies", read_policies, 0, false },
    { "locality", read_locality, 0, false },
    { "capacity", yaml_number, offsetof(struct workload_spec, capacity), false },
};

struct workload *local_workload_read(struct yaml_reader *reader, struct fy_node *node)
{
    struct workload_spec spec = workload_spec_initial();
    struct workload *workload = NULL;
    if (!yaml_mapping(reader, node, workload_keys, ARRAY_LENGTH(workload_keys), NULL, &spec)) {
        return NULL;
    }
    struct result made = workload_new(&spec, &workload);
    if (!result_is_ok(&made)) {
        yaml_fail(reader, node, "%s", made.message);
        return NULL;
    }
    return workload;
}
