#include "http/http1_connection.h"

#include "base/memory.h"
#include "base/text.h"
#include "net/socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_TIMEOUT_MS 60000 /* between requests */
#define BODY_TIMEOUT_MS 10000
#define STALL_TIMEOUT_MS 30000 /* the client takes nothing of the answer */
#define LINGER_MS 1000
#define READ_BYTES 16384
#define IGNORED_BODY_MAXIMUM_BYTES 65536

static void arm(struct http1_connection *connection, uint64_t delay_ms)
{
    timer_arm_after_ms(connection->server->loop, &connection->timer, delay_ms);
}

/* The socket is closed; the struct stays while a handler holds its exchange. */
static void end_connection(struct http1_connection *connection)
{
    if (connection->state == HTTP1_HANDLING) {
        connection->state = HTTP1_GONE;
        timer_disarm(&connection->timer);
        loop_unwatch(&connection->watch);
        close(connection->watch.descriptor);
        connection->watch.descriptor = -1;
        return;
    }
    http1_connection_free(connection);
}

void http1_connection_free(struct http1_connection *connection)
{
    timer_disarm(&connection->timer);
    deferred_cancel(&connection->settle);
    deferred_cancel(&connection->fill);
    loop_unwatch(&connection->watch);
    if (connection->watch.descriptor >= 0) {
        close(connection->watch.descriptor);
    }
    list_remove(&connection->link);
    connection->server->connection_count--;
    http1_exchange_clear(&connection->exchange);
    writer_free(&connection->input);
    writer_free(&connection->body);
    writer_free(&connection->output);
    memory_free(connection);
}

/* Writes what waits. False when the connection is over. */
static bool flush(struct http1_connection *connection)
{
    while (http1_output_waiting(connection) > 0) {
        ssize_t written = send(connection->watch.descriptor, connection->output.data + connection->output_sent,
            http1_output_waiting(connection), MSG_NOSIGNAL);
        if (written < 0) {
            if (!timer_is_armed(&connection->timer)) {
                arm(connection, STALL_TIMEOUT_MS);
            }
            return errno == EAGAIN || errno == EINTR;
        }
        connection->output_sent += (size_t)written;
        arm(connection, STALL_TIMEOUT_MS);
    }
    writer_clear(&connection->output);
    connection->output_sent = 0;
    return true;
}

static void drop_front(struct writer *input, size_t length)
{
    memmove(input->data, input->data + length, input->length - length);
    input->length -= length;
}

static const struct http1_route *find_route(const struct http1_server *server, const char *path)
{
    for (size_t i = 0; i < server->settings.route_count; i++) {
        const struct http1_route *route = &server->settings.routes[i];
        if (text_equal(route->path, path) || text_equal(route->path, "*")) {
            return route;
        }
    }
    return NULL;
}

static uint64_t body_bound(const struct http1_exchange *exchange)
{
    return exchange->route != NULL && exchange->route->body_maximum_bytes > 0 ? exchange->route->body_maximum_bytes
                                                                              : IGNORED_BODY_MAXIMUM_BYTES;
}

