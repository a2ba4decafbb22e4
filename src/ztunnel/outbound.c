#include "ztunnel/outbound.h"

#include "base/memory.h"
#include "base/random.h"
#include "http/stream_relay.h"
#include "mesh/baggage.h"
#include "net/name_resolver.h"
#include "net/socket.h"
#include "net/tcp_relay.h"
#include "tls/identity.h"
#include "ztunnel/address_demand.h"
#include "ztunnel/connect_request.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/early_data.h"
#include "ztunnel/enrolment_proof.h"
#include "ztunnel/http_status.h"
#include "ztunnel/inner_tunnel.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/traffic_labels.h"
#include "ztunnel/worker.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EXPECTED_IDENTITIES_MAXIMUM 64
#define NAME_LOOKUPS_MAXIMUM 4
#define FAILED_LOOKUPS_A_SECOND 5 /* lines: applications may dial as often as they please */
#define DEMANDS_MAXIMUM 4 /* a target, its waypoint, a gateway; a control plane that knows none is not asked for ever */

/* The life of one: wait for the own workload, route, dial (plain) or take a tunnel and CONNECT, relay. Towards another network
 * (double HBONE) the answered CONNECT becomes an inner tunnel, with a CONNECT of its own. */
struct outbound {
    struct connection connection;
    int descriptor;         /* the application's; -1 once a relay has it */
    struct io_watch client; /* while we are still dialling: early data, and a reset; a stream's relay takes it over */
    uint32_t client_events; /* it was told so far */
    struct early_data early;
    struct workload_wait workload_wait;
    struct address_demand demand;
    unsigned demands;
    uint64_t seed;
    bool has_retried;
    struct name_lookup name_lookup;
    unsigned name_lookups;
    struct hbone_pool_waiter tunnel_wait;
    struct hbone_stream *stream;
    struct inner_tunnel *inner;
    struct writer inner_identities; /* each followed by a NUL */
    size_t inner_identity_count;
    char traceparent[TRACEPARENT_TEXT_SIZE]; /* "": not made yet */
    bool is_relaying;
    union {
        struct dial dial;     /* until is_relaying: over when a relay begins, lends it its place */
        struct tcp_relay tcp; /* from then on */
        struct stream_relay stream;
    } relay;
};

static void route_and_go(struct outbound *outbound, const struct resolved_name *resolved);
static void send_connect(struct outbound *outbound, struct hbone_session *session);

/* What was made for the last decision; a retry decides anew. */
static void forget_tunnel(struct outbound *outbound)
{
    if (outbound->stream != NULL) {
        hbone_stream_release(outbound->stream);
        outbound->stream = NULL;
        early_data_take_back(&outbound->early, &outbound->client_events);
    }
    if (outbound->inner != NULL) {
        inner_tunnel_close(outbound->inner);
        outbound->inner = NULL;
    }
    writer_free(&outbound->inner_identities);
}

static void release(struct outbound *outbound, enum close_state close_state)
{
    struct pod *pod = outbound->connection.pod;
    loop_unwatch_closing(&outbound->client);
    workload_wait_cancel(&outbound->workload_wait);
    address_demand_cancel(&outbound->demand);
    name_lookup_cancel(&outbound->name_lookup);
    if (!outbound->is_relaying) {
        dial_cancel(&outbound->relay.dial);
    }
    hbone_pool_cancel(pod->tunnels, &outbound->tunnel_wait);
    forget_tunnel(outbound);
    if (outbound->descriptor >= 0 && outbound->early.length > 0) {
        socket_close_with_reset(outbound->descriptor); /* as if its bytes had not been read */
    } else if (outbound->descriptor >= 0) {
        socket_close_cleanly(outbound->descriptor);
    }
    early_data_free(&outbound->early);
    pod->account.descriptors--;
    worker_count_socket(pod->worker, CONNECTION_OUTBOUND, -1);
    connection_finish(&outbound->connection, close_state);
    memory_free(outbound);
    pod_check_drained(pod);
}

