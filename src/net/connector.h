/* One outgoing connection with a deadline, on a loop. Embed it, zero it, start it; it allocates nothing. The callback is never
 * called from within connector_start, is called exactly once unless cancelled, and may free the object around it. */
#ifndef AMBAR_NET_CONNECTOR_H
#define AMBAR_NET_CONNECTOR_H

#include "net/loop.h"
#include "net/socket.h"

#define CONNECT_DEADLINE_MS 10000 /* ztunnel-dataplane §2.3 */

struct connector {
    /* A connected descriptor, now the callee's, and NULL; or -1 and the reason. */
    void (*on_result)(struct connector *connector, int descriptor, const struct result *failure);
    struct socket_address to;

    /* The connector's own. */
    struct loop *loop;
    struct io_watch watch;
    struct timer deadline;
    struct deferred finish;
    int descriptor; /* -1 when none; 0 before the first start */
    int outcome;    /* 0 connected, or the error number, while `finish` is due */
    uint64_t deadline_ms;
};

/* Takes `descriptor` (from socket_open or a socket_stock), bound to its source where the caller wants one. `deadline_ms` 0 is
 * CONNECT_DEADLINE_MS. Failures: RESULT_TIMEOUT, or RESULT_SYSTEM with the kernel's reason. */
void connector_start(struct connector *connector, struct loop *loop, int descriptor, const struct socket_address *to,
    uint64_t deadline_ms);

/* Idempotent; closes the descriptor; no callback. */
void connector_cancel(struct connector *connector);

bool connector_is_running(const struct connector *connector);

#endif
