#include "mesh/outbound_route.h"

#include "base/spiffe.h"
#include "base/writer.h"
#include "mesh/load_balancing.h"

#include <stdio.h>

#define HBONE_PORT 15008

bool illegal_ports_contain(const struct illegal_ports *illegal, uint16_t port)
{
    for (size_t i = 0; i < illegal->count; i++) {
        if (illegal->ports[i] == port) {
            return true;
        }
    }
    return false;
}

/* One decision under way. */
struct decision {
    const struct mesh_version *version;
    const struct outbound_request *request;
    struct decision_random random;
    struct outbound_route *route;
};

enum upstream_outcome {
    UPSTREAM_NONE,     /* nothing known, or no endpoint to be had */
    UPSTREAM_ORIGINAL, /* a service that wants its traffic left alone */
    UPSTREAM_FOUND,
    UPSTREAM_SETTLED, /* the route already says why it ends here */
};

struct upstream {
    const struct workload *workload;
    const struct service *service; /* NULL when addressed as a workload */
    uint16_t port;
    struct ip_address ip; /* IP_NONE: only reachable through its network's gateway */
};

static void refuse(struct decision *decision, struct result error)
{
    decision->route->kind = OUTBOUND_REFUSED;
    decision->route->error = error;
}

static bool is_of_family(const struct ip_address *ip, uint8_t ip_families)
{
    return !(ip_families == FAMILIES_IPV4 && ip->family != IP_V4) &&
           !(ip_families == FAMILIES_IPV6 && ip->family != IP_V6);
}

static const char *describe(const struct workload *workload, char *out, size_t capacity)
{
    struct writer writer = writer_fixed(out, capacity);
    workload_describe(workload, &writer);
    return writer_string(&writer);
}

/* A random one of the original address's family, else a random other one. */
static struct ip_address choose_resolved(
    const struct resolved_name *resolved, const struct ip_address *original, struct decision_random *random)
{
    size_t of_family = 0;
    for (size_t i = 0; i < resolved->address_count; i++) {
        of_family += resolved->addresses[i].family == original->family;
    }
    size_t candidates = of_family > 0 ? of_family : resolved->address_count;
    size_t position = (size_t)decision_random_below(random, candidates);
    for (size_t i = 0; i < resolved->address_count; i++) {
        bool is_candidate = of_family == 0 || resolved->addresses[i].family == original->family;
        if (is_candidate && position-- == 0) {
            return resolved->addresses[i];
        }
    }
    return (struct ip_address){ 0 };
}

static enum upstream_outcome resolve_hostname(
    struct decision *decision, struct upstream *upstream, const struct ip_address *original)
{
    const char *hostname = workload_text(upstream->workload, WORKLOAD_HOSTNAME);
    const char *uid = workload_text(upstream->workload, WORKLOAD_UID);
    const struct resolved_name *resolved = decision->request->resolved;
    if (resolved == NULL || strcmp(resolved->hostname, hostname) != 0) {
        decision->route->kind = OUTBOUND_NEEDS_RESOLUTION;
        decision->route->resolving = upstream->workload;
        decision->route->hostname = hostname;
        return UPSTREAM_SETTLED;
    }
    if (resolved->address_count == 0) {
        refuse(decision,
            resolved->has_answer
                ? result_fail(RESULT_NOT_FOUND,
                      "ip addresses were resolved for workload %s, but valid dns response had no A/AAAA records", uid)
                : result_fail(RESULT_NOT_FOUND, "no ip addresses were resolved for workload: %s", uid));
        return UPSTREAM_SETTLED;
    }
    upstream->ip = choose_resolved(resolved, original, &decision->random);
    return UPSTREAM_FOUND;
}

static enum upstream_outcome refuse_without_destination(struct decision *decision, const struct workload *workload)
{
    char text[200];
    refuse(decision, result_fail(RESULT_UNAVAILABLE, "no valid routing destination for workload: %s",
                         describe(workload, text, sizeof text)));
    return UPSTREAM_SETTLED;
}

