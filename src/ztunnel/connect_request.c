#include "ztunnel/connect_request.h"

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/baggage.h"
#include "ztunnel/connection.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

struct hbone_stream *connect_request_send(struct connection *connection, struct hbone_session *session,
    char traceparent[static TRACEPARENT_TEXT_SIZE], bool names_network, const struct hbone_stream_events *events,
    void *context)
{
    char authority_memory[CONNECTION_AUTHORITY_TEXT_SIZE];
    uint8_t baggage_memory[2048];
    uint8_t forwarded_memory[512];
    struct writer authority = writer_fixed(authority_memory, sizeof authority_memory);
    struct writer baggage = writer_fixed(baggage_memory, sizeof baggage_memory);
    struct writer forwarded = writer_fixed(forwarded_memory, sizeof forwarded_memory);
    connection_write_authority(connection, &authority);
    baggage_format(connection->source_workload, &baggage);
    connect_headers_write_forwarded(
        &connection->peer, connection->service != NULL ? connection->service->hostname : NULL, &forwarded);
    if (traceparent[0] == '\0') {
        connect_headers_write_traceparent(connection_trace_id(connection), traceparent);
    }
    const char *network = mesh_version_network(worker_version(connection->pod->worker));
    const struct hbone_field fields[] = {
        { bytes_of_string("baggage"), writer_bytes(&baggage) },
        { bytes_of_string("forwarded"), writer_bytes(&forwarded) },
        { bytes_of_string("traceparent"), bytes_of_string(traceparent) },
        { bytes_of_string("x-forwarded-network"), bytes_of_string(network) },
    };
    CONNECTION_EVENT(connection, LOG_DEBUG, "ztunnel::proxy::outbound", "sending CONNECT",
        LOG_DISPLAY("authority", writer_string(&authority)), LOG_STRING("baggage", writer_string(&baggage)),
        LOG_STRING("forwarded", writer_string(&forwarded)), LOG_DISPLAY("traceparent", traceparent));
    size_t count = names_network ? ARRAY_LENGTH(fields) : ARRAY_LENGTH(fields) - 1;
    return hbone_session_connect(session, writer_bytes(&authority), fields, count, events, context);
}
