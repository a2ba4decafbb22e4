/* IP addresses, sockets' addresses and CIDR blocks, always canonical: an IPv4-mapped IPv6 address is an IPv4 address. */
#ifndef AMBAR_BASE_ADDRESS_H
#define AMBAR_BASE_ADDRESS_H

#include "base/bytes.h"
#include "base/result.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ip_address {
    uint8_t family;    /* enum ip_family */
    uint8_t bytes[16]; /* network order; the first 4 for IPv4, the rest zero */
};

struct socket_address {
    struct ip_address ip;
    uint16_t port; /* host order */
};

struct cidr {
    struct ip_address ip; /* host bits kept as written */
    uint8_t prefix_bits;
};

#define IP_TEXT_SIZE 46             /* longest IPv6 text and a NUL */
#define SOCKET_ADDRESS_TEXT_SIZE 56 /* "[v6]:65535" and a NUL */

/* 4 or 16 raw bytes; any other length is false. Mapped addresses become IPv4. */
bool ip_from_bytes(struct bytes raw, struct ip_address *ip);
struct bytes ip_bytes(const struct ip_address *ip); /* borrowed: 4 or 16 bytes */

/* Strict text: dotted quad without leading zeros, or RFC 4291 IPv6 without a zone. The whole text. */
bool ip_parse(const char *text, struct ip_address *ip);
bool ip_parse_bytes(struct bytes text, struct ip_address *ip);
/* RFC 5952. Returns `out`. */
const char *ip_format(const struct ip_address *ip, char out[static IP_TEXT_SIZE]);

bool ip_equal(const struct ip_address *left, const struct ip_address *right);
int ip_compare(const struct ip_address *left, const struct ip_address *right);
bool ip_is_loopback(const struct ip_address *ip);    /* 127.0.0.0/8, ::1 */
bool ip_is_unspecified(const struct ip_address *ip); /* 0.0.0.0, :: */

/* "1.2.3.4:80" or "[::1]:80"; the port is mandatory, decimal, without sign. */
bool socket_address_parse(const char *text, struct socket_address *address);
bool socket_address_parse_bytes(struct bytes text, struct socket_address *address);
const char *socket_address_format(const struct socket_address *address, char out[static SOCKET_ADDRESS_TEXT_SIZE]);
bool socket_address_equal(const struct socket_address *left, const struct socket_address *right);

/* To and from the kernel. `from` is false for other families. `to` returns the length; an IPv4 address becomes
 * sockaddr_in, or a mapped sockaddr_in6 where `as_mapped` is set. */
bool socket_address_from_kernel(const struct sockaddr *from, socklen_t length, struct socket_address *address);
socklen_t socket_address_to_kernel(const struct socket_address *address, bool as_mapped, struct sockaddr_storage *to);

/* "10.0.0.0/8"; a bare address is a full prefix. */
bool cidr_parse(const char *text, struct cidr *cidr);
/* False (never a match) across families or when prefix_bits is too large. */
bool cidr_contains(const struct cidr *cidr, const struct ip_address *ip);
/* "10.0.0.0/8". `out` holds 50 bytes. */
const char *cidr_format(const struct cidr *cidr, char out[static 50]);

/* "host:port" where the host is a name (or an address): splits at the last colon; port mandatory. `host` is borrowed. */
bool host_port_split(struct bytes text, struct bytes *host, uint16_t *port);

#endif