/* Nothing was relayed: the application sees its connection closed. */
static void refuse(struct outbound *outbound, const char *message)
{
    if (outbound->connection.protocol == CONNECTION_DOUBLE_HBONE) {
        connection_open(&outbound->connection); /* counted once the inner CONNECT has ended, well or badly (§8.1) */
    }
    connection_fail(&outbound->connection, response_flag_of_error(message), "%s", message);
    release(outbound, CLOSE_REFUSED);
}

static void lose_client(struct outbound *outbound)
{
    connection_fail(&outbound->connection, RESPONSE_CONNECT, "client disconnected before the connection was made");
    release(outbound, CLOSE_RESET);
}

/* Not through a gateway, whose answer is followed by a handshake; and not twice. */
static void send_early(struct outbound *outbound)
{
    if (outbound->stream != NULL && outbound->connection.protocol == CONNECTION_HBONE && !outbound->early.is_unsent &&
        !early_data_send(&outbound->early, outbound->stream, outbound->descriptor, &outbound->client_events)) {
        lose_client(outbound);
    }
}

static void on_client_event(struct io_watch *watch, uint32_t events)
{
    struct outbound *outbound = CONTAINER_OF(watch, struct outbound, client);
    outbound->client_events |= events;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        lose_client(outbound);
    } else {
        send_early(outbound);
    }
}

/* They count once somebody has them. */
static void settle_early(struct outbound *outbound)
{
    if (outbound->early.length > 0) {
        connection_count(&outbound->connection, outbound->early.length, 0);
    }
    early_data_free(&outbound->early);
}

static int take_client_descriptor(struct outbound *outbound)
{
    int descriptor = outbound->descriptor;
    loop_unwatch(&outbound->client);
    outbound->descriptor = -1;
    outbound->is_relaying = true;
    return descriptor;
}

static void on_tcp_progress(struct tcp_relay *relay, size_t forward_bytes, size_t backward_bytes)
{
    struct outbound *outbound = CONTAINER_OF(relay, struct outbound, relay.tcp);
    connection_count(&outbound->connection, forward_bytes, backward_bytes);
}

static void on_tcp_end(struct tcp_relay *relay, enum relay_end end)
{
    release(CONTAINER_OF(relay, struct outbound, relay.tcp), close_state_of_relay(end));
}

static const struct tcp_relay_events TCP_EVENTS = { on_tcp_progress, on_tcp_end };

static void on_dialled(struct dial *dial, int descriptor, const struct result *failure)
{
    struct outbound *outbound = CONTAINER_OF(dial, struct outbound, relay.dial);
    if (descriptor < 0) {
        char message[sizeof failure->message + 16];
        snprintf(message, sizeof message, "io error: %s",
            failure->code == RESULT_TIMEOUT ? "deadline has elapsed" : failure->message);
        refuse(outbound, message);
        return;
    }
    if (!early_data_repeat_plain(&outbound->early, descriptor)) {
        close(descriptor);
        refuse(outbound, "io error: the server did not take the first bytes");
        return;
    }
    struct worker *worker = outbound->connection.pod->worker;
    connection_pass(&outbound->connection, STAGE_DIALLED);
    settle_early(outbound);
    tcp_relay_start(&outbound->relay.tcp, worker->loop, &outbound->connection.pod->turns, worker->buffers,
        take_client_descriptor(outbound), descriptor, &TCP_EVENTS);
}

static void start_plain(struct outbound *outbound, const struct socket_address *to)
{
    connection_open(&outbound->connection);
    outbound->relay.dial.on_result = on_dialled;
    connection_note(&outbound->connection, EVENT_DIAL, to->port);
    dial_start(&outbound->relay.dial, outbound->connection.pod, DIAL_UPSTREAM, to, NULL);
}

static void on_stream_progress(struct stream_relay *relay, size_t from_application, size_t to_application)
{
    struct outbound *outbound = CONTAINER_OF(relay, struct outbound, relay.stream);
    connection_count(&outbound->connection, from_application, to_application);
}