/* The head is copied out of the input, so that the body may come and go behind it. */
static void accept_head(struct http1_connection *connection, size_t consumed)
{
    struct http1_exchange *exchange = &connection->exchange;
    exchange->head_memory = memory_allocate(consumed);
    memcpy(exchange->head_memory, connection->input.data, consumed);
    drop_front(&connection->input, consumed);
    size_t again;
    (void)http1_head_parse(bytes_of(exchange->head_memory, consumed), &exchange->head, &again);
    exchange->method = string_duplicate_n((const char *)exchange->head.method.data, exchange->head.method.length);
    exchange->path = string_duplicate_n((const char *)exchange->head.path.data, exchange->head.path.length);
    exchange->route = find_route(connection->server, exchange->path);
    connection->keeps_alive = exchange->head.keeps_alive;
    connection->state = HTTP1_READING_BODY;
    connection->body_left = exchange->head.content_length;
    connection->chunks = (struct http1_chunks){ 0 };
    if (connection->body_left > body_bound(exchange)) {
        http1_refuse(connection, 413);
        return;
    }
    if (exchange->head.expects_continue && (connection->body_left > 0 || exchange->head.is_chunked)) {
        writer_add_string(&connection->output, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    arm(connection, BODY_TIMEOUT_MS);
}

/* True when there is something to go on with. */
static bool read_head(struct http1_connection *connection)
{
    size_t consumed;
    /* Empty lines before a request are skipped (RFC 9112 §2.2). */
    while (connection->input.length > 0 && (connection->input.data[0] == '\r' || connection->input.data[0] == '\n')) {
        drop_front(&connection->input, 1);
    }
    if (connection->input.length == 0) {
        return false;
    }
    switch (http1_head_parse(writer_bytes(&connection->input), &connection->exchange.head, &consumed)) {
    case HTTP1_DONE:
        if (consumed > HTTP1_HEAD_MAXIMUM_BYTES) {
            http1_refuse(connection, 431);
        } else {
            accept_head(connection, consumed);
        }
        return true;
    case HTTP1_MORE:
        if (connection->input.length > HTTP1_HEAD_MAXIMUM_BYTES) {
            http1_refuse(connection, 431);
            return true;
        }
        return false;
    case HTTP1_UNSUPPORTED:
        http1_refuse(connection, 501);
        return true;
    default:
        http1_refuse(connection, 400);
        return true;
    }
}

static enum http1_parse take_chunks(struct http1_connection *connection)
{
    struct bytes input = writer_bytes(&connection->input);
    enum http1_parse outcome = HTTP1_MORE;
    size_t before;
    do {
        struct bytes piece;
        before = input.length;
        outcome = http1_chunks_next(&connection->chunks, &input, &piece);
        writer_add_bytes(&connection->body, piece);
        if (connection->body.length > body_bound(&connection->exchange)) {
            return HTTP1_UNSUPPORTED;
        }
    } while (outcome == HTTP1_MORE && input.length > 0 && input.length < before);
    drop_front(&connection->input, connection->input.length - input.length);
    return outcome;
}

static void handle(struct http1_connection *connection)
{
    struct http1_exchange *exchange = &connection->exchange;
    timer_disarm(&connection->timer);
    connection->state = HTTP1_HANDLING;
    if (exchange->route == NULL) {
        http1_respond(exchange, 404, NULL, bytes_of("", 0));
        return;
    }
    exchange->route->handle(exchange, connection->server->settings.context);
}

static bool read_body(struct http1_connection *connection)
{
    if (connection->exchange.head.is_chunked) {
        switch (take_chunks(connection)) {
        case HTTP1_DONE:
            handle(connection);
            return true;
        case HTTP1_MORE:
            return false;
        case HTTP1_BAD:
            http1_refuse(connection, 400);
            return true;
        default:
            http1_refuse(connection, 413);
            return true;
        }
    }
    size_t length =
        connection->input.length < connection->body_left ? connection->input.length : (size_t)connection->body_left;
    writer_add(&connection->body, connection->input.data, length);
    drop_front(&connection->input, length);
    connection->body_left -= length;
    if (connection->body_left > 0) {
        return false;
    }
    handle(connection);
    return true;
}

/* What comes next once the answer has left. False when the connection is over. */
static bool finish_answer(struct http1_connection *connection)
{
    http1_exchange_clear(&connection->exchange);
    writer_free(&connection->body);
    if (!connection->keeps_alive || (connection->has_read_end && connection->input.length == 0)) {
        if (connection->has_read_end) {
            return false;
        }
        /* A close with unread input would be a reset, which can take the answer with it. */
        connection->state = HTTP1_LINGERING;
        socket_shutdown_write(connection->watch.descriptor);
        arm(connection, LINGER_MS);
        return true;
    }
    connection->state = HTTP1_READING_HEAD;
    if (connection->input.length == 0) {
        writer_free(&connection->input);
        writer_free(&connection->output);
        arm(connection, IDLE_TIMEOUT_MS);
    } else {
        arm(connection, HTTP1_HEAD_TIMEOUT_MS);
    }
    return true;
}

/* One step of the state; true when the next state may have something to do at once. */
static bool step(struct http1_connection *connection, bool *is_over)
{
    switch (connection->state) {
    case HTTP1_READING_HEAD:
        return read_head(connection);
    case HTTP1_READING_BODY:
        return read_body(connection);
    case HTTP1_STREAMING:
        if (!connection->exchange.is_paused && http1_output_waiting(connection) < HTTP1_STREAM_QUEUE_BYTES) {
            loop_defer_bulk(connection->server->loop, &connection->fill);
        }
        return false;
    case HTTP1_FINISHING:
        if (http1_output_waiting(connection) > 0) {
            return false;
        }
        *is_over = !finish_answer(connection);
        return !*is_over;
    default:
        return false;
    }
}

static uint32_t interest(const struct http1_connection *connection)
{
    bool reads = connection->state == HTTP1_READING_HEAD || connection->state == HTTP1_READING_BODY ||
                 connection->state == HTTP1_LINGERING;
    return (reads && !connection->has_read_end ? (uint32_t)EPOLLIN : 0u) |
           (http1_output_waiting(connection) > 0 ? (uint32_t)EPOLLOUT : 0u);
}

/* Goes on as far as input and room allow. The connection may be gone afterwards. */
static void advance(struct http1_connection *connection)
{
    bool is_over = false;
    bool goes_on;
    do {
        is_over = !flush(connection);
        goes_on = !is_over && step(connection, &is_over);
    } while (goes_on && !is_over);
    bool waits_for_input = connection->state == HTTP1_READING_HEAD || connection->state == HTTP1_READING_BODY;
    if (is_over || (waits_for_input && connection->has_read_end)) {
        end_connection(connection);
        return;
    }
    loop_watch_for(&connection->watch, interest(connection));
}

/* False when nothing came. */
static bool read_input(struct http1_connection *connection)
{
    uint8_t *room = writer_reserve(&connection->input, READ_BYTES);
    ssize_t length = recv(connection->watch.descriptor, room, READ_BYTES, 0);
    if (length > 0) {
        if (connection->state == HTTP1_READING_HEAD && connection->input.length == 0) {
            arm(connection, HTTP1_HEAD_TIMEOUT_MS);
        }
        connection->input.length += (size_t)length;
        return true;
    }
    connection->has_read_end = length == 0;
    return length == 0;
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct http1_connection *connection = CONTAINER_OF(watch, struct http1_connection, watch);
    bool wants_input = (interest(connection) & EPOLLIN) != 0;
    if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN && wants_input)) {
        end_connection(connection);
        return;
    }
    if (wants_input && (events & EPOLLIN) && !read_input(connection) && errno != EAGAIN && errno != EINTR) {
        end_connection(connection);
        return;
    }
    if (connection->state == HTTP1_LINGERING) {
        writer_clear(&connection->input);
        if (connection->has_read_end) {
            end_connection(connection);
        }
        return;
    }
    advance(connection);
}

