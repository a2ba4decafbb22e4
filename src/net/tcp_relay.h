/* Bytes between two TCP connections, in both directions, with FIN, RST and half-close passed on as they came.
 *
 * Small reads go into the worker's shared buffer and straight on to the other side; only what that side refuses is copied. A
 * direction whose last read was large is spliced through a pipe instead, never entering this process, in its bulk turns. Either way
 * reading stops until what was read has gone: at most one read is held a direction. An idle relay holds no buffer and no pipe. The relay owns both descriptors from
 * tcp_relay_start on and closes them before `on_end`. For one thread. */
#ifndef AMBAR_NET_TCP_RELAY_H
#define AMBAR_NET_TCP_RELAY_H

#include "net/byte_queue.h"
#include "net/loop.h"
#include "net/relay_end.h"

#include <stdbool.h>

struct tcp_relay;
struct splice_pipe;

struct tcp_relay_events {
    /* Bytes were accepted by the far side's socket: from side 0 to side 1, and from 1 to 0. */
    void (*on_progress)(struct tcp_relay *relay, size_t forward_bytes, size_t backward_bytes);
    /* Called once, last; the relay may be freed in it. */
    void (*on_end)(struct tcp_relay *relay, enum relay_end end);
};

struct tcp_relay_side {
    struct io_watch watch;
    int descriptor;
    struct byte_queue backlog; /* bytes for this side's socket */
    struct splice_pipe *pipe;  /* the same, spliced; behind the backlog; NULL: none */
    struct deferred bulk;      /* the next read of what this side sends much of */
    bool is_bulk;              /* the last read from it was large */
    bool has_read_end;         /* its FIN was read */
    bool has_sent_end;         /* FIN was sent to it */
};

struct tcp_relay {
    struct tcp_relay_side sides[2];
    const struct tcp_relay_events *events;
    struct loop *loop;
    struct buffer_pool *pool;
};

/* Takes both connected, non-blocking descriptors. `account`: whose turns it takes (NULL: the loop's own). May call on_end before it
 * returns. SIGPIPE must be ignored: splice raises it. */
void tcp_relay_start(struct tcp_relay *relay, struct loop *loop, struct loop_account *account, struct buffer_pool *pool,
    int descriptor, int other_descriptor, const struct tcp_relay_events *events);

/* Resets both connections and ends the relay. */
void tcp_relay_cut(struct tcp_relay *relay, enum relay_end end);

#endif
