/* The inside of the gRPC server, shared by its listeners and connections and by its calls (one stream each). */
#ifndef AMBAR_HTTP_GRPC_SERVER_CALL_H
#define AMBAR_HTTP_GRPC_SERVER_CALL_H

#include "http/grpc_queue.h"
#include "http/grpc_server.h"
#include "http/http2_connection.h"
#include "http/transport.h"

/* Received parts of messages that a connection may hold, all its calls together. */
#define CONNECTION_PARTS_MAXIMUM_BYTES (16u * 1024 * 1024)

struct grpc_server {
    struct loop *loop;
    struct buffer_pool *pool;
    struct grpc_server_settings settings;
    struct list listeners;
    struct list connections;
    size_t connection_count;
    bool is_draining;
    void (*on_drained)(void *context);
    void *drained_context;
    struct deferred drained;
};

struct grpc_server_connection {
    struct list link;
    struct grpc_server *server;
    struct socket_address peer;
    struct socket_address local;
    struct tls_context *tls; /* NULL: plaintext */
    char *identity;          /* of a verified client certificate; NULL: none */
    struct transport transport;
    struct http2_connection connection;
    struct list calls;
    struct list closing; /* whose on_closed is due */
    struct deferred tell_closed;
    size_t part_bytes;       /* in unfinished messages of all calls */
    struct timer first_call; /* for the head of the first call, once established */
    bool is_established;     /* the HTTP/2 session exists */
};

struct received_header {
    char *name; /* followed by the value in the same memory */
    const char *value;
};

struct grpc_server_call {
    struct grpc_server_connection *connection;
    struct list link;                 /* in calls or closing */
    const struct grpc_method *method; /* NULL until the headers are complete, and for refused calls */
    int32_t stream_id;                /* 0: the stream is gone */
    void *data;
    struct received_header *headers;
    size_t header_count;
    size_t header_bytes;
    struct grpc_frame_reader reader;
    struct writer message; /* one being collected */
    struct grpc_queue queue;
    char *status_text;
    enum grpc_status status;
    bool is_finished;        /* the status is decided */
    bool has_response;       /* response headers were submitted */
    bool is_paused;          /* nghttp2 waits for data */
    bool was_refused_a_send; /* on_writable is due once the queue has fallen */
    bool has_too_many_headers;
    bool is_receiving_over; /* the client's half is complete */
};

/* A session for the connection, with the server's settings submitted; NULL when out of order. */
nghttp2_session *grpc_server_session_new(struct grpc_server_connection *connection);

/* After a flush: tells calls that wait for room. */
void grpc_server_notify_writable(struct grpc_server_connection *connection);

/* Every call of a connection that is gone. */
void grpc_server_close_calls(struct grpc_server_connection *connection);
/* on_closed for those whose stream is gone; frees them. */
void grpc_server_tell_closed(struct grpc_server_connection *connection);

#endif
