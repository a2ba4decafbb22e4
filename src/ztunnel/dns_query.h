/* One DNS query of a pod, from wherever it came (ztunnel-dataplane §18.1 to §18.4): wait for the pod's workload, answer names of the
 * mesh, hand everything else on as it is, count, log. Embed it, zero it, set on_answer. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_DNS_QUERY_H
#define AMBAR_ZTUNNEL_DNS_QUERY_H

#include "net/dns_forward.h"
#include "ztunnel/pod.h"

#define DNS_QUERIES_OF_POD_MAXIMUM 512     /* that wait at one time; further ones fail at once */
#define DNS_QUERIES_OF_WORKER_MAXIMUM 4096 /* the same, for all pods of a worker */
#define DNS_ANSWER_TTL_S 30

struct dns_proxy;

struct dns_query {
    /* Once, unless cancelled, perhaps from within the start: the answer, borrowed; empty: none is to be given. May free the object
     * around it. */
    void (*on_answer)(struct dns_query *query, struct bytes answer);

    /* The query's own. */
    struct dns_proxy *proxy;
    bool is_running, is_stream, is_forwarded;
    bool is_over_bound; /* may be answered at once, but not wait */
    struct writer message;
    struct dns_request request;
    struct workload_wait wait;
    struct workload *client; /* counted */
    struct dns_forward forward;
    uint64_t forwarded_ns;
};

/* `message` is copied. `is_stream`: it came over TCP, and the answer may have any length. */
void dns_query_start(struct dns_query *query, struct dns_proxy *proxy, struct bytes message, bool is_stream);
/* Idempotent, also on a zeroed one; no callback. */
void dns_query_cancel(struct dns_query *query);

#endif