/* §6.4: which of the workload's addresses to dial for a connection that was made to `original`. */
static enum upstream_outcome select_ip(
    struct decision *decision, struct upstream *upstream, const struct ip_address *original)
{
    const struct workload *workload = upstream->workload;
    if (workload_has_address(workload, original)) {
        upstream->ip = *original;
        return UPSTREAM_FOUND;
    }
    uint8_t ip_families = upstream->service != NULL ? upstream->service->ip_families : FAMILIES_AUTOMATIC;
    for (size_t i = 0; i < workload->address_count; i++) {
        const struct ip_address *candidate = &workload->addresses[i];
        if (!is_of_family(candidate, ip_families)) {
            continue;
        }
        if (candidate->family == original->family) {
            upstream->ip = *candidate;
            return UPSTREAM_FOUND;
        }
        upstream->ip = upstream->ip.family == IP_NONE ? *candidate : upstream->ip;
    }
    if (upstream->ip.family != IP_NONE) {
        return UPSTREAM_FOUND;
    }
    if (workload_text(workload, WORKLOAD_HOSTNAME)[0] != '\0') {
        return resolve_hostname(decision, upstream, original);
    }
    return workload->network_gateway != NULL ? UPSTREAM_FOUND : refuse_without_destination(decision, workload);
}

static enum upstream_outcome balance(struct decision *decision, const struct service *service, uint16_t port,
    enum endpoint_selection selection, const struct ip_address *original, struct upstream *upstream)
{
    struct balanced_endpoint chosen;
    if (!load_balancing_choose(
            decision->version, decision->request->source, service, port, selection, &decision->random, &chosen)) {
        return UPSTREAM_NONE;
    }
    *upstream =
        (struct upstream){ .workload = chosen.endpoint.workload, .service = service, .port = chosen.target_port };
    return select_ip(decision, upstream, original);
}

static enum upstream_outcome use_workload(struct decision *decision, const struct workload *workload, uint16_t port,
    const struct ip_address *original, struct upstream *upstream)
{
    *upstream = (struct upstream){ .workload = workload, .port = port };
    return select_ip(decision, upstream, original);
}

/* §5 step 3: service by VIP first, then workload by address. */
static enum upstream_outcome find_upstream(struct decision *decision, const char *network,
    const struct socket_address *target, enum endpoint_selection selection, struct upstream *upstream)
{
    const char *source_namespace = workload_text(decision->request->source, WORKLOAD_NAMESPACE);
    const struct service *service = mesh_service_by_address(decision->version, network, &target->ip, source_namespace);
    if (service != NULL && service->mode == BALANCE_PASSTHROUGH) {
        return UPSTREAM_ORIGINAL;
    }
    if (service != NULL) {
        return balance(decision, service, target->port, selection, &target->ip, upstream);
    }
    const struct workload *workload = mesh_workload_by_address(decision->version, network, &target->ip);
    return workload != NULL ? use_workload(decision, workload, target->port, &target->ip, upstream) : UPSTREAM_NONE;
}

static struct bytes gateway_key(const struct gateway_address *gateway, char *out, size_t capacity)
{
    int length = snprintf(out, capacity, "%s/%s", gateway->namespace_, gateway->hostname);
    return bytes_of(out, (size_t)length < capacity ? (size_t)length : 0);
}

/* A waypoint or a network gateway: how its endpoint is chosen, and what it is called when there is none. */
struct gateway_role {
    const char *name;
    enum endpoint_selection selection;
};
static const struct gateway_role ROLE_WAYPOINT = { "waypoint", SELECT_WAYPOINT };
static const struct gateway_role ROLE_NETWORK_GATEWAY = { "network gateway", SELECT_ENDPOINT };

