#include "ztunnel/metrics_sample.h"

#include "base/log.h"
#include "mesh/publication.h"
#include "mesh/version.h"
#include "net/buffer_pool.h"
#include "tls/certificate_bundle.h"
#include "tls/identity.h"
#include "tls/policy.h"
#include "xds/certificate_store.h"
#include "ztunnel/configuration.h"
#include "ztunnel/inbound.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

#include <dirent.h>
#include <sys/resource.h>

static void set(struct metric_shard *shard, enum ztunnel_metric family, const char *label, uint64_t value)
{
    metric_set_labelled(shard, family, &label, (int64_t)value);
}

static uint64_t count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    uint64_t count = 0;
    if (directory == NULL) {
        return 0;
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static void sample_process(const struct metrics_source *source)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    const char *const build[] = { "ztunnel", source->configuration->istio_version };
    set(source->shard, METRIC_PROCESS_OPEN_FDS, NULL, count_descriptors());
    set(source->shard, METRIC_PROCESS_MAX_FDS, NULL, limit.rlim_cur);
    metric_set_labelled(source->shard, METRIC_BUILD, build, 1);
    const char *const engine[] = { tls_engine_name(), tls_cipher_name() };
    metric_set_labelled(source->shard, METRIC_TLS_ENGINE, engine, 1);
}

static void sample_model(const struct metrics_source *source)
{
    const struct mesh_version *version = mesh_publication_read(source->publication);
    set(source->shard, METRIC_MODEL_RESOURCES, "workload", mesh_version_workload_count(version));
    set(source->shard, METRIC_MODEL_RESOURCES, "service", mesh_version_service_count(version));
    set(source->shard, METRIC_MODEL_RESOURCES, "policy", mesh_version_policy_count(version));
}

struct certificate_totals {
    uint64_t by_state[CERTIFICATE_UNAVAILABLE + 1];
    int64_t earliest_end_s; /* 0: none */
};

static void add_certificate(const struct certificate_view *view, void *context)
{
    struct certificate_totals *totals = context;
    totals->by_state[view->state]++;
    if (view->certificate == NULL) {
        return;
    }
    int64_t end_s = view->certificate->bundle->not_after_s;
    if (totals->earliest_end_s == 0 || end_s < totals->earliest_end_s) {
        totals->earliest_end_s = end_s;
    }
}

static void sample_certificates(const struct metrics_source *source)
{
    static const char *const STATES[] = { "initializing", "available", "unavailable" };
    struct certificate_totals totals = { { 0 }, 0 };
    certificate_store_visit(source->certificates, add_certificate, &totals);
    for (size_t i = 0; i <= CERTIFICATE_UNAVAILABLE; i++) {
        set(source->shard, METRIC_CERTIFICATES_HELD, STATES[i], totals.by_state[i]);
    }
    set(source->shard, METRIC_CERTIFICATE_EARLIEST_END, NULL, (uint64_t)totals.earliest_end_s);
}

static void sample_limits(const struct metrics_source *source)
{
    const struct limits limits = limits_resolve(source->configuration);
    for (int i = 0; i < LIMIT_COUNT; i++) {
        set(source->shard, METRIC_LIMITS, limit_name((enum limit)i), limits.values[i]);
    }
}

static void sample_telemetry(const struct metrics_source *source)
{
    struct log_statistics log = log_statistics();
    set(source->shard, METRIC_LOG_LINES_DROPPED, "queue", log.dropped_full);
    set(source->shard, METRIC_LOG_LINES_DROPPED, "rate", log.dropped_rate);
    set(source->shard, METRIC_LOG_QUEUED_BYTES, NULL, log.queued_bytes);
    set(source->shard, METRIC_LABEL_SETS, NULL, metric_registry_set_count(source->registry));
    /* Families with the same labels are full together: the first speaks for all. */
    static const enum ztunnel_metric FIRST[] = { METRIC_CONNECTIONS_OPENED, METRIC_ON_DEMAND_DNS, METRIC_DNS_REQUESTS };
    for (size_t i = 0; i < sizeof FIRST / sizeof FIRST[0]; i++) {
        uint64_t over = metric_over_cap(source->registry, FIRST[i]);
        set(source->shard, METRIC_LABEL_SETS_OVER_CAP, ZTUNNEL_METRICS[FIRST[i]].name, over);
    }
}

void metrics_sample_control(const struct metrics_source *source)
{
    sample_process(source);
    sample_model(source);
    sample_certificates(source);
    sample_limits(source);
    sample_telemetry(source);
}

struct tunnel_totals {
    uint64_t client_tunnels, client_streams, client_openings, waiters;
    uint64_t server_tunnels, server_streams, server_openings;
};

static void add_pod(struct pod *pod, struct tunnel_totals *totals)
{
    struct hbone_pool_statistics pool = hbone_pool_statistics(pod->tunnels);
    totals->client_tunnels += pool.tunnels;
    totals->client_streams += pool.streams;
    totals->client_openings += pool.openings;
    totals->waiters += pool.waiters;
    totals->server_streams += pod->account.streams;
    LIST_FOR_EACH(link, &pod->inbound_tunnels) {
        const struct inbound_tunnel *tunnel = LIST_ENTRY(link, struct inbound_tunnel, link);
        *(tunnel->session != NULL ? &totals->server_tunnels : &totals->server_openings) += 1;
    }
}

void metrics_sample_worker(struct worker *worker)
{
    struct tunnel_totals totals = { 0 };
    LIST_FOR_EACH(link, &worker->pods) {
        add_pod(LIST_ENTRY(link, struct pod, link), &totals);
    }
    struct metric_shard *shard = worker->metrics;
    set(shard, METRIC_TUNNELS_OPEN, "client", totals.client_tunnels);
    set(shard, METRIC_TUNNELS_OPEN, "server", totals.server_tunnels);
    set(shard, METRIC_STREAMS_OPEN, "client", totals.client_streams);
    set(shard, METRIC_STREAMS_OPEN, "server", totals.server_streams);
    set(shard, METRIC_HANDSHAKES_PENDING, "client", totals.client_openings);
    set(shard, METRIC_HANDSHAKES_PENDING, "server", totals.server_openings);
    set(shard, METRIC_TUNNEL_WAITERS, NULL, totals.waiters);
    set(shard, METRIC_CONNECTIONS_LIVE, "source", worker->live_connections[CONNECTION_OUTBOUND]);
    set(shard, METRIC_CONNECTIONS_LIVE, "destination", worker->live_connections[CONNECTION_INBOUND]);
    set(shard, METRIC_BUFFER_LENT_BYTES, NULL, buffer_pool_lent_bytes(worker->buffers));
    set(shard, METRIC_BUFFER_STOCK_BYTES, NULL, buffer_pool_stock_bytes(worker->buffers));
}
