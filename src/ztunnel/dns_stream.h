/* One TCP connection to the DNS proxy: one query at a time, closed after 5 s without one (ztunnel-dataplane §18.1). Worker's
 * thread. */
#ifndef AMBAR_ZTUNNEL_DNS_STREAM_H
#define AMBAR_ZTUNNEL_DNS_STREAM_H

#include "ztunnel/dns_query.h"

struct dns_stream;

/* Takes over the descriptor; the stream is on proxy->streams until it ends. */
void dns_stream_accept(struct dns_proxy *proxy, int descriptor);
/* At once, or when the query under way has been answered. */
void dns_stream_drain(struct list *link);
void dns_stream_cut(struct list *link);

#endif
