/* Tells the workers that there is a newer version of the model, and releases the replaced ones. The first of a burst is told at once, the
 * others together: a worker reads the newest version at every decision anyway, and what it is told for (waiting connections,
 * connections that a policy ends, tunnels to who is gone) bears some milliseconds. Control thread. */
#ifndef AMBAR_ZTUNNEL_VERSION_NOTICE_H
#define AMBAR_ZTUNNEL_VERSION_NOTICE_H

#include "base/qsbr.h"
#include "net/loop.h"

struct worker;

struct version_notice {
    struct loop *loop;
    struct qsbr *readers;
    struct worker *workers;
    const size_t *worker_count;
    struct timer timer;
    struct deferred reclaim;
    uint64_t told_ns;
};

void version_notice_begin(struct version_notice *notice, struct loop *loop, struct qsbr *readers,
    struct worker *workers, const size_t *worker_count);
/* After each version that was published. */
void version_notice_published(struct version_notice *notice);
/* A zeroed one, never begun, is allowed. */
void version_notice_end(struct version_notice *notice);

#endif
