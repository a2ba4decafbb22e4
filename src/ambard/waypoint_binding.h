/* Waypoints, and which of them a service or workload is bound to (control-plane §§3.4, 4.1, 4.2). */
#ifndef AMBAR_AMBARD_WAYPOINT_BINDING_H
#define AMBAR_AMBARD_WAYPOINT_BINDING_H

#include "ambard/conversion.h"
#include "kube/gateway.h"

/* A Gateway with at least one status address. */
struct waypoint {
    const struct kube_gateway *gateway;
    const char *key; /* namespace/name */
    bool serves_services;
    bool serves_workloads;
    bool has_inbound_binding;  /* its pods are spoken to by another protocol than HBONE */
    uint32_t inbound_protocol; /* of ApplicationTunnel: NONE 0, PROXY 1 */
    uint32_t inbound_port;     /* 0: keeps the port */
    int route_namespaces;      /* enum kube_route_namespaces */
    const struct kube_selector *route_selector;
    struct bytes address; /* a serialized GatewayAddress */
};

enum waypoint_failure {
    WAYPOINT_FINE,
    WAYPOINT_IS_NOT_READY,
    WAYPOINT_ATTACHMENT_DENIED,
    WAYPOINT_UNSUPPORTED_TRAFFIC_TYPE,
    WAYPOINT_CROSS_NAMESPACE,
};

struct waypoint_binding {
    const struct waypoint *waypoint; /* NULL: not bound */
    const char *requested;           /* "namespace/name", also when it failed; NULL: none requested */
    enum waypoint_failure failure;
    const struct waypoint *canary; /* NULL: none, or it failed */
    uint32_t canary_weight;        /* 0..100 */
    const char *canary_error;      /* NULL: none */
};

struct waypoint_table *waypoint_table_new(struct conversion *conversion);
void waypoint_table_free(struct waypoint_table *table);

/* NULL when it is no candidate. */
const struct waypoint *waypoint_find(const struct conversion *conversion, const char *namespace_, const char *name);
/* The waypoint a pod with these labels is an instance of; NULL when none. */
const struct waypoint *waypoint_of_instance(
    const struct conversion *conversion, const char *namespace_, const struct kube_labels *labels);

struct waypoint_binding waypoint_bind_service(
    struct conversion *conversion, const struct kube_object *object, bool is_limited_to_namespace);
struct waypoint_binding waypoint_bind_workload(
    struct conversion *conversion, const char *namespace_, const struct kube_labels *labels);

/* istio.io/ingress-use-waypoint of the object, else of its namespace; `*is_given` says whether either has it. */
bool waypoint_wants_ingress(const struct conversion *conversion, const struct kube_object *object, bool *is_given);

/* The condition istio.io/WaypointBound; nothing when none was requested. `has_ingress` for services and service entries. */
void waypoint_add_condition(struct conversion *conversion, const struct kube_object *object,
    const struct waypoint_binding *binding, bool has_ingress);

#endif
