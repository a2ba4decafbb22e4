#include "ztunnel/limits.h"

#include "http/hbone_pool.h"
#include "net/socket_stock.h"
#include "telemetry/metric.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/source_accounts.h"
#include "ztunnel/worker.h"

#include <stdio.h>
#include <sys/resource.h>

/* Descriptors kept back for files, the control plane, admin and the broker's channels. */
#define DESCRIPTORS_RESERVED 256
#define DESCRIPTORS_MINIMUM 64
#define PROCESS_BYTES_MAXIMUM (1ULL << 30)
#define POD_BYTES_MAXIMUM (256ULL << 20)
#define POD_STREAMS_MAXIMUM 200000
#define POD_HANDSHAKES_MAXIMUM 2048
/* Of its limit; from there on idle tunnels are closed. */
#define SHORT_OF_DESCRIPTORS_EIGHTHS 7
#define CLOSE_IDLE_AT_ONCE 64

static const struct {
    const char *name, *scope, *effect;
} LIMITS[LIMIT_COUNT] = {
    [LIMIT_PROCESS_DESCRIPTORS] = { "process_descriptors", "process",
        "idle pooled tunnels are closed from 7/8 on; then new connections and dials are refused" },
    [LIMIT_PROCESS_BYTES] = { "process_bytes", "process, in equal shares by worker",
        "new connections and streams are refused while so many bytes are held for readers" },
    [LIMIT_POD_BYTES] = { "pod_bytes", "pod and worker",
        "its new connections and streams are refused while so many bytes wait for its readers" },
    [LIMIT_POD_CONNECTIONS] = { "pod_connections", "pod", "new connections are refused" },
    [LIMIT_POD_STREAMS] = { "pod_streams", "pod", "new streams of inbound tunnels are answered 503" },
    [LIMIT_POD_HANDSHAKES] = { "pod_handshakes", "pod", "new inbound tunnels are refused" },
    [LIMIT_POD_TUNNELS] = { "pod_tunnels", "pod and worker", "the pooled tunnel idle for longest goes" },
    [LIMIT_SOURCE_HANDSHAKES] = { "source_handshakes", "source address", "its new inbound tunnels are refused" },
    [LIMIT_SOURCE_RESETS] = { "source_resets", "source address",
        "streams reset before an answer beyond it (1,000 a second more are allowed): ENHANCE_YOUR_CALM, and no new "
        "tunnel for 2 s" },
    [LIMIT_TUNNEL_STREAMS] = { "tunnel_streams", "tunnel", "another tunnel is opened" },
    [LIMIT_TUNNEL_WAITERS] = { "tunnel_waiters", "destination",
        "connections that would wait for its tunnel are refused" },
    [LIMIT_SOCKET_WAITERS] = { "socket_waiters", "pod and kind",
        "connections that would wait for a socket are refused" },
    [LIMIT_CERTIFICATES] = { "certificates", "process", "further identities get no certificate" },
    [LIMIT_METRIC_LABEL_SETS] = { "metric_label_sets", "metric family", "further label sets are counted in `other`" },
};

static uint64_t descriptors_maximum(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 2 * DESCRIPTORS_RESERVED) {
        return DESCRIPTORS_MINIMUM;
    }
    return limit.rlim_cur - DESCRIPTORS_RESERVED;
}

struct limits limits_resolve(const struct configuration *configuration)
{
    const struct hbone_pool_settings pool = hbone_pool_settings_default();
    uint64_t descriptors = descriptors_maximum();
    bool is_shared = configuration->proxy_mode == PROXY_MODE_SHARED;
    return (struct limits){ .values = {
                                [LIMIT_PROCESS_DESCRIPTORS] = descriptors,
                                [LIMIT_PROCESS_BYTES] = PROCESS_BYTES_MAXIMUM,
                                [LIMIT_POD_BYTES] = is_shared ? POD_BYTES_MAXIMUM : PROCESS_BYTES_MAXIMUM,
                                /* One pod alone may use nearly all, never all. */
                                [LIMIT_POD_CONNECTIONS] = is_shared ? descriptors - descriptors / 8 : descriptors,
                                [LIMIT_POD_STREAMS] = POD_STREAMS_MAXIMUM,
                                [LIMIT_POD_HANDSHAKES] = POD_HANDSHAKES_MAXIMUM,
                                [LIMIT_POD_TUNNELS] = pool.tunnels_maximum,
                                [LIMIT_SOURCE_HANDSHAKES] = SOURCE_HANDSHAKES_MAXIMUM,
                                [LIMIT_SOURCE_RESETS] = SOURCE_RESETS_MAXIMUM,
                                [LIMIT_TUNNEL_STREAMS] = configuration->pool_maximum_streams,
                                [LIMIT_TUNNEL_WAITERS] = pool.waiters_maximum,
                                [LIMIT_SOCKET_WAITERS] = STOCK_WAITERS_MAXIMUM,
                                [LIMIT_CERTIFICATES] = CERTIFICATE_IDENTITIES_MAXIMUM,
                                [LIMIT_METRIC_LABEL_SETS] = METRIC_SERIES_CAP_DEFAULT,
                            } };
}

