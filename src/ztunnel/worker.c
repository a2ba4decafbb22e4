#include "ztunnel/worker.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/refusals.h"
#include "ztunnel/worker_load.h"

#include <stdio.h>

#define HOUSEKEEPING_MS 2000

/* One function to run on the worker; freed after it ran. */
struct errand {
    struct posted posted;
    struct worker *worker;
    void (*function)(struct worker *worker, void *context);
    void *context;
};

static void run_errand(struct posted *posted)
{
    struct errand *errand = CONTAINER_OF(posted, struct errand, posted);
    struct errand copy = *errand;
    memory_free(errand);
    copy.function(copy.worker, copy.context);
}

void worker_run(struct worker *worker, void (*function)(struct worker *worker, void *context), void *context)
{
    struct errand *errand = NEW(struct errand);
    errand->posted.run = run_errand;
    errand->worker = worker;
    errand->function = function;
    errand->context = context;
    loop_post(worker->loop, &errand->posted);
}

static double seconds_since(uint64_t start_ns)
{
    return (double)(clock_monotonic_ns() - start_ns) / NANOSECONDS_PER_SECOND;
}

static void notice_version(struct worker *worker, void *context)
{
    (void)context;
    uint64_t start_ns = clock_monotonic_ns();
    uint64_t generation = mesh_version_policy_generation(worker_version(worker));
    bool policies_changed = generation != worker->checked_policy_generation;
    worker->checked_policy_generation = generation;
    LIST_FOR_EACH(link, &worker->pods) {
        pod_notice_version(LIST_ENTRY(link, struct pod, link), policies_changed);
    }
    tunnel_review_notice(worker);
    metric_observe_labelled(worker->metrics, METRIC_VERSION_TURN, NULL, seconds_since(start_ns));
}

void worker_notice_version(struct worker *worker)
{
    worker_run(worker, notice_version, NULL);
}

/* Between turns a worker holds no version (QSBR), and while it waits nobody waits for it. */
static void on_loop_phase(enum loop_phase phase, void *context)
{
    struct worker *worker = context;
    switch (phase) {
    case LOOP_TURN_ENDS:
        metric_set(worker->pinned_series, (int64_t)worker->pinned.bytes);
        metric_set(worker->pinned_largest_series, (int64_t)worker->pinned.largest_stream_bytes);
        qsbr_quiescent(worker->reader);
        return;
    case LOOP_WAIT_BEGINS:
        qsbr_offline(worker->reader);
        return;
    case LOOP_WAIT_ENDS:
        qsbr_online(worker->reader);
        return;
    }
}

/* After a peak the stock of buffers and what was freed go back to the system. */
static void on_housekeeping(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, housekeeping);
    buffer_pool_release_unused(worker->buffers);
    /* Pods come when all workers have been started. */
    if (worker->load != NULL && !list_is_empty(&worker->pods)) {
        (void)worker_load_refresh(worker->load, loop_now_ns(worker->loop));
    }
    uint64_t live = worker->live_connections[0] + worker->live_connections[1];
    (void)memory_return_review(&worker->memory_return, worker->last_connection_id, live, loop_now_ns(worker->loop));
    timer_arm_after_ms(worker->loop, timer, HOUSEKEEPING_MS);
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    char name[16];
    snprintf(name, sizeof name, "ztunnel-%u", worker->index);
    (void)pthread_setname_np(pthread_self(), name);
    worker->reader = qsbr_register(worker->shared->readers);
    loop_set_hook(worker->loop, on_loop_phase, worker);
    worker->housekeeping.on_expire = on_housekeeping;
    timer_arm_after_ms(worker->loop, &worker->housekeeping, HOUSEKEEPING_MS);
    loop_run(worker->loop);
    timer_disarm(&worker->housekeeping);
    tunnel_review_stop(worker);
    loop_set_hook(worker->loop, NULL, NULL);
    qsbr_unregister(worker->reader);
    return NULL;
}

struct result worker_start(struct worker *worker, unsigned index, const struct shared_state *shared)
{
    *worker = (struct worker){ .index = index, .shared = shared };
    list_initialise(&worker->pods);
    list_initialise(&worker->walks);
    worker->loop = loop_new();
    loop_yield_after_bulk(worker->loop, shared->has_short_slices);
    worker->buffers = buffer_pool_new();
    worker->metrics = metric_shard_new(shared->metrics);
    /* Channel 0 is the control thread's. */
    worker->broker = broker_client_new(shared->broker, index + 1, worker->loop);
    worker->certificates = certificate_cache_new(shared->certificates, worker->loop);
    const struct name_resolver_settings names = { .is_ipv4_only = !shared->configuration->ipv6_enabled };
    RESULT_TRY(name_resolver_new(worker->loop, &names, &worker->names));
    if (shared->configuration->proxy_mode == PROXY_MODE_SHARED && shared->configuration->worker_count > 1) {
        worker->load = worker_load_new(shared->workers, shared->configuration->worker_count);
    }
    static const char *const REPORTERS[] = { "source", "destination" };
    for (int i = 0; i < 2; i++) {
        worker->open_sockets_series[i] = metric_series_get(worker->metrics, METRIC_SOCKETS_OPEN, &REPORTERS[i]);
    }
    worker->pinned_series = metric_series_get(worker->metrics, METRIC_PINNED_BYTES, NULL);
    worker->pinned_largest_series = metric_series_get(worker->metrics, METRIC_PINNED_LARGEST_BYTES, NULL);
    int error = pthread_create(&worker->thread, NULL, run_worker, worker);
    if (error != 0) {
        return result_system(error, "failed to start worker thread %u", index);
    }
    worker->has_thread = true;
    return result_ok();
}

void worker_stop(struct worker *worker)
{
    if (worker->has_thread) {
        loop_stop(worker->loop);
        pthread_join(worker->thread, NULL);
    }
}

void worker_free(struct worker *worker)
{
    name_resolver_free(worker->names);
    certificate_cache_free(worker->certificates);
    broker_client_free(worker->broker);
    buffer_pool_free(worker->buffers);
    refusals_free(worker->refusals);
    worker_load_free(worker->load);
    loop_free(worker->loop);
}

void worker_count_socket(struct worker *worker, int direction, int change)
{
    worker->open_sockets[direction] += (uint64_t)(int64_t)change;
    metric_set(worker->open_sockets_series[direction], (int64_t)worker->open_sockets[direction]);
}

void worker_count_role(struct worker *worker, size_t family, const char *role)
{
    metric_count_labelled(worker->metrics, family, &role, 1);
}

void worker_observe_handshake(struct worker *worker, const char *role, uint64_t start_ns)
{
    metric_observe_labelled(worker->metrics, METRIC_HANDSHAKE_DURATION, &role, seconds_since(start_ns));
}

struct hbone_settings worker_hbone_settings(struct worker *worker, enum hbone_role role)
{
    const struct configuration *configuration = worker->shared->configuration;
    struct hbone_settings settings = hbone_settings_default(role);
    settings.stream_window_bytes_maximum = configuration->stream_window_bytes;
    settings.connection_window_bytes = configuration->connection_window_bytes;
    settings.frame_bytes_maximum = configuration->frame_bytes;
    return settings;
}
