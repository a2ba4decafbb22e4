#include "ztunnel/explanation.h"

#include "base/memory.h"
#include "base/text.h"
#include "mesh/load_balancing.h"
#include "ztunnel/explanation_internal.h"
#include "ztunnel/model_dump.h"

#include <stdarg.h>

void explanation_miss(struct explanation *explanation, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    writer_print_list(&explanation->missing, format, arguments);
    va_end(arguments);
    writer_add_u8(&explanation->missing, 0);
    explanation->missing_count++;
}

static void write_identity(struct json_writer *json, const char *key, const struct workload *workload)
{
    struct writer identity = writer_growing();
    workload_add_identity(workload, &identity);
    json_write_member_string(json, key, writer_string(&identity));
    writer_free(&identity);
}

static void write_workload(struct json_writer *json, const struct workload *workload)
{
    if (workload == NULL) {
        json_write_null(json);
        return;
    }
    json_write_object_begin(json);
    write_identity(json, "identity", workload);
    json_write_member_bool(json, "isHealthy", workload->is_healthy);
    json_write_member_string(json, "name", workload_text(workload, WORKLOAD_NAME));
    json_write_member_string(json, "namespace", workload_text(workload, WORKLOAD_NAMESPACE));
    json_write_member_string(json, "node", workload_text(workload, WORKLOAD_NODE));
    json_write_member_string(json, "protocol", workload->protocol == WORKLOAD_HBONE ? "HBONE" : "TCP");
    json_write_member_string(json, "uid", workload_text(workload, WORKLOAD_UID));
    json_write_object_end(json);
}

static void write_source(struct explanation *explanation)
{
    struct json_writer *json = explanation->json;
    char text[IP_TEXT_SIZE];
    json_write_key(json, "source");
    json_write_object_begin(json);
    json_write_member_string(json, "address",
        explanation->source_address.family != IP_NONE ? ip_format(&explanation->source_address, text) : NULL);
    json_write_member_string(json, "asked", explanation->request->source);
    json_write_key(json, "workload");
    write_workload(json, explanation->source);
    json_write_object_end(json);
}

static void write_destination(struct explanation *explanation)
{
    struct json_writer *json = explanation->json;
    const struct mesh_version *version = explanation->request->version;
    const char *namespace_ =
        explanation->source != NULL ? workload_text(explanation->source, WORKLOAD_NAMESPACE) : NULL;
    const char *network = mesh_version_network(version);
    struct mesh_address found = { explanation->named_workload, explanation->named_service };
    if (found.workload == NULL && found.service == NULL) {
        found.service = mesh_service_by_address(version, network, &explanation->target.ip, namespace_);
        found.workload =
            found.service == NULL ? mesh_workload_by_address(version, network, &explanation->target.ip) : NULL;
    }
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    json_write_key(json, "destination");
    json_write_object_begin(json);
    json_write_member_string(json, "address", socket_address_format(&explanation->target, text));
    json_write_member_string(json, "asked", explanation->request->destination);
    json_write_member_string(json, "service", found.service != NULL ? found.service->key : NULL);
    json_write_key(json, "workload");
    write_workload(json, found.workload);
    json_write_object_end(json);
}

static const char *kind_text(enum outbound_kind kind)
{
    static const char *const TEXTS[] = {
        [OUTBOUND_REFUSED_EARLY] = "refused",
        [OUTBOUND_REFUSED] = "refused",
        [OUTBOUND_PASSTHROUGH] = "passthrough",
        [OUTBOUND_TCP] = "TCP",
        [OUTBOUND_HBONE] = "HBONE",
        [OUTBOUND_DOUBLE_HBONE] = "double HBONE",
        [OUTBOUND_NEEDS_RESOLUTION] = "needs resolution",
    };
    return TEXTS[kind];
}

/* Why this way, in one sentence. */
static const char *route_reason(const struct explanation *explanation)
{
    const struct outbound_route *route = &explanation->route;
    if (explanation->source == NULL) {
        return "the source is not in the mesh: its traffic is not captured and arrives in plain text";
    }
    switch (route->kind) {
    case OUTBOUND_REFUSED_EARLY:
    case OUTBOUND_REFUSED:
        return route->error.message;
    case OUTBOUND_PASSTHROUGH:
        return "nothing in the mesh has this address (or its service wants traffic left alone): plain TCP, untouched";
    case OUTBOUND_TCP:
        return "the destination is known, but does not speak HBONE: plain TCP";
    case OUTBOUND_HBONE:
        return route->is_to_waypoint ? "a waypoint stands before the destination: mutual TLS to the waypoint"
                                     : "the destination speaks HBONE: mutual TLS to its ztunnel";
    case OUTBOUND_DOUBLE_HBONE:
        return "the destination is in another network: a tunnel inside a tunnel to that network's gateway";
    case OUTBOUND_NEEDS_RESOLUTION:
        return "the endpoint is known by its name only, which is resolved when a connection is made";
    }
    return "";
}