static enum upstream_outcome find_named_gateway(struct decision *decision, const struct gateway_address *gateway,
    enum endpoint_selection selection, struct upstream *upstream)
{
    char text[2 * (MESH_TEXT_MAXIMUM + 1)];
    struct bytes key = gateway_key(gateway, text, sizeof text);
    uint16_t port = gateway->hbone_mtls_port;
    const struct ip_address *original = &decision->request->target.ip;
    const struct service *service = mesh_service_by_key(decision->version, key);
    if (service != NULL) {
        return balance(decision, service, port, selection, original, upstream);
    }
    const struct workload *workload =
        mesh_workload_by_hostname(decision->version, gateway->namespace_, gateway->hostname);
    return workload != NULL ? use_workload(decision, workload, port, original, upstream) : UPSTREAM_NONE;
}

/* §6.5. Found, or settled with the sentence. */
static enum upstream_outcome find_gateway(struct decision *decision, const struct gateway_address *gateway,
    const struct gateway_role *role, struct upstream *upstream)
{
    enum upstream_outcome outcome;
    if (gateway->kind == GATEWAY_HOSTNAME) {
        outcome = find_named_gateway(decision, gateway, role->selection, upstream);
    } else {
        struct socket_address target = { gateway->ip, gateway->hbone_mtls_port };
        outcome = find_upstream(decision, gateway->network, &target, role->selection, upstream);
    }
    if (outcome == UPSTREAM_FOUND || outcome == UPSTREAM_SETTLED) {
        return outcome;
    }
    char ip[IP_TEXT_SIZE];
    bool is_named = gateway->kind == GATEWAY_HOSTNAME;
    decision->route->unknown_gateway = gateway;
    refuse(decision, result_fail(RESULT_UNAVAILABLE, "unknown %s: %s %s%s%s not found", role->name, role->name,
                         is_named ? "" : gateway->network, is_named ? "" : "/",
                         is_named ? gateway->hostname : ip_format(&gateway->ip, ip)));
    return UPSTREAM_SETTLED;
}

/* Weighted waypoints win over the single one, unless their weights are all zero. */
static const struct gateway_address *pick_waypoint(struct decision *decision, const struct service *service)
{
    uint64_t total = 0;
    for (size_t i = 0; i < service->weighted_waypoint_count; i++) {
        total += service->weighted_waypoints[i].weight;
    }
    if (total == 0) {
        return service->waypoint;
    }
    uint64_t position = decision_random_below(&decision->random, total);
    for (size_t i = 0; i < service->weighted_waypoint_count; i++) {
        const struct weighted_waypoint *candidate = &service->weighted_waypoints[i];
        if (position < candidate->weight) {
            return &candidate->destination;
        }
        position -= candidate->weight;
    }
    return service->waypoint;
}

static bool is_on_source_network(const struct decision *decision, const struct workload *workload)
{
    return strcmp(workload_text(decision->request->source, WORKLOAD_NETWORK),
               workload_text(workload, WORKLOAD_NETWORK)) == 0;
}

/* §9. `service` is what the application dialled: the other network's gateway knows it by its name. */
static void route_to_other_network(struct decision *decision, const struct upstream *hop, const struct service *service)
{
    struct outbound_route *route = decision->route;
    struct upstream gateway = { 0 };
    if (hop->workload->network_gateway == NULL) {
        refuse_without_destination(decision, hop->workload);
        return;
    }
    if (find_gateway(decision, hop->workload->network_gateway, &ROLE_NETWORK_GATEWAY, &gateway) != UPSTREAM_FOUND) {
        return;
    }
    if (gateway.ip.family == IP_NONE) {
        refuse_without_destination(decision, gateway.workload);
        return;
    }
    route->kind = OUTBOUND_DOUBLE_HBONE;
    route->next_hop = (struct socket_address){ gateway.ip, gateway.port };
    route->authority = (struct socket_address){ .port = decision->request->target.port };
    route->authority_hostname = service->hostname;
    route->destination = gateway.workload;
    route->identity_service = gateway.service;
    route->inner_destination = hop->workload;
    route->inner_identity_service = hop->service;
}

