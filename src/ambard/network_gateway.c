#include "ambard/network_gateway.h"

#include "ambard/wire.h"
#include "ambard/workload_encoding.h"
#include "base/address.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "kube/gateway.h"

#define REMOTE_CLASS "istio-remote"

/* One address of a gateway. */
struct entrance {
    const struct kube_gateway *gateway;
    const char *network;
    struct ip_address ip; /* IP_NONE: known by `hostname` */
    const char *hostname;
    uint32_t port;
};

struct network_gateway_table {
    struct entrance *entrances; /* in the conversion's arena, in the order of the objects */
    size_t count;
    struct hash_map *addresses; /* network -> struct bytes, in the arena */
};

static uint32_t hbone_port(const struct kube_gateway *gateway)
{
    for (size_t i = 0; i < gateway->listeners.count; i++) {
        if (strcmp(gateway->listeners.items[i].protocol, "HBONE") == 0) {
            return gateway->listeners.items[i].port;
        }
    }
    return 0;
}

/* NULL unless it is the entrance of a network. */
static const char *network_of(const struct conversion *conversion, const struct kube_gateway *gateway)
{
    const struct kube_metadata *metadata = &gateway->object.metadata;
    bool is_seen = conversion_sees_namespace(conversion, metadata->namespace_);
    bool is_remote = strcmp(gateway->class_name, REMOTE_CLASS) == 0 && hbone_port(gateway) != 0;
    return is_seen && is_remote ? kube_labels_get(&metadata->labels, "topology.istio.io/network") : NULL;
}

static struct bytes encode_address(struct conversion *conversion, const struct entrance *entrance)
{
    struct writer out = writer_growing();
    if (entrance->hostname != NULL) {
        size_t mark = wire_begin(&out, 1);
        wire_string(&out, 1, entrance->gateway->object.metadata.namespace_);
        wire_string(&out, 2, entrance->hostname);
        wire_end(&out, mark);
    } else {
        size_t mark = wire_begin(&out, 2);
        wire_string(&out, 1, entrance->network);
        wire_bytes(&out, 2, ip_bytes(&entrance->ip));
        wire_end(&out, mark);
    }
    wire_number(&out, 3, entrance->port);
    uint8_t *copy = arena_allocate(conversion->arena, out.length);
    memcpy(copy, out.data, out.length);
    struct bytes encoded = bytes_of(copy, out.length);
    writer_free(&out);
    return encoded;
}

static void add_entrance(
    struct conversion *conversion, struct network_gateway_table *table, const struct entrance *entrance)
{
    struct bytes network = bytes_of_string(entrance->network);
    table->entrances[table->count++] = *entrance;
    if (hash_map_get(table->addresses, network) == NULL) {
        struct bytes *address = ARENA_NEW(conversion->arena, struct bytes);
        *address = encode_address(conversion, entrance);
        hash_map_put(table->addresses, network, address);
    }
}

static void add_gateway(
    struct conversion *conversion, struct network_gateway_table *table, const struct kube_gateway *gateway)
{
    struct entrance entrance = {
        .gateway = gateway, .network = network_of(conversion, gateway), .port = hbone_port(gateway)
    };
    for (size_t i = 0; entrance.network != NULL && i < gateway->status_addresses.count; i++) {
        const struct kube_gateway_address *address = &gateway->status_addresses.items[i];
        bool is_hostname = strcmp(address->type, "Hostname") == 0;
        entrance.hostname = is_hostname ? address->value : NULL;
        entrance.ip = (struct ip_address){ 0 };
        if (is_hostname || ip_parse(address->value, &entrance.ip)) {
            add_entrance(conversion, table, &entrance);
        }
    }
}

struct network_gateway_table *network_gateway_table_new(struct conversion *conversion)
{
    struct network_gateway_table *table = NEW(struct network_gateway_table);
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_GATEWAY);
    size_t addresses = 0;
    for (size_t i = 0; i < list.count; i++) {
        addresses += kube_as_gateway(list.items[i])->status_addresses.count;
    }
    table->addresses = hash_map_new();
    table->entrances = arena_allocate(conversion->arena, addresses * sizeof *table->entrances);
    for (size_t i = 0; i < list.count; i++) {
        add_gateway(conversion, table, kube_as_gateway(list.items[i]));
    }
    return table;
}

void network_gateway_table_free(struct network_gateway_table *table)
{
    hash_map_free(table->addresses, NULL);
    memory_free(table);
}

struct bytes network_gateway_address(const struct conversion *conversion, const char *network)
{
    const struct bytes *address = hash_map_get(conversion->network_gateways->addresses, bytes_of_string(network));
    return address != NULL ? *address : bytes_of(NULL, 0);
}

static const char *service_account_of(struct conversion *conversion, const struct kube_gateway *gateway)
{
    const struct kube_metadata *metadata = &gateway->object.metadata;
    const char *annotation = kube_labels_text(&metadata->annotations, "gateway.istio.io/service-account");
    return annotation[0] != '\0' ? annotation : arena_format(conversion->arena, "%s-" REMOTE_CLASS, metadata->name);
}

/* The first of those that share an address and a port. */
static void convert_entrance(struct conversion *conversion, const struct entrance *entrance, struct hash_map *seen)
{
    char text[IP_TEXT_SIZE];
    struct workload_parts parts = workload_parts_new(conversion);
    parts.uid = arena_format(conversion->arena, "NetworkGateway/%s/%s/%u", entrance->network,
        entrance->hostname != NULL ? entrance->hostname : ip_format(&entrance->ip, text), entrance->port);
    parts.name = parts.uid;
    parts.namespace_ = entrance->gateway->object.metadata.namespace_;
    parts.network = entrance->network;
    parts.service_account = service_account_of(conversion, entrance->gateway);
    parts.tunnel = WORKLOAD_TUNNEL_HBONE;
    parts.is_network_gateway = true;
    if (entrance->hostname != NULL) {
        parts.hostname = entrance->hostname;
    } else {
        parts.addresses = ARENA_NEW(conversion->arena, struct ip_address);
        *parts.addresses = entrance->ip;
        parts.address_count = 1;
    }
    if (hash_map_put(seen, bytes_of_string(parts.uid), seen) == NULL) {
        workload_emit(conversion, &parts);
    }
}

void network_gateways_convert(struct conversion *conversion)
{
    const struct network_gateway_table *table = conversion->network_gateways;
    struct hash_map *seen = hash_map_new();
    for (size_t i = 0; i < table->count; i++) {
        convert_entrance(conversion, &table->entrances[i], seen);
    }
    hash_map_free(seen, NULL);
}
