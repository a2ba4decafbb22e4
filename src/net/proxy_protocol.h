/* The header of the PROXY protocol, version 2 (haproxy's proxy-protocol.txt §2.2), with the identity of the peer as a TLV
 * (ztunnel-dataplane §11): what an application behind an application tunnel reads before the connection's own bytes. Any thread. */
#ifndef AMBAR_NET_PROXY_PROTOCOL_H
#define AMBAR_NET_PROXY_PROTOCOL_H

#include "base/address.h"
#include "base/cursor.h"

struct writer;

#define PROXY_PROTOCOL_TLV_IDENTITY 0xd0  /* the full SPIFFE URI of the peer */
#define PROXY_PROTOCOL_BYTES_MAXIMUM 4096 /* longer headers are not accepted; the longest identity fits */

struct proxy_protocol_header {
    /* Both of one family. IP_NONE: the header says nothing about addresses (AF_UNSPEC, or LOCAL). */
    struct socket_address source;
    struct socket_address destination;
    struct bytes identity; /* data NULL: none. Read: borrowed */
};

/* Appends the header. Addresses of different families are left out (family 0x01: unspecified, stream). */
void proxy_protocol_write(const struct proxy_protocol_header *header, struct writer *out);

enum proxy_protocol_status {
    PROXY_PROTOCOL_READ,
    PROXY_PROTOCOL_PARTIAL, /* a beginning: ask again with more */
    PROXY_PROTOCOL_INVALID,
};

/* Reads a header from the front; the cursor stands behind it when the answer is READ, and where it stood otherwise. UDP and UNIX
 * addresses, PROXY version 1 and TLVs that do not fit are invalid; unknown TLVs are skipped. */
enum proxy_protocol_status proxy_protocol_read(struct cursor *cursor, struct proxy_protocol_header *header);

#endif
