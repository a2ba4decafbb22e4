/* One TCP connection to somewhere, from a pod's stock of ready sockets: take a socket, bind the client's address where it is
 * kept, connect within the deadline. Embed it, zero it. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_DIAL_H
#define AMBAR_ZTUNNEL_DIAL_H

#include "net/connector.h"
#include "net/socket_stock.h"

struct pod;

enum dial_purpose {
    DIAL_TUNNEL,      /* to another proxy: no keepalive, PINGs watch it */
    DIAL_UPSTREAM,    /* plain TCP to a destination elsewhere */
    DIAL_APPLICATION, /* to the pod's own application, with the client's address where possible */
};

struct dial {
    /* A connected descriptor, now the callee's; or -1 and the reason. May free the object around it. */
    void (*on_result)(struct dial *dial, int descriptor, const struct result *failure);
    struct pod *pod;
    enum dial_purpose purpose;
    struct socket_address to;
    struct ip_address source; /* IP_NONE: none to keep */
    struct socket_wait wait;
    struct deferred refusal;
    uint8_t refused_by; /* enum limit, while the refusal is under way */
    struct connector connector;
};

/* Never calls back from within. */
void dial_start(struct dial *dial, struct pod *pod, enum dial_purpose purpose, const struct socket_address *to,
    const struct ip_address *source);

/* Idempotent; no callback. */
void dial_cancel(struct dial *dial);

#endif
