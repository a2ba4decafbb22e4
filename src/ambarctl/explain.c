/* ambarctl explain SRC DST:PORT: the answer of /debug/explain for a person. */
#include "ambarctl/admin_client.h"
#include "ambarctl/commands.h"
#include "ambarctl/table.h"
#include "base/human.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>

#define LABEL_WIDTH 15

static void add_label(struct writer *out, const char *label)
{
    writer_print(out, "%-*s", LABEL_WIDTH, label);
}

static void add_line(struct writer *out, const char *label, const char *text)
{
    add_label(out, label);
    terminal_add(out, text);
    writer_add_u8(out, '\n');
}

static void add_workload(struct writer *out, const json_t *workload)
{
    if (!json_is_object(workload)) {
        return;
    }
    const char *node = member_text(workload, "node");
    writer_add_string(out, "  workload ");
    terminal_add(out, member_text(workload, "namespace"));
    writer_add_u8(out, '/');
    terminal_add(out, member_text(workload, "name"));
    if (!text_is_empty(node)) {
        writer_add_string(out, " on node ");
        terminal_add(out, node);
    }
    writer_print(out, "\n%-*s", LABEL_WIDTH, "");
    terminal_add(out, member_text(workload, "identity"));
}

static void add_source(struct writer *out, const json_t *source)
{
    const char *address = member_text(source, "address");
    add_label(out, "Source");
    terminal_add(out, address != NULL ? address : member_text(source, "asked"));
    add_workload(out, json_object_get(source, "workload"));
    writer_add_u8(out, '\n');
}

static void add_destination(struct writer *out, const json_t *destination)
{
    const char *service = member_text(destination, "service");
    add_label(out, "Destination");
    terminal_add(out, member_text(destination, "address"));
    if (service != NULL) {
        writer_add_string(out, "  service ");
        terminal_add(out, service);
    }
    add_workload(out, json_object_get(destination, "workload"));
    writer_add_u8(out, '\n');
}

static void add_route(struct writer *out, const json_t *route)
{
    const char *hop = member_text(route, "nextHop");
    const char *authority = member_text(route, "authority");
    add_label(out, "Route");
    terminal_add(out, member_text(route, "kind"));
    if (hop != NULL) {
        writer_add_string(out, member_is_true(route, "isToWaypoint") ? " to the waypoint at " : " to ");
        terminal_add(out, hop);
    }
    if (authority != NULL) {
        writer_add_string(out, ", CONNECT ");
        terminal_add(out, authority);
    }
    writer_print(out, "\n%-*s", LABEL_WIDTH, "");
    terminal_add(out, member_text(route, "because"));
    writer_add_u8(out, '\n');
}

static void add_endpoints(struct writer *out, const json_t *document)
{
    static const char *const HEADING[] = { " ", "ENDPOINT", "VERDICT", "RANK", "WEIGHT" };
    const json_t *endpoints = json_object_get(document, "endpoints");
    if (endpoints == NULL) {
        return;
    }
    add_label(out, "Endpoints");
    writer_print(out, "%llu of %llu can be used; load balancing ", member_number(document, "endpointsUsable"),
        member_number(document, "endpointsTotal"));
    terminal_add(out, member_text(document, "loadBalancing"));
    writer_add_string(out, member_number(document, "endpointsUsable") > 1 ? " (* is one throw of the dice)\n" : "\n");
    struct table table = table_new(HEADING, ARRAY_LENGTH(HEADING));
    size_t index;
    const json_t *endpoint;
    json_array_foreach(endpoints, index, endpoint)
    {
        char rank[32];
        char weight[32];
        snprintf(rank, sizeof rank, "%llu", member_number(endpoint, "rank"));
        snprintf(weight, sizeof weight, "%llu", member_number(endpoint, "capacity"));
        const char *cells[] = { member_is_true(endpoint, "isChosen") ? "  *" : "   ", member_text(endpoint, "uid"),
            member_text(endpoint, "verdict"), rank, weight };
        table_add(&table, cells);
    }
    if (table.rows > 1) {
        table_write(&table, out);
    }
    table_free(&table);
}

static void add_texts(struct writer *out, const char *label, const json_t *texts)
{
    size_t index;
    const json_t *text;
    json_array_foreach(texts, index, text)
    {
        add_line(out, index == 0 ? label : "", json_string_value(text));
    }
}

