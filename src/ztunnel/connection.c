#include "ztunnel/connection.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "base/writer.h"
#include "mesh/baggage.h"
#include "net/socket.h"
#include "ztunnel/access_log.h"
#include "ztunnel/limits.h"
#include "ztunnel/live_walk.h"
#include "ztunnel/pod.h"
#include "ztunnel/refusals.h"
#include "ztunnel/trace_points.h"
#include "ztunnel/traffic_labels.h"
#include "ztunnel/worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define EVENT_LINES_A_SECOND 10

static const char *const STAGE_NAMES[STAGE_COUNT] = { "accepted", "workload_known", "routed", "authorized",
    "tunnel_ready", "connect_answered", "dialled", "first_byte", "closed" };

const char *connection_stage_name(enum connection_stage stage)
{
    return STAGE_NAMES[stage];
}

enum close_state close_state_of_relay(enum relay_end end)
{
    switch (end) {
    case RELAY_END_CLEAN:
        return CLOSE_FINISHED;
    case RELAY_END_RESET:
        return CLOSE_RESET;
    case RELAY_END_CUT:
        return CLOSE_CUT;
    case RELAY_END_LOST:
        return CLOSE_LOST;
    }
    return CLOSE_LOST;
}

void connection_begin(struct connection *connection, struct pod *pod, enum connection_direction direction,
    const struct socket_address *peer)
{
    connection->pod = pod;
    connection->id = ++pod->worker->last_connection_id;
    connection->direction = (uint8_t)direction;
    connection->peer = *peer;
    list_append(&pod->connections, &connection->link);
    pod->account.connections++;
    pod->worker->live_connections[direction]++;
    connection_pass(connection, STAGE_ACCEPTED);
}

static void trace_stage(const struct connection *connection, enum connection_stage stage)
{
    unsigned worker = connection->pod->worker->index;
    switch (stage) {
    case STAGE_ACCEPTED:
        TRACE_POINT_3(connection_accept, worker, connection->id, connection->direction);
        break;
    case STAGE_AUTHORIZED:
        TRACE_POINT_3(connection_policy, worker, connection->id, 1);
        break;
    case STAGE_FIRST_BYTE:
        TRACE_POINT_3(connection_first_byte, worker, connection->id,
            connection->stage_ns[STAGE_FIRST_BYTE] - connection->stage_ns[STAGE_ACCEPTED]);
        break;
    default:
        break;
    }
    (void)worker; /* without <sys/sdt.h> */
}

void connection_pass(struct connection *connection, enum connection_stage stage)
{
    if (connection->stage_ns[stage] != 0) {
        return;
    }
    uint64_t now_ns = clock_monotonic_ns();
    connection->stage_ns[stage] = now_ns;
    connection_events_add(&connection->events, EVENT_STAGE, stage, now_ns - connection->stage_ns[STAGE_ACCEPTED]);
    trace_stage(connection, stage);
}

static void trace_event(const struct connection *connection, enum connection_event event, uint32_t detail)
{
    unsigned worker = connection->pod->worker->index;
    switch (event) {
    case EVENT_DENIED:
        TRACE_POINT_3(connection_policy, worker, connection->id, 0);
        break;
    case EVENT_DIAL:
        TRACE_POINT_3(connection_dial, worker, connection->id, detail);
        break;
    case EVENT_CONNECT_SENT:
        TRACE_POINT_3(connection_connect, worker, connection->id, 0);
        break;
    case EVENT_STATUS:
        TRACE_POINT_3(connection_connect, worker, connection->id, detail);
        break;
    default:
        break;
    }
    (void)worker;
    (void)detail;
}

void connection_note(struct connection *connection, enum connection_event event, uint32_t detail)
{
    connection_events_add(
        &connection->events, event, detail, clock_monotonic_ns() - connection->stage_ns[STAGE_ACCEPTED]);
    trace_event(connection, event, detail);
}

const char *connection_trace_id(struct connection *connection)
{
    if (connection->trace_id[0] == '\0') {
        const uint64_t id[] = { random_u64(), random_u64() };
        struct writer out = writer_fixed(connection->trace_id, sizeof connection->trace_id);
        writer_add_hexadecimal(&out, bytes_of(id, sizeof id));
        (void)writer_string(&out);
    }
    return connection->trace_id;
}