static void on_stream_relay_end(struct stream_relay *relay, enum relay_end end, const char *reason)
{
    struct outbound *outbound = CONTAINER_OF(relay, struct outbound, relay.stream);
    outbound->stream = NULL;
    if (end == RELAY_END_LOST) {
        connection_fail_copy(&outbound->connection, "receive", reason);
    } else if (end == RELAY_END_CUT) {
        connection_fail(&outbound->connection, response_flag_of_error(reason), "%s", reason);
    }
    release(outbound, close_state_of_relay(end));
}

static const struct stream_relay_events STREAM_RELAY_EVENTS = { on_stream_progress, on_stream_relay_end };

/* The texts that outbound_route_expected_identities wrote one after the other. */
static size_t list_texts(const struct writer *texts, size_t count, const char *list[EXPECTED_IDENTITIES_MAXIMUM])
{
    const char *at = (const char *)texts->data;
    size_t listed = 0;
    while (listed < count && listed < EXPECTED_IDENTITIES_MAXIMUM) {
        list[listed++] = at;
        at += strlen(at) + 1;
    }
    return listed;
}

static void on_inner_open(void *context, struct hbone_session *session, const char *identity)
{
    struct outbound *outbound = context;
    memory_free(outbound->connection.destination_identity);
    outbound->connection.destination_identity = string_duplicate(identity);
    send_connect(outbound, session);
}

static void on_inner_failure(void *context, const char *error)
{
    refuse(context, error);
}

static const struct inner_tunnel_events INNER_EVENTS = { on_inner_open, on_inner_failure };

/* The gateway has answered: the rest is between the proxy behind it and us. */
static void enter_inner_tunnel(struct outbound *outbound)
{
    struct pod *pod = outbound->connection.pod;
    struct tls_identity *certificate =
        certificate_cache_get(pod->worker->certificates, outbound->connection.source_identity->uri);
    if (certificate == NULL) {
        refuse(outbound, "identity error: the identity is no longer needed");
        return;
    }
    const char *sans[EXPECTED_IDENTITIES_MAXIMUM];
    size_t count = list_texts(&outbound->inner_identities, outbound->inner_identity_count, sans);
    struct hbone_stream *outer = outbound->stream;
    outbound->stream = NULL;
    outbound->inner = inner_tunnel_new(pod, outer, certificate, sans, count, &INNER_EVENTS, outbound);
}

static void start_relay(struct outbound *outbound)
{
    bool has_ended = outbound->early.has_end;
    if (!early_data_repeat(&outbound->early, outbound->stream)) {
        refuse(outbound, "h2 failed: the tunnel did not take the first bytes");
        return;
    }
    settle_early(outbound);
    outbound->descriptor = -1;
    outbound->is_relaying = true;
    (void)stream_relay_start_watched(&outbound->relay.stream, outbound->connection.pod->worker->buffers,
        &outbound->client, outbound->client_events, has_ended, outbound->stream, &STREAM_RELAY_EVENTS);
}

static void on_response(struct hbone_stream *stream, int status, const struct hbone_headers *headers)
{
    struct outbound *outbound = hbone_stream_context(stream);
    struct connection *connection = &outbound->connection;
    connection_note(connection, EVENT_STATUS, (uint32_t)status);
    if (status != 200) {
        char message[64];
        connection_pass(connection, STAGE_CONNECT_ANSWERED);
        snprintf(message, sizeof message, "http status: %d %s", status, http_status_reason(status));
        refuse(outbound, message);
        return;
    }
    if (connection->protocol == CONNECTION_DOUBLE_HBONE && outbound->inner == NULL) {
        enter_inner_tunnel(outbound);
        return;
    }
    connection_pass(connection, STAGE_CONNECT_ANSWERED);
    if (connection->protocol == CONNECTION_DOUBLE_HBONE) {
        /* What the proxy behind the gateway says about itself, for telemetry (§9). */
        struct baggage baggage = connect_headers_baggage(headers);
        connection_describe_destination(connection, &baggage);
        connection_open(connection);
    }
    start_relay(outbound);
}

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct outbound *outbound = hbone_stream_context(stream);
    stream_relay_on_data(&outbound->relay.stream, slices, count);
}

