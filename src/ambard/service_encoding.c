/* A service as bytes. */
#include "ambard/service_encoding.h"

#include "ambard/wire.h"
#include "base/memory.h"
#include "base/text.h"

enum app_protocol { APP_UNKNOWN, APP_HTTP11, APP_HTTP2, APP_GRPC, APP_TCP, APP_TLS };
enum scope { SCOPE_REGION = 1, SCOPE_ZONE, SCOPE_SUBZONE, SCOPE_NODE, SCOPE_CLUSTER, SCOPE_NETWORK };
enum mode { MODE_UNSPECIFIED, MODE_STRICT, MODE_FAILOVER, MODE_PASSTHROUGH };
enum { HEALTH_ALLOW_ALL = 1 };

/* ---- protocols ---- */

static bool protocol_of_word(const char *word, uint32_t *protocol)
{
    static const struct {
        const char *word;
        enum app_protocol protocol;
    } words[] = {
        { "http", APP_HTTP11 },
        { "http2", APP_HTTP2 },
        { "grpc", APP_GRPC },
        { "tcp", APP_TCP },
        { "tls", APP_TLS },
        { "https", APP_TLS },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (text_equal_ignoring_case(word, words[i].word)) {
            *protocol = words[i].protocol;
            return true;
        }
    }
    return false;
}

uint32_t service_entry_app_protocol(const char *protocol)
{
    uint32_t found;
    return protocol_of_word(protocol, &found) ? found : APP_UNKNOWN;
}

/* The word before the first hyphen. Of a name that says nothing, a few port numbers speak. */
static uint32_t protocol_of_name(const char *name, uint32_t port)
{
    char word[8];
    size_t length = strcspn(name, "-");
    uint32_t protocol;
    if (strncasecmp(name, "grpc-web", 8) == 0) {
        return APP_UNKNOWN;
    }
    if (length < sizeof word) {
        memcpy(word, name, length);
        word[length] = '\0';
        if (protocol_of_word(word, &protocol)) {
            return protocol;
        }
    }
    return port == 25 || port == 53 || port == 3306 || port == 27017 ? APP_TCP : APP_UNKNOWN;
}

uint32_t service_app_protocol(const struct kube_service_port *port)
{
    if (port->protocol == KUBE_PROTOCOL_UDP) {
        return APP_UNKNOWN;
    }
    if (strcmp(port->app_protocol, "kubernetes.io/h2c") == 0) {
        return APP_HTTP2;
    }
    if (strcmp(port->app_protocol, "kubernetes.io/ws") == 0) {
        return APP_HTTP11;
    }
    if (strcmp(port->app_protocol, "kubernetes.io/wss") == 0) {
        return APP_TLS;
    }
    return protocol_of_name(port->app_protocol[0] != '\0' ? port->app_protocol : port->name, port->port);
}

/* ---- addresses ---- */

bool service_address_is_single(const struct cidr *address)
{
    return address->prefix_bits == (address->ip.family == IP_V4 ? 32 : 128);
}

static void clear_host_bits(struct cidr *block)
{
    for (unsigned bit = block->prefix_bits; bit < sizeof block->ip.bytes * 8; bit++) {
        block->ip.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    }
}

static void add_address(struct service_addresses *addresses, const char *text)
{
    struct cidr block;
    if (cidr_parse(text, &block)) {
        clear_host_bits(&block);
        addresses->items[addresses->count++] = block;
    }
}

struct service_addresses service_cluster_addresses(struct arena *arena, const struct kube_service *service)
{
    const struct kube_strings *ips = &service->spec.cluster_ips;
    struct service_addresses addresses = { arena_allocate(arena, (ips->count + 1) * sizeof *addresses.items), 0 };
    for (size_t i = 0; i < ips->count; i++) {
        add_address(&addresses, ips->items[i]); /* `None` is no address */
    }
    if (ips->count == 0) {
        add_address(&addresses, service->spec.cluster_ip);
    }
    return addresses;
}

struct service_addresses service_entry_addresses(struct arena *arena, const struct kube_service_entry *entry)
{
    struct service_addresses addresses = { arena_allocate(arena, entry->addresses.count * sizeof *addresses.items), 0 };
    for (size_t i = 0; i < entry->addresses.count; i++) {
        add_address(&addresses, entry->addresses.items[i]);
    }
    return addresses;
}

/* ---- fields ---- */

static void encode_addresses(
    const struct conversion *conversion, const struct service_addresses *addresses, struct writer *out)
{
    for (size_t i = 0; i < addresses->count; i++) {
        const struct cidr *address = &addresses->items[i];
        size_t mark = wire_begin(out, 4);
        wire_string(out, 1, conversion->network);
        wire_bytes(out, 2, ip_bytes(&address->ip));
        if (!service_address_is_single(address)) {
            writer_add_u8(out, 3 << 3); /* `length` is optional: it is written even when it is 0 */
            writer_add_varint(out, address->prefix_bits);
        }
        wire_end(out, mark);
    }
}

static void encode_port(struct writer *out, uint32_t service_port, uint32_t target_port, uint32_t app_protocol)
{
    size_t mark = wire_begin(out, 5);
    wire_number(out, 1, service_port);
    wire_number(out, 2, target_port);
    wire_number(out, 3, app_protocol);
    wire_end(out, mark);
}