static void write_address_member(struct json_writer *json, const char *key, const struct socket_address *address)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    json_write_member_string(json, key, address->port != 0 ? socket_address_format(address, text) : NULL);
}

static void write_route(struct explanation *explanation)
{
    struct json_writer *json = explanation->json;
    const struct outbound_route *route = &explanation->route;
    json_write_key(json, "route");
    json_write_object_begin(json);
    write_address_member(json, "authority", &route->authority);
    json_write_member_string(json, "because", route_reason(explanation));
    json_write_member_bool(json, "isToWaypoint", route->is_to_waypoint);
    json_write_member_string(json, "kind", explanation->source == NULL ? "plain" : kind_text(route->kind));
    write_address_member(json, "nextHop", &route->next_hop);
    json_write_member_string(json, "service", route->service != NULL ? route->service->key : NULL);
    json_write_key(json, "waypoint");
    dump_gateway(route->service != NULL                ? route->service->waypoint
                 : explanation->named_workload != NULL ? explanation->named_workload->waypoint
                                                       : NULL,
        json);
    json_write_key(json, "workload");
    write_workload(json, route->destination);
    json_write_object_end(json);
}

static void write_endpoint(
    struct explanation *explanation, const struct mesh_endpoint *endpoint, uint32_t rank, enum endpoint_verdict verdict)
{
    struct json_writer *json = explanation->json;
    const struct workload *chosen = explanation->route.is_to_waypoint ? NULL : explanation->route.destination;
    json_write_object_begin(json);
    json_write_member_unsigned(json, "capacity", endpoint->workload != NULL ? endpoint->workload->capacity : 0);
    json_write_member_bool(json, "isChosen", chosen != NULL && chosen == endpoint->workload);
    json_write_member_string(
        json, "name", endpoint->workload != NULL ? workload_text(endpoint->workload, WORKLOAD_NAME) : NULL);
    json_write_member_unsigned(json, "rank", rank);
    json_write_member_string(json, "uid", endpoint->workload_uid);
    json_write_member_string(json, "verdict", endpoint_verdict_text(verdict));
    json_write_object_end(json);
}

static void miss_endpoints(struct explanation *explanation, const struct service *service, size_t total, size_t usable)
{
    uint16_t target_port;
    if (!service_find_port(service, explanation->target.port, &target_port)) {
        explanation_miss(explanation, "service %s has no port %u", service->key, explanation->target.port);
    } else if (total == 0) {
        explanation_miss(explanation, "service %s has no endpoints: no workload belongs to it", service->key);
    } else if (usable == 0) {
        explanation_miss(explanation, "none of the %zu endpoints of service %s can be used", total, service->key);
    }
}

/* Every endpoint with the judgement that the choice makes of it. */
static void write_endpoints(struct explanation *explanation)
{
    static const char *const MODES[] = { "Standard", "Strict", "Failover", "Passthrough" };
    const struct service *service =
        explanation->route.service != NULL ? explanation->route.service : explanation->named_service;
    if (service == NULL || explanation->source == NULL) {
        return;
    }
    struct json_writer *json = explanation->json;
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint endpoint;
    size_t total = 0;
    size_t usable = 0;
    json_write_key(json, "endpoints");
    json_write_array_begin(json);
    mesh_endpoints_begin(explanation->request->version, bytes_of_string(service->key), &iterator);
    while (mesh_endpoints_next(&iterator, &endpoint)) {
        uint32_t rank;
        enum endpoint_verdict verdict = load_balancing_judge(
            &endpoint, explanation->source, service, explanation->target.port, SELECT_ENDPOINT, &rank);
        usable += verdict == ENDPOINT_ELIGIBLE;
        if (total++ < EXPLANATION_LIST_MAXIMUM) {
            write_endpoint(explanation, &endpoint, rank, verdict);
        }
    }
    json_write_array_end(json);
    json_write_member_unsigned(json, "endpointsTotal", total);
    json_write_member_unsigned(json, "endpointsUsable", usable);
    json_write_member_string(json, "loadBalancing", MODES[service->mode]);
    miss_endpoints(explanation, service, total, usable);
}