static void on_end_stream(struct hbone_stream *stream)
{
    struct outbound *outbound = hbone_stream_context(stream);
    stream_relay_on_end_stream(&outbound->relay.stream);
}

static void on_writable(struct hbone_stream *stream)
{
    struct outbound *outbound = hbone_stream_context(stream);
    if (outbound->is_relaying) {
        stream_relay_on_writable(&outbound->relay.stream);
    }
}

/* One more try, on another tunnel, when this one died before it could answer. */
static void retry(struct outbound *outbound)
{
    outbound->has_retried = true;
    metric_count(outbound->connection.pod->worker->metrics, METRIC_TUNNEL_RETRIES, 1);
    connection_note(&outbound->connection, EVENT_RETRY, 0);
    struct hbone_session *session = outbound->stream != NULL ? hbone_stream_session(outbound->stream) : NULL;
    if (session != NULL) {
        hbone_session_drain(session, "the peer refused a stream"); /* it may be asked again, but not by this tunnel */
    }
    forget_tunnel(outbound);
    route_and_go(outbound, NULL);
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    struct outbound *outbound = hbone_stream_context(stream);
    connection_note(&outbound->connection, EVENT_STREAM_RESET, reset->code);
    if (outbound->is_relaying) {
        stream_relay_on_reset(&outbound->relay.stream, reset);
    } else if (reset->is_retryable && !outbound->has_retried) {
        retry(outbound);
    } else {
        char message[256];
        snprintf(message, sizeof message, "%s: %s", reset->is_before_settings ? "http2 handshake failed" : "h2 failed",
            reset->reason);
        refuse(outbound, message);
    }
}

static const struct hbone_stream_events STREAM_EVENTS = { on_response, on_data, on_end_stream, on_reset, on_writable };

static void send_connect(struct outbound *outbound, struct hbone_session *session)
{
    struct connection *connection = &outbound->connection;
    connection_pass(connection, STAGE_TUNNEL_READY);
    outbound->stream = connect_request_send(
        connection, session, outbound->traceparent, outbound->inner != NULL, &STREAM_EVENTS, outbound);
    if (outbound->stream != NULL) {
        connection_note(connection, EVENT_CONNECT_SENT, hbone_stream_id(outbound->stream));
        send_early(outbound);
    } else {
        refuse(outbound, "h2 failed: the tunnel had no room for another stream");
    }
}

static void on_tunnel(struct hbone_pool_waiter *waiter, struct hbone_session *session)
{
    send_connect(CONTAINER_OF(waiter, struct outbound, tunnel_wait), session);
}

static void on_tunnel_failure(struct hbone_pool_waiter *waiter, const struct result *failure)
{
    struct outbound *outbound = CONTAINER_OF(waiter, struct outbound, tunnel_wait);
    /* The destination left the mesh while its tunnel was being opened: there may be another. */
    if (failure->code == RESULT_NOT_FOUND && !outbound->has_retried) {
        retry(outbound);
        return;
    }
    refuse(outbound, failure->message);
}

