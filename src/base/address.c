#include "base/address.h"

#include "base/text.h"
#include "base/writer.h"

#include <arpa/inet.h>
#include <stdio.h>

/* ::ffff:0:0/96, RFC 4291 §2.5.5.2 */
static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF };
#define MAPPED_PREFIX_BITS 96

bool ip_from_bytes(struct bytes raw, struct ip_address *ip)
{
    if (raw.length == 16 && memcmp(raw.data, mapped_prefix, sizeof mapped_prefix) == 0) {
        raw = bytes_of(raw.data + sizeof mapped_prefix, 4);
    }
    if (raw.length != 4 && raw.length != 16) {
        return false;
    }
    *ip = (struct ip_address){ .family = raw.length == 4 ? IP_V4 : IP_V6 };
    memcpy(ip->bytes, raw.data, raw.length);
    return true;
}

static size_t ip_length(const struct ip_address *ip)
{
    return ip->family == IP_V4 ? 4 : ip->family == IP_V6 ? 16 : 0;
}

struct bytes ip_bytes(const struct ip_address *ip)
{
    return bytes_of(ip->bytes, ip_length(ip));
}

bool ip_parse(const char *text, struct ip_address *ip)
{
    uint8_t raw[16];
    /* Both of these are strict in the C library: four decimal parts without leading zeros; no zone. */
    if (inet_pton(AF_INET, text, raw) == 1) {
        return ip_from_bytes(bytes_of(raw, 4), ip);
    }
    return inet_pton(AF_INET6, text, raw) == 1 && ip_from_bytes(bytes_of(raw, 16), ip);
}

/* A NUL-terminated copy for the parsers above; false when it does not fit or holds a NUL. */
static bool copy_text(struct bytes text, char *out, size_t capacity)
{
    if (text.length == 0 || text.length >= capacity || memchr(text.data, '\0', text.length) != NULL) {
        return false;
    }
    memcpy(out, text.data, text.length);
    out[text.length] = '\0';
    return true;
}

bool ip_parse_bytes(struct bytes text, struct ip_address *ip)
{
    char copy[IP_TEXT_SIZE];
    return copy_text(text, copy, sizeof copy) && ip_parse(copy, ip);
}

/* The longest run of at least two zero groups, the first of equals (RFC 5952 §4.2). */
static void find_zero_run(const uint16_t groups[8], int *start, int *length)
{
    *start = -1;
    *length = 1;
    for (int i = 0; i < 8; i++) {
        int run = 0;
        while (i + run < 8 && groups[i + run] == 0) {
            run++;
        }
        if (run > *length) {
            *start = i;
            *length = run;
        }
        i += run;
    }
}

static void format_v6(const uint8_t bytes[16], char out[static IP_TEXT_SIZE])
{
    uint16_t groups[8];
    for (int i = 0; i < 8; i++) {
        groups[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
    }
    int zeros_start, zeros_length;
    find_zero_run(groups, &zeros_start, &zeros_length);
    struct writer writer = writer_fixed(out, IP_TEXT_SIZE);
    for (int i = 0; i < 8; i++) {
        if (i == zeros_start) {
            writer_add_string(&writer, "::");
            i += zeros_length - 1;
            continue;
        }
        bool needs_colon = i > 0 && i != zeros_start + zeros_length;
        writer_print(&writer, "%s%x", needs_colon || (i > 0 && zeros_start < 0) ? ":" : "", groups[i]);
    }
    (void)writer_string(&writer);
}

/* Formatted by hand: every new connection needs several addresses as text. Returns the end. */
static char *put_decimal(char *out, unsigned value)
{
    char digits[10];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0) {
        *out++ = digits[--count];
    }
    return out;
}

static void format_v4(const uint8_t bytes[4], char *out)
{
    for (int i = 0; i < 4; i++) {
        out = put_decimal(out, bytes[i]);
        *out++ = '.';
    }
    out[-1] = '\0';
}

const char *ip_format(const struct ip_address *ip, char out[static IP_TEXT_SIZE])
{
    if (ip->family == IP_V4) {
        format_v4(ip->bytes, out);
    } else if (ip->family == IP_V6) {
        format_v6(ip->bytes, out);
    } else {
        snprintf(out, IP_TEXT_SIZE, "none");
    }
    return out;
}

bool ip_equal(const struct ip_address *left, const struct ip_address *right)
{
    return ip_compare(left, right) == 0;
}

