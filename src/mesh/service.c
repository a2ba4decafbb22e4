#include "mesh/service.h"

#include "base/memory.h"
#include "mesh/packing.h"

#include <stdatomic.h>

static struct result check_spec(const struct service_spec *spec)
{
    RESULT_TRY(packing_check_text("name", spec->name));
    RESULT_TRY(packing_check_text("namespace", spec->namespace_));
    RESULT_TRY(packing_check_text("hostname", spec->hostname));
    for (size_t i = 0; i < spec->vip_count; i++) {
        RESULT_TRY(packing_check_text("address network", spec->vips[i].network));
    }
    for (size_t i = 0; i < spec->subject_alt_name_count; i++) {
        RESULT_TRY(packing_check_text("subject_alt_name", spec->subject_alt_names[i]));
    }
    for (size_t i = 0; i < spec->weighted_waypoint_count; i++) {
        RESULT_TRY(packing_check_gateway("weighted waypoint", &spec->weighted_waypoints[i].destination));
    }
    for (size_t i = 0; i < spec->endpoint_count; i++) {
        RESULT_TRY(packing_check_text("endpoint", spec->endpoints[i].workload_uid));
    }
    if (spec->scope_count > LOAD_BALANCING_SCOPES_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "more than %d load balancing preferences", LOAD_BALANCING_SCOPES_MAXIMUM);
    }
    return packing_check_gateway("waypoint", &spec->waypoint);
}

static bool is_host_address(const struct cidr *cidr)
{
    return cidr->prefix_bits == (cidr->ip.family == IP_V4 ? 32 : 128);
}

static size_t count_host_addresses(const struct service_spec *spec)
{
    size_t count = 0;
    for (size_t i = 0; i < spec->vip_count; i++) {
        count += is_host_address(&spec->vips[i].cidr);
    }
    return count;
}

static size_t service_size(const struct service_spec *spec, size_t host_addresses)
{
    size_t size = sizeof(struct service);
    size += host_addresses * sizeof(struct service_vip);
    size += (spec->vip_count - host_addresses) * sizeof(struct service_cidr_vip);
    size += spec->subject_alt_name_count * sizeof(char *);
    size += spec->weighted_waypoint_count * sizeof(struct weighted_waypoint);
    size += spec->endpoint_count * sizeof(struct service_endpoint);
    size += spec->port_count * sizeof(struct port_mapping);
    size += spec->namespace_.length + 1 + spec->hostname.length + 1;
    size += packing_text_size(spec->name) + packing_text_size(spec->namespace_);
    for (size_t i = 0; i < spec->vip_count; i++) {
        size += packing_text_size(spec->vips[i].network);
    }
    for (size_t i = 0; i < spec->subject_alt_name_count; i++) {
        size += packing_text_size(spec->subject_alt_names[i]);
    }
    for (size_t i = 0; i < spec->weighted_waypoint_count; i++) {
        size += packing_gateway_size(&spec->weighted_waypoints[i].destination);
    }
    for (size_t i = 0; i < spec->endpoint_count; i++) {
        size += packing_text_size(spec->endpoints[i].workload_uid);
        size += spec->endpoints[i].port_count * sizeof(struct port_mapping);
    }
    if (spec->waypoint.kind != GATEWAY_NONE) {
        size += sizeof(struct gateway_address) + packing_gateway_size(&spec->waypoint);
    }
    return size;
}

static const struct port_mapping *pack_ports(struct packing *packing, const struct port_mapping *ports, size_t count)
{
    struct port_mapping *packed = packing_take(packing, count * sizeof *packed);
    if (count > 0) {
        memcpy(packed, ports, count * sizeof *packed);
    }
    return packed;
}

/* "namespace/hostname"; the hostname is the end of the key. */
static void pack_key(struct service *service, struct packing *packing, const struct service_spec *spec)
{
    char *key = packing_take(packing, spec->namespace_.length + 1 + spec->hostname.length + 1);
    if (spec->namespace_.length > 0) {
        memcpy(key, spec->namespace_.data, spec->namespace_.length);
    }
    key[spec->namespace_.length] = '/';
    char *hostname = key + spec->namespace_.length + 1;
    if (spec->hostname.length > 0) {
        memcpy(hostname, spec->hostname.data, spec->hostname.length);
    }
    hostname[spec->hostname.length] = '\0';
    service->key = key;
    service->hostname = hostname;
    service->namespace_ = packing_text(packing, spec->namespace_);
    service->name = packing_text(packing, spec->name);
}

