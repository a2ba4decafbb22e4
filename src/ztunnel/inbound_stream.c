/* One CONNECT on an inbound tunnel: the checks of ztunnel-dataplane §10 in their order, the connection to the application,
 * the answer, the bytes. */
#include "base/log.h"
#include "base/memory.h"
#include "base/writer.h"
#include "http/stream_relay.h"
#include "mesh/baggage.h"
#include "mesh/inbound_route.h"
#include "net/proxy_protocol.h"
#include "ztunnel/address_demand.h"
#include "ztunnel/connect_headers.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/enforcement.h"
#include "ztunnel/inbound.h"
#include "ztunnel/traffic_labels.h"
#include "ztunnel/worker.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEMANDS_MAXIMUM 2 /* what the authority names, and its waypoint */

struct inbound_stream {
    struct connection connection;
    struct inbound_tunnel *tunnel;
    struct hbone_stream *stream;
    struct workload_wait workload_wait;
    struct address_demand demand;
    unsigned demands;
    char *authority;
    struct dial dial;
    bool wants_proxy_protocol;
    struct socket_address proxied; /* with it: the destination that the header names */
    bool is_relaying;
    /* What came before the application was reached waits here: at most one stream window. */
    struct byte_queue early;
    bool has_early_end;
    struct stream_relay relay;
};

static void release(struct inbound_stream *inbound, enum close_state close_state)
{
    struct inbound_tunnel *tunnel = inbound->tunnel;
    workload_wait_cancel(&inbound->workload_wait);
    address_demand_cancel(&inbound->demand);
    dial_cancel(&inbound->dial);
    byte_queue_clear(&inbound->early);
    if (inbound->stream != NULL) {
        hbone_stream_release(inbound->stream);
    }
    memory_free(inbound->authority);
    connection_finish(&inbound->connection, close_state);
    memory_free(inbound);
    inbound_tunnel_release_stream(tunnel);
}

/* Answers with an error status: HEADERS with END_STREAM, then the request side is reset with NO_ERROR. */
static void refuse(struct inbound_stream *inbound, int status, enum response_flag flag, const char *error)
{
    connection_fail(&inbound->connection, flag, "%s", error);
    hbone_stream_respond(inbound->stream, status, NULL, 0, true);
    release(inbound, CLOSE_REFUSED);
}

static void on_progress(struct stream_relay *relay, size_t from_application, size_t to_application)
{
    struct inbound_stream *inbound = CONTAINER_OF(relay, struct inbound_stream, relay);
    connection_count(&inbound->connection, to_application, from_application);
}

static void on_relay_end(struct stream_relay *relay, enum relay_end end, const char *reason)
{
    struct inbound_stream *inbound = CONTAINER_OF(relay, struct inbound_stream, relay);
    inbound->stream = NULL;
    if (end == RELAY_END_LOST) {
        connection_fail_copy(&inbound->connection, "send", reason);
    } else if (end == RELAY_END_CUT) {
        connection_fail(&inbound->connection, response_flag_of_error(reason), "%s", reason);
    }
    release(inbound, close_state_of_relay(end));
}

static const struct stream_relay_events RELAY_EVENTS = { on_progress, on_relay_end };

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct inbound_stream *inbound = hbone_stream_context(stream);
    if (inbound->is_relaying) {
        stream_relay_on_data(&inbound->relay, slices, count);
        return;
    }
    for (int i = 0; i < count; i++) {
        byte_queue_append(&inbound->early, slices[i]);
    }
}

