#include "ztunnel/tunnel_review.h"

#include "base/clock.h"
#include "mesh/destination.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

/* Changes may come by the thousand a second, and pools hold hundreds of tunnels. */
#define BETWEEN_REVIEWS_NS (50 * NANOSECONDS_PER_MILLISECOND)

static enum mesh_destination judge(void *context, const struct hbone_pool_key *key)
{
    return mesh_find_destination(context, key->destination_uid, &key->destination.ip);
}

static bool has_departed(const struct worker *worker)
{
    LIST_FOR_EACH(link, &worker->pods) {
        if (hbone_pool_has_departed(LIST_ENTRY(link, struct pod, link)->tunnels)) {
            return true;
        }
    }
    return false;
}

static void review(struct worker *worker)
{
    const struct mesh_version *version = worker_version(worker);
    worker->review.reviewed_ns = loop_now_ns(worker->loop);
    worker->review.seen_departure_generation = mesh_version_departure_generation(version);
    LIST_FOR_EACH(link, &worker->pods) {
        /* The judge only reads. */
        hbone_pool_review(LIST_ENTRY(link, struct pod, link)->tunnels, judge, (void *)(uintptr_t)version);
    }
}

static void on_due(struct timer *timer)
{
    review(CONTAINER_OF(timer, struct worker, review.timer));
}

void tunnel_review_notice(struct worker *worker)
{
    struct tunnel_review *state = &worker->review;
    uint64_t generation = mesh_version_departure_generation(worker_version(worker));
    bool is_needed = generation != state->seen_departure_generation || has_departed(worker);
    if (!is_needed || timer_is_armed(&state->timer)) {
        return;
    }
    uint64_t due_ns = state->reviewed_ns + BETWEEN_REVIEWS_NS;
    if (loop_now_ns(worker->loop) >= due_ns) {
        review(worker);
        return;
    }
    state->timer.on_expire = on_due;
    timer_arm_at(worker->loop, &state->timer, due_ns);
}

void tunnel_review_stop(struct worker *worker)
{
    timer_disarm(&worker->review.timer);
}
