/* A worker: one thread with its own loop, buffers, metric shard, certificates and pods. Nothing it touches on the data path is
 * written by another thread. The control thread speaks to it through worker_run only. */
#ifndef AMBAR_ZTUNNEL_WORKER_H
#define AMBAR_ZTUNNEL_WORKER_H

#include "base/memory.h"
#include "base/qsbr.h"
#include "http/hbone_session.h"
#include "mesh/outbound_route.h"
#include "mesh/publication.h"
#include "net/broker_client.h"
#include "net/buffer_pool.h"
#include "net/loop.h"
#include "net/name_resolver.h"
#include "net/resolver_file.h"
#include "telemetry/metric.h"
#include "xds/certificate_store.h"
#include "ztunnel/configuration.h"
#include "ztunnel/limits.h"
#include "ztunnel/memory_return.h"
#include "ztunnel/source_accounts.h"
#include "ztunnel/tunnel_review.h"

#include <pthread.h>

/* What all workers share, read only but for what counts by itself. */
struct shared_state {
    const struct configuration *configuration;
    struct socket_settings sockets;
    struct illegal_ports illegal_ports;
    struct mesh_publication *publication;
    struct qsbr *readers;
    struct metric_registry *metrics;
    struct broker *broker;
    struct certificate_store *certificates;
    struct xds_feed *feed; /* NULL without a control plane; set before the first connection */
    struct limits limits;
    struct source_accounts *sources;
    struct pod_totals *dedicated_totals;  /* of the one workload; NULL in shared mode, where each pod has its own */
    struct worker *workers;               /* all of them, configuration->worker_count: to hand connections over to */
    bool has_short_slices;                /* base/processor_slice.h */
    const struct resolver_file *resolver; /* where names that are not the mesh's are asked for */
};

struct worker {
    _Alignas(MEMORY_LINE_BYTES) unsigned index;
    const struct shared_state *shared;
    struct loop *loop;
    struct buffer_pool *buffers;
    struct metric_shard *metrics;
    struct broker_client *broker;
    struct certificate_cache *certificates;
    struct name_resolver *names; /* of workloads known by name only */
    struct qsbr_reader *reader;
    struct list pods;
    struct refusals *refusals; /* the last failures; NULL: none yet */
    struct list walks;         /* of dumps, struct live_walk: almost always none */
    struct worker_load *load;  /* of all workers; NULL: only this one, or dedicated mode, where pods are not spread */
    struct timer housekeeping;
    struct tunnel_review review;
    uint64_t checked_policy_generation;
    uint64_t last_connection_id;
    /* sockets accepted and not yet closed, by direction: outbound, inbound */
    uint64_t open_sockets[2];
    struct metric_series *open_sockets_series[2];
    struct hbone_pinned pinned; /* by all tunnels of this worker */
    struct metric_series *pinned_series, *pinned_largest_series;
    uint64_t live_connections[2];                  /* of applications, by direction */
    unsigned dns_query_count, dns_forwarded_count; /* of all pods: under way, and waiting for upstream */
    struct memory_return memory_return;
    pthread_t thread;
    bool has_thread;
};

/* Workers lie side by side in an array, and each writes its own with every packet. */
_Static_assert(sizeof(struct worker) % MEMORY_LINE_BYTES == 0, "no line of memory belongs to two workers");

/* Makes the worker and starts its thread ("ztunnel-N"). */
struct result worker_start(struct worker *worker, unsigned index, const struct shared_state *shared);
/* Stops the loop after its pods are gone and joins the thread. Control thread. */
void worker_stop(struct worker *worker);
/* Frees everything. Only when all workers are stopped: another one may still be waking this one's loop. Control thread. */
void worker_free(struct worker *worker);

/* Runs a function on the worker's thread. Any thread. */
void worker_run(struct worker *worker, void (*function)(struct worker *worker, void *context), void *context);

/* Tells the worker that a new version was published: waiters look again, live connections are checked. Any thread. */
void worker_notice_version(struct worker *worker);

/* One accepted socket more (+1) or fewer (-1): istio_tcp_sockets_open. Worker's thread. */
void worker_count_socket(struct worker *worker, int direction, int change);

/* Counts one in a family labelled by role ("client", "server"). Worker's thread. */
void worker_count_role(struct worker *worker, size_t family, const char *role);

/* The time of a handshake that has just succeeded. Worker's thread. */
void worker_observe_handshake(struct worker *worker, const char *role, uint64_t start_ns);

/* HBONE settings from the configuration. */
struct hbone_settings worker_hbone_settings(struct worker *worker, enum hbone_role role);

/* The current version: borrowed until the end of the turn. Worker's thread. */
static inline const struct mesh_version *worker_version(const struct worker *worker)
{
    return mesh_publication_read(worker->shared->publication);
}

#endif
