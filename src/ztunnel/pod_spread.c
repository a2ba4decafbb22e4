#include "ztunnel/pod_spread.h"

#include "base/memory.h"
#include "ztunnel/enrolment_proof.h"
#include "ztunnel/metrics.h"
#include "ztunnel/worker.h"
#include "ztunnel/worker_load.h"

#include <stdatomic.h>

/* Connections that a worker has been given and not looked at yet: it is not as idle as it seemed. */
#define ON_THE_WAY_MAXIMUM 64

struct extension {
    struct pod *home;
    struct worker *worker;
    struct pod *pod; /* the other worker's thread */
    struct pod_information information;
    struct pod_extension_settings settings;
    atomic_uint on_the_way;
    unsigned drain_orders; /* on their way there or back */
    bool is_gone;
};

struct pod_spread {
    size_t living;
    bool *helps; /* by worker: whether it has an extension */
    struct extension *extensions[];
};

struct handed_over {
    struct extension *extension;
    enum pod_listener place;
    int descriptor;
    struct socket_address peer;
};

/* An order to drain may still be on its way to an extension that has gone. */
static void free_if_over(struct extension *extension)
{
    if (!extension->is_gone || extension->drain_orders > 0) {
        return;
    }
    struct pod *home = extension->home;
    home->spread->extensions[extension->worker->index] = NULL;
    home->spread->helps[extension->worker->index] = false;
    home->spread->living--;
    memory_free(extension);
    pod_check_drained(home);
}

static void on_gone(struct worker *home, void *context)
{
    (void)home;
    struct extension *extension = context;
    extension->is_gone = true;
    free_if_over(extension);
}

static void on_extension_stopped(const char *uid, void *context)
{
    (void)uid;
    struct extension *extension = context;
    extension->pod = NULL;
    worker_run(extension->home->worker, on_gone, extension);
}

static void start_there(struct worker *worker, void *context)
{
    struct extension *extension = context;
    extension->pod = pod_start_extension(worker, &extension->information, &extension->settings);
}

static struct extension *extend(struct pod *pod, struct worker *worker)
{
    struct extension *extension = NEW(struct extension);
    extension->home = pod;
    extension->worker = worker;
    extension->information = pod_information_copy(&pod->information);
    extension->settings = (struct pod_extension_settings){
        .namespace_handle = pod->namespace_handle,
        .totals = pod->totals,
        .on_stopped = on_extension_stopped,
        .context = extension,
    };
    for (unsigned i = 0; i < POD_LISTENER_COUNT; i++) {
        extension->settings.transparent_listeners |= (uint8_t)(pod->listeners[i].is_transparent << i);
    }
    worker_run(worker, start_there, extension);
    pod->spread->extensions[worker->index] = extension;
    pod->spread->helps[worker->index] = true;
    pod->spread->living++;
    return extension;
}

static void take_there(struct worker *worker, void *context)
{
    (void)worker;
    struct handed_over handed = *(struct handed_over *)context;
    memory_free(context);
    atomic_fetch_sub_explicit(&handed.extension->on_the_way, 1, memory_order_relaxed);
    pod_take(handed.extension->pod, handed.place, handed.descriptor, &handed.peer);
}

static void hand_over(
    struct extension *extension, enum pod_listener place, int descriptor, const struct socket_address *peer)
{
    struct handed_over *handed = NEW(struct handed_over);
    *handed = (struct handed_over){ extension, place, descriptor, *peer };
    atomic_fetch_add_explicit(&extension->on_the_way, 1, memory_order_relaxed);
    worker_run(extension->worker, take_there, handed);
    metric_count_labelled(extension->home->worker->metrics, METRIC_CONNECTIONS_HANDED_OVER, NULL, 1);
}

static struct pod_spread *spread_of(struct pod *pod, size_t worker_count)
{
    if (pod->spread == NULL) {
        pod->spread = memory_allocate_zeroed(1, sizeof *pod->spread + worker_count * sizeof(struct extension *));
        pod->spread->helps = memory_allocate_zeroed(worker_count, sizeof(bool));
    }
    return pod->spread;
}

/* NULL: the home worker keeps it. */
static struct worker *relief_of(struct pod *pod)
{
    const struct shared_state *shared = pod->worker->shared;
    unsigned saturated_percent = shared->configuration->worker_saturated_percent;
    /* The proof of a pod's enrolment waits for its connection on the home worker. */
    if (pod->worker->load == NULL || pod->state != POD_RUNNING || saturated_percent == 0 ||
        enrolment_proof_is_waiting(pod->enrolment)) {
        return NULL;
    }
    const unsigned *busy_percent = worker_load_refresh(pod->worker->load, loop_now_ns(pod->worker->loop));
    const bool *helps = pod->spread != NULL ? pod->spread->helps : NULL;
    size_t relief = worker_load_relief(
        busy_percent, shared->configuration->worker_count, pod->worker->index, saturated_percent, helps);
    return relief != WORKER_LOAD_NONE ? &shared->workers[relief] : NULL;
}

bool pod_spread_takes(struct pod *pod, enum pod_listener place, int descriptor, const struct socket_address *peer)
{
    struct worker *relief = place < POD_LISTENER_COUNT ? relief_of(pod) : NULL;
    if (relief == NULL) {
        return false;
    }
    struct pod_spread *spread = spread_of(pod, pod->worker->shared->configuration->worker_count);
    struct extension *extension = spread->extensions[relief->index];
    if (extension == NULL) {
        extension = extend(pod, relief);
    }
    if (atomic_load_explicit(&extension->on_the_way, memory_order_relaxed) >= ON_THE_WAY_MAXIMUM) {
        return false;
    }
    hand_over(extension, place, descriptor, peer);
    return true;
}

struct drain_order {
    struct extension *extension;
    uint64_t deadline_ms;
};

static void on_order_carried_out(struct worker *home, void *context)
{
    (void)home;
    struct drain_order *order = context;
    struct extension *extension = order->extension;
    memory_free(order);
    extension->drain_orders--;
    free_if_over(extension);
}

static void drain_there(struct worker *worker, void *context)
{
    (void)worker;
    struct drain_order *order = context;
    if (order->extension->pod != NULL) {
        pod_drain(order->extension->pod, order->deadline_ms);
    }
    worker_run(order->extension->home->worker, on_order_carried_out, order);
}

void pod_spread_drain(struct pod *pod, uint64_t deadline_ms)
{
    size_t worker_count = pod->spread != NULL ? pod->worker->shared->configuration->worker_count : 0;
    for (size_t i = 0; i < worker_count; i++) {
        struct extension *extension = pod->spread->extensions[i];
        if (extension != NULL) {
            struct drain_order *order = NEW(struct drain_order);
            *order = (struct drain_order){ extension, deadline_ms };
            extension->drain_orders++;
            worker_run(extension->worker, drain_there, order);
        }
    }
}

bool pod_spread_is_over(const struct pod *pod)
{
    return pod->spread == NULL || pod->spread->living == 0;
}

void pod_spread_free(struct pod_spread *spread)
{
    if (spread != NULL) {
        memory_free(spread->helps);
        memory_free(spread);
    }
}
