#include "ztunnel/connection_view.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/hbone_pool.h"
#include "ztunnel/inbound.h"
#include "ztunnel/worker.h"

#include <stdio.h>

static void write_address(struct json_writer *json, const char *key, const struct socket_address *address)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    json_write_key(json, key);
    if (address->ip.family == IP_NONE || address->port == 0) {
        json_write_null(json);
    } else {
        json_write_string(json, socket_address_format(address, text));
    }
}

static void write_workload(struct json_writer *json, const char *key, const struct workload *workload)
{
    json_write_key(json, key);
    if (workload == NULL) {
        json_write_null(json);
        return;
    }
    char *AUTO_FREE name =
        string_format("%s/%s", workload_text(workload, WORKLOAD_NAMESPACE), workload_text(workload, WORKLOAD_NAME));
    json_write_string(json, name);
}

/* Microseconds since accept, for those that were passed. */
static void write_stages(struct json_writer *json, const struct connection *connection)
{
    json_write_key(json, "stages");
    json_write_object_begin(json);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        if (connection->stage_ns[stage] != 0) {
            json_write_member_unsigned(json, connection_stage_name((enum connection_stage)stage),
                (connection->stage_ns[stage] - connection->stage_ns[STAGE_ACCEPTED]) / 1000);
        }
    }
    json_write_object_end(json);
}

const char *connection_state_text(const struct connection *connection)
{
    static const char *const WAITS_FOR[STAGE_COUNT] = {
        [STAGE_ACCEPTED] = "waiting for its workload",
        [STAGE_WORKLOAD_KNOWN] = "routing",
        [STAGE_ROUTED] = "waiting for a tunnel or a connection",
        [STAGE_AUTHORIZED] = "dialling the application",
        [STAGE_TUNNEL_READY] = "waiting for the answer to CONNECT",
        [STAGE_CONNECT_ANSWERED] = "established",
        [STAGE_DIALLED] = "established",
        [STAGE_FIRST_BYTE] = "established",
        [STAGE_CLOSED] = "closing",
    };
    for (int stage = STAGE_COUNT - 1; stage > 0; stage--) {
        if (connection->stage_ns[stage] != 0) {
            return WAITS_FOR[stage];
        }
    }
    return WAITS_FOR[STAGE_ACCEPTED];
}

static void write_identities(struct json_writer *json, const struct connection *connection)
{
    const struct spiffe_identity *source = connection->source_identity;
    json_write_member_string(json, "sourceIdentity", source != NULL ? source->uri : NULL);
    if (connection->destination_identity != NULL || connection->destination_workload == NULL) {
        json_write_member_string(json, "destinationIdentity", connection->destination_identity);
        return;
    }
    struct writer identity = writer_growing();
    workload_add_identity(connection->destination_workload, &identity);
    json_write_member_string(json, "destinationIdentity", writer_string(&identity));
    writer_free(&identity);
}

/* The tunnel it goes through, by its address: the peer's of an accepted one, the next hop's of one of ours. */
static void write_tunnel(struct json_writer *json, const struct connection *connection)
{
    if (connection->protocol == CONNECTION_TCP) {
        json_write_member_string(json, "tunnel", NULL);
        return;
    }
    write_address(
        json, "tunnel", connection->direction == CONNECTION_INBOUND ? &connection->peer : &connection->destination);
}

static void write_events(struct json_writer *json, const struct connection *connection)
{
    uint8_t memory[512];
    struct writer events = writer_fixed(memory, sizeof memory);
    connection_events_write(&connection->events, &events);
    json_write_member_string(json, "events", writer_string(&events));
}

void connection_view(const struct connection *connection, struct json_writer *json)
{
    const struct pod *pod = connection->pod;
    const struct worker *worker = pod->worker;
    char time[40];
    uint64_t age_ns = clock_monotonic_ns() - connection->stage_ns[STAGE_ACCEPTED];
    char *AUTO_FREE pod_name = string_format("%s/%s", pod->information.namespace_, pod->information.name);
    json_write_object_begin(json);
    clock_format_rfc3339(clock_wall_ns() - (int64_t)age_ns, 6, time);
    json_write_member_string(json, "acceptedAt", time);
    json_write_member_unsigned(json, "ageUs", age_ns / 1000);
    json_write_member_unsigned(json, "bytesReceived", connection->received_bytes);
    json_write_member_unsigned(json, "bytesSent", connection->sent_bytes);
    write_address(json, "destination", &connection->dialled);
    write_address(json, "hboneAuthority", &connection->authority);
    write_address(json, "nextHop", &connection->destination);
    write_workload(json, "destinationWorkload", connection->destination_workload);
    json_write_member_string(json, "direction", connection->direction == CONNECTION_OUTBOUND ? "outbound" : "inbound");
    write_events(json, connection);
    json_write_member_unsigned(json, "id", connection->id);
    write_identities(json, connection);
    json_write_member_string(json, "pod", pod_name);
    json_write_member_string(json, "protocol", connection_protocol_name(connection));
    json_write_member_string(json, "service", connection->service != NULL ? connection->service->key : NULL);
    write_address(json, "source", &connection->peer);
    write_workload(json, "sourceWorkload", connection->source_workload);
    write_stages(json, connection);
    json_write_member_string(json, "state", connection_state_text(connection));
    write_tunnel(json, connection);
    json_write_member_unsigned(json, "worker", worker->index);
    json_write_object_end(json);
}