/* Tunnels that such a connection would share, as far as they are open now. */
static void add_open_tunnels(struct writer *out, const json_t *tunnels, const json_t *wanted)
{
    size_t index;
    const json_t *tunnel;
    size_t found = 0;
    json_array_foreach(json_object_get(tunnels, "tunnels"), index, tunnel)
    {
        if (!member_equals(tunnel, "direction", "outbound") ||
            json_equal(json_object_get(tunnel, "peer"), json_object_get(wanted, "peer")) == 0 ||
            json_equal(json_object_get(tunnel, "sourceIdentity"), json_object_get(wanted, "identity")) == 0) {
            continue;
        }
        char time[32];
        add_label(out, found++ == 0 ? "Open now" : "");
        writer_print(out, "worker %llu, %llu streams, round trip %s%s\n", member_number(tunnel, "worker"),
            member_number(tunnel, "streams"), human_duration(member_number(tunnel, "roundTripUs") * 1000, time),
            member_is_true(tunnel, "isStalled") ? ", stalled" : "");
    }
    if (found == 0) {
        add_line(out, "Open now", "none: the first connection opens one");
    }
}

static void add_tunnel(struct writer *out, const struct invocation *invocation, const json_t *tunnel)
{
    if (tunnel == NULL) {
        return;
    }
    const char *certificate = member_text(tunnel, "certificate");
    add_line(out, "Tunnel", member_text(tunnel, "peer"));
    add_line(out, "  shows", member_text(tunnel, "identity"));
    add_line(out, "  certificate", certificate != NULL ? certificate : "not asked for yet");
    add_texts(out, "  accepts", json_object_get(tunnel, "expectedIdentities"));
    json_t *tunnels;
    if (get_document(invocation, "/debug/tunnels", &tunnels) == EXIT_GOOD && tunnels != NULL) {
        add_open_tunnels(out, tunnels, tunnel);
    }
    json_decref(tunnels);
}

static void add_policy(struct writer *out, const json_t *policy)
{
    struct writer action = writer_growing();
    terminal_add(&action, member_text(policy, "action"));
    writer_print(
        out, "  %s %-5s ", member_is_true(policy, "matches") ? "MATCH   " : "no match", writer_string(&action));
    writer_free(&action);
    terminal_add(out, member_text(policy, "policy"));
    writer_add_string(out, "  (");
    terminal_add(out, member_text(policy, "scope"));
    writer_add_string(out, member_is_true(policy, "isDryRun") ? ", dry run)\n" : ")\n");
    size_t index;
    const json_t *rule;
    json_array_foreach(json_object_get(policy, "rules"), index, rule)
    {
        writer_print(out, "      rule %llu: ", member_number(rule, "rule"));
        terminal_add(out, member_text(rule, "because"));
        writer_add_u8(out, '\n');
    }
}

static void add_policies(struct writer *out, const json_t *policies)
{
    if (policies == NULL) {
        return;
    }
    size_t count = json_array_size(policies);
    char *AUTO_FREE applying = string_format("%zu apply to the destination", count);
    add_line(out, "Policies", count == 0 ? "none applies to the destination" : applying);
    size_t index;
    const json_t *policy;
    json_array_foreach(policies, index, policy)
    {
        add_policy(out, policy);
    }
}

static bool is_refused(const json_t *document)
{
    return member_equals(document, "verdict", "denied") || member_equals(document, "verdict", "refused");
}

static void add_verdict(struct writer *out, const struct invocation *invocation, const json_t *document)
{
    const char *verdict = member_text(document, "verdict");
    const char *colour = is_refused(document) ? "\033[1;31m" : "\033[1;32m";
    add_label(out, "Verdict");
    writer_add_string(out, invocation->has_colour ? colour : "");
    terminal_add(out, verdict != NULL ? verdict : "unknown");
    writer_add_string(out, invocation->has_colour ? "\033[0m" : "");
    writer_print(out, "\n%-*s", LABEL_WIDTH, "");
    terminal_add(out, member_text(document, "reason"));
    writer_add_u8(out, '\n');
    add_texts(out, "Missing", json_object_get(document, "missing"));
}

static int print_explanation(const struct invocation *invocation, const json_t *document)
{
    struct writer out = writer_growing();
    add_source(&out, json_object_get(document, "source"));
    add_destination(&out, json_object_get(document, "destination"));
    add_route(&out, json_object_get(document, "route"));
    add_endpoints(&out, document);
    add_tunnel(&out, invocation, json_object_get(document, "tunnel"));
    if (member_text(document, "application") != NULL) {
        add_line(&out, "Application", member_text(document, "application"));
    }
    add_policies(&out, json_object_get(document, "policies"));
    add_verdict(&out, invocation, document);
    print_text(&out);
    return is_refused(document) ? EXIT_NOT_ALLOWED : EXIT_GOOD;
}

int command_explain(const struct invocation *invocation)
{
    struct writer target = writer_growing();
    writer_add_string(&target, "/debug/explain?source=");
    admin_add_query_value(&target, invocation->arguments[0]);
    writer_add_string(&target, "&destination=");
    admin_add_query_value(&target, invocation->arguments[1]);
    json_t *document;
    int status = get_document(invocation, writer_string(&target), &document);
    if (document != NULL) {
        status = print_explanation(invocation, document);
    }
    json_decref(document);
    writer_free(&target);
    return status;
}
