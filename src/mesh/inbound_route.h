/* Where an inbound connection goes (ztunnel-dataplane §10 steps 2, 4, 5; §12 step 1) and what it is called. Pure. */
#ifndef AMBAR_MESH_INBOUND_ROUTE_H
#define AMBAR_MESH_INBOUND_ROUTE_H

#include "mesh/outbound_route.h"

struct inbound_request {
    const struct workload *local;     /* the workload that owns the listener */
    struct ip_address destination_ip; /* of the accepted socket */
    struct bytes authority;           /* the :authority of the CONNECT */
    struct bytes forwarded_host;      /* of the Forwarded header; empty when absent */
    const struct illegal_ports *illegal_ports;
    bool tunnels_by_loopback; /* LOCALHOST_APP_TUNNEL: PROXY tunnels reach the application at its loopback */
};

struct inbound_route {
    int status;                     /* 200, or the HTTP status to refuse with */
    struct result error;            /* the sentence, unless 200 */
    struct socket_address upstream; /* the application; also the destination that policies see */
    struct socket_address dial;     /* where it is connected to: `upstream`, or the same port of the loopback */
    bool is_loopback;               /* the latter: then no client's address can be kept */
    const struct service *service;  /* the service the traffic is for, a guess; NULL: unknown */
    uint16_t requested_port;        /* as the authority had it, before any mapping */
    bool uses_application_tunnel;   /* the port is the workload's application tunnel's */
    bool wants_proxy_protocol;      /* its application tunnel's protocol is PROXY */
    struct socket_address proxied;  /* with it: the destination that the PROXY header names */
    /* Refused for want of knowledge: with XDS_ON_DEMAND these may be asked for. */
    bool is_authority_unknown;
    struct ip_address unknown_ip;                   /* with it: whose waypoint is in question */
    const struct gateway_address *unknown_waypoint; /* NULL: none */
};

/* §10 step 2, to be asked before anything else is waited for: fails with the sentence of status 400. */
struct result mesh_check_authority(struct bytes authority);

void mesh_route_inbound(
    const struct mesh_version *version, const struct inbound_request *request, struct inbound_route *route);

/* What the decision did not know and an answer of the control plane might change, as a resource name ("network/ip",
 * "namespace/hostname"), appended. False: nothing. */
bool inbound_route_unknown_name(
    const struct mesh_version *version, const struct inbound_route *route, struct writer *out);

/* Plaintext: false when the destination is a port of our own. */
bool mesh_route_inbound_plaintext(const struct socket_address *destination, const struct illegal_ports *illegal);

/* The service whose hostname was forwarded, else the first whose target (or this endpoint's mapping) is `port`. */
const struct service *mesh_guess_service(
    const struct mesh_version *version, const struct workload *local, struct bytes forwarded_host, uint16_t port);

/* The peer's workload: by address on our network, unless `forwarded_network` (the x-forwarded-network header, data NULL
 * when absent) says that the peer is behind a gateway of another one. */
const struct workload *mesh_source_workload(
    const struct mesh_version *version, const struct ip_address *peer, struct bytes forwarded_network);

#endif