void connection_set_source(struct connection *connection, const struct workload *workload)
{
    workload_release(connection->source_workload);
    connection->source_workload = workload != NULL ? workload_reference(workload) : NULL;
}

void connection_set_destination(
    struct connection *connection, const struct workload *workload, const struct service *service)
{
    workload_release(connection->destination_workload);
    service_release(connection->service);
    connection->destination_workload = workload != NULL ? workload_reference(workload) : NULL;
    connection->service = service != NULL ? service_reference(service) : NULL;
}

void connection_describe_source(struct connection *connection, const struct baggage *baggage)
{
    memory_free(connection->described_source);
    connection->described_source = described_peer_new(baggage);
}

void connection_describe_destination(struct connection *connection, const struct baggage *baggage)
{
    memory_free(connection->described_destination);
    connection->described_destination = described_peer_new(baggage);
}

void connection_set_authority(
    struct connection *connection, const struct socket_address *authority, const char *hostname)
{
    memory_free(connection->authority_hostname);
    connection->authority = *authority;
    connection->authority_hostname = hostname != NULL ? string_duplicate(hostname) : NULL;
}

void connection_write_authority(const struct connection *connection, struct writer *out)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    if (connection->authority_hostname != NULL) {
        writer_print(out, "%s:%u", connection->authority_hostname, connection->authority.port);
    } else {
        writer_add_string(out, socket_address_format(&connection->authority, text));
    }
}

static struct metric_label_set *label_set_of(const struct connection *connection, enum response_flag flag)
{
    struct traffic_labels labels;
    traffic_labels_fill(&labels, connection, flag);
    return metric_label_set_get(connection->pod->worker->metrics, METRIC_CONNECTIONS_OPENED, labels.values);
}

/* The labels it was opened with, but for the final flag. */
static void count_closed(const struct connection *connection)
{
    if (connection->flag == RESPONSE_NONE) {
        metric_add(metric_label_set_series(connection->label_set, METRIC_CONNECTIONS_CLOSED), 1);
        return;
    }
    struct metric_label_set *set = label_set_of(connection, connection->flag);
    metric_add(metric_label_set_series(set, METRIC_CONNECTIONS_CLOSED), 1);
    metric_add(metric_label_set_series(set, METRIC_CONNECTIONS_FAILED), 1);
    metric_label_set_put(set);
}

void connection_open(struct connection *connection)
{
    if (connection->is_opened) {
        return;
    }
    connection->is_opened = true;
    struct metric_label_set *set = label_set_of(connection, RESPONSE_NONE);
    connection->label_set = set;
    metric_add(metric_label_set_series(set, METRIC_CONNECTIONS_OPENED), 1);
    connection->received_series = metric_label_set_series(set, METRIC_RECEIVED_BYTES);
    connection->sent_series = metric_label_set_series(set, METRIC_SENT_BYTES);
    access_log_opened(connection);
}

void connection_fail(struct connection *connection, enum response_flag flag, const char *format, ...)
{
    if (connection->error != NULL) {
        return;
    }
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    connection->error = string_duplicate(text);
    connection->flag = (uint8_t)flag;
}

void connection_fail_copy(struct connection *connection, const char *direction, const char *reason)
{
    connection_fail(connection, RESPONSE_CONNECT, "%s: %s", direction, reason);
}

static void release(struct connection *connection)
{
    if (connection->label_set != NULL) {
        metric_label_set_put(connection->label_set);
    }
    connection_set_source(connection, NULL);
    connection_set_destination(connection, NULL, NULL);
    spiffe_identity_free(connection->source_identity);
    memory_free(connection->described_source);
    memory_free(connection->described_destination);
    memory_free(connection->authority_hostname);
    memory_free(connection->destination_identity);
    memory_free(connection->forwarded_host);
    memory_free(connection->error);
}

