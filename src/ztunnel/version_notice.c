#include "ztunnel/version_notice.h"

#include "base/clock.h"
#include "ztunnel/worker.h"

/* At 1,000 changes a second a worker is woken 200 times instead of 1,000. */
#define BETWEEN_NOTICES_NS (5 * NANOSECONDS_PER_MILLISECOND)

static void tell(struct version_notice *notice)
{
    notice->told_ns = loop_now_ns(notice->loop);
    for (size_t i = 0; i < *notice->worker_count; i++) {
        worker_notice_version(&notice->workers[i]);
    }
    /* After the acknowledgement has left: a version that differs in 1,000 places takes milliseconds to release. */
    loop_defer_bulk(notice->loop, &notice->reclaim);
}

static void on_due(struct timer *timer)
{
    tell(CONTAINER_OF(timer, struct version_notice, timer));
}

static void on_reclaim(struct deferred *deferred)
{
    qsbr_reclaim(CONTAINER_OF(deferred, struct version_notice, reclaim)->readers);
}

void version_notice_begin(struct version_notice *notice, struct loop *loop, struct qsbr *readers,
    struct worker *workers, const size_t *worker_count)
{
    *notice =
        (struct version_notice){ .loop = loop, .readers = readers, .workers = workers, .worker_count = worker_count };
    notice->timer.on_expire = on_due;
    notice->reclaim.run = on_reclaim;
    list_initialise(&notice->reclaim.link);
}

void version_notice_published(struct version_notice *notice)
{
    if (timer_is_armed(&notice->timer)) {
        return;
    }
    uint64_t due_ns = notice->told_ns + BETWEEN_NOTICES_NS;
    if (loop_now_ns(notice->loop) >= due_ns) {
        tell(notice);
        return;
    }
    timer_arm_at(notice->loop, &notice->timer, due_ns);
}

void version_notice_end(struct version_notice *notice)
{
    if (notice->loop == NULL) {
        return;
    }
    timer_disarm(&notice->timer);
    deferred_cancel(&notice->reclaim);
}
