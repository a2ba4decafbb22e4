/* Why a connection would go where it goes: the decisions of the data path (route, endpoint, waypoint, tunnel, certificate,
 * policies), made on one version of the model without sending anything, and written down (/debug/explain, `ambarctl explain`).
 * It calls what the data path calls; the sentences of a refusal are those of the log. Pure: version in, JSON out. */
#ifndef AMBAR_ZTUNNEL_EXPLANATION_H
#define AMBAR_ZTUNNEL_EXPLANATION_H

#include "base/json_writer.h"
#include "mesh/outbound_route.h"

struct explanation_request {
    const struct mesh_version *version;
    const char *source;         /* an address, uid, "namespace/name", "name.namespace" or "name" of a workload */
    const char *destination;    /* HOST:PORT; HOST an address, a service's or a workload's name in any of its forms */
    const char *cluster_domain; /* CLUSTER_DOMAIN */
    const char *node_name;      /* NODE_NAME; "" or NULL: unknown */
    const struct illegal_ports *illegal_ports;
    bool tunnels_by_loopback;
    uint64_t seed;
    /* The state of an identity's certificate in this process, "Available" ...; NULL: never asked for. May be NULL. */
    const char *(*certificate_state)(void *context, const char *identity);
    void *context;
};

/* One JSON object. False: the request names nothing that can be looked for; `*problem` says what, and nothing is written. */
bool explanation_write(const struct explanation_request *request, struct json_writer *json, struct result *problem);

#endif
