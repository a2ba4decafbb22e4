/* The node's pods as the node agent tells them (ZDS, ztunnel-management §6): has each served, answers every request once,
 * reconciles after each reconnect. Control thread.
 *
 * A pod is known by its uid and its network namespace. One namespace is never served under two uids: whoever comes second waits
 * until the first has gone. What runs goes on while the agent is away. */
#ifndef AMBAR_ZTUNNEL_INPOD_MANAGER_H
#define AMBAR_ZTUNNEL_INPOD_MANAGER_H

#include "telemetry/metric.h"
#include "ztunnel/enrolment_report.h"
#include "ztunnel/pod_launch.h"

/* Served and leaving ones together; more are refused. The broker knows no more either. */
#define INPOD_PODS_MAXIMUM BROKER_NAMESPACES_MAXIMUM

struct inpod_manager;

struct inpod_manager_settings {
    const char *socket_path; /* borrowed */
    struct pod_launcher launcher;
    struct metric_shard *metrics;
    /* Our own pod's namespace, when our own identity is served in it: nobody else's may be. NULL: it is not. Borrowed. */
    const struct network_namespace *own_namespace;
    /* Connected, snapshot complete and nothing pending, or no longer so. */
    void (*on_ready_change)(void *context, bool is_ready);
    /* The last pod is gone after inpod_manager_stop. */
    void (*on_stopped)(void *context);
    void *context;
};

struct inpod_manager *inpod_manager_new(struct loop *control, const struct inpod_manager_settings *settings);
/* Hangs up and drains every pod. */
void inpod_manager_stop(struct inpod_manager *manager, uint64_t deadline_ms);
void inpod_manager_free(struct inpod_manager *manager); /* after on_stopped */

struct inpod_view {
    const char *uid, *name, *namespace_, *service_account;
    bool is_up;
    struct pod_assignment *assignment; /* NULL while pending */
    const char *failure;               /* why it could not be started, last time; NULL: it has not failed */
    const struct enrolment_report *enrolment;
};
/* In no particular order. */
void inpod_manager_visit(
    const struct inpod_manager *manager, void (*visit)(const struct inpod_view *view, void *context), void *context);

#endif
