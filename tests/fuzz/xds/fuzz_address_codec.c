/* Address messages: whatever comes, either one object or a reason; an object can be put into a version, found again by
 * its key, routed to, and taken out. */
#include "mesh/change.h"
#include "mesh/outbound_route.h"
#include "xds/address_codec.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void route_to(const struct mesh_version *version, const struct workload *source, const struct ip_address *ip)
{
    static const struct illegal_ports illegal = { .ports = { 15001 }, .count = 1 };
    struct outbound_request request = {
        .source = source, .downstream_ip = *ip, .target = { *ip, 80 }, .illegal_ports = &illegal, .seed = 1
    };
    struct outbound_route route;
    mesh_route_outbound(version, &request, &route);
    bool is_refused = route.kind == OUTBOUND_REFUSED || route.kind == OUTBOUND_REFUSED_EARLY;
    expect(is_refused == (route.error.message[0] != '\0'));
}

static struct mesh_version *check_workload(struct mesh_version *version, struct workload *workload)
{
    struct bytes uid = bytes_of_string(workload_text(workload, WORKLOAD_UID));
    struct mesh_change *change = mesh_change_begin(version);
    mesh_change_upsert_workload(change, workload);
    struct mesh_version *next = mesh_change_commit(change);
    expect(mesh_workload_by_uid(next, uid) == workload);
    for (size_t i = 0; i < workload->address_count; i++) {
        route_to(next, workload, &workload->addresses[i]);
    }
    change = mesh_change_begin(next);
    expect(mesh_change_remove_address(change, uid) == MESH_REMOVED_WORKLOAD);
    struct mesh_version *without = mesh_change_commit(change);
    expect(mesh_version_workload_count(without) == 0);
    mesh_version_release(next);
    return without;
}

static struct mesh_version *check_service(struct mesh_version *version, struct service *service)
{
    struct workload_spec spec = workload_spec_initial();
    struct workload *source = NULL;
    struct result made = workload_new(&spec, &source);
    expect(result_is_ok(&made));
    struct mesh_change *change = mesh_change_begin(version);
    mesh_change_upsert_service(change, service);
    struct mesh_version *next = mesh_change_commit(change);
    expect(mesh_service_by_key(next, bytes_of_string(service->key)) == service);
    for (size_t i = 0; i < service->vip_count; i++) {
        expect(mesh_service_by_address(next, service->vips[i].network, &service->vips[i].ip, NULL) == service);
        route_to(next, source, &service->vips[i].ip);
    }
    workload_release(source);
    return next;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct decoded_address decoded;
    struct result result = address_decode(bytes_of(data, size), &decoded);
    expect(result_is_ok(&result) == ((decoded.workload != NULL) != (decoded.service != NULL)));
    if (!result_is_ok(&result)) {
        expect(result.message[0] != '\0');
        return 0;
    }
    struct mesh_settings settings = { .network = "" };
    struct mesh_version *empty = mesh_version_new(&settings);
    mesh_version_release(
        decoded.workload != NULL ? check_workload(empty, decoded.workload) : check_service(empty, decoded.service));
    mesh_version_release(empty);
    return 0;
}
