#include "ztunnel/passthrough.h"

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/inbound_route.h"
#include "net/socket.h"
#include "net/tcp_relay.h"
#include "ztunnel/enforcement.h"
#include "ztunnel/pod.h"
#include "ztunnel/traffic_labels.h"
#include "ztunnel/worker.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

struct passthrough {
    struct connection connection;
    int descriptor; /* the client's; -1 once the relay has it */
    struct io_watch client;
    struct workload_wait workload_wait;
    struct dial dial;
    bool is_relaying;
    struct tcp_relay relay;
};

static void release(struct passthrough *passthrough, enum close_state close_state)
{
    struct pod *pod = passthrough->connection.pod;
    loop_unwatch(&passthrough->client);
    workload_wait_cancel(&passthrough->workload_wait);
    dial_cancel(&passthrough->dial);
    if (passthrough->descriptor >= 0) {
        socket_close_cleanly(passthrough->descriptor);
    }
    pod->account.descriptors--;
    worker_count_socket(pod->worker, CONNECTION_INBOUND, -1);
    connection_finish(&passthrough->connection, close_state);
    memory_free(passthrough);
    pod_check_drained(pod);
}

static void refuse(struct passthrough *passthrough, enum response_flag flag, const char *error)
{
    connection_fail(&passthrough->connection, flag, "%s", error);
    release(passthrough, CLOSE_REFUSED);
}

static void on_progress(struct tcp_relay *relay, size_t forward_bytes, size_t backward_bytes)
{
    struct passthrough *passthrough = CONTAINER_OF(relay, struct passthrough, relay);
    connection_count(&passthrough->connection, forward_bytes, backward_bytes);
}

static void on_relay_end(struct tcp_relay *relay, enum relay_end end)
{
    struct passthrough *passthrough = CONTAINER_OF(relay, struct passthrough, relay);
    release(passthrough, close_state_of_relay(end));
}

static const struct tcp_relay_events RELAY_EVENTS = { on_progress, on_relay_end };

static void on_dialled(struct dial *dial, int descriptor, const struct result *failure)
{
    struct passthrough *passthrough = CONTAINER_OF(dial, struct passthrough, dial);
    if (descriptor < 0) {
        char error[sizeof failure->message + 32];
        snprintf(error, sizeof error, "connection failed: %s",
            failure->code == RESULT_TIMEOUT ? "deadline has elapsed" : failure->message);
        refuse(passthrough, RESPONSE_CONNECT, error);
        return;
    }
    struct worker *worker = passthrough->connection.pod->worker;
    int client = passthrough->descriptor;
    connection_pass(&passthrough->connection, STAGE_DIALLED);
    loop_unwatch(&passthrough->client);
    passthrough->descriptor = -1;
    passthrough->is_relaying = true;
    tcp_relay_start(&passthrough->relay, worker->loop, &passthrough->connection.pod->turns, worker->buffers, client,
        descriptor, &RELAY_EVENTS);
}

static void cut(struct connection *connection, enum response_flag flag, const char *reason)
{
    struct passthrough *passthrough = CONTAINER_OF(connection, struct passthrough, connection);
    connection_note(connection, EVENT_CUT, (uint32_t)flag);
    connection_fail(connection, flag, "%s", reason);
    if (passthrough->is_relaying) {
        tcp_relay_cut(&passthrough->relay, RELAY_END_CUT);
    } else {
        release(passthrough, CLOSE_CUT);
    }
}

static bool authorize(struct passthrough *passthrough, const struct mesh_version *version, const struct workload *local)
{
    uint8_t memory[512];
    struct writer error = writer_fixed(memory, sizeof memory);
    if (enforcement_allows(&passthrough->connection, version, local, &error)) {
        return true;
    }
    refuse(passthrough, RESPONSE_DENY, writer_string(&error));
    return false;
}

static void on_workload(struct workload_wait *wait, const struct workload *local)
{
    struct passthrough *passthrough = CONTAINER_OF(wait, struct passthrough, workload_wait);
    struct connection *connection = &passthrough->connection;
    if (local == NULL) {
        struct result unknown = pod_unknown_workload(connection->pod);
        refuse(passthrough, RESPONSE_CONNECT, unknown.message);
        return;
    }
    connection_pass(connection, STAGE_WORKLOAD_KNOWN);
    const struct mesh_version *version = worker_version(connection->pod->worker);
    connection_set_source(connection, mesh_source_workload(version, &connection->peer.ip, bytes_of(NULL, 0)));
    connection_set_destination(
        connection, local, mesh_guess_service(version, local, bytes_of(NULL, 0), connection->dialled.port));
    connection_pass(connection, STAGE_ROUTED);
    connection_open(connection);
    if (!authorize(passthrough, version, local)) {
        return;
    }
    connection->is_still_allowed = enforcement_still_allows;
    passthrough->dial.on_result = on_dialled;
    connection_note(connection, EVENT_DIAL, connection->dialled.port);
    dial_start(&passthrough->dial, connection->pod, DIAL_APPLICATION, &connection->dialled,
        pod_keeps_source(connection->pod, POD_LISTENER_PLAINTEXT) ? &connection->peer.ip : NULL);
}

static void on_client_event(struct io_watch *watch, uint32_t events)
{
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        struct passthrough *passthrough = CONTAINER_OF(watch, struct passthrough, client);
        refuse(passthrough, RESPONSE_CONNECT, "client disconnected before the connection was made");
    }
}

void passthrough_accept(struct pod *pod, int descriptor, const struct socket_address *peer)
{
    struct passthrough *passthrough = NEW(struct passthrough);
    struct connection *connection = &passthrough->connection;
    passthrough->descriptor = descriptor;
    passthrough->client.on_ready = on_client_event;
    passthrough->client.account = &pod->turns;
    connection->cut = cut;
    connection_begin(connection, pod, CONNECTION_INBOUND, peer);
    pod->account.descriptors++;
    worker_count_socket(pod->worker, CONNECTION_INBOUND, 1);
    if (!socket_original_destination(descriptor, &connection->dialled)) {
        refuse(passthrough, RESPONSE_CONNECT, "io error: the client has gone");
        return;
    }
    connection->destination = connection->dialled;
    if (!mesh_route_inbound_plaintext(&connection->dialled, &pod->worker->shared->illegal_ports)) {
        refuse(passthrough, RESPONSE_CONNECT, ROUTE_RECURSIVE_CALL);
        return;
    }
    struct result watched = loop_watch(pod->worker->loop, &passthrough->client, descriptor, 0);
    if (!result_is_ok(&watched)) {
        refuse(passthrough, RESPONSE_CONNECT, watched.message);
        return;
    }
    passthrough->workload_wait.on_workload = on_workload;
    workload_wait_start(&passthrough->workload_wait, pod);
}
