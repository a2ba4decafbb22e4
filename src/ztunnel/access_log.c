#include "ztunnel/access_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/writer.h"
#include "ztunnel/pod.h"
#include "ztunnel/traffic_labels.h"

#define FIELDS_MAXIMUM 24
#define REFUSALS_A_SECOND 100

/* One line under construction: fields and the memory of those that are not texts already. */
struct access_line {
    struct log_field fields[FIELDS_MAXIMUM];
    size_t count;
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    char destination[SOCKET_ADDRESS_TEXT_SIZE];
    char authority[CONNECTION_AUTHORITY_TEXT_SIZE];
    char duration[32];
    char destination_identity[1024];
    char stage_times[256];
};

static void add(struct access_line *line, struct log_field field)
{
    if (line->count < FIELDS_MAXIMUM) {
        line->fields[line->count++] = field;
    }
}

static void add_text(struct access_line *line, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        add(line, LOG_STRING(name, text));
    }
}

/* The pod's name, else what it is called in the mesh. */
static const char *workload_title(const struct workload *workload)
{
    const char *name = workload_text(workload, WORKLOAD_NAME);
    return name[0] != '\0' ? name : workload_text(workload, WORKLOAD_CANONICAL_NAME);
}

/* The pod's own name is not known of a peer that described itself: its canonical service stands for it (management §9.1). */
static void add_described(struct access_line *line, const struct described_peer *peer, const char *workload_field,
    const char *namespace_field)
{
    add_text(line, workload_field, peer->canonical_name[0] != '\0' ? peer->canonical_name : peer->workload_name);
    add_text(line, namespace_field, peer->namespace_);
}

static void add_source(struct access_line *line, const struct connection *connection)
{
    add(line, LOG_DISPLAY("src.addr", socket_address_format(&connection->peer, line->peer)));
    const struct workload *workload = connection->source_workload;
    const struct described_peer *described = connection->described_source;
    if (workload != NULL) {
        add_text(line, "src.workload", workload_title(workload));
        add_text(line, "src.namespace", workload_text(workload, WORKLOAD_NAMESPACE));
    } else if (described != NULL) {
        add_described(line, described, "src.workload", "src.namespace");
    }
    if (connection->source_identity != NULL) {
        add_text(line, "src.identity", connection->source_identity->uri);
    }
    if (workload != NULL) {
        add_text(line, "src.cluster", workload_text(workload, WORKLOAD_CLUSTER_ID));
    } else if (described != NULL) {
        add_text(line, "src.cluster", described->cluster_id);
    }
}

static void add_destination(struct access_line *line, const struct connection *connection)
{
    add(line, LOG_DISPLAY("dst.addr", socket_address_format(&connection->destination, line->destination)));
    if (connection->authority.port != 0) {
        struct writer authority = writer_fixed(line->authority, sizeof line->authority);
        connection_write_authority(connection, &authority);
        add(line, LOG_DISPLAY("dst.hbone_addr", writer_string(&authority)));
    }
    if (connection->service != NULL) {
        add_text(line, "dst.service", connection->service->hostname);
    }
    const struct described_peer *described = connection->described_destination;
    if (described != NULL) {
        add_described(line, described, "dst.workload", "dst.namespace");
        add_text(line, "dst.identity", connection->destination_identity);
        add_text(line, "dst.cluster", described->cluster_id);
        return;
    }
    const struct workload *workload = connection->destination_workload;
    if (workload == NULL) {
        return;
    }
    add_text(line, "dst.workload", workload_title(workload));
    add_text(line, "dst.namespace", workload_text(workload, WORKLOAD_NAMESPACE));
    if (connection->protocol != CONNECTION_TCP) {
        struct writer identity = writer_fixed(line->destination_identity, sizeof line->destination_identity);
        workload_add_identity(workload, &identity);
        add_text(line, "dst.identity", writer_string(&identity));
    }
    add_text(line, "dst.cluster", workload_text(workload, WORKLOAD_CLUSTER_ID));
}

static const char *direction_name(enum connection_direction direction)
{
    return direction == CONNECTION_OUTBOUND ? "outbound" : "inbound";
}

static void fill(struct access_line *line, const struct connection *connection)
{
    line->count = 0;
    add_source(line, connection);
    add_destination(line, connection);
    add(line, LOG_STRING("direction", direction_name(connection->direction)));
}

void access_log_opened(const struct connection *connection)
{
    if (!log_is_enabled(LOG_DEBUG, "access")) {
        return;
    }
    struct access_line line;
    fill(&line, connection);
    log_write(LOG_DEBUG, "access", "connection opened", line.fields, line.count);
}

