/* The small HTTP/1.1 server of the admin, metrics and readiness ports (ztunnel-management §7): plaintext, one loop, paths to
 * handlers. The head must arrive within 2 s and 8 KiB; bodies and connections are bounded; keep-alive; a client that has closed its
 * half is still answered. Unknown paths are 404 with an empty body. HEAD is answered like GET without the body.
 *
 * A handler answers at once (http1_respond) or opens a stream that it fills when it is told that there is room, so
 * that a dump of any size neither stalls the loop nor costs memory. Everything runs on the loop's thread. */
#ifndef AMBAR_HTTP_HTTP1_SERVER_H
#define AMBAR_HTTP_HTTP1_SERVER_H

#include "base/address.h"
#include "base/result.h"
#include "base/writer.h"

struct http1_exchange;
struct http1_server;
struct loop;

#define HTTP1_HEAD_MAXIMUM_BYTES 8192
#define HTTP1_HEAD_TIMEOUT_MS 2000
#define HTTP1_STREAM_QUEUE_BYTES (64u * 1024) /* above it a stream is not writable */

struct http1_route {
    const char *path; /* exact, without a query; "*" at the end of the table catches the rest instead of the 404 */
    void (*handle)(struct http1_exchange *exchange, void *context);
    size_t body_maximum_bytes; /* larger request bodies are answered 413; 0: bodies are read and dropped up to 64 KiB */
    bool may_compress;         /* gzip when the client accepts it */
};

struct http1_server_settings {
    const struct http1_route *routes; /* the table outlives the server */
    size_t route_count;
    void *context;             /* given to handlers */
    size_t connection_maximum; /* 0: 256; further ones are closed at accept */
    const char *log_target;
};

struct http1_server *http1_server_new(struct loop *loop, const struct http1_server_settings *settings);
void http1_server_free(struct http1_server *server);
/* Adds one address to listen on. A port of 0 lets the kernel choose; `bound` (may be NULL) gets the real address. */
struct result http1_server_listen(
    struct http1_server *server, const struct socket_address *address, struct socket_address *bound);
/* Takes over a descriptor that is already listening. */
struct result http1_server_listen_on(struct http1_server *server, int listener);

/* The request; everything is borrowed and lives until the exchange ends. */
const char *http1_method(const struct http1_exchange *exchange);
bool http1_method_is(const struct http1_exchange *exchange, const char *method);
const char *http1_path(const struct http1_exchange *exchange); /* without the query, as sent */
/* The decoded value of a query parameter, owned by the caller; NULL when absent; "" when it has no value. */
char *http1_query(const struct http1_exchange *exchange, const char *name);
bool http1_has_query(const struct http1_exchange *exchange);
char *http1_header(
    const struct http1_exchange *exchange, const char *name); /* the first, owned by the caller; or NULL */
struct bytes http1_body(const struct http1_exchange *exchange);
const struct socket_address *http1_peer(const struct http1_exchange *exchange);

/* A further field of the answer's head, before the answer. Both texts are constants or made by us: nothing is escaped. */
void http1_add_field(struct http1_exchange *exchange, const char *name, const char *value);

/* Answers. Each exchange gets exactly one respond or one stream, within the handler or later. */
void http1_respond(struct http1_exchange *exchange, int status, const char *content_type, struct bytes body);
void http1_respond_text(struct http1_exchange *exchange, int status, const char *text);    /* text/plain */
void http1_respond_failure(struct http1_exchange *exchange, const struct result *failure); /* 500 with its text */

/* A streamed answer. `on_writable` is called whenever less than HTTP1_STREAM_QUEUE_BYTES are waiting, first in the same or the next loop
 * turn: it writes a piece (a few KiB to 64 KiB) and returns; it ends the stream with http1_stream_end. `on_closed` is called once,
 * at last, whether the stream was ended or the client went away: free `context` there. */
struct http1_stream_handlers {
    void (*on_writable)(struct http1_exchange *exchange, void *context);
    void (*on_closed)(void *context);
    void *context;
};
void http1_stream_begin(struct http1_exchange *exchange, int status, const char *content_type,
    const struct http1_stream_handlers *handlers);
void http1_stream_write(struct http1_exchange *exchange, struct bytes piece);
void http1_stream_end(struct http1_exchange *exchange);
/* Nothing to write until somebody else has answered: no on_writable before the resume. */
void http1_stream_pause(struct http1_exchange *exchange);
void http1_stream_resume(struct http1_exchange *exchange);

#endif
