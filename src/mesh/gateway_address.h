/* Where a waypoint or a network gateway is found: by name or by address (wire-protocols §2, GatewayAddress), and the port
 * mappings that workloads and services share. */
#ifndef AMBAR_MESH_GATEWAY_ADDRESS_H
#define AMBAR_MESH_GATEWAY_ADDRESS_H

#include "base/address.h"

/* Longest text accepted in a workload or service. Kubernetes names end at 253; the longest uid is made of five of them. */
#define MESH_TEXT_MAXIMUM 2000

enum gateway_kind { GATEWAY_NONE = 0, GATEWAY_HOSTNAME, GATEWAY_ADDRESS };

/* Inside an immutable object that owns the texts. */
struct gateway_address {
    enum gateway_kind kind;
    uint16_t hbone_mtls_port;
    const char *namespace_; /* GATEWAY_HOSTNAME */
    const char *hostname;   /* GATEWAY_HOSTNAME */
    const char *network;    /* GATEWAY_ADDRESS */
    struct ip_address ip;   /* GATEWAY_ADDRESS */
};

/* The same before it has a home: borrowed texts. */
struct gateway_spec {
    enum gateway_kind kind;
    uint16_t hbone_mtls_port;
    struct bytes namespace_, hostname, network;
    struct ip_address ip;
};

struct port_mapping {
    uint16_t service_port;
    uint16_t target_port; /* 0: a named port, which each endpoint maps itself */
};

/* The target of `service_port`; false when the port is not in the list. Later entries win, as in a map. */
static inline bool port_mapping_find(
    const struct port_mapping *ports, size_t count, uint16_t service_port, uint16_t *target_port)
{
    for (size_t i = count; i > 0; i--) {
        if (ports[i - 1].service_port == service_port) {
            *target_port = ports[i - 1].target_port;
            return true;
        }
    }
    return false;
}

#endif
