#include "xds/gateway_decoder.h"

static bool namespaced_hostname_decode(
    struct resource_decoder *decoder, struct bytes message, struct gateway_spec *gateway)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        bool is_good = true;
        if (field.number == 1) {
            is_good = resource_text(decoder, &field, "NamespacedHostname.namespace", &gateway->namespace_);
        } else if (field.number == 2) {
            is_good = resource_text(decoder, &field, "NamespacedHostname.hostname", &gateway->hostname);
        }
        if (!is_good) {
            return false;
        }
    }
    return resource_end(decoder, &cursor, "NamespacedHostname");
}

bool network_address_decode(
    struct resource_decoder *decoder, struct bytes message, struct bytes *network, struct cidr *cidr)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    struct bytes raw = { 0 };
    uint64_t length = 0;
    bool has_length = false;
    while (protobuf_next_field(&cursor, &field)) {
        bool is_good = true;
        switch (field.number) {
        case 1:
            is_good = resource_text(decoder, &field, "NetworkAddress.network", network);
            break;
        case 2:
            is_good = resource_message(decoder, &field, "NetworkAddress.address", &raw);
            break;
        case 3:
            is_good = resource_number(decoder, &field, "NetworkAddress.length", &length);
            has_length = true;
            break;
        }
        if (!is_good) {
            return false;
        }
    }
    if (!resource_end(decoder, &cursor, "NetworkAddress") || !resource_ip(decoder, raw, &cidr->ip)) {
        return false;
    }
    uint64_t full = cidr->ip.family == IP_V4 ? 32 : 128;
    /* A mapped address was sent as 16 bytes, and so was the length of its prefix. */
    uint64_t mapped_bits = raw.length == 16 && cidr->ip.family == IP_V4 ? 96 : 0;
    if (has_length && (length < mapped_bits || length - mapped_bits > full)) {
        char text[IP_TEXT_SIZE];
        return resource_fail(decoder, "invalid cidr: %s/%llu", ip_format(&cidr->ip, text), (unsigned long long)length);
    }
    cidr->prefix_bits = (uint8_t)(has_length ? length - mapped_bits : full);
    return true;
}

bool gateway_decode(struct resource_decoder *decoder, struct bytes message, struct gateway_spec *gateway)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    *gateway = (struct gateway_spec){ 0 };
    while (protobuf_next_field(&cursor, &field)) {
        struct bytes inner;
        struct cidr cidr;
        uint64_t port;
        switch (field.number) {
        case 1:
            if (!resource_message(decoder, &field, "GatewayAddress.hostname", &inner) ||
                !namespaced_hostname_decode(decoder, inner, gateway)) {
                return false;
            }
            gateway->kind = GATEWAY_HOSTNAME;
            break;
        case 2:
            if (!resource_message(decoder, &field, "GatewayAddress.address", &inner) ||
                !network_address_decode(decoder, inner, &gateway->network, &cidr)) {
                return false;
            }
            gateway->kind = GATEWAY_ADDRESS;
            gateway->ip = cidr.ip;
            break;
        case 3:
            if (!resource_number(decoder, &field, "GatewayAddress.hbone_mtls_port", &port)) {
                return false;
            }
            gateway->hbone_mtls_port = (uint16_t)port;
            break;
        }
    }
    if (!resource_end(decoder, &cursor, "GatewayAddress")) {
        return false;
    }
    return gateway->kind != GATEWAY_NONE || resource_fail(decoder, "nonempty gateway address is missing address");
}

static bool port_decode(struct resource_decoder *decoder, struct bytes message, struct port_mapping *port)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    uint64_t number = 0;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number != 1 && field.number != 2) {
            continue;
        }
        if (!resource_number(decoder, &field, "Port", &number)) {
            return false;
        }
        *(field.number == 1 ? &port->service_port : &port->target_port) = (uint16_t)number;
    }
    return resource_end(decoder, &cursor, "Port");
}

bool ports_decode(struct resource_decoder *decoder, struct bytes message, uint32_t number,
    const struct port_mapping **ports, size_t *count)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    size_t total = resource_count(message, number);
    struct port_mapping *decoded = arena_allocate(&decoder->arena, total * sizeof *decoded);
    size_t position = 0;
    while (position < total && protobuf_next_field(&cursor, &field)) {
        struct bytes inner;
        if (field.number != number) {
            continue;
        }
        if (!resource_message(decoder, &field, "ports", &inner) || !port_decode(decoder, inner, &decoded[position++])) {
            return false;
        }
    }
    *ports = decoded;
    *count = total;
    return resource_end(decoder, &cursor, "ports");
}
