/* The commands that print one table. */
#include "ambarctl/admin_client.h"
#include "ambarctl/commands.h"
#include "ambarctl/table.h"
#include "base/human.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>

#define CELL_BYTES 32

/* One list: where it is, what its columns are. */
struct list_command {
    const char *path, *key;
    const char *heading[TABLE_COLUMNS_MAXIMUM];
    size_t columns;
    /* Fills the cells from one item; `memory` for cells that are made. */
    void (*fill)(const json_t *item, const char **cells, char memory[TABLE_COLUMNS_MAXIMUM][CELL_BYTES]);
};

static char *target_of(const struct invocation *invocation, const char *path)
{
    struct writer out = writer_growing();
    writer_print(&out, "%s?", path);
    if (invocation->limit != NULL) {
        writer_add_string(&out, "limit=");
        admin_add_query_value(&out, invocation->limit);
        writer_add_u8(&out, '&');
    }
    if (invocation->namespace_ != NULL) {
        writer_add_string(&out, "namespace=");
        admin_add_query_value(&out, invocation->namespace_);
    }
    return writer_take_string(&out);
}

static void print_list(const struct list_command *command, const json_t *document)
{
    struct table table = table_new(command->heading, command->columns);
    size_t index;
    const json_t *item;
    json_array_foreach(json_object_get(document, command->key), index, item)
    {
        const char *cells[TABLE_COLUMNS_MAXIMUM] = { NULL };
        char memory[TABLE_COLUMNS_MAXIMUM][CELL_BYTES];
        command->fill(item, cells, memory);
        table_add(&table, cells);
    }
    struct writer out = writer_growing();
    table_write(&table, &out);
    if (table.rows == 1) {
        writer_print(&out, "(no %s)\n", command->key);
    }
    if (member_is_true(document, "isTruncated")) {
        writer_print(&out, "... and more: --limit N shows them\n");
    }
    print_text(&out);
    table_free(&table);
}

static int run_list(const struct invocation *invocation, const struct list_command *command)
{
    char *AUTO_FREE target = target_of(invocation, command->path);
    json_t *document;
    int status = get_document(invocation, target, &document);
    if (document != NULL) {
        print_list(command, document);
    }
    json_decref(document);
    return status;
}

static void fill_connection(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    const char *destination = member_text(item, "destinationWorkload");
    const char *source = member_text(item, "sourceWorkload");
    cells[0] = member_text(item, "direction");
    cells[1] = member_text(item, "pod");
    cells[2] = text_is_empty(source) ? member_text(item, "source") : source;
    cells[3] = text_is_empty(destination) ? member_text(item, "destination") : destination;
    cells[4] = member_text(item, "destination");
    cells[5] = member_text(item, "protocol");
    cells[6] = member_text(item, "state");
    cells[7] = human_bytes(member_number(item, "bytesReceived"), memory[7]);
    cells[8] = human_bytes(member_number(item, "bytesSent"), memory[8]);
    cells[9] = human_duration(member_number(item, "ageUs") * 1000, memory[9]);
    snprintf(memory[10], CELL_BYTES, "%llu-%llu", member_number(item, "worker"), member_number(item, "id"));
    cells[10] = memory[10];
}

int command_connections(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/connections", "connections",
        { "DIRECTION", "POD", "FROM", "TO", "DIALLED", "PROTOCOL", "STATE", "IN", "OUT", "AGE", "ID" }, 11,
        fill_connection };
    return run_list(invocation, &COMMAND);
}

static void fill_tunnel(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    const char *source = member_text(item, "sourceIdentity");
    const char *destination = member_text(item, "destinationIdentity");
    cells[0] = member_text(item, "direction");
    cells[1] = member_text(item, "pod");
    cells[2] = member_text(item, "peer");
    cells[3] = member_equals(item, "direction", "inbound") ? source : destination;
    snprintf(memory[4], CELL_BYTES, "%llu", member_number(item, "streams"));
    snprintf(memory[5], CELL_BYTES, "%llu", member_number(item, "streamsTotal"));
    cells[4] = memory[4];
    cells[5] = memory[5];
    cells[6] = human_bytes(member_number(item, "bytesReceived"), memory[6]);
    cells[7] = human_bytes(member_number(item, "bytesSent"), memory[7]);
    cells[8] = member_number(item, "roundTripUs") > 0
                   ? human_duration(member_number(item, "roundTripUs") * 1000, memory[8])
                   : NULL;
    cells[9] = member_is_true(item, "isStalled") ? "stalled" : member_is_true(item, "isDraining") ? "draining" : "open";
}

