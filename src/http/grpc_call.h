/* The inside of the gRPC client, shared by its channel (dialling, the connection) and its calls (one stream each). */
#ifndef AMBAR_HTTP_GRPC_CALL_H
#define AMBAR_HTTP_GRPC_CALL_H

#include "http/grpc_client.h"
#include "http/grpc_queue.h"
#include "http/http2_connection.h"
#include "http/transport.h"
#include "net/connector.h"
#include "net/host_lookup.h"

enum grpc_channel_state { GRPC_CHANNEL_IDLE, GRPC_CHANNEL_DIALLING, GRPC_CHANNEL_OPEN };

struct grpc_channel {
    struct loop *loop;
    struct buffer_pool *pool;
    char *host;
    char *authority; /* "host:port" */
    char *alternative_name;
    struct tls_context *tls;
    uint16_t port;
    uint64_t connect_timeout_ms;

    enum grpc_channel_state state;
    struct host_lookup *lookup; /* NULL: not running */
    struct socket_address addresses[HOST_LOOKUP_ADDRESSES_MAXIMUM];
    size_t address_count, next_address;
    struct connector connector;
    struct transport transport;
    struct http2_connection connection;
    uint64_t dial_deadline_ns;

    struct list calls; /* waiting for the connection or open on it */
    struct list ended; /* whose on_end is due */
    struct deferred tell_ended;
    struct deferred destroy;
    bool is_telling;
    bool is_going_away; /* GOAWAY came: no new call on this connection */
    bool is_retired;    /* freed with its last call */
    bool is_freed;      /* by its user; goes when nothing of it is on the stack */
};

struct grpc_call {
    struct grpc_channel *channel;
    struct list link; /* in calls or ended */
    struct grpc_call_settings settings;
    char *path;
    struct grpc_metadata *metadata; /* copies */
    int32_t stream_id;              /* 0: not submitted yet */
    struct grpc_queue queue;
    struct grpc_frame_reader reader;
    struct writer message;     /* a whole message being collected */
    struct writer status_text; /* of the end, decoded */
    struct timer deadline;
    size_t header_bytes; /* of the current header block */
    int http_status;
    struct grpc_end end;
    char *end_source;
    bool has_status;   /* `end.status` is decided */
    bool is_complete;  /* our half ends after the queue */
    bool is_paused;    /* nghttp2 waits for data */
    bool wants_notice; /* on_writable is due after the next flush */
};

struct grpc_call *grpc_call_new(struct grpc_channel *channel, const struct grpc_call_settings *settings);

/* Puts a waiting call on the open connection. */
void grpc_call_submit(struct grpc_call *call);

/* Ends a call for a reason of our own: a stream it has is reset, on_end comes later in this turn. `source` may be NULL. */
void grpc_call_end_here(struct grpc_call *call, enum grpc_status status, const char *message, const char *source);

void grpc_call_free(struct grpc_call *call);

/* The callbacks of the channel's nghttp2 session, whose user data is the channel. */
void grpc_call_set_session_callbacks(nghttp2_session_callbacks *callbacks);

/* The notices that are due after a flush. */
void grpc_call_notify_writable(struct grpc_channel *channel);

#endif