static void on_end_stream(struct hbone_stream *stream)
{
    struct inbound_stream *inbound = hbone_stream_context(stream);
    if (inbound->is_relaying) {
        stream_relay_on_end_stream(&inbound->relay);
    } else {
        inbound->has_early_end = true;
    }
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    struct inbound_stream *inbound = hbone_stream_context(stream);
    connection_note(&inbound->connection, EVENT_STREAM_RESET, reset->code);
    if (inbound->is_relaying) {
        stream_relay_on_reset(&inbound->relay, reset);
        return;
    }
    connection_fail(&inbound->connection, RESPONSE_CONNECT, "client disconnected before the connection was made: %s",
        reset->reason);
    if (reset->cause == HBONE_RESET_BY_PEER) {
        inbound_tunnel_note_unanswered_reset(inbound->tunnel);
    }
    release(inbound, CLOSE_LOST);
}

static void on_writable(struct hbone_stream *stream)
{
    struct inbound_stream *inbound = hbone_stream_context(stream);
    if (inbound->is_relaying) {
        stream_relay_on_writable(&inbound->relay);
    }
}

static const struct hbone_stream_events STREAM_EVENTS = {
    .on_data = on_data, .on_end = on_end_stream, .on_reset = on_reset, .on_writable = on_writable
};

static void respond_ok(struct inbound_stream *inbound)
{
    uint8_t memory[2048];
    struct writer baggage = writer_fixed(memory, sizeof memory);
    const struct workload *local = inbound->connection.destination_workload;
    bool has_baggage = inbound->connection.pod->worker->shared->configuration->response_baggage_enabled;
    if (has_baggage) {
        baggage_format(local, &baggage);
    }
    const struct hbone_field field = { bytes_of_string("baggage"), writer_bytes(&baggage) };
    hbone_stream_respond(inbound->stream, 200, &field, has_baggage ? 1 : 0, false);
}

