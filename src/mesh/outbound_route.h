/* Where a captured outbound connection goes (ztunnel-dataplane §§5, 6). A pure function of one version and the request. */
#ifndef AMBAR_MESH_OUTBOUND_ROUTE_H
#define AMBAR_MESH_OUTBOUND_ROUTE_H

#include "mesh/version.h"

struct writer;

#define ILLEGAL_PORTS_MAXIMUM 8

/* Ports of the proxy itself, which no connection may be sent to. */
struct illegal_ports {
    uint16_t ports[ILLEGAL_PORTS_MAXIMUM];
    size_t count;
};
bool illegal_ports_contain(const struct illegal_ports *illegal, uint16_t port);
#define ROUTE_RECURSIVE_CALL "attempted recursive call to ourselves"

/* What a name was found to be, to continue after OUTBOUND_NEEDS_RESOLUTION. No address: the name has none. */
struct resolved_name {
    const char *hostname;
    const struct ip_address *addresses;
    size_t address_count;
    bool has_answer; /* the name exists, though perhaps without an address */
};

struct outbound_request {
    const struct workload *source;   /* the local workload */
    struct ip_address downstream_ip; /* the application's */
    struct socket_address target;    /* what it dialled */
    const struct illegal_ports *illegal_ports;
    uint64_t seed;                        /* random, one per connection; the same one when asked again */
    const struct resolved_name *resolved; /* NULL at first */
};

enum outbound_kind {
    OUTBOUND_REFUSED_EARLY,    /* refused before there is a destination: a warning, no metrics */
    OUTBOUND_REFUSED,          /* refused: `error` */
    OUTBOUND_PASSTHROUGH,      /* plain TCP to the target, nothing known about it */
    OUTBOUND_TCP,              /* plain TCP to `next_hop` */
    OUTBOUND_HBONE,            /* a tunnel to `next_hop` with `authority` */
    OUTBOUND_DOUBLE_HBONE,     /* a tunnel to `next_hop`, a gateway of another network, and one inside it (§9) */
    OUTBOUND_NEEDS_RESOLUTION, /* resolve `hostname` and ask again */
};

/* Everything borrowed from the version, the source or the request. */
struct outbound_route {
    enum outbound_kind kind;
    struct socket_address next_hop;         /* where TCP goes */
    struct socket_address authority;        /* OUTBOUND_HBONE: the :authority, and the target the peer shall reach */
    const char *authority_hostname;         /* OUTBOUND_DOUBLE_HBONE: the :authority with the port of `authority` */
    const struct workload *destination;     /* the next hop's workload (pod, waypoint), for telemetry; NULL: unknown */
    const struct service *service;          /* what the application dialled, when it was a service */
    const struct workload *resolving;       /* OUTBOUND_NEEDS_RESOLUTION: whose hostname */
    const char *hostname;                   /* OUTBOUND_NEEDS_RESOLUTION */
    const struct service *identity_service; /* its subject alternative names are accepted too; may be NULL */
    const struct workload *inner_destination;     /* OUTBOUND_DOUBLE_HBONE: what is behind the gateway */
    const struct service *inner_identity_service; /* only its names are accepted at the end of the inner tunnel */
    bool is_to_waypoint;
    /* For XDS_ON_DEMAND: the version does not know the target, or this waypoint or gateway; the decision may be another one
     * once it does. */
    bool is_target_unknown;
    const struct gateway_address *unknown_gateway;
    struct result error; /* the sentence of the reference, for the refused kinds */
};

void mesh_route_outbound(
    const struct mesh_version *version, const struct outbound_request *request, struct outbound_route *route);

/* What to ask the control plane for before the route is taken as it is: "network/ip" or "namespace/hostname"; false: nothing. */
bool outbound_route_unknown_name(const struct mesh_version *version, const struct outbound_request *request,
    const struct outbound_route *route, struct writer *out);

/* The identities the next hop of an HBONE route may have, each followed by a NUL, in the order of the reference: those
 * of the service that parse, then the workload's. Returns how many. */
size_t outbound_route_expected_identities(const struct outbound_route *route, struct writer *out);

/* The same for the inner tunnel of OUTBOUND_DOUBLE_HBONE: the names of the hop's service alone; may be none, and then nobody is
 * accepted. */
size_t outbound_route_inner_identities(const struct outbound_route *route, struct writer *out);

#endif
