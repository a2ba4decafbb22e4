/* A gRPC client: a channel is one HTTP/2 connection, dialled when its first call starts and again when a call starts after it
 * was lost; calls run over it. Asynchronous on one loop; everything is called on that loop's thread.
 *
 * Wire form: wire-protocols §9. Headers in this order: :method POST, :scheme, :authority, :path, te, content-type, then the
 * call's metadata. No timeout, user agent or compression header. */
#ifndef AMBAR_HTTP_GRPC_CLIENT_H
#define AMBAR_HTTP_GRPC_CLIENT_H

#include "base/result.h"
#include "http/grpc.h"

struct buffer_pool;
struct grpc_call;
struct grpc_channel;
struct loop;
struct tls_context;

#define GRPC_CONNECT_TIMEOUT_MS 5000
#define GRPC_PING_INTERVAL_MS 30000
#define GRPC_PING_TIMEOUT_MS 10000

struct grpc_channel_settings {
    const char *host; /* a name or an address; also the name sent as SNI and verified */
    uint16_t port;
    const char *alternative_name; /* a second name the certificate may carry instead; NULL: none */
    struct tls_context
        *tls; /* a client context of the control plane; the channel takes its own reference. NULL: plaintext */
    uint64_t connect_timeout_ms; /* name resolution, TCP, TLS; 0: GRPC_CONNECT_TIMEOUT_MS */
};

struct grpc_channel *grpc_channel_new(
    struct loop *loop, struct buffer_pool *pool, const struct grpc_channel_settings *settings);
/* Cancels every call (without on_end) and closes the connection. Allowed inside its calls' callbacks. */
void grpc_channel_free(struct grpc_channel *channel);

/* Lets its calls end, then frees it; no new call may be started. NULL is allowed. */
void grpc_channel_retire(struct grpc_channel *channel);

/* How a call ended. */
struct grpc_end {
    enum grpc_status status;
    const char *message; /* decoded; "" when there is none */
    const char *source;  /* the local cause of a connection failure; NULL when the peer said it */
    bool was_opened;     /* the response headers had arrived: what follows is a failure of an established stream */
};

struct grpc_call_settings {
    const char *path;
    const struct grpc_metadata *metadata; /* copied */
    size_t metadata_count;
    size_t message_maximum_bytes; /* of one received message; larger ones end the call with status 11 */
    uint64_t deadline_ms;         /* from now, kept locally; 0: none */
    void *context;                /* handed to every callback */

    /* Response headers with status 200 arrived and the stream is open. May be NULL. */
    void (*on_opened)(struct grpc_call *call, void *context);
    /* A whole message; not used when on_message_part is set. `message` is borrowed for the call. */
    void (*on_message)(struct grpc_call *call, struct bytes message, void *context);
    /* Pieces of a message as they arrive, nothing is kept: `message_bytes` is the length of the whole one. */
    void (*on_message_part)(
        struct grpc_call *call, struct bytes part, size_t message_bytes, bool is_last, void *context);
    /* What was queued has left. May be NULL. */
    void (*on_writable)(struct grpc_call *call, void *context);
    /* Once, at last, never from inside grpc_call_start; the call is gone when it returns. Not after grpc_call_cancel. */
    void (*on_end)(struct grpc_call *call, const struct grpc_end *end, void *context);
};

struct grpc_call *grpc_call_start(struct grpc_channel *channel, const struct grpc_call_settings *settings);

/* Queues one message (copied). Bounded by the caller: what is queued is what it sent before on_writable. */
void grpc_call_send(struct grpc_call *call, struct bytes message);
/* Our half is complete: END_STREAM after what is queued. */
void grpc_call_send_end(struct grpc_call *call);
size_t grpc_call_queued_bytes(const struct grpc_call *call);

/* RST_STREAM(CANCEL); no further callback; the call is gone. Allowed inside its callbacks. */
void grpc_call_cancel(struct grpc_call *call);

#endif