/* What was under way when the connection failed, by the last stage it had passed. */
static const char *stage_under_way(const struct connection *connection)
{
    static const char *const DOING[STAGE_CLOSED] = {
        [STAGE_ACCEPTED] = "workload",
        [STAGE_WORKLOAD_KNOWN] = "route",
        [STAGE_ROUTED] = "policy",
        [STAGE_AUTHORIZED] = "dial",
        [STAGE_TUNNEL_READY] = "connect",
        [STAGE_CONNECT_ANSWERED] = "relay",
        [STAGE_DIALLED] = "relay",
        [STAGE_FIRST_BYTE] = "relay",
    };
    int last = STAGE_ACCEPTED;
    for (int i = STAGE_ACCEPTED; i < STAGE_CLOSED; i++) {
        last = connection->stage_ns[i] != 0 ? i : last;
    }
    if (last == STAGE_ROUTED && connection->direction == CONNECTION_OUTBOUND) {
        return connection->protocol == CONNECTION_TCP ? "dial" : "tunnel";
    }
    return DOING[last];
}

/* "workload_known=0.1ms routed=0.0ms closed=5000.2ms": how long each stage took, in the order in which they were passed. */
static const char *stage_times(const struct connection *connection, char out[], size_t capacity)
{
    struct writer writer = writer_fixed(out, capacity);
    uint64_t before_ns = connection->stage_ns[STAGE_ACCEPTED];
    for (int i = STAGE_ACCEPTED + 1; i < STAGE_COUNT; i++) {
        uint64_t at_ns = connection->stage_ns[i];
        if (at_ns != 0) {
            writer_print(&writer, "%s%s=%.1fms", writer.length > 0 ? " " : "",
                connection_stage_name((enum connection_stage)i),
                at_ns > before_ns ? (double)(at_ns - before_ns) / 1e6 : 0.0);
            before_ns = at_ns;
        }
    }
    return writer_string(&writer);
}

/* Behind the fields of the contract, whose order they leave as it is. */
static void add_failure(struct access_line *line, const struct connection *connection)
{
    add(line, LOG_STRING("error", connection->error));
    add(line, LOG_STRING("stage", stage_under_way(connection)));
    add(line, LOG_STRING("stage_times", stage_times(connection, line->stage_times, sizeof line->stage_times)));
}

void access_log_complete(const struct connection *connection)
{
    enum log_level level = connection->error != NULL ? LOG_ERROR : LOG_INFO;
    if (!log_is_enabled(level, "access")) {
        return;
    }
    struct access_line line;
    fill(&line, connection);
    /* Bytes as the logged pod sees them: a client sends requests, a server sends answers. */
    bool is_outbound = connection->direction == CONNECTION_OUTBOUND;
    add(&line, LOG_NUMBER("bytes_sent", is_outbound ? connection->received_bytes : connection->sent_bytes));
    add(&line, LOG_NUMBER("bytes_recv", is_outbound ? connection->sent_bytes : connection->received_bytes));
    duration_format_ms(connection->stage_ns[STAGE_CLOSED] - connection->stage_ns[STAGE_ACCEPTED], line.duration);
    add(&line, LOG_STRING("duration", line.duration));
    if (connection->error != NULL) {
        add_failure(&line, connection);
    }
    log_write(level, "access", "connection complete", line.fields, line.count);
}

void access_log_refused(const struct pod *pod, enum connection_direction direction, const struct socket_address *peer,
    const struct socket_address *destination, const char *error)
{
    (void)pod;
    static struct log_limit limit;
    uint64_t dropped;
    if (!log_limit_allows(&limit, REFUSALS_A_SECOND, &dropped)) {
        return;
    }
    struct access_line line = { .count = 0 };
    add(&line, LOG_DISPLAY("src.addr", socket_address_format(peer, line.peer)));
    add(&line, LOG_DISPLAY("dst.addr", socket_address_format(destination, line.destination)));
    add(&line, LOG_STRING("direction", direction_name(direction)));
    add_text(&line, "error", error);
    if (dropped > 0) {
        add(&line, LOG_NUMBER("dropped", dropped));
    }
    log_write(LOG_WARN, "access", "connection failed", line.fields, line.count);
}

void access_log_late_rejection(const struct connection *connection)
{
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    char destination[SOCKET_ADDRESS_TEXT_SIZE];
    const char *identity = connection->source_identity != NULL ? connection->source_identity->uri : "None";
    const char *uid =
        connection->destination_workload != NULL ? workload_text(connection->destination_workload, WORKLOAD_UID) : "";
    log_print(LOG_INFO, "ztunnel::proxy::connection_manager",
        "connection %s(%s)->%s (%s) closed because it's no longer allowed after a policy update",
        socket_address_format(&connection->peer, peer), identity,
        socket_address_format(&connection->dialled, destination), uid);
}
