/* One workload on one worker: its listeners, its sockets, its tunnels, its connections, and the account of what they use.
 *
 * In shared mode there is one per enrolled pod, on its home worker, and extensions of it while that one is saturated
 * (ztunnel/pod_spread.h); in dedicated mode one per worker, all for the same workload.
 * Everything of a pod ends with it. Worker's thread, except where noted. */
#ifndef AMBAR_ZTUNNEL_POD_H
#define AMBAR_ZTUNNEL_POD_H

#include "base/list.h"
#include "base/memory.h"
#include "http/hbone_pool.h"
#include "mesh/version.h"
#include "net/socket_stock.h"
#include "ztunnel/connection.h"
#include "ztunnel/dial.h"
#include "ztunnel/listener.h"

#include <stdatomic.h>

#define WORKLOAD_WAIT_MS 5000 /* dataplane §4 */

/* Who the workload is, as the node agent (or PROXY_WORKLOAD_INFO) says. */
struct pod_information {
    char *uid;
    char *name;
    char *namespace_;
    char *service_account;
};

/* What the pod uses now on its worker; limits and fairness read it. */
struct pod_account {
    struct hbone_pinned pinned; /* bytes that wait for readers */
    uint32_t connections;
    uint32_t streams; /* of inbound tunnels */
    uint32_t descriptors;
};

/* What all workers use together for one workload, where several serve it. Written once a connection, never once a packet, and on a
 * line of memory of its own. Any thread. */
struct pod_totals {
    _Alignas(MEMORY_LINE_BYTES) atomic_int streams; /* of inbound tunnels */
    atomic_int handshakes;                          /* inbound, under way */
};

enum pod_state { POD_STARTING, POD_RUNNING, POD_DRAINING };

enum pod_listener {
    POD_LISTENER_HBONE,
    POD_LISTENER_PLAINTEXT,
    POD_LISTENER_OUTBOUND,
    POD_CAPTURE_COUNT, /* the above: what rules redirect to */
    POD_LISTENER_SOCKS5 = POD_CAPTURE_COUNT,
    POD_LISTENER_COUNT
};
#define POD_STOCK_COUNT (DIAL_APPLICATION + 1) /* one per enum dial_purpose */

struct pod {
    struct list link; /* worker->pods */
    struct worker *worker;
    struct pod_information information;
    enum pod_state state;
    uint32_t namespace_handle;
    struct proxy_listener listeners[POD_LISTENER_COUNT];
    struct socket_stock *stocks[POD_STOCK_COUNT][2]; /* by family: IPv4, IPv6; made at first use */
    struct hbone_pool *tunnels;                      /* to other proxies */
    struct list inbound_tunnels;                     /* struct inbound_tunnel */
    struct list inner_tunnels;                       /* struct inner_tunnel */
    struct list connections;                         /* struct connection */
    struct list workload_waits;
    struct list socks5_clients; /* struct socks5_client: those that have not said yet where to */
    unsigned socks5_client_count;
    struct dns_proxy *dns; /* NULL: switched off, or the pod is the proxy itself */
    struct pod_account account;
    struct pod_totals *
        totals; /* the pod's own in shared mode, its extensions' too; in dedicated mode one for the pods of all workers */
    struct enrolment_proof *enrolment; /* in-pod mode, while running; else NULL */
    struct pod_spread *spread;         /* further workers; NULL: never needed one */
    struct loop_account turns;         /* of the loop: everything watched and deferred for the pod takes them */
    struct broker_call start_call;
    struct timer drain_deadline;
    struct timer listeners_end; /* while draining: listeners stay open for what was already on its way to them */
    unsigned listeners_ready;
    /* Told once, when all listeners are bound or one could not be. */
    void (*on_started)(struct pod *pod, const struct result *outcome, void *context);
    /* Told once, when the last connection is gone and the pod is about to be freed. */
    void (*on_stopped)(const char *uid, void *context);
    void *context;
    bool is_held;         /* somebody walks over its connections: nothing frees the pod meanwhile */
    bool is_extension;    /* ztunnel/pod_spread.h: the namespace and the listeners are the home worker's */
    bool is_proxy_itself; /* dataplane §2.4: our own identity: HBONE only, unmarked sockets, no client's address kept */
};

/* In dedicated mode every worker has the pod and its listeners: only one of them says so in the log. */
bool pod_logs_listeners(const struct pod *pod);

/* Makes the pod and asks for its listeners; `information` is taken over. In shared mode the own namespace is the proxy itself. */
struct pod *pod_start(struct worker *worker, struct pod_information *information, uint32_t namespace_handle,
    void (*on_started)(struct pod *, const struct result *, void *), void *context);

/* What an extension has of the pod on the home worker, which outlives it. */
struct pod_extension_settings {
    uint32_t namespace_handle;
    uint8_t transparent_listeners; /* bit by enum pod_listener: how the home worker's are bound */
    struct pod_totals *totals;
    void (*on_stopped)(const char *uid, void *context);
    void *context;
};

/* A pod without listeners on a further worker: what comes to it is given by pod_take. `information` is taken over. */
struct pod *pod_start_extension(
    struct worker *worker, struct pod_information *information, const struct pod_extension_settings *settings);

/* Takes over a connection accepted at one of the pod's listeners: refuses it over a limit, or serves it. */
void pod_take(struct pod *pod, enum pod_listener place, int descriptor, const struct socket_address *peer);

/* Yields new connections to a successor, if there is one, and stops accepting a moment later (at once for 0); connections may go on until `deadline_ms` has passed, then they are cut. 0 cuts them now. The pod frees itself
 * when the last one has gone. */
void pod_drain(struct pod *pod, uint64_t deadline_ms);

/* Frees the pod if it is draining and nothing is left. Called by whatever ends last; the pod may be gone afterwards. */
void pod_check_drained(struct pod *pod);

/* The workload as the current version has it; NULL: not known (yet). Borrowed until the end of the turn. */
const struct workload *pod_workload(const struct pod *pod);

/* Somebody waits up to WORKLOAD_WAIT_MS for the workload to be known. Embed it. */
struct workload_wait {
    struct list link;
    struct timer deadline;
    struct pod *pod;
    /* NULL: the time has passed. */
    void (*on_workload)(struct workload_wait *wait, const struct workload *workload);
};
void workload_wait_start(struct workload_wait *wait, struct pod *pod);
void workload_wait_cancel(struct workload_wait *wait); /* idempotent on a zeroed or finished wait */
/* "failed to fetch information about local workload: SA.NS (POD)". */
struct result pod_unknown_workload(const struct pod *pod);

/* A new version was published: waiters look again, connections that may be affected are authorised again. */
void pod_notice_version(struct pod *pod, bool policies_changed);

/* The stock for a purpose. */
struct socket_stock *pod_stock(struct pod *pod, enum dial_purpose purpose, enum ip_family family);

/* One stream of an inbound tunnel, one handshake of one more (+1) or less (-1). */
void pod_count_stream(struct pod *pod, int change);
void pod_count_handshake(struct pod *pod, int change);

/* HBONE settings for a tunnel of the pod, in either role. */
struct hbone_settings pod_hbone_settings(struct pod *pod, enum hbone_role role);

/* Whether connections towards the application may bear the client's address. */
bool pod_keeps_source(const struct pod *pod, enum pod_listener listener);

/* Of PROXY_WORKLOAD_INFO: "namespace/name/service-account". */
struct result pod_information_parse(const char *text, struct pod_information *information);
struct pod_information pod_information_copy(const struct pod_information *information);
void pod_information_free(struct pod_information *information);

#endif
