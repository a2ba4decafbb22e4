/* The fields of istio.workload.Workload, whatever they came from, and their bytes (wire-protocols §2). */
#ifndef AMBAR_AMBARD_WORKLOAD_ENCODING_H
#define AMBAR_AMBARD_WORKLOAD_ENCODING_H

#include "ambard/conversion.h"
#include "ambard/waypoint_binding.h"
#include "base/address.h"

enum workload_tunnel { WORKLOAD_TUNNEL_NONE, WORKLOAD_TUNNEL_HBONE };
enum workload_type { WORKLOAD_TYPE_DEPLOYMENT = 0, WORKLOAD_TYPE_POD = 2 };

struct workload_port {
    uint32_t service_port;
    uint32_t target_port;
};

struct workload_service {
    const char *name; /* namespace/hostname */
    struct workload_port *ports;
    size_t port_count;
};

/* Texts are never NULL. Everything borrowed, usually from the conversion's arena. */
struct workload_parts {
    const char *uid, *name, *namespace_, *network, *service_account, *node;
    const char *canonical_name, *canonical_revision, *workload_name, *hostname;
    const char *region, *zone, *subzone;
    struct ip_address *addresses;
    size_t address_count;
    enum workload_tunnel tunnel;
    enum workload_type type;
    bool is_native_tunnel, is_unhealthy, is_host_network;
    bool is_network_gateway;            /* itself: needs none */
    const struct waypoint *waypoint;    /* NULL: none */
    const struct waypoint *instance_of; /* NULL: it is no waypoint */
    struct workload_service *services;  /* sorted by name before encoding */
    size_t service_count;
    struct kube_strings policies;
    uint32_t capacity; /* 0: unset */
};

/* All texts empty, the cluster's network. */
struct workload_parts workload_parts_new(const struct conversion *conversion);

void workload_encode(const struct conversion *conversion, const struct workload_parts *parts, struct writer *out);

/* Sorts the services, encodes and emits. */
void workload_emit(struct conversion *conversion, struct workload_parts *parts);

#endif