static void write_expected_identities(struct explanation *explanation)
{
    struct writer texts = writer_growing();
    size_t count = outbound_route_expected_identities(&explanation->route, &texts);
    const char *text = writer_string(&texts);
    json_write_key(explanation->json, "expectedIdentities");
    json_write_array_begin(explanation->json);
    for (size_t i = 0; i < count; i++, text += strlen(text) + 1) {
        json_write_string(explanation->json, text);
    }
    json_write_array_end(explanation->json);
    writer_free(&texts);
}

/* The certificate it would show and whom it would accept. */
static void write_tunnel(struct explanation *explanation)
{
    const struct explanation_request *request = explanation->request;
    struct json_writer *json = explanation->json;
    enum outbound_kind kind = explanation->route.kind;
    if (explanation->source == NULL || (kind != OUTBOUND_HBONE && kind != OUTBOUND_DOUBLE_HBONE)) {
        return;
    }
    struct writer identity = writer_growing();
    workload_add_identity(explanation->source, &identity);
    const char *state = request->certificate_state != NULL
                            ? request->certificate_state(request->context, writer_string(&identity))
                            : NULL;
    json_write_key(json, "tunnel");
    json_write_object_begin(json);
    json_write_member_string(json, "certificate", state);
    write_expected_identities(explanation);
    json_write_member_string(json, "identity", writer_string(&identity));
    write_address_member(json, "peer", &explanation->route.next_hop);
    json_write_object_end(json);
    if (state == NULL) {
        explanation_miss(explanation,
            "no certificate for %s has been asked for yet: the first connection fetches it (or the pod is not on this "
            "node)",
            writer_string(&identity));
    } else if (!text_equal(state, "Available")) {
        explanation_miss(explanation, "the certificate for %s is not available: %s", writer_string(&identity), state);
    }
    writer_free(&identity);
}

static void write_missing(struct explanation *explanation)
{
    const char *text = writer_string(&explanation->missing);
    json_write_key(explanation->json, "missing");
    json_write_array_begin(explanation->json);
    for (size_t i = 0; i < explanation->missing_count; i++, text += strlen(text) + 1) {
        json_write_string(explanation->json, text);
    }
    json_write_array_end(explanation->json);
}

static void decide(struct explanation *explanation)
{
    const struct explanation_request *request = explanation->request;
    if (explanation->source == NULL) {
        explanation->route = (struct outbound_route){ .kind = OUTBOUND_PASSTHROUGH, .next_hop = explanation->target };
        return;
    }
    const struct outbound_request outbound = {
        .source = explanation->source,
        .downstream_ip = explanation->source_address,
        .target = explanation->target,
        .illegal_ports = request->illegal_ports,
        .seed = request->seed,
    };
    mesh_route_outbound(request->version, &outbound, &explanation->route);
}

static void choose_source_address(struct explanation *explanation)
{
    const struct workload *source = explanation->source;
    if (source == NULL || explanation->source_address.family != IP_NONE) {
        return;
    }
    for (size_t i = 0; i < source->address_count; i++) {
        bool is_better = explanation->source_address.family == IP_NONE ||
                         source->addresses[i].family == explanation->target.ip.family;
        explanation->source_address = is_better ? source->addresses[i] : explanation->source_address;
    }
}

static void miss_source(struct explanation *explanation)
{
    const struct explanation_request *request = explanation->request;
    if (explanation->source == NULL) {
        explanation_miss(
            explanation, "no workload has the address %s: it is treated as a client outside the mesh", request->source);
        if (explanation->named_service != NULL) {
            explanation_miss(explanation,
                "outside the mesh the node's own service routing picks the endpoint of %s: ask again with its address",
                explanation->named_service->key);
        }
        return;
    }
    const char *node = workload_text(explanation->source, WORKLOAD_NODE);
    if (!text_is_empty(request->node_name) && !text_equal(node, request->node_name)) {
        explanation_miss(explanation,
            "the source runs on node %s, this ztunnel on %s: certificates and tunnels are those of this ztunnel",
            node[0] != '\0' ? node : "(unknown)", request->node_name);
    }
}

bool explanation_write(const struct explanation_request *request, struct json_writer *json, struct result *problem)
{
    struct explanation explanation = { .request = request, .json = json };
    *problem = explanation_find_source(&explanation);
    if (result_is_ok(problem)) {
        *problem = explanation_find_target(&explanation);
    }
    if (!result_is_ok(problem)) {
        return false;
    }
    choose_source_address(&explanation);
    decide(&explanation);
    json_write_object_begin(json);
    miss_source(&explanation);
    write_source(&explanation);
    write_destination(&explanation);
    write_route(&explanation);
    write_endpoints(&explanation);
    write_tunnel(&explanation);
    explanation_write_inbound(&explanation);
    write_missing(&explanation);
    json_write_object_end(json);
    writer_free(&explanation.missing);
    return true;
}
