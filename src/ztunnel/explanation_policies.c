/* What the destination's side would decide: which port of which workload, and whether its policies allow it. */
#include "base/memory.h"
#include "base/text.h"
#include "mesh/authorization.h"
#include "mesh/inbound_route.h"
#include "ztunnel/explanation_internal.h"
#include "ztunnel/model_dump.h"

struct policy_walk {
    struct explanation *explanation;
    const struct authorization_request *request;
    size_t written;
};

/* What the connection has where the policy wants something. */
static void write_actual(const struct authorization_request *request, enum policy_field field, struct writer *out)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    const struct spiffe_identity *identity = request->identity;
    switch (field) {
    case POLICY_SOURCE_IPS:
    case POLICY_NOT_SOURCE_IPS:
        writer_add_string(out, ip_format(&request->source_ip, text));
        return;
    case POLICY_DESTINATION_IPS:
    case POLICY_NOT_DESTINATION_IPS:
        writer_add_string(out, ip_format(&request->destination.ip, text));
        return;
    case POLICY_DESTINATION_PORTS:
    case POLICY_NOT_DESTINATION_PORTS:
        writer_print(out, "%u", request->destination.port);
        return;
    case POLICY_NAMESPACES:
    case POLICY_NOT_NAMESPACES:
        writer_add_string(out, identity != NULL ? identity->namespace_ : "no identity (plain text)");
        return;
    default:
        writer_add_string(out, identity != NULL ? identity->uri + strlen(SPIFFE_PREFIX) : "no identity (plain text)");
        return;
    }
}

static void write_because(
    const struct policy_walk *walk, const struct policy *policy, const struct rule_explanation *rule)
{
    struct writer text = writer_growing();
    if (rule->is_met) {
        writer_add_string(&text, "every clause holds");
    } else if (rule->field == POLICY_FIELD_END) {
        writer_print(&text, "clause %u cannot hold: it has no constraint, or one that this version cannot read",
            rule->clause + 1);
    } else {
        struct json_writer values = json_writer_of(&text, false);
        writer_print(&text, "clause %u: %s ", rule->clause + 1, policy_field_key(rule->field));
        dump_policy_list(policy, rule->match, rule->field, &values);
        writer_add_string(&text, policy_field_is_negated(rule->field) ? " excludes " : " does not match ");
        write_actual(walk->request, rule->field, &text);
    }
    json_write_member_string(walk->explanation->json, "because", writer_string(&text));
    writer_free(&text);
}

static void write_rules(const struct policy_walk *walk, const struct policy *policy)
{
    struct json_writer *json = walk->explanation->json;
    json_write_key(json, "rules");
    json_write_array_begin(json);
    for (uint32_t i = 0; i < policy->rule_count && i < EXPLANATION_LIST_MAXIMUM; i++) {
        struct rule_explanation rule;
        policy_explain_rule(policy, i, walk->request, &rule);
        json_write_object_begin(json);
        write_because(walk, policy, &rule);
        json_write_member_bool(json, "matches", rule.is_met);
        json_write_member_unsigned(json, "rule", i + 1);
        json_write_object_end(json);
    }
    json_write_array_end(json);
}

static void write_policy(void *context, const struct policy *policy, const char *key)
{
    static const char *const SCOPES[] = { "Global", "Namespace", "WorkloadSelector" };
    struct policy_walk *walk = context;
    struct json_writer *json = walk->explanation->json;
    if (policy == NULL) {
        explanation_miss(walk->explanation,
            "policy %s is named by the workload, but the control plane has not sent it: it is skipped", key);
        return;
    }
    if (walk->written++ >= EXPLANATION_LIST_MAXIMUM) {
        return;
    }
    json_write_object_begin(json);
    json_write_member_string(json, "action", policy->action == POLICY_DENY ? "Deny" : "Allow");
    json_write_member_bool(json, "isDryRun", policy->is_dry_run);
    json_write_member_bool(json, "matches", policy_matches(policy, walk->request));
    json_write_member_string(json, "policy", key);
    write_rules(walk, policy);
    json_write_member_string(json, "scope", SCOPES[policy->scope]);
    json_write_object_end(json);
}

static void write_verdict(struct explanation *explanation, const char *verdict, const char *reason)
{
    json_write_member_string(explanation->json, "verdict", verdict);
    json_write_member_string(explanation->json, "reason", reason);
}