const char *limit_name(enum limit limit)
{
    return LIMITS[limit].name;
}

const char *limit_scope(enum limit limit)
{
    return LIMITS[limit].scope;
}

const char *limit_effect(enum limit limit)
{
    return LIMITS[limit].effect;
}

const char *limits_refuse(struct worker *worker, enum limit limit)
{
    static _Thread_local char sentence[96];
    metric_count_labelled(worker->metrics, METRIC_LIMIT_REFUSALS, &LIMITS[limit].name, 1);
    snprintf(sentence, sizeof sentence, "the limit %s=%llu is reached", LIMITS[limit].name,
        (unsigned long long)worker->shared->limits.values[limit]);
    return sentence;
}

static void close_idle_tunnels(struct worker *worker)
{
    size_t left = CLOSE_IDLE_AT_ONCE;
    LIST_FOR_EACH(link, &worker->pods) {
        left -= hbone_pool_close_idle(LIST_ENTRY(link, struct pod, link)->tunnels, left);
    }
}

/* The kernel gives the lowest free number: one that is high says how many are open, without anybody counting. */
bool limits_are_descriptors_used_up(struct worker *worker, int descriptor)
{
    uint64_t maximum = worker->shared->limits.values[LIMIT_PROCESS_DESCRIPTORS];
    if ((uint64_t)descriptor < maximum / 8 * SHORT_OF_DESCRIPTORS_EIGHTHS) {
        return false;
    }
    close_idle_tunnels(worker);
    return (uint64_t)descriptor >= maximum;
}

static bool holds_too_many_bytes(const struct worker *worker)
{
    uint64_t share = worker->shared->limits.values[LIMIT_PROCESS_BYTES] / worker->shared->configuration->worker_count;
    return buffer_pool_lent_bytes(worker->buffers) > share;
}

static bool waits_for_too_many_readers(const struct pod *pod)
{
    return pod->account.pinned.bytes > pod->worker->shared->limits.values[LIMIT_POD_BYTES];
}

/* Of all workers that serve the workload. */
static uint64_t total(const atomic_int *count)
{
    int value = atomic_load_explicit(count, memory_order_relaxed);
    return value > 0 ? (uint64_t)value : 0;
}

const char *limits_refuse_connection(struct pod *pod, int descriptor)
{
    const uint64_t *maximum = pod->worker->shared->limits.values;
    if (pod->account.descriptors >= maximum[LIMIT_POD_CONNECTIONS]) {
        return limits_refuse(pod->worker, LIMIT_POD_CONNECTIONS);
    }
    if (waits_for_too_many_readers(pod)) {
        return limits_refuse(pod->worker, LIMIT_POD_BYTES);
    }
    if (holds_too_many_bytes(pod->worker)) {
        return limits_refuse(pod->worker, LIMIT_PROCESS_BYTES);
    }
    return limits_are_descriptors_used_up(pod->worker, descriptor)
               ? limits_refuse(pod->worker, LIMIT_PROCESS_DESCRIPTORS)
               : NULL;
}

const char *limits_refuse_handshake(struct pod *pod)
{
    return total(&pod->totals->handshakes) >= pod->worker->shared->limits.values[LIMIT_POD_HANDSHAKES]
               ? limits_refuse(pod->worker, LIMIT_POD_HANDSHAKES)
               : NULL;
}

const char *limits_refuse_stream(struct pod *pod)
{
    if (total(&pod->totals->streams) > pod->worker->shared->limits.values[LIMIT_POD_STREAMS]) {
        return limits_refuse(pod->worker, LIMIT_POD_STREAMS);
    }
    if (waits_for_too_many_readers(pod)) {
        return limits_refuse(pod->worker, LIMIT_POD_BYTES);
    }
    return holds_too_many_bytes(pod->worker) ? limits_refuse(pod->worker, LIMIT_PROCESS_BYTES) : NULL;
}
