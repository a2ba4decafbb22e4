#include "mesh/inbound_route.h"

#include "base/text.h"
#include "base/writer.h"

#include <stdio.h>
#include <strings.h>

static void refuse(struct inbound_route *route, int status, struct result error)
{
    route->status = status;
    route->error = error;
}

/* An address in the :authority. `is_mapped`: it was written as an IPv4-mapped IPv6 address, which equals no other. */
struct authority {
    bool is_address;
    bool is_mapped;
    struct socket_address address;
    struct bytes host;
    uint16_t port;
};

static bool parse_authority(struct bytes text, struct authority *authority)
{
    *authority = (struct authority){ 0 };
    if (socket_address_parse_bytes(text, &authority->address)) {
        authority->is_address = true;
        authority->is_mapped = text.data[0] == '[' && authority->address.ip.family == IP_V4;
        authority->port = authority->address.port;
        return true;
    }
    return host_port_split(text, &authority->host, &authority->port) && authority->host.length > 0;
}

struct result mesh_check_authority(struct bytes authority)
{
    struct authority ignored;
    return parse_authority(authority, &ignored)
               ? result_ok()
               : result_fail(RESULT_INVALID, "no valid authority pseudo header: %.*s", (int)authority.length,
                     authority.length > 0 ? (const char *)authority.data : "");
}

static bool is_endpoint(const struct mesh_version *version, const struct service *service, const struct workload *local)
{
    struct mesh_endpoint endpoint;
    return mesh_find_endpoint(version, service, bytes_of_string(workload_text(local, WORKLOAD_UID)), &endpoint);
}

/* Whether the waypoint of what the authority names is the local workload: then this is a "sandwiched" waypoint that the
 * traffic was sent to on purpose. */
static bool is_own_waypoint(const struct mesh_version *version, const struct gateway_address *waypoint,
    const struct inbound_request *request, struct inbound_route *route)
{
    const struct service *service;
    const struct workload *workload = NULL;
    if (waypoint->kind == GATEWAY_HOSTNAME) {
        char key[2 * (MESH_TEXT_MAXIMUM + 1)];
        snprintf(key, sizeof key, "%s/%s", waypoint->namespace_, waypoint->hostname);
        service = mesh_service_by_key(version, bytes_of_string(key));
        if (service == NULL) {
            workload = mesh_workload_by_hostname(version, waypoint->namespace_, waypoint->hostname);
        }
    } else {
        struct mesh_address found = mesh_find_address(version, waypoint->network, &waypoint->ip, NULL);
        service = found.service;
        workload = found.workload;
    }
    if (service != NULL) {
        return is_endpoint(version, service, request->local);
    }
    route->unknown_waypoint = workload == NULL ? waypoint : NULL;
    return workload != NULL && workload_has_address(workload, &request->destination_ip);
}

/* §10 step 4. */
static bool is_valid_destination(const struct mesh_version *version, const struct inbound_request *request,
    const struct authority *authority, struct inbound_route *route)
{
    if (!authority->is_address || request->local->has_application_tunnel) {
        return true;
    }
    if (authority->is_mapped) {
        return false;
    }
    if (ip_equal(&authority->address.ip, &request->destination_ip)) {
        return true;
    }
    struct mesh_address named = mesh_find_address(version, mesh_version_network(version), &authority->address.ip, NULL);
    const struct gateway_address *waypoint = named.workload != NULL  ? named.workload->waypoint
                                             : named.service != NULL ? named.service->waypoint
                                                                     : NULL;
    route->is_authority_unknown = named.workload == NULL && named.service == NULL;
    route->unknown_ip = authority->address.ip;
    return waypoint != NULL && is_own_waypoint(version, waypoint, request, route);
}

static struct result mismatch(const struct inbound_request *request, const struct authority *authority)
{
    char expected[IP_TEXT_SIZE];
    char given[IP_TEXT_SIZE];
    return result_fail(RESULT_DENIED, "ip mismatch: %s != %s%s", ip_format(&request->destination_ip, expected),
        authority->is_mapped ? "::ffff:" : "", ip_format(&authority->address.ip, given));
}

/* §10 step 5 for a hostname: the port behind the service's. */
static struct result resolve_port(const struct mesh_version *version, const struct inbound_request *request,
    const struct authority *authority, struct inbound_route *route)
{
    int length = (int)authority->host.length;
    const char *host = (const char *)authority->host.data;
    const struct service *service =
        mesh_service_by_hostname(version, authority->host, workload_text(request->local, WORKLOAD_NAMESPACE));
    if (service == NULL) {
        return result_fail(RESULT_NOT_FOUND, "no service or workload for hostname: %.*s", length, host);
    }
    struct mesh_endpoint endpoint;
    struct bytes uid = bytes_of_string(workload_text(request->local, WORKLOAD_UID));
    uint16_t *port = &route->upstream.port;
    route->service = service;
    if (mesh_find_endpoint(version, service, uid, &endpoint) &&
        port_mapping_find(endpoint.ports, endpoint.port_count, authority->port, port)) {
        return result_ok();
    }
    if (service_find_port(service, authority->port, port) && *port != 0) {
        return result_ok();
    }
    return result_fail(
        RESULT_NOT_FOUND, "requested service %.*s:%u found, but cannot resolve port", length, host, authority->port);
}

