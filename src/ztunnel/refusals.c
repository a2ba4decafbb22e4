#include "ztunnel/refusals.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "ztunnel/connection.h"
#include "ztunnel/pod.h"
#include "ztunnel/traffic_labels.h"
#include "ztunnel/worker.h"

#include <stdio.h>

static struct refusal *next_refusal(struct worker *worker)
{
    if (worker->refusals == NULL) {
        worker->refusals = NEW(struct refusals);
    }
    struct refusal *refusal = &worker->refusals->ring[worker->refusals->count++ % REFUSALS_KEPT];
    *refusal = (struct refusal){ .at_ns = clock_wall_ns() };
    return refusal;
}

static void set_text(char *field, size_t capacity, const char *text)
{
    snprintf(field, capacity, "%s", text != NULL ? text : "");
}

void refusals_add(struct worker *worker, const struct connection *connection)
{
    struct refusal *refusal = next_refusal(worker);
    const struct pod_information *pod = &connection->pod->information;
    struct writer events = writer_fixed(refusal->events, sizeof refusal->events);
    refusal->duration_ns = connection->stage_ns[STAGE_CLOSED] - connection->stage_ns[STAGE_ACCEPTED];
    refusal->is_outbound = connection->direction == CONNECTION_OUTBOUND;
    refusal->flag = connection->flag;
    refusal->source = connection->peer;
    refusal->destination = connection->authority.port != 0 ? connection->authority : connection->dialled;
    snprintf(refusal->pod, sizeof refusal->pod, "%s/%s", pod->namespace_, pod->name);
    set_text(refusal->reason, sizeof refusal->reason, connection->error);
    if (connection->source_identity != NULL) {
        set_text(refusal->source_identity, sizeof refusal->source_identity, connection->source_identity->uri);
    }
    if (connection->destination_workload != NULL) {
        struct writer identity = writer_fixed(refusal->destination_identity, sizeof refusal->destination_identity);
        workload_add_identity(connection->destination_workload, &identity);
        (void)writer_string(&identity);
    }
    connection_events_write(&connection->events, &events);
    (void)writer_string(&events);
}

void refusals_add_early(struct worker *worker, const char *pod_namespace, const char *pod_name, bool is_outbound,
    const struct socket_address *source, const struct socket_address *destination, const char *reason)
{
    struct refusal *refusal = next_refusal(worker);
    refusal->is_outbound = is_outbound;
    refusal->flag = (uint8_t)response_flag_of_error(reason);
    refusal->source = *source;
    refusal->destination = *destination;
    snprintf(refusal->pod, sizeof refusal->pod, "%s/%s", pod_namespace, pod_name);
    set_text(refusal->reason, sizeof refusal->reason, reason);
}

void refusals_free(struct refusals *refusals)
{
    memory_free(refusals);
}

static void dump(const struct refusal *refusal, struct json_writer *json)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    char time[40];
    json_write_object_begin(json);
    clock_format_rfc3339(refusal->at_ns, 3, time);
    json_write_member_string(json, "destination", socket_address_format(&refusal->destination, text));
    json_write_member_string(json, "destinationIdentity", refusal->destination_identity);
    json_write_member_string(json, "direction", refusal->is_outbound ? "outbound" : "inbound");
    json_write_member_unsigned(json, "durationUs", refusal->duration_ns / 1000);
    json_write_member_string(json, "events", refusal->events);
    json_write_member_string(json, "flag", response_flag_name((enum response_flag)refusal->flag));
    json_write_member_string(json, "pod", refusal->pod);
    json_write_member_string(json, "reason", refusal->reason);
    json_write_member_string(json, "source", socket_address_format(&refusal->source, text));
    json_write_member_string(json, "sourceIdentity", refusal->source_identity);
    json_write_member_string(json, "time", time);
    json_write_object_end(json);
}

void refusals_dump(struct worker *worker, struct json_writer *json)
{
    const struct refusals *refusals = worker->refusals;
    uint64_t kept = refusals == NULL ? 0 : refusals->count < REFUSALS_KEPT ? refusals->count : REFUSALS_KEPT;
    for (uint64_t i = 0; i < kept; i++) {
        dump(&refusals->ring[(refusals->count - 1 - i) % REFUSALS_KEPT], json);
    }
}
