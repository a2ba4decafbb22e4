/* The DNS proxy of one pod (ztunnel-dataplane §18): UDP and TCP on 127.0.0.1:15053 and, where the pod has it, [::1]:15053, and the
 * queries that are under way. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_DNS_PROXY_H
#define AMBAR_ZTUNNEL_DNS_PROXY_H

#include "mesh/name_service.h"
#include "net/dns_forward.h"
#include "ztunnel/dns_query.h"
#include "ztunnel/listener.h"

#define DNS_STREAMS_OF_POD_MAXIMUM 256 /* TCP connections; further ones are closed */
#define DNS_STREAM_IDLE_MS 5000        /* §18.1 */

/* One address it listens at. */
struct dns_endpoint {
    struct io_watch datagrams;
    struct proxy_listener streams;
    struct dns_proxy *proxy;
    struct list queries; /* struct datagram_query: answers leave through this socket */
};

enum { DNS_ENDPOINTS_MAXIMUM = 2, DNS_SEARCH_OF_NAMESPACE = 3 };

struct dns_proxy {
    struct pod *pod;
    struct dns_upstream upstream;
    struct socket_stock *stocks[2][2];     /* UDP, TCP; by family: IPv4, IPv6; made at first use */
    char *search[DNS_SEARCH_OF_NAMESPACE]; /* shared mode: the domains a Kubernetes pod searches */
    struct dns_endpoint endpoints[DNS_ENDPOINTS_MAXIMUM];
    unsigned query_count;
    struct list streams; /* struct dns_stream */
    unsigned stream_count;
    struct deferred ended; /* the last query or stream of a draining pod has */
    bool is_draining;

    /* while starting */
    struct broker_call call;
    unsigned step; /* endpoint and transport that is being bound */
    void (*on_started)(struct pod *pod, const struct result *outcome);
};

struct dns_proxy *dns_proxy_new(struct pod *pod);
/* Binds one address after the other, then says how it went. An address that the namespace does not have is left out. */
void dns_proxy_start(struct dns_proxy *proxy, void (*on_started)(struct pod *pod, const struct result *outcome));
/* Takes no more; what is under way may be answered. NULL is allowed from here on. */
void dns_proxy_drain(struct dns_proxy *proxy);
/* Ends what is under way without an answer. */
void dns_proxy_cut(struct dns_proxy *proxy);
bool dns_proxy_is_idle(const struct dns_proxy *proxy);
void dns_proxy_free(struct dns_proxy *proxy);

/* The client's search domains. */
void dns_proxy_list_search(const struct dns_proxy *proxy, struct name_question *question);
/* One query more (+1) or fewer (-1). */
void dns_proxy_note_query(struct dns_proxy *proxy, int change);
/* When the last query or stream ends, a draining pod does. */
void dns_proxy_note_end(struct dns_proxy *proxy);

#endif
