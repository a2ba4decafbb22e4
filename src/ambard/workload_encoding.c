/* A workload as bytes. */
#include "ambard/workload_encoding.h"

#include "ambard/network_gateway.h"
#include "ambard/wire.h"
#include "base/memory.h"

#include <stdlib.h>

struct workload_parts workload_parts_new(const struct conversion *conversion)
{
    return (struct workload_parts){
        .uid = "",
        .name = "",
        .namespace_ = "",
        .network = conversion->network,
        .service_account = "",
        .node = "",
        .canonical_name = "",
        .canonical_revision = "",
        .workload_name = "",
        .hostname = "",
        .region = "",
        .zone = "",
        .subzone = "",
    };
}

static void encode_services(const struct workload_parts *parts, struct writer *out)
{
    for (size_t i = 0; i < parts->service_count; i++) {
        const struct workload_service *service = &parts->services[i];
        size_t entry = wire_begin(out, 22);
        wire_string_always(out, 1, service->name);
        size_t list = wire_begin(out, 2);
        for (size_t j = 0; j < service->port_count; j++) {
            size_t port = wire_begin(out, 1);
            wire_number(out, 1, service->ports[j].service_port);
            wire_number(out, 2, service->ports[j].target_port);
            wire_end(out, port);
        }
        wire_end(out, list);
        wire_end(out, entry);
    }
}

static void encode_locality(const struct workload_parts *parts, struct writer *out)
{
    if (parts->region[0] == '\0' && parts->zone[0] == '\0' && parts->subzone[0] == '\0') {
        return;
    }
    size_t mark = wire_begin(out, 24);
    wire_string(out, 1, parts->region);
    wire_string(out, 2, parts->zone);
    wire_string(out, 3, parts->subzone);
    wire_end(out, mark);
}

static void encode_application_tunnel(const struct waypoint *waypoint, struct writer *out)
{
    if (waypoint == NULL || !waypoint->has_inbound_binding) {
        return;
    }
    size_t mark = wire_begin(out, 23);
    wire_number(out, 1, waypoint->inbound_protocol);
    wire_number(out, 2, waypoint->inbound_port);
    wire_end(out, mark);
}

void workload_encode(const struct conversion *conversion, const struct workload_parts *parts, struct writer *out)
{
    size_t mark = wire_begin(out, 1); /* Address.workload */
    wire_string(out, 1, parts->name);
    wire_string(out, 2, parts->namespace_);
    for (size_t i = 0; i < parts->address_count; i++) {
        wire_bytes(out, 3, ip_bytes(&parts->addresses[i]));
    }
    wire_string(out, 4, parts->network);
    wire_number(out, 5, parts->tunnel);
    wire_string(out, 6, conversion_wire_trust_domain(conversion));
    wire_string(out, 7, parts->service_account);
    if (parts->waypoint != NULL) {
        wire_bytes(out, 8, parts->waypoint->address);
    }
    wire_string(out, 9, parts->node);
    wire_string(out, 10, parts->canonical_name);
    wire_string(out, 11, parts->canonical_revision);
    wire_number(out, 12, parts->type);
    wire_string(out, 13, parts->workload_name);
    wire_bool(out, 14, parts->is_native_tunnel);
    for (size_t i = 0; i < parts->policies.count; i++) {
        wire_string_always(out, 16, parts->policies.items[i]);
    }
    wire_bool(out, 17, parts->is_unhealthy);
    wire_string(out, 18, conversion->settings->cluster_id);
    struct bytes gateway = network_gateway_address(conversion, parts->network);
    if (gateway.data != NULL && !parts->is_network_gateway) {
        wire_bytes(out, 19, gateway);
    }
    wire_string(out, 20, parts->uid);
    wire_string(out, 21, parts->hostname);
    encode_services(parts, out);
    encode_application_tunnel(parts->instance_of, out);
    encode_locality(parts, out);
    wire_bool(out, 25, parts->is_host_network);
    if (parts->capacity != 0) {
        size_t capacity = wire_begin(out, 27);
        wire_number(out, 1, parts->capacity);
        wire_end(out, capacity);
    }
    wire_end(out, mark);
}

static int compare_services(const void *left, const void *right)
{
    return strcmp(((const struct workload_service *)left)->name, ((const struct workload_service *)right)->name);
}

static const char **aliases_of(struct conversion *conversion, const struct workload_parts *parts)
{
    const char **aliases = arena_allocate(conversion->arena, parts->address_count * sizeof *aliases);
    for (size_t i = 0; i < parts->address_count; i++) {
        char text[IP_TEXT_SIZE];
        aliases[i] = arena_format(conversion->arena, "%s/%s", parts->network, ip_format(&parts->addresses[i], text));
    }
    return aliases;
}

void workload_emit(struct conversion *conversion, struct workload_parts *parts)
{
    /* The wire's map has no order; ours is sorted, so that equal workloads have equal bytes. */
    if (parts->service_count > 1) {
        qsort(parts->services, parts->service_count, sizeof *parts->services, compare_services);
    }
    struct writer body = writer_growing();
    workload_encode(conversion, parts, &body);
    const char **services = arena_allocate(conversion->arena, parts->service_count * sizeof *services);
    for (size_t i = 0; i < parts->service_count; i++) {
        services[i] = parts->services[i].name;
    }
    const struct ambient_draft draft = {
        .type = AMBIENT_WORKLOAD,
        .name = parts->uid,
        .body = writer_bytes(&body),
        .aliases = aliases_of(conversion, parts),
        .alias_count = parts->address_count,
        .node = parts->node,
        .services = services,
        .service_count = parts->service_count,
    };
    conversion->emit(conversion->emit_context, &draft);
    writer_free(&body);
}