static void authorize(
    struct explanation *explanation, const struct workload *destination, const struct authorization_request *request)
{
    struct policy_walk walk = { explanation, request, 0 };
    json_write_key(explanation->json, "policies");
    json_write_array_begin(explanation->json);
    mesh_visit_policies(explanation->request->version, destination, write_policy, &walk);
    json_write_array_end(explanation->json);
    struct authorization_verdict verdict =
        mesh_authorize(explanation->request->version, destination, request, NULL, NULL);
    struct writer reason = writer_growing();
    if (!verdict.is_allowed) {
        writer_add_string(&reason, "connection closed due to policy rejection: ");
        authorization_reason(&verdict, &reason);
    } else if (verdict.policy != NULL) {
        writer_print(&reason, "allowed by: %s", verdict.policy->key);
    } else {
        writer_add_string(&reason, "no allow policies, allow");
    }
    write_verdict(explanation, verdict.is_allowed ? "allowed" : "denied", writer_string(&reason));
    writer_free(&reason);
}

/* What policies see of a connection that comes in through a tunnel. False: refused before them. */
static bool route_inbound(
    struct explanation *explanation, const struct workload *destination, struct authorization_request *request)
{
    char authority[SOCKET_ADDRESS_TEXT_SIZE];
    const struct outbound_route *route = &explanation->route;
    const struct inbound_request inbound = {
        .local = destination,
        .destination_ip = route->next_hop.ip,
        .authority = bytes_of_string(socket_address_format(&route->authority, authority)),
        .forwarded_host = bytes_of_string(route->service != NULL ? route->service->hostname : ""),
        .illegal_ports = explanation->request->illegal_ports,
        .tunnels_by_loopback = explanation->request->tunnels_by_loopback,
    };
    struct inbound_route found;
    mesh_route_inbound(explanation->request->version, &inbound, &found);
    if (found.status != 200) {
        char *AUTO_FREE reason = string_format("http status: %d: %s", found.status, found.error.message);
        write_verdict(explanation, "refused", reason);
        return false;
    }
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    json_write_member_string(explanation->json, "application", socket_address_format(&found.dial, text));
    request->destination = found.upstream;
    return true;
}

static void explain_tunnelled(struct explanation *explanation)
{
    const struct outbound_route *route = &explanation->route;
    if (route->is_to_waypoint) {
        write_verdict(explanation, "decided by the waypoint",
            "the connection goes to a waypoint, which applies its own policies and dials the destination itself");
        return;
    }
    struct writer uri = writer_growing();
    workload_add_identity(explanation->source, &uri);
    struct spiffe_identity *identity = spiffe_identity_parse(writer_bytes(&uri));
    struct authorization_request request = { .identity = identity, .source_ip = explanation->source_address };
    if (identity == NULL) {
        explanation_miss(explanation, "the source's identity %s is not a valid one: no certificate can be had for it",
            writer_string(&uri));
    }
    if (route_inbound(explanation, route->destination, &request)) {
        authorize(explanation, route->destination, &request);
    }
    spiffe_identity_free(identity);
    writer_free(&uri);
}

/* Plain TCP to a pod of the mesh is taken by its ztunnel on 15006: no identity. To anything else nobody looks. */
static void explain_plain(struct explanation *explanation, const struct workload *destination)
{
    const struct authorization_request request = { .source_ip = explanation->source_address,
        .destination = explanation->route.next_hop };
    if (destination == NULL || destination->protocol != WORKLOAD_HBONE) {
        write_verdict(explanation, "not policed", "plain TCP to something outside the mesh: no ztunnel looks at it");
        return;
    }
    authorize(explanation, destination, &request);
}

void explanation_write_inbound(struct explanation *explanation)
{
    const struct outbound_route *route = &explanation->route;
    const struct mesh_version *version = explanation->request->version;
    switch (route->kind) {
    case OUTBOUND_HBONE:
        explain_tunnelled(explanation);
        return;
    case OUTBOUND_DOUBLE_HBONE:
        write_verdict(explanation, "decided in the other network",
            "the connection goes through a gateway; policies are applied behind it");
        return;
    case OUTBOUND_TCP:
    case OUTBOUND_PASSTHROUGH:
        explain_plain(
            explanation, route->destination != NULL
                             ? route->destination
                             : mesh_workload_by_address(version, mesh_version_network(version), &route->next_hop.ip));
        return;
    case OUTBOUND_NEEDS_RESOLUTION:
        explanation_miss(explanation, "the address of %s is asked for when a connection is made: nothing is known here",
            route->hostname);
        write_verdict(explanation, "unknown", "the endpoint is known by its name only");
        return;
    case OUTBOUND_REFUSED_EARLY:
    case OUTBOUND_REFUSED:
        write_verdict(explanation, "refused", route->error.message);
        return;
    }
}
