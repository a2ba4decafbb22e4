#include "http/grpc_server.h"

#include "base/log.h"
#include "base/memory.h"
#include "http/grpc_server_call.h"
#include "net/acceptor.h"
#include "net/socket.h"
#include "tls/context.h"
#include "tls/record_layer.h"

#include <unistd.h>

#define CONNECTIONS_DEFAULT 10000
#define STREAMS_DEFAULT 100
#define HANDSHAKE_DEADLINE_MS 10000
#define FIRST_CALL_DEADLINE_MS 10000
#define ACCEPTS_A_TURN 32
#define LOG_LINES_A_SECOND 10

struct grpc_listener {
    struct list link;
    struct grpc_server *server;
    struct tls_context *tls; /* NULL: plaintext */
    struct acceptor acceptor;
};

static const struct socket_settings listen_settings = {
    .transparency = TRANSPARENCY_NEVER,
    .keepalive_is_enabled = true,
    .keepalive_time_s = 300,
    .keepalive_interval_s = 75,
    .keepalive_retries = 9,
};

static void log_failure(const struct grpc_server_connection *connection, const struct result *failure)
{
    static struct log_limit limit;
    uint64_t dropped;
    if (!log_limit_allows(&limit, LOG_LINES_A_SECOND, &dropped)) {
        return;
    }
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    socket_address_format(&connection->peer, peer);
    LOG_EVENT(LOG_WARN, connection->server->settings.log_target, "grpc connection failed", LOG_DISPLAY("peer", peer),
        LOG_STRING("error", failure->message), LOG_NUMBER("lines_left_out", dropped));
}

static void on_drained(struct deferred *deferred)
{
    struct grpc_server *server = CONTAINER_OF(deferred, struct grpc_server, drained);
    server->on_drained(server->drained_context);
}

static void free_connection(struct grpc_server_connection *connection)
{
    struct grpc_server *server = connection->server;
    transport_close(&connection->transport);
    http2_connection_close(&connection->connection);
    grpc_server_close_calls(connection);
    timer_disarm(&connection->first_call);
    deferred_cancel(&connection->tell_closed);
    list_remove(&connection->link);
    tls_context_release(connection->tls);
    memory_free(connection->identity);
    memory_free(connection);
    server->connection_count--;
    if (server->is_draining && server->connection_count == 0 && server->on_drained != NULL) {
        loop_defer(server->loop, &server->drained);
    }
}

static void on_connection_over(struct http2_connection *http2, const struct result *failure)
{
    struct grpc_server_connection *connection = CONTAINER_OF(http2, struct grpc_server_connection, connection);
    if (failure != NULL) {
        log_failure(connection, failure);
    }
    free_connection(connection);
}

static void on_flushed(struct http2_connection *http2)
{
    grpc_server_notify_writable(CONTAINER_OF(http2, struct grpc_server_connection, connection));
}

static bool wants_ping(struct http2_connection *http2)
{
    (void)http2;
    return true;
}

static const struct http2_owner connection_owner = { on_connection_over, on_flushed, wants_ping };

static void tell_closed(struct deferred *deferred)
{
    grpc_server_tell_closed(CONTAINER_OF(deferred, struct grpc_server_connection, tell_closed));
}

/* Whoever says nothing, or says it byte by byte, keeps a place from others. A client that has called may be idle: PINGs watch it. */
static void on_no_first_call(struct timer *timer)
{
    struct grpc_server_connection *connection = CONTAINER_OF(timer, struct grpc_server_connection, first_call);
    struct result failure = result_fail(RESULT_TIMEOUT, "no call within %d ms", FIRST_CALL_DEADLINE_MS);
    log_failure(connection, &failure);
    free_connection(connection);
}

static void on_transport_open(
    struct transport *transport, int descriptor, struct record_layer *layer, const struct result *failure)
{
    struct grpc_server_connection *connection = CONTAINER_OF(transport, struct grpc_server_connection, transport);
    if (layer == NULL) {
        log_failure(connection, failure);
        free_connection(connection);
        return;
    }
    connection->identity = transport->peer_identity;
    transport->peer_identity = NULL;
    transport_close(transport);
    nghttp2_session *session = grpc_server_session_new(connection);
    if (session == NULL) {
        record_free(layer);
        close(descriptor);
        free_connection(connection);
        return;
    }
    struct result started = http2_connection_start(
        &connection->connection, connection->server->loop, descriptor, layer, session, &connection_owner);
    if (!result_is_ok(&started)) {
        log_failure(connection, &started);
        free_connection(connection);
        return;
    }
    connection->is_established = true;
    connection->first_call.on_expire = on_no_first_call;
    timer_arm_after_ms(connection->server->loop, &connection->first_call, FIRST_CALL_DEADLINE_MS);
}

