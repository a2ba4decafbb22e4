/* Having one pod served, from its namespace to its listeners: the namespace is made known to the broker, then a worker takes the
 * pod. And the interface by which the in-pod manager asks for it, so that its tests need neither broker nor worker.
 * Control thread. */
#ifndef AMBAR_ZTUNNEL_POD_LAUNCH_H
#define AMBAR_ZTUNNEL_POD_LAUNCH_H

#include "net/network_namespace.h"
#include "ztunnel/pod_assignment.h"

struct pod_launch;

/* Never called from within start or stop. */
struct pod_launcher {
    /* `namespace_` and `information` are copied. `events` as for pod_assignment: on_started once unless stopped first (after a
     * failure the launch ends by itself), on_stopped last; the launch is freed after that returns. */
    struct pod_launch *(*start)(void *context, const struct network_namespace *namespace_,
        const struct pod_information *information, const struct pod_assignment_events *events, void *events_context);
    /* As pod_assignment_stop. */
    void (*stop)(struct pod_launch *launch, uint64_t deadline_ms);
    /* NULL while there is none. */
    struct pod_assignment *(*assignment)(const struct pod_launch *launch);
    void *context;
};

/* Where launches go: the workers in turn. */
struct pod_launch_site {
    struct loop *control;
    struct broker_client *broker; /* the control thread's */
    struct worker *workers;
    size_t worker_count;
    size_t next_worker;
};

/* The real one. `site` is borrowed. */
struct pod_launcher pod_launcher_of(struct pod_launch_site *site);

#endif
