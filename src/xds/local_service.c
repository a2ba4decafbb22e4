#include "base/memory.h"
#include "xds/local_file_internal.h"

#include <stddef.h>

/* Host and CIDR addresses come under two keys and end up in one array. */
struct service_reading {
    struct service_spec spec;
    struct service_vip_spec *host_vips, *cidr_vips;
    size_t host_vip_count, cidr_vip_count;
};

static bool read_vips(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct service_reading *reading = target;
    if (!yaml_sequence(reader, node, &reading->host_vip_count)) {
        return false;
    }
    struct service_vip_spec *vips = arena_allocate(&reader->arena, reading->host_vip_count * sizeof *vips);
    reading->host_vips = vips;
    void *position = NULL;
    struct fy_node *item;
    for (; (item = fy_node_sequence_iterate(node, &position)) != NULL; vips++) {
        struct bytes text;
        struct bytes ip;
        if (!yaml_text(reader, item, &text)) {
            return false;
        }
        if (!local_pair_split(text, &vips->network, &ip) || !ip_parse_bytes(ip, &vips->cidr.ip)) {
            return yaml_fail(reader, item, "`%s` is not network/ip", (const char *)text.data);
        }
        vips->cidr.prefix_bits = vips->cidr.ip.family == IP_V4 ? 32 : 128;
    }
    return true;
}

static bool read_cidr(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct bytes text;
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    return cidr_parse((const char *)text.data, target) ||
           yaml_fail(reader, node, "`%s` is not a CIDR block", (const char *)text.data);
}

static bool read_cidr_vips(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "network", yaml_text, offsetof(struct service_vip_spec, network), true },
        { "cidr", read_cidr, offsetof(struct service_vip_spec, cidr), true },
    };
    struct service_reading *reading = target;
    if (!yaml_sequence(reader, node, &reading->cidr_vip_count)) {
        return false;
    }
    struct service_vip_spec *vips = arena_allocate(&reader->arena, reading->cidr_vip_count * sizeof *vips);
    reading->cidr_vips = vips;
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!yaml_mapping(reader, item, keys, ARRAY_LENGTH(keys), NULL, vips++)) {
            return false;
        }
    }
    return true;
}

static bool read_ports(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct service_spec *spec = target;
    return local_ports_read(reader, node, &spec->ports, &spec->port_count);
}

static bool read_endpoint_ports(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct service_endpoint_spec *endpoint = target;
    return local_ports_read(reader, node, &endpoint->ports, &endpoint->port_count);
}

/* A mapping uid -> endpoint; the uid stands in the endpoint as well. */
static bool read_endpoints(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "workloadUid", yaml_text, offsetof(struct service_endpoint_spec, workload_uid), true },
        { "port", read_endpoint_ports, 0, true },
        { "status", local_health_read, offsetof(struct service_endpoint_spec, is_healthy), true },
    };
    struct service_spec *spec = target;
    if (!yaml_pairs(reader, node, &spec->endpoint_count)) {
        return false;
    }
    struct service_endpoint_spec *endpoints = arena_allocate(&reader->arena, spec->endpoint_count * sizeof *endpoints);
    spec->endpoints = endpoints;
    void *position = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(node, &position)) != NULL) {
        struct fy_node *value = fy_node_pair_value(pair);
        if (!yaml_mapping(reader, value, keys, ARRAY_LENGTH(keys), NULL, endpoints++)) {
            return false;
        }
    }
    return true;
}

static bool read_subject_alt_names(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct service_spec *spec = target;
    if (!yaml_sequence(reader, node, &spec->subject_alt_name_count)) {
        return false;
    }
    struct bytes *names = arena_allocate(&reader->arena, spec->subject_alt_name_count * sizeof *names);
    spec->subject_alt_names = names;
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!yaml_text(reader, item, names++)) {
            return false;
        }
    }
    return true;
}

static bool read_weighted_waypoints(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "destination", local_gateway_read, offsetof(struct weighted_waypoint_spec, destination), true },
        { "weight", yaml_number, offsetof(struct weighted_waypoint_spec, weight), true },
    };
    struct service_spec *spec = target;
    if (!yaml_sequence(reader, node, &spec->weighted_waypoint_count)) {
        return false;
    }
    struct weighted_waypoint_spec *waypoints =
        arena_allocate(&reader->arena, spec->weighted_waypoint_count * sizeof *waypoints);
    spec->weighted_waypoints = waypoints;
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!yaml_mapping(reader, item, keys, ARRAY_LENGTH(keys), NULL, waypoints++)) {
            return false;
        }
    }
    return true;
}

