/* One HTTP/2 connection between an nghttp2 session and a record layer, on a loop: reads, one flush a turn, keepalive PINGs and
 * the end. The gRPC client and server share it. Everything runs on the loop's thread.
 *
 * Embed it. The owner makes the session (with its callbacks) and gives it over in http2_connection_start. */
#ifndef AMBAR_HTTP_HTTP2_CONNECTION_H
#define AMBAR_HTTP_HTTP2_CONNECTION_H

#include "base/bytes.h"
#include "base/result.h"
#include "net/loop.h"

#include <nghttp2/nghttp2.h>

#define HTTP2_PING_INTERVAL_MS 30000
#define HTTP2_PING_TIMEOUT_MS 10000

struct buffer_pool;
struct record_layer;
struct http2_connection;

struct http2_owner {
    /* The connection is over, in order (`failure` is NULL) or not. Called once, outside of nghttp2, never from inside a call of the
     * owner; the owner may free the object around the connection after http2_connection_close. */
    void (*on_over)(struct http2_connection *connection, const struct result *failure);
    /* A flush is done: room for more. */
    void (*on_flushed)(struct http2_connection *connection);
    /* Whether an idle connection is worth a PING. */
    bool (*wants_ping)(struct http2_connection *connection);
};

struct http2_connection {
    const struct http2_owner *owner;
    struct loop *loop;
    struct record_layer *layer;
    nghttp2_session *session; /* NULL before start and after close */
    struct io_watch watch;
    struct deferred flush;
    struct deferred over; /* tells the owner outside of nghttp2 */
    struct timer ping;
    struct timer resume;  /* reading goes on in the next turn */
    struct bytes pending; /* the rest of what nghttp2 gave and no slot took */
    uint64_t last_read_ns;
    uint64_t ping_sent_ns; /* 0: none is outstanding */
    struct result failure;
    bool is_inside;        /* nghttp2 or the owner is being called: not a moment to close */
    bool is_over;          /* no further reading or writing */
    bool has_read_end;     /* the peer closed its direction in order */
    bool has_queued_close; /* close_notify is on its way */
};

/* Takes over `session`, `layer` and `descriptor`. */
struct result http2_connection_start(struct http2_connection *connection, struct loop *loop, int descriptor,
    struct record_layer *layer, nghttp2_session *session, const struct http2_owner *owner);

/* Something was submitted to the session: it is flushed at the end of this turn. */
void http2_connection_wake(struct http2_connection *connection);

/* Ends it with a failure of our own; on_over follows in this turn. */
void http2_connection_fail(struct http2_connection *connection, struct result failure);

/* Releases everything; idempotent; no callback. Not from inside nghttp2's callbacks. */
void http2_connection_close(struct http2_connection *connection);

#endif