struct tunnel_visit {
    void (*visit)(const struct tunnel_view *tunnel, const struct pod *pod, void *context);
    void *context;
    const struct pod *pod;
    size_t shown;
};

static void add_statistics(struct tunnel_view *view, const struct hbone_session *session)
{
    struct hbone_statistics statistics = hbone_session_statistics(session);
    view->streams = statistics.streams;
    view->streams_total = statistics.streams_total;
    view->bytes_sent = statistics.bytes_sent;
    view->bytes_received = statistics.bytes_received;
    view->unsent_bytes = statistics.unsent_bytes;
    view->pinned_bytes = statistics.pinned_bytes;
    view->round_trip_us = statistics.round_trip_ns / 1000;
    view->is_draining = hbone_session_is_draining(session);
    view->is_stalled = hbone_session_is_stalled(session);
}

static void visit_outbound(void *context, const struct hbone_pool_key *key, struct hbone_session *session)
{
    struct tunnel_visit *visit = context;
    if (visit->shown++ >= TUNNELS_SHOWN_A_POD) {
        return;
    }
    struct tunnel_view view = { .direction = "outbound",
        .source_identity = key->source_identity,
        .destination_identity = key->san_count > 0 ? key->sans[key->san_count - 1] : NULL,
        .destination_uid = key->destination_uid };
    socket_address_format(&key->destination, view.peer);
    add_statistics(&view, session);
    visit->visit(&view, visit->pod, visit->context);
}

void pod_visit_tunnels(struct pod *pod,
    void (*visit)(const struct tunnel_view *tunnel, const struct pod *pod, void *context), void *context)
{
    struct tunnel_visit outbound = { visit, context, pod, 0 };
    hbone_pool_for_each(pod->tunnels, visit_outbound, &outbound);
    size_t shown = 0;
    LIST_FOR_EACH(link, &pod->inbound_tunnels) {
        const struct inbound_tunnel *tunnel = LIST_ENTRY(link, struct inbound_tunnel, link);
        if (shown++ == TUNNELS_SHOWN_A_POD) {
            return;
        }
        struct tunnel_view view = { .direction = "inbound",
            .source_identity = tunnel->peer_identity != NULL ? tunnel->peer_identity->uri : NULL,
            .destination_uid = "" };
        socket_address_format(&tunnel->peer, view.peer);
        if (tunnel->session != NULL && !tunnel->has_session_ended) {
            add_statistics(&view, tunnel->session);
        }
        visit(&view, pod, context);
    }
}

static void write_tunnel_view(const struct tunnel_view *tunnel, const struct pod *pod, void *context)
{
    struct json_writer *json = context;
    char *AUTO_FREE pod_name = string_format("%s/%s", pod->information.namespace_, pod->information.name);
    json_write_object_begin(json);
    json_write_member_unsigned(json, "bytesReceived", tunnel->bytes_received);
    json_write_member_unsigned(json, "bytesSent", tunnel->bytes_sent);
    json_write_member_string(json, "destinationIdentity", tunnel->destination_identity);
    json_write_member_string(json, "destinationUid", tunnel->destination_uid);
    json_write_member_string(json, "direction", tunnel->direction);
    json_write_member_bool(json, "isDraining", tunnel->is_draining);
    json_write_member_bool(json, "isStalled", tunnel->is_stalled);
    json_write_member_string(json, "peer", tunnel->peer);
    json_write_member_unsigned(json, "pinnedBytes", tunnel->pinned_bytes);
    json_write_member_string(json, "pod", pod_name);
    json_write_member_unsigned(json, "roundTripUs", tunnel->round_trip_us);
    json_write_member_string(json, "sourceIdentity", tunnel->source_identity);
    json_write_member_unsigned(json, "streams", tunnel->streams);
    json_write_member_unsigned(json, "streamsTotal", tunnel->streams_total);
    json_write_member_unsigned(json, "unsentBytes", tunnel->unsent_bytes);
    json_write_member_unsigned(json, "worker", pod->worker->index);
    json_write_object_end(json);
}

void pod_tunnels_view(struct pod *pod, struct json_writer *json)
{
    pod_visit_tunnels(pod, write_tunnel_view, json);
}
