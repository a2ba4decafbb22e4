/* What a CONNECT says beside its authority (ztunnel-dataplane §§7, 10): `forwarded`, `traceparent`, `baggage`. Written by the outbound
 * side, read by the inbound one; nothing of it is proven, so that it serves logs and labels only. Pure. */
#ifndef AMBAR_ZTUNNEL_CONNECT_HEADERS_H
#define AMBAR_ZTUNNEL_CONNECT_HEADERS_H

#include "base/address.h"
#include "http/hbone_session.h"
#include "mesh/baggage.h"

struct writer;

#define TRACEPARENT_TEXT_SIZE 56 /* "00-<32 hex>-<16 hex>-00" and a NUL */
#define TRACE_ID_TEXT_SIZE 33

/* for="10.0.0.1:1234";host=web.shop.svc.cluster.local; `service_hostname` NULL: without the host. */
void connect_headers_write_forwarded(
    const struct socket_address *peer, const char *service_hostname, struct writer *out);

/* The host that was forwarded, without its quotes; owned; NULL: none, or the header is not ASCII. */
char *connect_headers_forwarded_host(struct bytes forwarded);

/* The header of a trace, with a new span. */
void connect_headers_write_traceparent(const char *trace_id, char traceparent[static TRACEPARENT_TEXT_SIZE]);

/* The trace of a well-formed header (55 characters, hexadecimal fields, dashes in their places); false: `trace_id` stays. */
bool connect_headers_read_trace(struct bytes traceparent, char trace_id[static TRACE_ID_TEXT_SIZE]);

/* All `baggage` lines together, borrowed; empty when one of them cannot be read. */
struct baggage connect_headers_baggage(const struct hbone_headers *headers);

#endif