static void route_to_waypoint(struct decision *decision, const struct upstream *waypoint)
{
    struct outbound_route *route = decision->route;
    if (waypoint->ip.family == IP_NONE) {
        refuse_without_destination(decision, waypoint->workload);
        return;
    }
    route->kind = OUTBOUND_HBONE;
    route->is_to_waypoint = true;
    route->next_hop = (struct socket_address){ waypoint->ip, waypoint->port };
    route->authority = decision->request->target;
    route->destination = waypoint->workload;
    route->identity_service = waypoint->service;
}

/* §5 step 2. True when the decision is made. */
static bool route_to_service_waypoint(struct decision *decision, const struct service *service)
{
    const struct gateway_address *waypoint = pick_waypoint(decision, service);
    if (waypoint == NULL) {
        return false;
    }
    decision->route->service = service;
    struct upstream upstream = { 0 };
    if (find_gateway(decision, waypoint, &ROLE_WAYPOINT, &upstream) != UPSTREAM_FOUND) {
        return true;
    }
    if (!is_on_source_network(decision, upstream.workload)) {
        route_to_other_network(decision, &upstream, service);
        return true;
    }
    route_to_waypoint(decision, &upstream);
    return true;
}

/* The waypoint itself dials: it has the source's identity and owns the address the connection comes from. */
static bool is_source_of_connection(const struct decision *decision, const struct workload *candidate)
{
    return candidate != NULL && workload_has_same_identity(candidate, decision->request->source) &&
           workload_has_address(candidate, &decision->request->downstream_ip);
}

/* §5 step 6. */
static bool is_from_waypoint(const struct decision *decision, const struct gateway_address *waypoint)
{
    const struct mesh_version *version = decision->version;
    const struct service *service;
    const struct workload *workload;
    if (waypoint->kind == GATEWAY_HOSTNAME) {
        char text[2 * (MESH_TEXT_MAXIMUM + 1)];
        service = mesh_service_by_key(version, gateway_key(waypoint, text, sizeof text));
        workload =
            service == NULL ? mesh_workload_by_hostname(version, waypoint->namespace_, waypoint->hostname) : NULL;
    } else {
        struct mesh_address found = mesh_find_address(version, waypoint->network, &waypoint->ip, NULL);
        service = found.service;
        workload = found.workload;
    }
    if (service == NULL) {
        return is_source_of_connection(decision, workload);
    }
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint endpoint;
    mesh_endpoints_begin(version, bytes_of_string(service->key), &iterator);
    while (mesh_endpoints_next(&iterator, &endpoint)) {
        if (is_source_of_connection(decision, endpoint.workload)) {
            return true;
        }
    }
    return false;
}

/* §5 step 4. */
static void route_without_upstream(
    struct decision *decision, const struct service *service, enum upstream_outcome outcome)
{
    if (outcome == UPSTREAM_NONE && service != NULL && service->mode != BALANCE_PASSTHROUGH) {
        char target[SOCKET_ADDRESS_TEXT_SIZE];
        decision->route->service = service;
        refuse(decision, result_fail(RESULT_UNAVAILABLE, "no healthy upstream: %s",
                             socket_address_format(&decision->request->target, target)));
        return;
    }
    decision->route->kind = OUTBOUND_PASSTHROUGH;
    decision->route->next_hop = decision->request->target;
    decision->route->is_target_unknown = service == NULL;
}

/* §5 step 8. */
static void route_directly(struct decision *decision, const struct upstream *upstream)
{
    struct outbound_route *route = decision->route;
    struct socket_address application = { upstream->ip, upstream->port };
    if (upstream->ip.family == IP_NONE) {
        refuse_without_destination(decision, upstream->workload);
        return;
    }
    route->destination = upstream->workload;
    if (upstream->workload->protocol != WORKLOAD_HBONE) {
        route->kind = OUTBOUND_TCP;
        route->next_hop = application;
        return;
    }
    route->kind = OUTBOUND_HBONE;
    route->next_hop = (struct socket_address){ upstream->ip, HBONE_PORT };
    route->authority = application;
    route->identity_service = upstream->service;
}

