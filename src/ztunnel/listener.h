/* One listening socket of a pod on its worker's loop: accepts, and hands each connection to its kind. */
#ifndef AMBAR_ZTUNNEL_LISTENER_H
#define AMBAR_ZTUNNEL_LISTENER_H

#include "base/address.h"
#include "net/loop.h"

#include <stdbool.h>

struct pod;

struct proxy_listener {
    struct io_watch watch;
    struct timer resume; /* after running out of descriptors */
    int descriptor;      /* -1: closed */
    bool is_transparent;
    uint64_t ready_ns; /* when it was ready last */
    int accepts;       /* at most so many then */
    struct pod *pod;
    unsigned place; /* enum pod_listener; POD_LISTENER_COUNT: none of those */
    /* Takes over the descriptor. */
    void (*accept)(struct pod *pod, int descriptor, const struct socket_address *peer);
};

/* Takes over the listening descriptor. */
struct result proxy_listener_open(
    struct proxy_listener *listener, struct loop *loop, int descriptor, bool is_transparent);
void proxy_listener_close(struct proxy_listener *listener); /* idempotent */

#endif
