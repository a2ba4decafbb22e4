/* Readiness on 15021: named tasks that must be complete (ztunnel-management §§2, 8). Control thread. */
#ifndef AMBAR_ZTUNNEL_READINESS_H
#define AMBAR_ZTUNNEL_READINESS_H

#include "base/result.h"
#include "net/loop.h"

enum readiness_task {
    READINESS_DNS_PROXY,
    READINESS_PROXY,
    READINESS_STATE_MANAGER,
    READINESS_WORKLOAD_MANAGER,
    READINESS_TASK_COUNT
};

struct readiness;

struct readiness *readiness_new(struct loop *control);
/* Starts to listen; until then and afterwards tasks may change. */
struct result readiness_listen(struct readiness *readiness, uint16_t port, bool ipv6_enabled);
void readiness_free(struct readiness *readiness);

/* A task is awaited, or complete. Completing one logs it with the time it took. */
void readiness_await(struct readiness *readiness, enum readiness_task task);
void readiness_complete(struct readiness *readiness, enum readiness_task task);
bool readiness_is_ready(const struct readiness *readiness);

#endif