/* §5 steps 5 to 8. */
static void route_to_upstream(
    struct decision *decision, const struct upstream *upstream, const struct service *addressed)
{
    const struct workload *workload = upstream->workload;
    decision->route->service = upstream->service;
    if (!is_on_source_network(decision, workload)) {
        if (addressed == NULL) {
            char target[SOCKET_ADDRESS_TEXT_SIZE];
            refuse(decision, result_fail(RESULT_UNAVAILABLE, "no service for target address: %s",
                                 socket_address_format(&decision->request->target, target)));
            return;
        }
        route_to_other_network(decision, upstream, addressed);
        return;
    }
    bool wants_waypoint = workload->waypoint != NULL && addressed == NULL;
    if (wants_waypoint && !is_from_waypoint(decision, workload->waypoint)) {
        struct upstream waypoint = { 0 };
        if (find_gateway(decision, workload->waypoint, &ROLE_WAYPOINT, &waypoint) == UPSTREAM_FOUND) {
            route_to_waypoint(decision, &waypoint);
        }
        return;
    }
    route_directly(decision, upstream);
}

void mesh_route_outbound(
    const struct mesh_version *version, const struct outbound_request *request, struct outbound_route *route)
{
    struct decision decision = { version, request, { request->seed }, route };
    *route = (struct outbound_route){ 0 };
    if (ip_is_loopback(&request->target.ip) && illegal_ports_contain(request->illegal_ports, request->target.port)) {
        refuse(&decision, result_fail(RESULT_DENIED, ROUTE_RECURSIVE_CALL));
        route->kind = OUTBOUND_REFUSED_EARLY;
        return;
    }
    struct mesh_address addressed = mesh_find_address(version, mesh_version_network(version), &request->target.ip,
        workload_text(request->source, WORKLOAD_NAMESPACE));
    if (addressed.service != NULL && route_to_service_waypoint(&decision, addressed.service)) {
        return;
    }
    struct upstream upstream = { 0 };
    enum upstream_outcome outcome = find_upstream(
        &decision, workload_text(request->source, WORKLOAD_NETWORK), &request->target, SELECT_ENDPOINT, &upstream);
    if (outcome == UPSTREAM_SETTLED) {
        route->service = upstream.service;
        return;
    }
    if (outcome != UPSTREAM_FOUND) {
        route_without_upstream(&decision, addressed.service, outcome);
        return;
    }
    route_to_upstream(&decision, &upstream, addressed.service);
}

bool outbound_route_unknown_name(const struct mesh_version *version, const struct outbound_request *request,
    const struct outbound_route *route, struct writer *out)
{
    const struct gateway_address *gateway = route->unknown_gateway;
    char ip[IP_TEXT_SIZE];
    if (gateway != NULL && gateway->kind == GATEWAY_HOSTNAME) {
        writer_print(out, "%s/%s", gateway->namespace_, gateway->hostname);
    } else if (gateway != NULL) {
        writer_print(out, "%s/%s", gateway->network, ip_format(&gateway->ip, ip));
    } else if (route->is_target_unknown) {
        writer_print(out, "%s/%s", mesh_version_network(version), ip_format(&request->target.ip, ip));
    } else {
        return false;
    }
    return true;
}

static size_t add_service_identities(const struct service *service, struct writer *out)
{
    size_t count = 0;
    for (size_t i = 0; service != NULL && i < service->subject_alt_name_count; i++) {
        struct bytes name = bytes_of_string(service->subject_alt_names[i]);
        struct spiffe_parts parts;
        if (spiffe_parse(name, &parts)) {
            writer_add_bytes(out, name);
            writer_add_u8(out, 0);
            count++;
        }
    }
    return count;
}

size_t outbound_route_expected_identities(const struct outbound_route *route, struct writer *out)
{
    size_t count = add_service_identities(route->identity_service, out);
    workload_add_identity(route->destination, out);
    writer_add_u8(out, 0);
    return count + 1;
}

size_t outbound_route_inner_identities(const struct outbound_route *route, struct writer *out)
{
    return add_service_identities(route->inner_identity_service, out);
}