/* What led to a failure, beside its access log line. */
static void log_events(const struct connection *connection)
{
    static struct log_limit limit;
    uint64_t dropped;
    if (!log_is_enabled(LOG_INFO, "ztunnel::proxy::connection") ||
        !log_limit_allows(&limit, EVENT_LINES_A_SECOND, &dropped)) {
        return;
    }
    uint8_t memory[512];
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    struct writer events = writer_fixed(memory, sizeof memory);
    connection_events_write(&connection->events, &events);
    LOG_EVENT(LOG_INFO, "ztunnel::proxy::connection", "events of a failed connection",
        LOG_NUMBER("worker", connection->pod->worker->index), LOG_NUMBER("id", connection->id),
        LOG_DISPLAY("src.addr", socket_address_format(&connection->peer, peer)),
        LOG_STRING("events", writer_string(&events)), LOG_STRING("error", connection->error),
        LOG_NUMBER("dropped", dropped));
}

static void count_early_denial(const struct pod *pod, enum connection_direction direction)
{
    const char *reporter = direction == CONNECTION_OUTBOUND ? "source" : "destination";
    metric_count_labelled(pod->worker->metrics, METRIC_EARLY_DENIALS, &reporter, 1);
}

void connection_finish(struct connection *connection, enum close_state close_state)
{
    connection_pass(connection, STAGE_CLOSED);
    connection->close_state = (uint8_t)close_state;
    TRACE_POINT_5(connection_close, connection->pod->worker->index, connection->id, close_state,
        connection->received_bytes, connection->sent_bytes);
    if (connection->error != NULL) {
        refusals_add(connection->pod->worker, connection);
        log_events(connection);
    }
    if (connection->is_opened) {
        count_closed(connection);
        access_log_complete(connection);
    } else if (connection->error != NULL) {
        count_early_denial(connection->pod, connection->direction);
        access_log_refused(
            connection->pod, connection->direction, &connection->peer, &connection->destination, connection->error);
    }
    live_walks_skip_connection(connection->pod->worker, connection);
    list_remove(&connection->link);
    connection->pod->account.connections--;
    connection->pod->worker->live_connections[connection->direction]--;
    release(connection);
}

void connection_refuse_early(struct pod *pod, enum connection_direction direction, const struct socket_address *peer,
    const struct socket_address *destination, const char *error)
{
    refusals_add_early(pod->worker, pod->information.namespace_, pod->information.name,
        direction == CONNECTION_OUTBOUND, peer, destination, error);
    count_early_denial(pod, direction);
    access_log_refused(pod, direction, peer, destination, error);
}

bool connection_refuse_over_limit(struct pod *pod, unsigned place, int descriptor, const struct socket_address *peer)
{
    const char *reason = limits_refuse_connection(pod, descriptor);
    if (reason == NULL) {
        return false;
    }
    struct socket_address local = { 0 };
    (void)socket_local_address(descriptor, &local);
    enum connection_direction direction = place == POD_LISTENER_OUTBOUND ? CONNECTION_OUTBOUND : CONNECTION_INBOUND;
    connection_refuse_early(pod, direction, peer, &local, reason);
    close(descriptor);
    return true;
}

void connections_enforce(struct list *connections, const struct mesh_version *version)
{
    LIST_FOR_EACH(link, connections) {
        struct connection *connection = LIST_ENTRY(link, struct connection, link);
        if (connection->is_still_allowed == NULL || connection->is_still_allowed(connection, version)) {
            continue;
        }
        access_log_late_rejection(connection);
        connection->cut(connection, RESPONSE_DENY, "connection closed due to policy change");
    }
}

const char *connection_protocol_name(const struct connection *connection)
{
    static const char *const NAMES[] = {
        [CONNECTION_TCP] = "TCP", [CONNECTION_HBONE] = "HBONE", [CONNECTION_DOUBLE_HBONE] = "DOUBLEHBONE"
    };
    return NAMES[connection->protocol];
}

void connection_dump(const struct connection *connection, struct json_writer *json)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    bool is_inbound = connection->direction == CONNECTION_INBOUND;
    /* What was connected to: the application itself, or the next hop. */
    const struct socket_address *actual = is_inbound ? &connection->dialled : &connection->destination;
    json_write_object_begin(json);
    json_write_member_string(json, "actualDst", socket_address_format(actual, text));
    json_write_key(json, "originalDst");
    if (is_inbound) {
        json_write_string(json, connection->forwarded_host);
    } else {
        json_write_string(json, socket_address_format(&connection->dialled, text));
    }
    json_write_member_string(json, "protocol", connection_protocol_name(connection));
    json_write_member_string(json, "src", socket_address_format(&connection->peer, text));
    json_write_object_end(json);
}
