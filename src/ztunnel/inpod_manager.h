/* The proxy's half of ZDS (ztunnel-management §6): dials the node agent, learns the node's pods, has each served by a worker,
 * answers every request once, reconciles after each reconnect. Control thread.
 *
 * A pod is known by its uid and its network namespace. One namespace is never served under two uids. */
#ifndef AMBAR_ZTUNNEL_INPOD_MANAGER_H
#define AMBAR_ZTUNNEL_INPOD_MANAGER_H

#include "net/broker_client.h"
#include "telemetry/metric.h"
#include "ztunnel/worker.h"

struct inpod_manager;
struct pod_assignment;

struct inpod_manager_settings {
    const char *socket_path;
    struct worker *workers;
    size_t worker_count;
    struct broker_client *broker; /* the control thread's */
    struct metric_shard *metrics;
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
};
/* In no particular order. */
void inpod_manager_visit(
    const struct inpod_manager *manager, void (*visit)(const struct inpod_view *view, void *context), void *context);

#endif