/* The application's first bytes, when its tunnel speaks the PROXY protocol (§11). A fresh socket takes them whole. */
static bool send_proxy_header(const struct inbound_stream *inbound, int descriptor)
{
    const struct connection *connection = &inbound->connection;
    const struct spiffe_identity *identity = connection->source_identity;
    const struct proxy_protocol_header header = {
        .source = connection->peer,
        .destination = inbound->proxied,
        .identity = identity != NULL ? bytes_of_string(identity->uri) : bytes_of(NULL, 0),
    };
    uint8_t memory[PROXY_PROTOCOL_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    proxy_protocol_write(&header, &out);
    return !out.has_overflowed && send(descriptor, out.data, out.length, MSG_NOSIGNAL) == (ssize_t)out.length;
}

static void on_dialled(struct dial *dial, int descriptor, const struct result *failure)
{
    struct inbound_stream *inbound = CONTAINER_OF(dial, struct inbound_stream, dial);
    if (descriptor >= 0 && inbound->wants_proxy_protocol && !send_proxy_header(inbound, descriptor)) {
        close(descriptor);
        refuse(inbound, 503, RESPONSE_CONNECT, "connection failed: the application did not take the PROXY header");
        return;
    }
    if (descriptor < 0) {
        char error[sizeof failure->message + 32];
        snprintf(error, sizeof error, "connection failed: %s",
            failure->code == RESULT_TIMEOUT ? "deadline has elapsed" : failure->message);
        refuse(inbound, 503, RESPONSE_CONNECT, error);
        return;
    }
    struct worker *worker = inbound->connection.pod->worker;
    connection_pass(&inbound->connection, STAGE_DIALLED);
    respond_ok(inbound);
    inbound->is_relaying = true;
    if (stream_relay_start(
            &inbound->relay, worker->loop, worker->buffers, descriptor, inbound->stream, &RELAY_EVENTS)) {
        stream_relay_take_queue(&inbound->relay, &inbound->early, inbound->has_early_end);
    }
}

static void cut(struct connection *connection, enum response_flag flag, const char *reason)
{
    struct inbound_stream *inbound = CONTAINER_OF(connection, struct inbound_stream, connection);
    connection_note(connection, EVENT_CUT, (uint32_t)flag);
    connection_fail(connection, flag, "%s", reason);
    if (inbound->is_relaying) {
        stream_relay_cut(&inbound->relay, HBONE_CANCEL, reason);
        return;
    }
    hbone_stream_reset(inbound->stream, HBONE_CANCEL);
    release(inbound, CLOSE_CUT);
}

static bool authorize(struct inbound_stream *inbound, const struct mesh_version *version, const struct workload *local)
{
    uint8_t memory[512];
    struct writer error = writer_fixed(memory, sizeof memory);
    if (enforcement_allows(&inbound->connection, version, local, &error)) {
        return true;
    }
    refuse(inbound, 401, RESPONSE_DENY, writer_string(&error));
    return false;
}

static void dial_application(struct inbound_stream *inbound, const struct inbound_route *route)
{
    struct pod *pod = inbound->connection.pod;
    bool keeps_source = !route->is_loopback && pod_keeps_source(pod, POD_LISTENER_HBONE);
    inbound->wants_proxy_protocol = route->wants_proxy_protocol;
    inbound->proxied = route->proxied;
    inbound->dial.on_result = on_dialled;
    connection_note(&inbound->connection, EVENT_DIAL, route->dial.port);
    dial_start(&inbound->dial, pod, DIAL_APPLICATION, &route->dial, keeps_source ? &inbound->connection.peer.ip : NULL);
}

static void accept_route(struct inbound_stream *inbound, const struct mesh_version *version,
    const struct workload *local, const struct inbound_route *route)
{
    struct connection *connection = &inbound->connection;
    connection_pass(connection, STAGE_ROUTED);
    connection->dialled = route->upstream;
    connection_set_destination(connection, local, route->service);
    connection_open(connection);
    if (authorize(inbound, version, local)) {
        connection->is_still_allowed = enforcement_still_allows;
        dial_application(inbound, route);
    }
}

/* Answered or not: decided with what is known then. */
static void on_demanded(struct address_demand *demand, const struct result *failure)
{
    struct inbound_stream *inbound = CONTAINER_OF(demand, struct inbound_stream, demand);
    inbound->demands = failure != NULL ? DEMANDS_MAXIMUM : inbound->demands;
    workload_wait_start(&inbound->workload_wait, inbound->connection.pod);
}

/* XDS_ON_DEMAND: what the decision did not know is asked for, and the decision taken again. */
static bool demand_unknown(
    struct inbound_stream *inbound, const struct mesh_version *version, const struct inbound_route *route)
{
    struct worker *worker = inbound->connection.pod->worker;
    struct writer name = writer_growing();
    bool is_demanded = worker->shared->configuration->xds_on_demand && worker->shared->feed != NULL &&
                       inbound->demands < DEMANDS_MAXIMUM && inbound_route_unknown_name(version, route, &name);
    if (is_demanded) {
        inbound->demands++;
        inbound->demand.on_answer = on_demanded;
        address_demand_start(&inbound->demand, worker, writer_string(&name));
    }
    writer_free(&name);
    return is_demanded;
}

static void on_workload(struct workload_wait *wait, const struct workload *local)
{
    struct inbound_stream *inbound = CONTAINER_OF(wait, struct inbound_stream, workload_wait);
    struct connection *connection = &inbound->connection;
    if (local == NULL) {
        struct result unknown = pod_unknown_workload(connection->pod);
        refuse(inbound, 503, RESPONSE_CONNECT, unknown.message);
        return;
    }
    connection_pass(connection, STAGE_WORKLOAD_KNOWN);
    struct worker *worker = connection->pod->worker;
    const struct mesh_version *version = worker_version(worker);
    const char *forwarded_host = connection->forwarded_host != NULL ? connection->forwarded_host : "";
    const struct inbound_request request = {
        .local = local,
        .destination_ip = inbound->tunnel->local.ip,
        .authority = bytes_of_string(inbound->authority),
        .forwarded_host = bytes_of_string(forwarded_host),
        .illegal_ports = &worker->shared->illegal_ports,
        .tunnels_by_loopback = worker->shared->configuration->localhost_application_tunnel,
    };
    struct inbound_route route;
    mesh_route_inbound(version, &request, &route);
    if (route.status == 200) {
        accept_route(inbound, version, local, &route);
    } else if (!demand_unknown(inbound, version, &route)) {
        refuse(inbound, route.status, RESPONSE_CONNECT, route.error.message);
    }
}

static void note_source(struct inbound_stream *inbound, const struct hbone_headers *headers)
{
    struct connection *connection = &inbound->connection;
    struct worker *worker = connection->pod->worker;
    const struct workload *source = mesh_source_workload(
        worker_version(worker), &connection->peer.ip, hbone_headers_find(headers, "x-forwarded-network"));
    connection_set_source(connection, source);
    if (source == NULL && worker->shared->configuration->response_baggage_enabled) {
        struct baggage baggage = connect_headers_baggage(headers);
        connection_describe_source(connection, &baggage);
    }
}

/* An address, or a service's name and port. */
static void note_authority(struct connection *connection, struct bytes text)
{
    struct socket_address address = { 0 };
    struct bytes host;
    if (socket_address_parse_bytes(text, &address)) {
        connection_set_authority(connection, &address, NULL);
    } else if (host_port_split(text, &host, &address.port)) {
        char *hostname AUTO_FREE = string_duplicate_n((const char *)host.data, host.length);
        connection_set_authority(connection, &address, hostname);
    }
}

void inbound_stream_accept(
    struct inbound_tunnel *tunnel, struct hbone_stream *stream, const struct hbone_request *request)
{
    struct inbound_stream *inbound = NEW(struct inbound_stream);
    struct connection *connection = &inbound->connection;
    inbound->tunnel = tunnel;
    inbound->stream = stream;
    inbound->early = byte_queue_of(tunnel->pod->worker->buffers);
    connection->protocol = CONNECTION_HBONE;
    connection->cut = cut;
    connection->destination = tunnel->local;
    connection_begin(connection, tunnel->pod, CONNECTION_INBOUND, &tunnel->peer);
    hbone_stream_attach(stream, &STREAM_EVENTS, inbound);
    if (tunnel->peer_identity != NULL) {
        connection->source_identity = spiffe_identity_parse(bytes_of_string(tunnel->peer_identity->uri));
    }
    const char *refusal = limits_refuse_stream(tunnel->pod);
    if (refusal != NULL) {
        refuse(inbound, 503, RESPONSE_CONNECT, refusal);
        return;
    }
    if (!bytes_equal_string(request->method, "CONNECT")) {
        char error[96];
        snprintf(error, sizeof error, "expected method CONNECT, got %.*s",
            (int)(request->method.length < 32 ? request->method.length : 32), (const char *)request->method.data);
        refuse(inbound, 400, RESPONSE_CONNECT, error);
        return;
    }
    struct result readable = mesh_check_authority(request->authority);
    if (!result_is_ok(&readable)) {
        refuse(inbound, 400, RESPONSE_CONNECT, readable.message);
        return;
    }
    inbound->authority = string_duplicate_n((const char *)request->authority.data, request->authority.length);
    connection->forwarded_host = connect_headers_forwarded_host(hbone_headers_find(&request->headers, "forwarded"));
    note_authority(connection, request->authority);
    (void)connect_headers_read_trace(hbone_headers_find(&request->headers, "traceparent"), connection->trace_id);
    note_source(inbound, &request->headers);
    CONNECTION_EVENT(connection, LOG_DEBUG, "ztunnel::proxy::inbound", "received CONNECT",
        LOG_DISPLAY("authority", inbound->authority),
        LOG_STRING("identity", connection->source_identity != NULL ? connection->source_identity->uri : NULL),
        LOG_STRING("host", connection->forwarded_host), LOG_NUMBER("headers", request->headers.count));
    inbound->workload_wait.on_workload = on_workload;
    workload_wait_start(&inbound->workload_wait, tunnel->pod);
}