int command_tunnels(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/tunnels", "tunnels",
        { "DIRECTION", "POD", "PEER", "PEER IDENTITY", "STREAMS", "TOTAL", "IN", "OUT", "ROUND TRIP", "STATE" }, 10,
        fill_tunnel };
    return run_list(invocation, &COMMAND);
}

static void fill_refusal(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    (void)memory;
    cells[0] = member_text(item, "time");
    cells[1] = member_text(item, "direction");
    cells[2] = member_text(item, "pod");
    cells[3] = member_text(item, "source");
    cells[4] = member_text(item, "destination");
    cells[5] = member_text(item, "flag");
    cells[6] = member_text(item, "reason");
}

int command_refusals(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/refusals", "refusals",
        { "TIME", "DIRECTION", "POD", "FROM", "TO", "FLAG", "REASON" }, 7, fill_refusal };
    return run_list(invocation, &COMMAND);
}

static void fill_workload(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    cells[0] = member_text(item, "namespace");
    cells[1] = member_text(item, "name");
    cells[2] = json_string_value(json_array_get(json_object_get(item, "addresses"), 0));
    cells[3] = member_text(item, "node");
    cells[4] = member_text(item, "protocol");
    cells[5] = member_is_true(item, "isHealthy") ? "healthy" : "unhealthy";
    cells[6] = member_text(json_object_get(item, "waypoint"), "destination");
    snprintf(memory[7], CELL_BYTES, "%llu", member_number(item, "services"));
    cells[7] = memory[7];
    cells[8] = member_text(item, "identity");
}

int command_workloads(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/workloads", "workloads",
        { "NAMESPACE", "NAME", "ADDRESS", "NODE", "PROTOCOL", "HEALTH", "WAYPOINT", "SERVICES", "IDENTITY" }, 9,
        fill_workload };
    return run_list(invocation, &COMMAND);
}

static void fill_certificate(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    const json_t *left = json_object_get(item, "leftSeconds");
    cells[0] = member_text(item, "identity");
    cells[1] = member_text(item, "state");
    if (left != NULL) {
        cells[2] = human_duration(member_number(item, "ageSeconds") * 1000000000, memory[2]);
        cells[3] = json_integer_value(left) <= 0
                       ? "EXPIRED"
                       : human_duration(member_number(item, "leftSeconds") * 1000000000, memory[3]);
    }
    cells[4] = member_text(item, "expirationTime");
    cells[5] = member_text(item, "serialNumber");
}

int command_certificates(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/certificates", "certificates",
        { "IDENTITY", "STATE", "AGE", "LEFT", "EXPIRES", "SERIAL" }, 6, fill_certificate };
    return run_list(invocation, &COMMAND);
}

static void fill_policy(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    cells[0] = member_text(item, "namespace");
    cells[1] = member_text(item, "name");
    cells[2] = member_text(item, "action");
    cells[3] = member_text(item, "scope");
    snprintf(memory[4], CELL_BYTES, "%zu", json_array_size(json_object_get(item, "rules")));
    cells[4] = memory[4];
    cells[5] = member_is_true(item, "dryRun") ? "dry run" : "enforced";
}

int command_policies(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/policies", "policies",
        { "NAMESPACE", "NAME", "ACTION", "SCOPE", "RULES", "MODE" }, 6, fill_policy };
    return run_list(invocation, &COMMAND);
}

static void fill_pod(const json_t *item, const char **cells, char memory[][CELL_BYTES])
{
    (void)memory;
    cells[0] = member_text(item, "namespace");
    cells[1] = member_text(item, "name");
    cells[2] = member_text(item, "serviceAccount");
    cells[3] = member_text(item, "state");
    cells[4] = member_text(item, "enrolment");
    const char *failure = member_text(item, "failure");
    cells[5] = text_is_empty(failure) ? member_text(item, "enrolmentReason") : failure;
    cells[6] = member_text(item, "uid");
}

int command_pods(const struct invocation *invocation)
{
    static const struct list_command COMMAND = { "/debug/pods", "pods",
        { "NAMESPACE", "NAME", "SERVICE ACCOUNT", "STATE", "ENROLMENT", "WHY", "UID" }, 7, fill_pod };
    return run_list(invocation, &COMMAND);
}