static void start_tunnel(struct outbound *outbound, const struct outbound_route *route)
{
    struct connection *connection = &outbound->connection;
    bool is_double = route->kind == OUTBOUND_DOUBLE_HBONE;
    connection->protocol = is_double ? CONNECTION_DOUBLE_HBONE : CONNECTION_HBONE;
    connection_set_authority(connection, &route->authority, route->authority_hostname);
    struct writer identity = writer_growing();
    workload_add_identity(connection->source_workload, &identity);
    spiffe_identity_free(connection->source_identity);
    connection->source_identity = spiffe_identity_parse(writer_bytes(&identity));
    if (is_double) {
        outbound->inner_identity_count = outbound_route_inner_identities(route, &outbound->inner_identities);
    } else {
        connection_open(connection);
    }

    struct writer expected = writer_growing();
    size_t expected_count = outbound_route_expected_identities(route, &expected);
    const char *sans[EXPECTED_IDENTITIES_MAXIMUM];
    struct hbone_pool_key key = {
        .source_identity = writer_string(&identity),
        .destination_uid = workload_text(route->destination, WORKLOAD_UID),
        .destination = route->next_hop,
        .sans = sans,
        .san_count = list_texts(&expected, expected_count, sans),
        .source = connection->peer.ip,
    };
    outbound->tunnel_wait.on_tunnel = on_tunnel;
    outbound->tunnel_wait.on_failure = on_tunnel_failure;
    struct result failure;
    struct hbone_session *session =
        hbone_pool_checkout(connection->pod->tunnels, &key, &outbound->tunnel_wait, &failure);
    writer_free(&expected);
    writer_free(&identity);
    if (session != NULL) {
        send_connect(outbound, session);
    } else if (!result_is_ok(&failure)) {
        refuse(outbound, failure.message);
    }
}

static void on_name(struct name_lookup *lookup, const struct name_answer *answer)
{
    struct outbound *outbound = CONTAINER_OF(lookup, struct outbound, name_lookup);
    if (!answer->does_exist) {
        LOG_EVENT_LIMITED(FAILED_LOOKUPS_A_SECOND, connection_spans(&outbound->connection, &(struct proxy_spans){ 0 }),
            LOG_WARN, "ztunnel::state", "dns lookup failed", LOG_STRING("hostname", answer->hostname));
    }
    const struct resolved_name resolved = {
        .hostname = answer->hostname,
        .addresses = answer->addresses,
        .address_count = answer->address_count,
        .has_answer = answer->does_exist,
    };
    route_and_go(outbound, &resolved);
}

/* A workload that is known by its name only (dataplane §6.4); routed again when the name is an address. A route that needs two
 * names would be asked for them in turns for ever. */
static void resolve(struct outbound *outbound, const char *hostname)
{
    if (++outbound->name_lookups > NAME_LOOKUPS_MAXIMUM) {
        refuse(outbound, "the route leads through more than one workload that is known by its name only");
        return;
    }
    count_on_demand_dns(&outbound->connection, hostname);
    outbound->name_lookup.on_answer = on_name;
    name_lookup_start(&outbound->name_lookup, outbound->connection.pod->worker->names, hostname);
}

static void follow(struct outbound *outbound, const struct outbound_route *route)
{
    struct connection *connection = &outbound->connection;
    connection_pass(connection, STAGE_ROUTED);
    switch (route->kind) {
    case OUTBOUND_PASSTHROUGH:
        connection_set_destination(connection, NULL, NULL);
        start_plain(outbound, &connection->dialled);
        return;
    case OUTBOUND_TCP:
        connection_set_destination(connection, route->destination, route->service);
        connection->destination = route->next_hop;
        start_plain(outbound, &route->next_hop);
        return;
    case OUTBOUND_HBONE:
    case OUTBOUND_DOUBLE_HBONE:
        connection_set_destination(connection, route->destination, route->service);
        connection->destination = route->next_hop;
        start_tunnel(outbound, route);
        return;
    case OUTBOUND_NEEDS_RESOLUTION:
        resolve(outbound, route->hostname);
        return;
    case OUTBOUND_REFUSED_EARLY:
    case OUTBOUND_REFUSED:
        refuse(outbound, route->error.message);
        return;
    }
}

static void on_demanded(struct address_demand *demand, const struct result *failure)
{
    struct outbound *outbound = CONTAINER_OF(demand, struct outbound, demand);
    if (failure != NULL) {
        refuse(outbound, failure->message);
    } else {
        route_and_go(outbound, NULL);
    }
}

