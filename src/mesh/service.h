/* A service: a name and virtual addresses in front of endpoints (wire-protocols §2, Service).
 *
 * Immutable once made, counted, in one allocation with all its texts. Endpoints are not in it: they belong to the version,
 * which derives them from the workloads; only a local file can list some here. Any thread may read, reference and release. */
#ifndef AMBAR_MESH_SERVICE_H
#define AMBAR_MESH_SERVICE_H

#include "mesh/gateway_address.h"

enum load_balancing_scope {
    SCOPE_REGION = 1, /* numbers of the wire */
    SCOPE_ZONE,
    SCOPE_SUBZONE,
    SCOPE_NODE,
    SCOPE_CLUSTER,
    SCOPE_NETWORK,
};
#define LOAD_BALANCING_SCOPES_MAXIMUM 16

enum load_balancing_mode { BALANCE_STANDARD = 0, BALANCE_STRICT, BALANCE_FAILOVER, BALANCE_PASSTHROUGH };

enum service_ip_families { FAMILIES_AUTOMATIC = 0, FAMILIES_IPV4, FAMILIES_IPV6, FAMILIES_DUAL };

struct service_vip {
    const char *network;
    struct ip_address ip;
};

struct service_cidr_vip {
    const char *network;
    struct cidr cidr;
};

struct weighted_waypoint {
    struct gateway_address destination;
    uint32_t weight;
};

/* Listed by a local file; the workload may be unknown. */
struct service_endpoint {
    const char *workload_uid;
    const struct port_mapping *ports;
    size_t port_count;
    bool is_healthy;
};

struct service {
    _Atomic uint32_t references;
    const char *key; /* "namespace/hostname" */
    const char *name, *namespace_, *hostname;
    const struct service_vip *vips;
    const struct service_cidr_vip *cidr_vips;
    const struct port_mapping *ports;
    const char *const *subject_alt_names;
    const struct weighted_waypoint *weighted_waypoints;
    const struct service_endpoint *endpoints;
    const struct gateway_address *waypoint; /* NULL: none */
    size_t vip_count, cidr_vip_count, port_count, subject_alt_name_count, weighted_waypoint_count, endpoint_count;
    uint8_t scopes[LOAD_BALANCING_SCOPES_MAXIMUM]; /* enum load_balancing_scope, most important first */
    uint8_t scope_count;
    uint8_t mode;            /* enum load_balancing_mode */
    uint8_t ip_families;     /* enum service_ip_families */
    bool has_load_balancing; /* the message was present: a dump shows it */
    bool allows_unhealthy;   /* health policy ALLOW_ALL */
    bool is_canonical;
    bool is_namespace_private; /* visibility NAMESPACE */
};

struct service_vip_spec {
    struct bytes network;
    struct cidr cidr; /* a full prefix is a host address */
};

struct weighted_waypoint_spec {
    struct gateway_spec destination;
    uint32_t weight;
};

struct service_endpoint_spec {
    struct bytes workload_uid;
    const struct port_mapping *ports;
    size_t port_count;
    bool is_healthy;
};

/* What a service is made from; everything borrowed for the call; zero-initialised is empty. */
struct service_spec {
    struct bytes name, namespace_, hostname;
    const struct service_vip_spec *vips; /* host and CIDR addresses, told apart by their prefix */
    size_t vip_count;
    const struct port_mapping *ports;
    size_t port_count;
    const struct bytes *subject_alt_names;
    size_t subject_alt_name_count;
    const struct weighted_waypoint_spec *weighted_waypoints;
    size_t weighted_waypoint_count;
    const struct service_endpoint_spec *endpoints;
    size_t endpoint_count;
    struct gateway_spec waypoint;
    uint8_t scopes[LOAD_BALANCING_SCOPES_MAXIMUM];
    size_t scope_count;
    enum load_balancing_mode mode;
    enum service_ip_families ip_families;
    bool has_load_balancing, allows_unhealthy, is_canonical, is_namespace_private;
};

/* Fails on texts longer than MESH_TEXT_MAXIMUM or that contain a NUL. */
struct result service_new(const struct service_spec *spec, struct service **service);
struct service *service_reference(const struct service *service);
void service_release(struct service *service);

/* The target of `service_port` (0: named, each endpoint maps it itself); false when the service has no such port. */
static inline bool service_find_port(const struct service *service, uint16_t service_port, uint16_t *target_port)
{
    return port_mapping_find(service->ports, service->port_count, service_port, target_port);
}

/* True unless the service is private to another namespace; a NULL client may see everything. */
bool service_is_visible_to(const struct service *service, const char *client_namespace);

#endif
