/* Where a waypoint or a network gateway is found: by name or by address (wire-protocols §2, GatewayAddress), and the port
 * mappings that workloads and services share. */
#ifndef AMBAR_MESH_GATEWAY_ADDRESS_H
#define AMBAR_MESH_GATEWAY_ADDRESS_H

#include "base/address.h"

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

/* The target of `service_port`; false when the port is not in the list. */
static inline bool port_mapping_find(
    const struct port_mapping *ports, size_t count, uint16_t service_port, uint16_t *target_port)
{
    for (size_t i = 0; i < count; i++) {
        if (ports[i].service_port == service_port) {
            *target_port = ports[i].target_port;
            return true;
        }
    }
    return false;
}

#endif
