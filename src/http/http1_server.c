#include "http/http1_server.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "http/http1_connection.h"
#include "net/acceptor.h"
#include "net/socket.h"

#include <unistd.h>

#define CONNECTIONS_DEFAULT 256
#define ACCEPTS_A_TURN 16

struct http1_listener {
    struct list link;
    struct http1_server *server;
    struct acceptor acceptor;
};

static const struct socket_settings listen_settings = { .transparency = TRANSPARENCY_NEVER };

static void add_connection(struct http1_server *server, int descriptor, const struct socket_address *peer)
{
    if (server->connection_count < server->settings.connection_maximum) {
        http1_connection_start(server, descriptor, peer);
        return;
    }
    static struct log_limit limit;
    uint64_t dropped;
    if (log_limit_allows(&limit, 1, &dropped)) {
        log_print(LOG_WARN, server->settings.log_target,
            "refused an HTTP connection: %zu are open, the most allowed (%llu lines left out)",
            server->connection_count, (unsigned long long)dropped);
    }
    close(descriptor);
}

static void on_accept(struct acceptor *acceptor, int descriptor, const struct socket_address *peer)
{
    add_connection(CONTAINER_OF(acceptor, struct http1_listener, acceptor)->server, descriptor, peer);
}

struct http1_server *http1_server_new(struct loop *loop, const struct http1_server_settings *settings)
{
    struct http1_server *server = NEW(struct http1_server);
    server->loop = loop;
    server->settings = *settings;
    if (server->settings.connection_maximum == 0) {
        server->settings.connection_maximum = CONNECTIONS_DEFAULT;
    }
    if (server->settings.log_target == NULL) {
        server->settings.log_target = "http";
    }
    list_initialise(&server->listeners);
    list_initialise(&server->connections);
    return server;
}

void http1_server_free(struct http1_server *server)
{
    if (server == NULL) {
        return;
    }
    struct list *link;
    while ((link = list_take_first(&server->listeners)) != NULL) {
        struct http1_listener *listener = LIST_ENTRY(link, struct http1_listener, link);
        acceptor_close(&listener->acceptor);
        memory_free(listener);
    }
    LIST_FOR_EACH(connection, &server->connections) {
        http1_connection_free(LIST_ENTRY(connection, struct http1_connection, link));
    }
    memory_free(server);
}

struct result http1_server_listen_on(struct http1_server *server, int descriptor)
{
    struct http1_listener *listener = NEW(struct http1_listener);
    listener->server = server;
    listener->acceptor = (struct acceptor){ .on_accept = on_accept, .accepts_a_turn = ACCEPTS_A_TURN };
    struct result watched = acceptor_open(&listener->acceptor, server->loop, descriptor);
    if (!result_is_ok(&watched)) {
        memory_free(listener);
        return watched;
    }
    list_append(&server->listeners, &listener->link);
    return result_ok();
}

struct result http1_server_listen(
    struct http1_server *server, const struct socket_address *address, struct socket_address *bound)
{
    const struct listener_options options = { .address = *address };
    struct listener opened;
    RESULT_TRY(socket_listen(&listen_settings, &options, &opened));
    RESULT_TRY(http1_server_listen_on(server, opened.descriptor));
    if (bound != NULL) {
        (void)socket_local_address(opened.descriptor, bound);
    }
    return result_ok();
}

static const struct http1_connection *connection_of(const struct http1_exchange *exchange)
{
    return (const struct http1_connection *)((const char *)exchange - offsetof(struct http1_connection, exchange));
}

const char *http1_method(const struct http1_exchange *exchange)
{
    return exchange->method;
}

bool http1_method_is(const struct http1_exchange *exchange, const char *method)
{
    return text_equal(exchange->method, method);
}

const char *http1_path(const struct http1_exchange *exchange)
{
    return exchange->path;
}

bool http1_has_query(const struct http1_exchange *exchange)
{
    return exchange->head.query.length > 0;
}

char *http1_query(const struct http1_exchange *exchange, const char *name)
{
    struct writer value = writer_growing();
    if (!http1_query_find(exchange->head.query, name, &value)) {
        writer_free(&value);
        return NULL;
    }
    return writer_take_string(&value);
}

char *http1_header(const struct http1_exchange *exchange, const char *name)
{
    const struct http1_header *header = http1_head_find(&exchange->head, name);
    return header != NULL ? string_duplicate_n((const char *)header->value.data, header->value.length) : NULL;
}

struct bytes http1_body(const struct http1_exchange *exchange)
{
    return writer_bytes(&connection_of(exchange)->body);
}

const struct socket_address *http1_peer(const struct http1_exchange *exchange)
{
    return &connection_of(exchange)->peer;
}
