/* A gRPC server: many HTTP/2 connections on one loop, plain or over TLS (ALPN h2), methods found by path. Asynchronous;
 * everything is called on the loop's thread (wire-protocols §9, control-plane §6).
 *
 * Refusals follow grpc-go: wrong content-type is 415 with status 3, a method other than POST 405, an unknown path status 12,
 * a received message over the limit status 8 with its text. Connections, streams a connection, header bytes and bytes
 * queued a call are bounded. An idle connection is pinged after 30 s and closed when it does not answer within 10 s. */
#ifndef AMBAR_HTTP_GRPC_SERVER_H
#define AMBAR_HTTP_GRPC_SERVER_H

#include "base/address.h"
#include "base/result.h"
#include "base/writer.h"
#include "http/grpc.h"

struct buffer_pool;
struct grpc_server;
struct grpc_server_call;
struct loop;
struct tls_context;

#define GRPC_SERVER_MESSAGE_MAXIMUM_BYTES (4u * 1024 * 1024)
#define GRPC_SERVER_QUEUE_BYTES (1024u * 1024) /* above it a call is not writable */

/* One method. Callbacks a method does not need may be NULL. A call may be finished in any of them. */
struct grpc_method {
    const char *path; /* "/package.Service/Method" */
    /* Headers have arrived. `context` is the server's. Set the call's own data here. */
    void (*on_start)(struct grpc_server_call *call, void *context);
    void (*on_message)(struct grpc_server_call *call, struct bytes message); /* whole, borrowed */
    void (*on_end_of_messages)(struct grpc_server_call *call);               /* the client's half is complete */
    void (*on_writable)(struct grpc_server_call *call); /* the queue has fallen below its bound after a refused send */
    /* Once for every on_start, at last: finished and sent, reset by the client, or the connection is lost. The call is gone
     * when it returns; free its data here. */
    void (*on_closed)(struct grpc_server_call *call);
};

struct grpc_server_settings {
    const struct grpc_method *methods; /* the table outlives the server */
    size_t method_count;
    void *context;                /* given to on_start */
    size_t connection_maximum;    /* 0: 10,000; further ones are closed at accept */
    uint32_t stream_maximum;      /* MAX_CONCURRENT_STREAMS a connection; 0: 100 */
    size_t message_maximum_bytes; /* received; 0: GRPC_SERVER_MESSAGE_MAXIMUM_BYTES */
    const char *log_target;       /* "ambard::grpc" */
};

struct grpc_server *grpc_server_new(
    struct loop *loop, struct buffer_pool *pool, const struct grpc_server_settings *settings);
/* Closes listeners and connections; on_closed is called for every open call. Not from inside a callback of a call. */
void grpc_server_free(struct grpc_server *server);

/* Listens on one more address. `tls`: a server context, of which a reference is taken; NULL: plaintext. A port of 0 lets the
 * kernel choose; `bound` (may be NULL) gets the real address. */
struct result grpc_server_listen(struct grpc_server *server, const struct socket_address *address,
    struct tls_context *tls, struct socket_address *bound);
/* Replaces the context of all TLS listeners for new connections (the serving certificate was renewed). */
void grpc_server_set_tls(struct grpc_server *server, struct tls_context *tls);

/* Graceful end: stops listening, sends GOAWAY, lets calls finish. `on_drained` once no connection is left. */
void grpc_server_drain(struct grpc_server *server, void (*on_drained)(void *context), void *context);
size_t grpc_server_connection_count(const struct grpc_server *server);

/* The call's surroundings; what is returned lives as long as the call. */
void grpc_server_call_set_data(struct grpc_server_call *call, void *data);
void *grpc_server_call_data(const struct grpc_server_call *call);
void *grpc_server_call_context(const struct grpc_server_call *call); /* the server's */
const struct socket_address *grpc_server_call_peer(const struct grpc_server_call *call);
const struct socket_address *grpc_server_call_local(const struct grpc_server_call *call);
bool grpc_server_call_is_encrypted(const struct grpc_server_call *call);
/* The SPIFFE URI of a verified client certificate; NULL: none was shown. */
const char *grpc_server_call_identity(const struct grpc_server_call *call);
/* The value of a request header that occurs exactly once; NULL: absent or repeated. `count` (may be NULL): how often. */
const char *grpc_server_call_metadata(const struct grpc_server_call *call, const char *name, size_t *count);

/* Queues one message. False, and nothing is taken, while GRPC_SERVER_QUEUE_BYTES or more are queued: try again in
 * on_writable. One message may be larger than the bound. */
bool grpc_server_call_send(struct grpc_server_call *call, struct bytes message);
/* The same without a copy: on success the memory of the growing writer is taken over and the writer is empty. */
bool grpc_server_call_send_taking(struct grpc_server_call *call, struct writer *message);
bool grpc_server_call_is_writable(const struct grpc_server_call *call);

/* Ends the call with a status after what is queued; no on_message, on_end_of_messages or on_writable afterwards. */
void grpc_server_call_finish(struct grpc_server_call *call, enum grpc_status status, const char *message);
/* One message and GRPC_OK: the answer of a unary method. */
void grpc_server_call_respond(struct grpc_server_call *call, struct bytes message);

#endif