static bool read_scopes(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Region", "Zone", "Subzone", "Node", "Cluster", "Network" };
    struct service_spec *spec = target;
    size_t count;
    if (!yaml_sequence(reader, node, &count)) {
        return false;
    }
    if (count > LOAD_BALANCING_SCOPES_MAXIMUM) {
        return yaml_fail(reader, node, "more than %d routing preferences", LOAD_BALANCING_SCOPES_MAXIMUM);
    }
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        size_t chosen;
        if (!yaml_choice(reader, item, names, ARRAY_LENGTH(names), &chosen)) {
            return false;
        }
        spec->scopes[spec->scope_count++] = (uint8_t)(SCOPE_REGION + chosen);
    }
    return true;
}

static bool read_mode(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Standard", "Strict", "Failover", "Passthrough" };
    struct service_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->mode = (enum load_balancing_mode)chosen;
    return is_good;
}

static bool read_health_policy(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "OnlyHealthy", "AllowAll" };
    struct service_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->allows_unhealthy = chosen == 1;
    return is_good;
}

static bool read_load_balancer(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const struct yaml_key keys[] = {
        { "routingPreferences", read_scopes, 0, true },
        { "mode", read_mode, 0, true },
        { "healthPolicy", read_health_policy, 0, true },
    };
    struct service_spec *spec = target;
    spec->has_load_balancing = true;
    return yaml_mapping(reader, node, keys, ARRAY_LENGTH(keys), NULL, target);
}

static bool read_ip_families(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "IPv4", "IPv6", "Dual" };
    struct service_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->ip_families = (enum service_ip_families)(FAMILIES_IPV4 + chosen);
    return is_good;
}

static bool read_visibility(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    static const char *const names[] = { "Public", "Namespace" };
    struct service_spec *spec = target;
    size_t chosen = 0;
    bool is_good = yaml_choice(reader, node, names, ARRAY_LENGTH(names), &chosen);
    spec->is_namespace_private = chosen == 1;
    return is_good;
}

_Static_assert(offsetof(struct service_reading, spec) == 0, "readers of the spec and of the reading share offset 0");

/* ztunnel-management §4. */
static const struct yaml_key service_keys[] = {
    { "name", yaml_text, offsetof(struct service_spec, name), true },
    { "namespace", yaml_text, offsetof(struct service_spec, namespace_), true },
    { "hostname", yaml_text, offsetof(struct service_spec, hostname), true },
    { "vips", read_vips, 0, true },
    { "ports", read_ports, 0, true },
    { "endpoints", read_endpoints, 0, false },
    { "subjectAltNames", read_subject_alt_names, 0, false },
    { "cidrVips", read_cidr_vips, 0, false },
    { "waypoint", local_gateway_read, offsetof(struct service_spec, waypoint), false },
    { "weightedWaypoints", read_weighted_waypoints, 0, false },
    { "loadBalancer", read_load_balancer, 0, false },
    { "ipFamilies", read_ip_families, 0, false },
    { "canonical", yaml_bool, offsetof(struct service_spec, is_canonical), false },
    { "visibility", read_visibility, 0, false },
};

static void join_vips(struct yaml_reader *reader, struct service_reading *reading)
{
    size_t count = reading->host_vip_count + reading->cidr_vip_count;
    struct service_vip_spec *vips = arena_allocate(&reader->arena, count * sizeof *vips);
    for (size_t i = 0; i < reading->host_vip_count; i++) {
        vips[i] = reading->host_vips[i];
    }
    for (size_t i = 0; i < reading->cidr_vip_count; i++) {
        vips[reading->host_vip_count + i] = reading->cidr_vips[i];
    }
    reading->spec.vips = vips;
    reading->spec.vip_count = count;
}

struct service *local_service_read(struct yaml_reader *reader, struct fy_node *node)
{
    struct service_reading reading = { 0 };
    struct service *service = NULL;
    if (!yaml_mapping(reader, node, service_keys, ARRAY_LENGTH(service_keys), NULL, &reading)) {
        return NULL;
    }
    join_vips(reader, &reading);
    struct result made = service_new(&reading.spec, &service);
    if (!result_is_ok(&made)) {
        yaml_fail(reader, node, "%s", made.message);
        return NULL;
    }
    return service;
}
