/* The inside of the HTTP/1.1 server: one connection and the one exchange it has at a time. */
#ifndef AMBAR_HTTP_HTTP1_CONNECTION_H
#define AMBAR_HTTP_HTTP1_CONNECTION_H

#include "base/list.h"
#include "http/http1_request.h"
#include "http/http1_server.h"
#include "net/loop.h"

struct z_stream_s;

struct http1_server {
    struct loop *loop;
    struct http1_server_settings settings;
    struct list listeners;
    struct list connections;
    size_t connection_count;
};

enum http1_state {
    HTTP1_READING_HEAD,
    HTTP1_READING_BODY,
    HTTP1_HANDLING,  /* the handler has the request and has not answered */
    HTTP1_STREAMING, /* a stream is open */
    HTTP1_FINISHING, /* the answer is complete and leaves */
    HTTP1_LINGERING, /* our half is closed; what the client still sends is dropped for a moment */
    HTTP1_GONE,      /* the socket is closed, the handler still holds the exchange */
};

struct http1_exchange {
    struct http1_head head; /* points into `head_memory` */
    uint8_t *head_memory;
    char *method;
    char *path;
    const struct http1_route *route; /* NULL: none, or not looked for yet */
    struct http1_stream_handlers stream;
    struct z_stream_s *compressor; /* NULL: the stream is sent as it is */
    bool is_chunked;               /* the answer is */
    struct writer fields;          /* of the answer's head, beside the server's own */
    bool has_ended_stream;
    bool is_paused;
    bool is_answered;
};

struct http1_connection {
    struct list link;
    struct http1_server *server;
    struct socket_address peer;
    struct io_watch watch;
    struct timer timer;     /* of the state: head, body, idle, stalled output, lingering */
    struct deferred settle; /* what an answer has to do outside of its handler */
    struct deferred fill;   /* asks a stream for its next piece; bulk work */
    enum http1_state state;
    struct writer input;
    struct http1_chunks chunks;
    struct writer body;
    uint64_t body_left;
    struct writer output;
    size_t output_sent;
    bool keeps_alive;
    bool has_read_end;
    struct http1_exchange exchange;
};

/* Takes over an accepted descriptor. */
void http1_connection_start(struct http1_server *server, int descriptor, const struct socket_address *peer);
/* Closes and frees it; an open stream is told. */
void http1_connection_free(struct http1_connection *connection);

static inline struct http1_connection *http1_connection_of(struct http1_exchange *exchange)
{
    return CONTAINER_OF(exchange, struct http1_connection, exchange);
}

static inline size_t http1_output_waiting(const struct http1_connection *connection)
{
    return connection->output.length - connection->output_sent;
}

/* The answer of the server itself to a request that no handler gets; the connection ends after it. */
void http1_refuse(struct http1_connection *connection, int status);

/* Asks the stream for its next piece, or completes it. */
void http1_stream_step(struct http1_exchange *exchange);
/* Frees what the answer held and tells a stream that it is over. */
void http1_exchange_clear(struct http1_exchange *exchange);

#endif