static void pack_addresses(struct packing *packing, const struct service_spec *spec, struct service_vip *vips,
    struct service_cidr_vip *cidr_vips)
{
    for (size_t i = 0; i < spec->vip_count; i++) {
        const char *network = packing_text(packing, spec->vips[i].network);
        if (is_host_address(&spec->vips[i].cidr)) {
            *vips++ = (struct service_vip){ network, spec->vips[i].cidr.ip };
        } else {
            *cidr_vips++ = (struct service_cidr_vip){ network, spec->vips[i].cidr };
        }
    }
}

static void copy_traits(struct service *service, const struct service_spec *spec)
{
    memcpy(service->scopes, spec->scopes, sizeof service->scopes);
    service->scope_count = (uint8_t)spec->scope_count;
    service->mode = (uint8_t)spec->mode;
    service->ip_families = (uint8_t)spec->ip_families;
    service->has_load_balancing = spec->has_load_balancing;
    service->allows_unhealthy = spec->allows_unhealthy;
    service->is_canonical = spec->is_canonical;
    service->is_namespace_private = spec->is_namespace_private;
    service->port_count = spec->port_count;
    service->subject_alt_name_count = spec->subject_alt_name_count;
    service->weighted_waypoint_count = spec->weighted_waypoint_count;
    service->endpoint_count = spec->endpoint_count;
}

struct result service_new(const struct service_spec *spec, struct service **service)
{
    RESULT_TRY(check_spec(spec));
    size_t host_addresses = count_host_addresses(spec);
    size_t size = service_size(spec, host_addresses);
    struct service *made = memory_allocate_zeroed(1, size);
    struct packing packing = { (uint8_t *)made + sizeof(struct service), (uint8_t *)made + size };
    made->references = 1;
    copy_traits(made, spec);
    made->vip_count = host_addresses;
    made->cidr_vip_count = spec->vip_count - host_addresses;

    struct service_vip *vips = packing_take(&packing, made->vip_count * sizeof *vips);
    struct service_cidr_vip *cidr_vips = packing_take(&packing, made->cidr_vip_count * sizeof *cidr_vips);
    const char **subject_alt_names = packing_take(&packing, spec->subject_alt_name_count * sizeof(char *));
    struct weighted_waypoint *weighted =
        packing_take(&packing, spec->weighted_waypoint_count * sizeof(struct weighted_waypoint));
    struct service_endpoint *endpoints = packing_take(&packing, spec->endpoint_count * sizeof *endpoints);
    struct gateway_address *waypoint =
        spec->waypoint.kind != GATEWAY_NONE ? packing_take(&packing, sizeof *waypoint) : NULL;
    made->ports = pack_ports(&packing, spec->ports, spec->port_count);
    for (size_t i = 0; i < spec->endpoint_count; i++) {
        const struct service_endpoint_spec *from = &spec->endpoints[i];
        endpoints[i].ports = pack_ports(&packing, from->ports, from->port_count);
        endpoints[i].port_count = from->port_count;
        endpoints[i].is_healthy = from->is_healthy;
    }

    pack_key(made, &packing, spec);
    pack_addresses(&packing, spec, vips, cidr_vips);
    for (size_t i = 0; i < spec->subject_alt_name_count; i++) {
        subject_alt_names[i] = packing_text(&packing, spec->subject_alt_names[i]);
    }
    for (size_t i = 0; i < spec->weighted_waypoint_count; i++) {
        packing_gateway(&packing, &spec->weighted_waypoints[i].destination, &weighted[i].destination);
        weighted[i].weight = spec->weighted_waypoints[i].weight;
    }
    for (size_t i = 0; i < spec->endpoint_count; i++) {
        endpoints[i].workload_uid = packing_text(&packing, spec->endpoints[i].workload_uid);
    }
    if (waypoint != NULL) {
        packing_gateway(&packing, &spec->waypoint, waypoint);
    }
    made->vips = vips;
    made->cidr_vips = cidr_vips;
    made->subject_alt_names = subject_alt_names;
    made->weighted_waypoints = weighted;
    made->endpoints = endpoints;
    made->waypoint = waypoint;
    *service = made;
    return result_ok();
}

struct service *service_reference(const struct service *service)
{
    /* The count is the one part of an immutable object that changes. */
    struct service *counted = (struct service *)(uintptr_t)service;
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return counted;
}

void service_release(struct service *service)
{
    if (service != NULL && atomic_fetch_sub_explicit(&service->references, 1, memory_order_acq_rel) == 1) {
        memory_free(service);
    }
}

bool service_is_visible_to(const struct service *service, const char *client_namespace)
{
    return !service->is_namespace_private || client_namespace == NULL ||
           strcmp(service->namespace_, client_namespace) == 0;
}
