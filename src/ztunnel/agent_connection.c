#include "ztunnel/agent_connection.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/writer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define INPOD_TARGET "ztunnel::inpod"
#define BACKOFF_FIRST_MS 20
#define BACKOFF_MAXIMUM_MS 15000
#define BACKOFF_JITTER_PERCENT 20

struct agent_connection {
    struct loop *loop;
    const char *path;
    const struct agent_connection_events *events;
    void *context;
    int socket; /* -1: not connected */
    struct io_watch watch;
    struct timer reconnect;
    uint64_t backoff_ms;
    bool is_busy; /* a request is unanswered: nothing more is read */
};

static uint64_t next_backoff_ms(struct agent_connection *connection)
{
    uint64_t wait_ms = connection->backoff_ms;
    connection->backoff_ms = wait_ms * 2 > BACKOFF_MAXIMUM_MS ? BACKOFF_MAXIMUM_MS : wait_ms * 2;
    return random_jitter(wait_ms, BACKOFF_JITTER_PERCENT);
}

static void close_socket(struct agent_connection *connection)
{
    if (connection->socket >= 0) {
        loop_unwatch(&connection->watch);
        close(connection->socket);
        connection->socket = -1;
    }
    connection->is_busy = false;
}

static void hang_up(struct agent_connection *connection)
{
    if (connection->socket < 0) {
        return;
    }
    close_socket(connection);
    timer_arm_after_ms(connection->loop, &connection->reconnect, next_backoff_ms(connection));
    connection->events->on_lost(connection->context);
}

/* Whether the answer has gone out. */
static bool send_answer(struct agent_connection *connection, const char *error)
{
    if (connection->socket < 0) {
        return false;
    }
    connection->is_busy = false;
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer response = writer_fixed(memory, sizeof memory);
    zds_response_encode(error, &response);
    int failure = zds_send(connection->socket, writer_bytes(&response), -1);
    if (failure != 0) {
        log_print(LOG_WARN, INPOD_TARGET, "failed to answer the node agent: %s", strerror(failure));
    }
    return failure == 0;
}

void agent_connection_answer(struct agent_connection *connection, const char *error)
{
    if (send_answer(connection, error)) {
        loop_watch_for(&connection->watch, EPOLLIN);
    } else {
        hang_up(connection);
    }
}

void agent_connection_refuse(struct agent_connection *connection, const char *error)
{
    log_print(LOG_ERROR, INPOD_TARGET, "protocol mismatch error while processing stream: %s", error);
    (void)send_answer(connection, error);
    hang_up(connection);
}

void agent_connection_settle(struct agent_connection *connection)
{
    connection->backoff_ms = BACKOFF_FIRST_MS;
}

static void refuse_datagram(struct agent_connection *connection, const struct result *reason)
{
    char error[sizeof reason->message + sizeof ZDS_FAILED_TO_READ];
    snprintf(error, sizeof error, ZDS_FAILED_TO_READ "%s", reason->message);
    agent_connection_refuse(connection, error);
}

static void read_request(struct agent_connection *connection)
{
    struct zds_datagram datagram;
    struct zds_request request;
    struct result reason;
    switch (zds_receive_request(connection->socket, &datagram, &request, &reason)) {
    case ZDS_RECEIVED:
        connection->is_busy = true;
        loop_watch_for(&connection->watch, 0);
        connection->events->on_request(connection->context, &request, datagram.descriptor);
        return;
    case ZDS_NOTHING_YET:
        return;
    case ZDS_ENDED:
        log_print(LOG_WARN, INPOD_TARGET, "process stream ended with eof");
        hang_up(connection);
        return;
    case ZDS_REFUSED:
        refuse_datagram(connection, &reason);
        return;
    case ZDS_BROKEN:
        log_print(LOG_WARN, INPOD_TARGET, "lost the node agent: %s", reason.message);
        hang_up(connection);
        return;
    }
}

static void on_readable(struct io_watch *watch, uint32_t events)
{
    struct agent_connection *connection = CONTAINER_OF(watch, struct agent_connection, watch);
    if (!connection->is_busy) {
        read_request(connection);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        /* Nobody is there to take the answer; what else is queued comes again with the next snapshot. */
        log_print(LOG_WARN, INPOD_TARGET, "process stream ended with eof");
        hang_up(connection);
    }
}

static int dial(const char *path, struct result *failure)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        *failure = result_fail(RESULT_INVALID, "INPOD_UDS=%s: longer than a socket path may be", path);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0 || connect(descriptor, (const struct sockaddr *)&address, sizeof address) != 0) {
        *failure = result_fail(RESULT_SYSTEM, "%s (os error %d)", strerror(errno), errno);
        if (descriptor >= 0) {
            close(descriptor);
        }
        return -1;
    }
    return descriptor;
}

static void connect_agent(struct agent_connection *connection)
{
    struct result failure;
    int descriptor = dial(connection->path, &failure);
    if (descriptor < 0) {
        uint64_t wait_ms = next_backoff_ms(connection);
        log_print(LOG_WARN, INPOD_TARGET,
            "failed to connect to the Istio CNI node agent over \"%s\", is the node agent healthy? details: %s "
            "retrying in %llums",
            connection->path, failure.message, (unsigned long long)wait_ms);
        timer_arm_after_ms(connection->loop, &connection->reconnect, wait_ms);
        return;
    }
    connection->socket = descriptor;
    LOG_EVENT(LOG_INFO, INPOD_TARGET, "handling new stream");
    uint8_t memory[16];
    struct writer hello = writer_fixed(memory, sizeof memory);
    zds_hello_encode(&hello);
    int error = zds_send(descriptor, writer_bytes(&hello), -1);
    struct result watched = error == 0 ? loop_watch(connection->loop, &connection->watch, descriptor, EPOLLIN)
                                       : result_system(error, "node agent announcement failed");
    if (!result_is_ok(&watched)) {
        log_print(LOG_WARN, INPOD_TARGET, "%s", watched.message);
        hang_up(connection);
    }
}

static void on_reconnect(struct timer *timer)
{
    connect_agent(CONTAINER_OF(timer, struct agent_connection, reconnect));
}

struct agent_connection *agent_connection_new(
    struct loop *control, const char *path, const struct agent_connection_events *events, void *context)
{
    struct agent_connection *connection = NEW(struct agent_connection);
    connection->loop = control;
    connection->path = path;
    connection->events = events;
    connection->context = context;
    connection->socket = -1;
    connection->backoff_ms = BACKOFF_FIRST_MS;
    connection->watch.on_ready = on_readable;
    connection->reconnect.on_expire = on_reconnect;
    timer_arm_after_ms(control, &connection->reconnect, 0);
    return connection;
}

void agent_connection_free(struct agent_connection *connection)
{
    if (connection != NULL) {
        close_socket(connection);
        timer_disarm(&connection->reconnect);
        memory_free(connection);
    }
}
