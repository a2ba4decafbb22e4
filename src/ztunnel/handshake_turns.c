#include "ztunnel/handshake_turns.h"

#include "ztunnel/pod.h"

void handshake_turn_initialise(
    struct handshake_turn *turn, struct pod *pod, struct io_watch *watch, void (*run)(struct deferred *step))
{
    *turn = (struct handshake_turn){ .step = { .run = run, .account = &pod->turns }, .watch = watch };
    list_initialise(&turn->step.link);
}

void handshake_turn_queue(struct handshake_turn *turn)
{
    if (!list_is_empty(&turn->step.link)) {
        /* It has to wait: its socket is no news until then. The step says what it wants next. */
        loop_watch_for(turn->watch, 0);
        return;
    }
    loop_defer_bulk(turn->watch->loop, &turn->step);
}

void handshake_turn_cancel(struct handshake_turn *turn)
{
    deferred_cancel(&turn->step);
}