static void on_timer(struct timer *timer)
{
    end_connection(CONTAINER_OF(timer, struct http1_connection, timer));
}

static void on_settle(struct deferred *deferred)
{
    struct http1_connection *connection = CONTAINER_OF(deferred, struct http1_connection, settle);
    if (connection->state == HTTP1_GONE) {
        http1_connection_free(connection);
        return;
    }
    advance(connection);
}

static void on_fill(struct deferred *deferred)
{
    struct http1_connection *connection = CONTAINER_OF(deferred, struct http1_connection, fill);
    if (connection->state == HTTP1_STREAMING) {
        http1_stream_step(&connection->exchange);
        advance(connection);
    }
}

void http1_connection_start(struct http1_server *server, int descriptor, const struct socket_address *peer)
{
    struct http1_connection *connection = NEW(struct http1_connection);
    connection->server = server;
    connection->peer = *peer;
    connection->watch.on_ready = on_ready;
    connection->timer.on_expire = on_timer;
    connection->settle.run = on_settle;
    connection->fill.run = on_fill;
    list_initialise(&connection->settle.link);
    list_initialise(&connection->fill.link);
    connection->input = writer_growing();
    connection->body = writer_growing();
    connection->output = writer_growing();
    list_append(&server->connections, &connection->link);
    server->connection_count++;
    connection->watch.descriptor = descriptor;
    struct result watched = loop_watch(server->loop, &connection->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        http1_connection_free(connection);
        return;
    }
    arm(connection, HTTP1_HEAD_TIMEOUT_MS);
}
