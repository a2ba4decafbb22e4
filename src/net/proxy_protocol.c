#include "net/proxy_protocol.h"

#include "base/writer.h"

static const uint8_t SIGNATURE[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

#define FIXED_BYTES 16 /* signature, version and command, family, length */
#define COMMAND_LOCAL 0x20
#define COMMAND_PROXY 0x21
#define FAMILY_UNSPECIFIED 0x00
#define FAMILY_UNSPECIFIED_STREAM 0x01
#define FAMILY_TCP4 0x11
#define FAMILY_TCP6 0x21
#define TLV_HEADER_BYTES 3

static uint8_t family_byte(const struct proxy_protocol_header *header)
{
    uint8_t family = header->source.ip.family;
    if (family == IP_NONE || family != header->destination.ip.family) {
        return FAMILY_UNSPECIFIED_STREAM;
    }
    return family == IP_V4 ? FAMILY_TCP4 : FAMILY_TCP6;
}

void proxy_protocol_write(const struct proxy_protocol_header *header, struct writer *out)
{
    uint8_t family = family_byte(header);
    bool has_addresses = family != FAMILY_UNSPECIFIED_STREAM;
    size_t length = has_addresses ? 2 * ip_bytes(&header->source.ip).length + 4 : 0;
    if (header->identity.data != NULL) {
        length += TLV_HEADER_BYTES + header->identity.length;
    }
    writer_add(out, SIGNATURE, sizeof SIGNATURE);
    writer_add_u8(out, COMMAND_PROXY);
    writer_add_u8(out, family);
    writer_add_u16(out, (uint16_t)length);
    if (has_addresses) {
        writer_add_bytes(out, ip_bytes(&header->source.ip));
        writer_add_bytes(out, ip_bytes(&header->destination.ip));
        writer_add_u16(out, header->source.port);
        writer_add_u16(out, header->destination.port);
    }
    if (header->identity.data != NULL) {
        writer_add_u8(out, PROXY_PROTOCOL_TLV_IDENTITY);
        writer_add_u16(out, (uint16_t)header->identity.length);
        writer_add_bytes(out, header->identity);
    }
}

static bool read_addresses(struct cursor *body, size_t address_bytes, struct proxy_protocol_header *header)
{
    struct bytes source = cursor_take(body, address_bytes);
    struct bytes destination = cursor_take(body, address_bytes);
    header->source.port = cursor_u16(body);
    header->destination.port = cursor_u16(body);
    return !body->has_failed && ip_from_bytes(source, &header->source.ip) &&
           ip_from_bytes(destination, &header->destination.ip);
}

static bool read_family(struct cursor *body, uint8_t family, struct proxy_protocol_header *header)
{
    switch (family) {
    case FAMILY_TCP4:
        return read_addresses(body, 4, header);
    case FAMILY_TCP6:
        return read_addresses(body, 16, header);
    default:
        return family == FAMILY_UNSPECIFIED || family == FAMILY_UNSPECIFIED_STREAM;
    }
}

static bool read_tlvs(struct cursor *body, struct proxy_protocol_header *header)
{
    while (!cursor_is_at_end(body)) {
        uint8_t type = cursor_u8(body);
        struct bytes value = cursor_take(body, cursor_u16(body));
        if (body->has_failed) {
            return false;
        }
        if (type == PROXY_PROTOCOL_TLV_IDENTITY) {
            header->identity = value;
        }
    }
    return true;
}

/* As much of the signature as has come must be right, so that other protocols are told apart at their first byte. */
static bool may_be_signature(const struct cursor *cursor)
{
    size_t compared = cursor_left(cursor) < sizeof SIGNATURE ? cursor_left(cursor) : sizeof SIGNATURE;
    return compared == 0 || memcmp(cursor->at, SIGNATURE, compared) == 0;
}

enum proxy_protocol_status proxy_protocol_read(struct cursor *cursor, struct proxy_protocol_header *header)
{
    struct cursor at = *cursor;
    *header = (struct proxy_protocol_header){ 0 };
    if (!may_be_signature(&at)) {
        return PROXY_PROTOCOL_INVALID;
    }
    cursor_skip(&at, sizeof SIGNATURE);
    uint8_t command = cursor_u8(&at);
    uint8_t family = cursor_u8(&at);
    size_t length = cursor_u16(&at);
    if (at.has_failed) {
        return PROXY_PROTOCOL_PARTIAL;
    }
    if ((command != COMMAND_PROXY && command != COMMAND_LOCAL) || FIXED_BYTES + length > PROXY_PROTOCOL_BYTES_MAXIMUM) {
        return PROXY_PROTOCOL_INVALID;
    }
    if (cursor_left(&at) < length) {
        return PROXY_PROTOCOL_PARTIAL;
    }
    struct cursor body = cursor_of(cursor_take(&at, length));
    /* §2.2: whatever a LOCAL header says about addresses is to be ignored. */
    if (command == COMMAND_PROXY && (!read_family(&body, family, header) || !read_tlvs(&body, header))) {
        *header = (struct proxy_protocol_header){ 0 };
        return PROXY_PROTOCOL_INVALID;
    }
    *cursor = at;
    return PROXY_PROTOCOL_READ;
}