static void encode_ports(const struct mesh_service *service, struct writer *out)
{
    for (size_t i = 0; service->service != NULL && i < service->service->spec.ports.count; i++) {
        const struct kube_service_port *port = &service->service->spec.ports.items[i];
        bool is_named = port->target_port.name[0] != '\0';
        uint32_t target = is_named ? 0 : port->target_port.number != 0 ? port->target_port.number : port->port;
        encode_port(out, port->port, target, service_app_protocol(port));
    }
    for (size_t i = 0; service->entry != NULL && i < service->entry->ports.count; i++) {
        const struct kube_service_entry_port *port = &service->entry->ports.items[i];
        uint32_t target = port->target_port != 0 ? port->target_port : port->number;
        encode_port(out, port->number, target, service_entry_app_protocol(port->protocol));
    }
}

static bool distribution_of_annotation(const struct kube_labels *annotations, int *distribution)
{
    const char *text = kube_labels_get(annotations, "networking.istio.io/traffic-distribution");
    if (text == NULL) {
        return false;
    }
    *distribution = text_equal_ignoring_case(text, "PreferClose")      ? KUBE_DISTRIBUTION_PREFER_CLOSE
                    : text_equal_ignoring_case(text, "PreferSameZone") ? KUBE_DISTRIBUTION_PREFER_SAME_ZONE
                    : text_equal_ignoring_case(text, "PreferSameNode") ? KUBE_DISTRIBUTION_PREFER_SAME_NODE
                                                                       : KUBE_DISTRIBUTION_ANY;
    return true;
}

/* The field, else the object's annotation, else the namespace's; an unknown value ends the search. */
static int distribution_of(const struct conversion *conversion, const struct mesh_service *service)
{
    int distribution = service->service == NULL ? KUBE_DISTRIBUTION_ANY : service->service->spec.traffic_distribution;
    if (distribution == KUBE_DISTRIBUTION_ANY &&
        !distribution_of_annotation(&service->object->metadata.annotations, &distribution)) {
        distribution_of_annotation(conversion_namespace_annotations(conversion, service->namespace_), &distribution);
    }
    return distribution;
}

static void encode_load_balancing(
    const struct conversion *conversion, const struct mesh_service *service, struct writer *out)
{
    static const uint32_t failover_scopes[] = { SCOPE_NETWORK, SCOPE_REGION, SCOPE_ZONE, SCOPE_SUBZONE, SCOPE_NODE };
    static const uint32_t local_scopes[] = { SCOPE_NODE };
    const uint32_t *scopes = NULL;
    size_t scope_count = 0;
    enum mode mode = MODE_UNSPECIFIED;
    bool allows_all = service->service != NULL && service->service->spec.publishes_not_ready_addresses;
    if (service->entry != NULL && service->entry->resolution == KUBE_RESOLUTION_NONE) {
        mode = MODE_PASSTHROUGH;
        allows_all = true;
    } else if (service->service != NULL &&
               service->service->spec.internal_traffic_policy == KUBE_INTERNAL_TRAFFIC_LOCAL) {
        mode = MODE_STRICT;
        scopes = local_scopes;
        scope_count = ARRAY_LENGTH(local_scopes);
    } else {
        int distribution = distribution_of(conversion, service);
        scopes = failover_scopes;
        scope_count = distribution == KUBE_DISTRIBUTION_ANY                ? 0
                      : distribution == KUBE_DISTRIBUTION_PREFER_SAME_NODE ? ARRAY_LENGTH(failover_scopes)
                                                                           : 3;
        mode = scope_count > 0 ? MODE_FAILOVER : MODE_UNSPECIFIED;
    }
    if (mode == MODE_UNSPECIFIED && !allows_all) {
        return;
    }
    size_t mark = wire_begin(out, 8);
    wire_packed(out, 1, scopes, scope_count);
    wire_number(out, 2, mode);
    wire_number(out, 3, allows_all ? HEALTH_ALLOW_ALL : 0);
    wire_end(out, mark);
}

static uint32_t ip_families_of(const struct mesh_service *service)
{
    const struct kube_strings *families = service->service == NULL ? NULL : &service->service->spec.ip_families;
    if (families == NULL || families->count == 0) {
        return 0;
    }
    return families->count == 2 ? 3 : strcmp(families->items[0], "IPv4") == 0 ? 1 : 2;
}

static void encode_weighted_waypoint(const struct waypoint *waypoint, uint32_t weight, struct writer *out)
{
    size_t mark = wire_begin(out, 13);
    wire_bytes(out, 1, waypoint->address);
    wire_number(out, 2, weight);
    wire_end(out, mark);
}

void service_encode(const struct conversion *conversion, const struct service_parts *parts, struct writer *out)
{
    const struct mesh_service *service = parts->service;
    size_t mark = wire_begin(out, 2); /* Address.service */
    wire_string(out, 1, service->object->metadata.name);
    wire_string(out, 2, service->namespace_);
    wire_string(out, 3, service->hostname);
    encode_addresses(conversion, &parts->addresses, out);
    encode_ports(service, out);
    for (size_t i = 0; service->entry != NULL && i < service->entry->subject_alt_names.count; i++) {
        wire_string_always(out, 6, service->entry->subject_alt_names.items[i]);
    }
    if (parts->binding.waypoint != NULL) {
        wire_bytes(out, 7, parts->binding.waypoint->address);
    }
    encode_load_balancing(conversion, service, out);
    wire_number(out, 9, ip_families_of(service));
    wire_bool(out, 11, parts->is_canonical);
    wire_bool(out, 12, parts->uses_waypoint_for_ingress);
    if (parts->binding.waypoint != NULL && parts->binding.canary != NULL) {
        encode_weighted_waypoint(parts->binding.waypoint, 100 - parts->binding.canary_weight, out);
        encode_weighted_waypoint(parts->binding.canary, parts->binding.canary_weight, out);
    }
    wire_number(out, 14, service->visibility == KUBE_VISIBILITY_NAMESPACE ? 1 : 0);
    wire_end(out, mark);
}