int ip_compare(const struct ip_address *left, const struct ip_address *right)
{
    if (left->family != right->family) {
        return left->family < right->family ? -1 : 1;
    }
    return memcmp(left->bytes, right->bytes, ip_length(left));
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

bool ip_is_loopback(const struct ip_address *ip)
{
    if (ip->family == IP_V4) {
        return ip->bytes[0] == 127;
    }
    return ip->family == IP_V6 && is_zero(ip->bytes, 15) && ip->bytes[15] == 1;
}

bool ip_is_unspecified(const struct ip_address *ip)
{
    return ip->family != IP_NONE && is_zero(ip->bytes, ip_length(ip));
}

static bool port_parse(struct bytes text, uint16_t *port)
{
    uint64_t number;
    if (text.length > 5 || !bytes_to_u64(text, UINT16_MAX, &number)) {
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

bool host_port_split(struct bytes text, struct bytes *host, uint16_t *port)
{
    const uint8_t *colon = text.length == 0 ? NULL : memrchr(text.data, ':', text.length);
    if (colon == NULL) {
        return false;
    }
    struct bytes before = bytes_of(text.data, (size_t)(colon - text.data));
    struct bytes after = bytes_of(colon + 1, text.length - before.length - 1);
    if (before.length == 0 || !port_parse(after, port)) {
        return false;
    }
    bool is_bracketed = before.length > 2 && before.data[0] == '[' && before.data[before.length - 1] == ']';
    if (is_bracketed) {
        before = bytes_of(before.data + 1, before.length - 2);
    } else if (memchr(before.data, ':', before.length) != NULL || before.data[0] == '[') {
        return false; /* an IPv6 address without brackets: where it ends is anyone's guess */
    }
    *host = before;
    return true;
}

bool socket_address_parse(const char *text, struct socket_address *address)
{
    return socket_address_parse_bytes(bytes_of_string(text), address);
}

bool socket_address_parse_bytes(struct bytes text, struct socket_address *address)
{
    struct bytes host;
    struct socket_address parsed;
    if (!host_port_split(text, &host, &parsed.port) || !ip_parse_bytes(host, &parsed.ip)) {
        return false;
    }
    bool is_bracketed = text.data[0] == '[';
    bool has_colon = memchr(host.data, ':', host.length) != NULL;
    if (is_bracketed != has_colon) {
        return false;
    }
    *address = parsed;
    return true;
}

const char *socket_address_format(const struct socket_address *address, char out[static SOCKET_ADDRESS_TEXT_SIZE])
{
    char ip[IP_TEXT_SIZE];
    size_t length = strlen(ip_format(&address->ip, ip));
    bool is_bracketed = address->ip.family == IP_V6;
    char *end = out;
    if (is_bracketed) {
        *end++ = '[';
    }
    memcpy(end, ip, length);
    end += length;
    if (is_bracketed) {
        *end++ = ']';
    }
    *end++ = ':';
    *put_decimal(end, address->port) = '\0';
    return out;
}

bool socket_address_equal(const struct socket_address *left, const struct socket_address *right)
{
    return left->port == right->port && ip_equal(&left->ip, &right->ip);
}

bool socket_address_from_kernel(const struct sockaddr *from, socklen_t length, struct socket_address *address)
{
    if (length >= sizeof(struct sockaddr_in) && from->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        address->port = ntohs(in.sin_port);
        return ip_from_bytes(bytes_of(&in.sin_addr, 4), &address->ip);
    }
    if (length >= sizeof(struct sockaddr_in6) && from->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, from, sizeof in6);
        address->port = ntohs(in6.sin6_port);
        return ip_from_bytes(bytes_of(&in6.sin6_addr, 16), &address->ip);
    }
    return false;
}

static socklen_t to_kernel_v6(const struct socket_address *address, struct sockaddr_storage *to)
{
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(address->port) };
    if (address->ip.family == IP_V4) {
        memcpy(&in6.sin6_addr, mapped_prefix, sizeof mapped_prefix);
        memcpy(in6.sin6_addr.s6_addr + sizeof mapped_prefix, address->ip.bytes, 4);
    } else {
        memcpy(&in6.sin6_addr, address->ip.bytes, 16);
    }
    memcpy(to, &in6, sizeof in6);
    return sizeof in6;
}

socklen_t socket_address_to_kernel(const struct socket_address *address, bool as_mapped, struct sockaddr_storage *to)
{
    *to = (struct sockaddr_storage){ 0 };
    if (address->ip.family != IP_V4 || as_mapped) {
        return to_kernel_v6(address, to);
    }
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(address->port) };
    memcpy(&in.sin_addr, address->ip.bytes, 4);
    memcpy(to, &in, sizeof in);
    return sizeof in;
}

bool cidr_parse(const char *text, struct cidr *cidr)
{
    struct bytes rest = bytes_of_string(text);
    struct bytes ip_text;
    struct cidr parsed;
    if (!bytes_split(&rest, '/', &ip_text) || !ip_parse_bytes(ip_text, &parsed.ip)) {
        return false;
    }
    uint64_t ip_bits = 8 * ip_length(&parsed.ip);
    bool is_mapped = parsed.ip.family == IP_V4 && memchr(ip_text.data, ':', ip_text.length) != NULL;
    uint64_t extra_bits = is_mapped ? MAPPED_PREFIX_BITS : 0;
    uint64_t prefix_bits = ip_bits + extra_bits;
    if (rest.data != NULL && (rest.length > 3 || !bytes_to_u64(rest, ip_bits + extra_bits, &prefix_bits))) {
        return false;
    }
    if (prefix_bits < extra_bits) {
        return false; /* wider than the mapped block: neither all IPv4 nor an IPv6 block we could compare */
    }
    parsed.prefix_bits = (uint8_t)(prefix_bits - extra_bits);
    *cidr = parsed;
    return true;
}

bool cidr_contains(const struct cidr *cidr, const struct ip_address *ip)
{
    if (cidr->ip.family != ip->family || ip->family == IP_NONE || cidr->prefix_bits > 8 * ip_length(ip)) {
        return false;
    }
    size_t whole_bytes = cidr->prefix_bits / 8;
    unsigned last_bits = cidr->prefix_bits % 8;
    if (memcmp(cidr->ip.bytes, ip->bytes, whole_bytes) != 0) {
        return false;
    }
    if (last_bits == 0) {
        return true;
    }
    uint8_t difference = cidr->ip.bytes[whole_bytes] ^ ip->bytes[whole_bytes];
    return difference >> (8 - last_bits) == 0;
}

const char *cidr_format(const struct cidr *cidr, char out[static 50])
{
    char ip[IP_TEXT_SIZE];
    snprintf(out, 50, "%s/%u", ip_format(&cidr->ip, ip), cidr->prefix_bits);
    return out;
}