/* A service's address for the PROXY header: of our network before others, of IPv4 before IPv6. */
static bool choose_vip(const struct mesh_version *version, const struct service *service, struct ip_address *chosen)
{
    int best = -1;
    for (size_t i = 0; i < service->vip_count; i++) {
        const struct service_vip *vip = &service->vips[i];
        int rank = 2 * (strcmp(vip->network, mesh_version_network(version)) == 0) + (vip->ip.family == IP_V4);
        if (rank > best) {
            best = rank;
            *chosen = vip->ip;
        }
    }
    return best >= 0;
}

static const struct ip_address *loopback_of(uint8_t family)
{
    static const struct ip_address four = { IP_V4, { 127, 0, 0, 1 } };
    static const struct ip_address six = { IP_V6, { [15] = 1 } };
    return family == IP_V4 ? &four : &six;
}

/* §11. */
static struct result apply_application_tunnel(const struct mesh_version *version, const struct inbound_request *request,
    const struct authority *authority, struct inbound_route *route)
{
    const struct workload *local = request->local;
    if (!local->has_application_tunnel) {
        return result_ok();
    }
    if (local->application_tunnel_port != 0) {
        route->upstream.port = local->application_tunnel_port;
        route->uses_application_tunnel = true;
    }
    route->dial = route->upstream;
    if (local->tunnel_protocol != TUNNEL_PROXY) {
        return result_ok();
    }
    route->wants_proxy_protocol = true;
    route->is_loopback = request->tunnels_by_loopback;
    if (route->is_loopback) {
        route->dial.ip = *loopback_of(route->upstream.ip.family);
    }
    route->proxied = (struct socket_address){ authority->address.ip, authority->port };
    if (!authority->is_address && !choose_vip(version, route->service, &route->proxied.ip)) {
        return result_fail(
            RESULT_NOT_FOUND, "requested service %s found, but has no IP addresses", route->service->hostname);
    }
    return result_ok();
}

void mesh_route_inbound(
    const struct mesh_version *version, const struct inbound_request *request, struct inbound_route *route)
{
    struct authority authority;
    *route = (struct inbound_route){ .status = 200 };
    if (!parse_authority(request->authority, &authority)) {
        refuse(route, 400, mesh_check_authority(request->authority));
        return;
    }
    route->requested_port = authority.port;
    if (!is_valid_destination(version, request, &authority, route)) {
        refuse(route, 400, mismatch(request, &authority));
        return;
    }
    /* The authority gives the port only: the address is always the one that was dialled. */
    route->upstream = (struct socket_address){ request->destination_ip, authority.port };
    if (!authority.is_address) {
        struct result resolved = resolve_port(version, request, &authority, route);
        if (!result_is_ok(&resolved)) {
            refuse(route, 503, resolved);
            return;
        }
    }
    if (illegal_ports_contain(request->illegal_ports, route->upstream.port)) {
        refuse(route, 503, result_fail(RESULT_DENIED, ROUTE_RECURSIVE_CALL));
        return;
    }
    route->dial = route->upstream;
    struct result tunnelled = apply_application_tunnel(version, request, &authority, route);
    if (!result_is_ok(&tunnelled)) {
        refuse(route, 503, tunnelled);
        return;
    }
    if (route->service == NULL) {
        route->service = mesh_guess_service(version, request->local, request->forwarded_host, route->upstream.port);
    }
}

bool inbound_route_unknown_name(
    const struct mesh_version *version, const struct inbound_route *route, struct writer *out)
{
    const struct gateway_address *waypoint = route->unknown_waypoint;
    char ip[IP_TEXT_SIZE];
    if (waypoint != NULL && waypoint->kind == GATEWAY_HOSTNAME) {
        writer_print(out, "%s/%s", waypoint->namespace_, waypoint->hostname);
    } else if (waypoint != NULL) {
        writer_print(out, "%s/%s", waypoint->network, ip_format(&waypoint->ip, ip));
    } else if (route->is_authority_unknown) {
        writer_print(out, "%s/%s", mesh_version_network(version), ip_format(&route->unknown_ip, ip));
    } else {
        return false;
    }
    return true;
}

bool mesh_route_inbound_plaintext(const struct socket_address *destination, const struct illegal_ports *illegal)
{
    return !illegal_ports_contain(illegal, destination->port);
}

static bool has_target(const struct port_mapping *ports, size_t count, uint16_t target_port)
{
    for (size_t i = 0; i < count; i++) {
        if (ports[i].target_port == target_port) {
            return true;
        }
    }
    return false;
}

const struct service *mesh_guess_service(
    const struct mesh_version *version, const struct workload *local, struct bytes forwarded_host, uint16_t port)
{
    const struct service *by_port = NULL;
    for (size_t i = 0; i < local->service_count; i++) {
        const struct workload_service *entry = &local->services[i];
        const struct service *service = mesh_service_by_key(version, bytes_of_string(entry->key));
        if (service == NULL) {
            continue;
        }
        if (forwarded_host.length > 0 && bytes_equal_string(forwarded_host, service->hostname)) {
            return service;
        }
        if (by_port == NULL && (has_target(service->ports, service->port_count, port) ||
                                   has_target(entry->ports, entry->port_count, port))) {
            by_port = service;
        }
    }
    return by_port;
}

static bool equals_ignoring_case(struct bytes text, const char *other)
{
    return text.length == strlen(other) && strncasecmp((const char *)text.data, other, text.length) == 0;
}

const struct workload *mesh_source_workload(
    const struct mesh_version *version, const struct ip_address *peer, struct bytes forwarded_network)
{
    const char *network = mesh_version_network(version);
    if (forwarded_network.data != NULL && !equals_ignoring_case(forwarded_network, network)) {
        return NULL;
    }
    return mesh_workload_by_address(version, network, peer);
}
