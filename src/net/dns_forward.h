/* A query handed on to the name servers of /etc/resolv.conf as it is, and the answer as it came (ztunnel-dataplane §18.4): UDP
 * to UDP, TCP to TCP, a truncated answer too. Only the id is another on the way.
 *
 * Servers are asked in their order, each again as often as `attempts` says; one that refuses or fails makes room for the next at
 * once. Whatever the file says, the client has its answer, or the failure, within DNS_FORWARD_MS: soon enough to tell it so before
 * it gives up itself. Embed it, zero it, set on_done. Loop's thread. */
#ifndef AMBAR_NET_DNS_FORWARD_H
#define AMBAR_NET_DNS_FORWARD_H

#include "net/dns_exchange.h"
#include "net/resolver_file.h"

#define DNS_FORWARD_MS 4000

struct dns_upstream {
    struct loop *loop;
    const struct resolver_file *resolver;
    /* Sockets for one transport and family; `context` is the caller's. */
    struct socket_stock *(*stock)(void *context, bool is_stream, enum ip_family family);
    void *context;
};

struct dns_forward {
    /* Once, unless cancelled: the answer under the query's id, borrowed; or the failure. May free the object around it. */
    void (*on_done)(struct dns_forward *forward, struct bytes answer, const struct result *failure);

    /* The forward's own. */
    const struct dns_upstream *upstream;
    struct dns_exchange exchanges[RESOLVER_SERVERS_MAXIMUM];
    bool is_running, is_stream;
    bool is_spent[RESOLVER_SERVERS_MAXIMUM]; /* has answered or failed */
    unsigned tries, tries_maximum;
    uint64_t try_ms;
    struct timer next_try;
    struct writer query;
    struct dns_question question;
    struct writer refusal; /* the answer of a server that could not, to be passed on if no other can */
    struct result failure;
};

/* `query` was read as `request`; it is copied. Never calls back from within. `upstream` must outlive the forward. */
void dns_forward_start(struct dns_forward *forward, const struct dns_upstream *upstream, bool is_stream,
    struct bytes query, const struct dns_request *request);
/* Idempotent, also on a zeroed one; no callback. */
void dns_forward_cancel(struct dns_forward *forward);

#endif