static void add_connection(struct grpc_listener *listener, int descriptor, const struct socket_address *peer)
{
    struct grpc_server *server = listener->server;
    if (server->connection_count >= server->settings.connection_maximum) {
        static struct log_limit limit;
        uint64_t dropped;
        if (log_limit_allows(&limit, 1, &dropped)) {
            log_print(LOG_WARN, server->settings.log_target,
                "refused a connection: %zu are open, the most allowed (%llu lines left out)", server->connection_count,
                (unsigned long long)dropped);
        }
        close(descriptor);
        return;
    }
    struct grpc_server_connection *connection = NEW(struct grpc_server_connection);
    connection->server = server;
    connection->peer = *peer;
    (void)socket_local_address(descriptor, &connection->local);
    connection->tls = listener->tls != NULL ? tls_context_reference(listener->tls) : NULL;
    list_initialise(&connection->calls);
    list_initialise(&connection->closing);
    list_initialise(&connection->tell_closed.link);
    connection->tell_closed.run = tell_closed;
    list_append(&server->connections, &connection->link);
    server->connection_count++;
    connection->transport.on_open = on_transport_open;
    const struct transport_peer side = { .tls = connection->tls };
    transport_open(&connection->transport, server->loop, server->pool, descriptor, &side, HANDSHAKE_DEADLINE_MS);
}

static void on_accept(struct acceptor *acceptor, int descriptor, const struct socket_address *peer)
{
    add_connection(CONTAINER_OF(acceptor, struct grpc_listener, acceptor), descriptor, peer);
}

struct grpc_server *grpc_server_new(
    struct loop *loop, struct buffer_pool *pool, const struct grpc_server_settings *settings)
{
    struct grpc_server *server = NEW(struct grpc_server);
    server->loop = loop;
    server->pool = pool;
    server->settings = *settings;
    if (server->settings.connection_maximum == 0) {
        server->settings.connection_maximum = CONNECTIONS_DEFAULT;
    }
    if (server->settings.stream_maximum == 0) {
        server->settings.stream_maximum = STREAMS_DEFAULT;
    }
    if (server->settings.message_maximum_bytes == 0) {
        server->settings.message_maximum_bytes = GRPC_SERVER_MESSAGE_MAXIMUM_BYTES;
    }
    if (server->settings.log_target == NULL) {
        server->settings.log_target = "grpc";
    }
    list_initialise(&server->listeners);
    list_initialise(&server->connections);
    list_initialise(&server->drained.link);
    server->drained.run = on_drained;
    return server;
}

static void free_listeners(struct grpc_server *server)
{
    struct list *link;
    while ((link = list_take_first(&server->listeners)) != NULL) {
        struct grpc_listener *listener = LIST_ENTRY(link, struct grpc_listener, link);
        acceptor_close(&listener->acceptor);
        tls_context_release(listener->tls);
        memory_free(listener);
    }
}

void grpc_server_free(struct grpc_server *server)
{
    if (server == NULL) {
        return;
    }
    server->on_drained = NULL;
    free_listeners(server);
    LIST_FOR_EACH(link, &server->connections) {
        free_connection(LIST_ENTRY(link, struct grpc_server_connection, link));
    }
    deferred_cancel(&server->drained);
    memory_free(server);
}

struct result grpc_server_listen(struct grpc_server *server, const struct socket_address *address,
    struct tls_context *tls, struct socket_address *bound)
{
    const struct listener_options options = { .address = *address, .flags = SOCKET_KEEPALIVE };
    struct listener opened;
    RESULT_TRY(socket_listen(&listen_settings, &options, &opened));
    struct grpc_listener *listener = NEW(struct grpc_listener);
    listener->server = server;
    listener->acceptor = (struct acceptor){ .on_accept = on_accept, .accepts_a_turn = ACCEPTS_A_TURN };
    struct result watched = acceptor_open(&listener->acceptor, server->loop, opened.descriptor);
    if (!result_is_ok(&watched)) {
        memory_free(listener);
        return watched;
    }
    listener->tls = tls != NULL ? tls_context_reference(tls) : NULL;
    list_append(&server->listeners, &listener->link);
    if (bound != NULL) {
        (void)socket_local_address(opened.descriptor, bound);
    }
    return result_ok();
}

void grpc_server_set_tls(struct grpc_server *server, struct tls_context *tls)
{
    LIST_FOR_EACH(link, &server->listeners) {
        struct grpc_listener *listener = LIST_ENTRY(link, struct grpc_listener, link);
        if (listener->tls != NULL) {
            struct tls_context *before = listener->tls;
            listener->tls = tls_context_reference(tls);
            tls_context_release(before);
        }
    }
}

void grpc_server_drain(struct grpc_server *server, void (*drained)(void *context), void *context)
{
    server->is_draining = true;
    server->on_drained = drained;
    server->drained_context = context;
    free_listeners(server);
    LIST_FOR_EACH(link, &server->connections) {
        struct grpc_server_connection *connection = LIST_ENTRY(link, struct grpc_server_connection, link);
        if (!connection->is_established) {
            free_connection(connection);
            continue;
        }
        nghttp2_session *session = connection->connection.session;
        int32_t last = nghttp2_session_get_last_proc_stream_id(session);
        (void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
        http2_connection_wake(&connection->connection);
    }
    if (server->connection_count == 0 && drained != NULL) {
        loop_defer(server->loop, &server->drained);
    }
}

size_t grpc_server_connection_count(const struct grpc_server *server)
{
    return server->connection_count;
}
