#include "cni/proxy_server.h"

#include "base/log.h"
#include "base/memory.h"
#include "cni/unix_socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TARGET "cni::zds"

struct proxy_server {
    struct loop *loop;
    const struct enrolment_table *enrolments;
    char *path;
    struct io_watch listener;
    struct timer accept_pause;
    struct list connections; /* the newest last */
    size_t connection_count;
};

static void on_connection_end(struct proxy_connection *connection, void *context)
{
    struct proxy_server *server = context;
    (void)connection;
    server->connection_count--;
}

static void take_connection(struct proxy_server *server, int socket)
{
    const struct proxy_connection_settings settings = {
        .loop = server->loop,
        .enrolments = server->enrolments,
        .on_end = on_connection_end,
        .context = server,
    };
    struct proxy_connection *connection;
    if (server->connection_count >= PROXY_CONNECTIONS_MAXIMUM) {
        log_print(LOG_WARN, TARGET, "connection refused: %d proxies are connected", PROXY_CONNECTIONS_MAXIMUM);
        (void)close(socket);
        return;
    }
    struct result result = proxy_connection_new(&settings, socket, &connection);
    if (!result_is_ok(&result)) {
        log_print(LOG_WARN, TARGET, "connection lost: %s", result.message);
        return;
    }
    list_append(&server->connections, proxy_connection_link(connection));
    server->connection_count++;
}

/* One at a time, then a pause, so that a proxy that fails at once cannot keep the agent busy with snapshots. */
static void on_connection(struct io_watch *watch, uint32_t events)
{
    struct proxy_server *server = CONTAINER_OF(watch, struct proxy_server, listener);
    (void)events;
    int socket = accept4(watch->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) {
        if (errno == EAGAIN) {
            return;
        }
        log_print(LOG_WARN, TARGET, "accepting a proxy failed: %s", strerror(errno));
    } else {
        take_connection(server, socket);
    }
    loop_watch_for(watch, 0);
    timer_arm_after_ms(server->loop, &server->accept_pause, PROXY_ACCEPT_INTERVAL_MS);
}

static void on_pause_over(struct timer *timer)
{
    struct proxy_server *server = CONTAINER_OF(timer, struct proxy_server, accept_pause);
    loop_watch_for(&server->listener, EPOLLIN);
}

struct result proxy_server_new(
    struct loop *loop, const char *path, const struct enrolment_table *enrolments, struct proxy_server **server)
{
    int listener;
    /* Without a mode of its own: the proxy may run under another user, and the directory says who may come (cni §1). */
    RESULT_TRY(unix_listen(path, SOCK_SEQPACKET, UNIX_SOCKET_MODE_OF_UMASK, &listener));
    struct proxy_server *made = NEW(struct proxy_server);
    made->loop = loop;
    made->enrolments = enrolments;
    made->path = string_duplicate(path);
    list_initialise(&made->connections);
    made->listener.on_ready = on_connection;
    made->accept_pause.on_expire = on_pause_over;
    struct result result = loop_watch(loop, &made->listener, listener, EPOLLIN);
    if (!result_is_ok(&result)) {
        (void)close(listener);
        memory_free(made->path);
        memory_free(made);
        return result;
    }
    *server = made;
    return result_ok();
}

void proxy_server_free(struct proxy_server *server)
{
    if (server == NULL) {
        return;
    }
    int listener = server->listener.descriptor;
    timer_disarm(&server->accept_pause);
    loop_unwatch(&server->listener);
    (void)close(listener);
    (void)unlink(server->path);
    LIST_FOR_EACH(link, &server->connections) {
        proxy_connection_free(proxy_connection_of_link(link));
    }
    memory_free(server->path);
    memory_free(server);
}

size_t proxy_server_connection_count(const struct proxy_server *server)
{
    return server->connection_count;
}

static struct proxy_connection *newest(const struct proxy_server *server)
{
    return list_is_empty(&server->connections) ? NULL : proxy_connection_of_link(server->connections.previous);
}

uint64_t proxy_server_newest(const struct proxy_server *server)
{
    const struct proxy_connection *connection = newest(server);
    return connection == NULL ? 0 : proxy_connection_number(connection);
}

void proxy_server_add(
    struct proxy_server *server, const struct enrolment *enrolment, proxy_update_done *done, void *context)
{
    struct proxy_connection *connection = newest(server);
    if (connection != NULL) {
        proxy_connection_add(connection, enrolment, done, context);
    } else if (done != NULL) {
        struct result result = result_fail(RESULT_UNAVAILABLE, "no ztunnel connection");
        done(context, &result);
    }
}

/* One Del to several proxies. */
struct broadcast {
    size_t waiting;
    proxy_update_done *done;
    void *context;
};

static void broadcast_step_done(void *context, const struct result *result)
{
    struct broadcast *broadcast = context;
    if (result != NULL && !result_is_ok(result)) {
        log_print(LOG_WARN, TARGET, "a proxy did not take the removal of a pod: %s", result->message);
    }
    if (--broadcast->waiting > 0) {
        return;
    }
    struct result all = result_ok();
    proxy_update_done *done = broadcast->done;
    void *done_context = broadcast->context;
    memory_free(broadcast);
    if (done != NULL) {
        done(done_context, &all);
    }
}

void proxy_server_delete(struct proxy_server *server, const char *uid, proxy_update_done *done, void *context)
{
    struct broadcast *broadcast = NEW(struct broadcast);
    *broadcast = (struct broadcast){ .waiting = 1, .done = done, .context = context };
    LIST_FOR_EACH(link, &server->connections) {
        broadcast->waiting++;
        proxy_connection_delete(proxy_connection_of_link(link), uid, broadcast_step_done, broadcast);
    }
    /* The one that was counted from the start, so that it cannot be over before all were asked. */
    broadcast_step_done(broadcast, NULL);
}