/* XDS_ON_DEMAND: what the decision did not know is asked for, and the decision taken again. */
static bool demand_unknown(
    struct outbound *outbound, const struct outbound_request *request, const struct outbound_route *route)
{
    struct worker *worker = outbound->connection.pod->worker;
    struct writer name = writer_growing();
    bool is_demanded = worker->shared->configuration->xds_on_demand && worker->shared->feed != NULL &&
                       outbound->demands < DEMANDS_MAXIMUM &&
                       outbound_route_unknown_name(worker_version(worker), request, route, &name);
    if (is_demanded) {
        outbound->demands++;
        outbound->demand.on_answer = on_demanded;
        address_demand_start(&outbound->demand, worker, writer_string(&name));
    }
    writer_free(&name);
    return is_demanded;
}

static void route_and_go(struct outbound *outbound, const struct resolved_name *resolved)
{
    struct connection *connection = &outbound->connection;
    struct worker *worker = connection->pod->worker;
    const struct outbound_request request = {
        .source = connection->source_workload,
        .downstream_ip = connection->peer.ip,
        .target = connection->dialled,
        .illegal_ports = &worker->shared->illegal_ports,
        .seed = outbound->seed,
        .resolved = resolved,
    };
    struct outbound_route route;
    mesh_route_outbound(worker_version(worker), &request, &route);
    if (!demand_unknown(outbound, &request, &route)) {
        follow(outbound, &route);
    }
}

static void on_workload(struct workload_wait *wait, const struct workload *workload)
{
    struct outbound *outbound = CONTAINER_OF(wait, struct outbound, workload_wait);
    if (workload == NULL) {
        struct result unknown = pod_unknown_workload(outbound->connection.pod);
        refuse(outbound, unknown.message);
        return;
    }
    connection_pass(&outbound->connection, STAGE_WORKLOAD_KNOWN);
    connection_set_source(&outbound->connection, workload);
    route_and_go(outbound, NULL);
}

static void cut(struct connection *connection, enum response_flag flag, const char *reason)
{
    struct outbound *outbound = CONTAINER_OF(connection, struct outbound, connection);
    connection_note(connection, EVENT_CUT, (uint32_t)flag);
    connection_fail(connection, flag, "%s", reason);
    if (!outbound->is_relaying) {
        release(outbound, CLOSE_CUT);
    } else if (connection->protocol != CONNECTION_TCP) {
        stream_relay_cut(&outbound->relay.stream, HBONE_CANCEL, reason);
    } else {
        tcp_relay_cut(&outbound->relay.tcp, RELAY_END_CUT);
    }
}

static struct outbound *make(struct pod *pod, int descriptor, const struct socket_address *peer)
{
    struct outbound *outbound = NEW(struct outbound);
    outbound->descriptor = descriptor;
    outbound->seed = random_u64();
    outbound->inner_identities = writer_growing();
    outbound->connection.cut = cut;
    list_initialise(&outbound->tunnel_wait.link);
    connection_begin(&outbound->connection, pod, CONNECTION_OUTBOUND, peer);
    pod->account.descriptors++;
    worker_count_socket(pod->worker, CONNECTION_OUTBOUND, 1);
    outbound->client.on_ready = on_client_event;
    outbound->client.account = &pod->turns;
    return outbound;
}

void outbound_start(
    struct pod *pod, int descriptor, const struct socket_address *peer, const struct socket_address *target)
{
    struct outbound *outbound = make(pod, descriptor, peer);
    outbound->connection.dialled = *target;
    outbound->connection.destination = *target;
    struct result watched = loop_watch(pod->worker->loop, &outbound->client, descriptor, STREAM_RELAY_INTEREST);
    if (!result_is_ok(&watched)) {
        refuse(outbound, watched.message);
        return;
    }
    outbound->workload_wait.on_workload = on_workload;
    workload_wait_start(&outbound->workload_wait, pod);
}

void outbound_accept(struct pod *pod, int descriptor, const struct socket_address *peer)
{
    struct socket_address dialled;
    if (!socket_original_destination(descriptor, &dialled)) {
        refuse(make(pod, descriptor, peer), "io error: the application has gone");
    } else if (!enrolment_proof_takes_captured(pod, descriptor, peer, &dialled)) {
        outbound_start(pod, descriptor, peer, &dialled);
    }
}
