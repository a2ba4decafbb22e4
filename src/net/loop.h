/* The event loop: epoll, timers, work posted by other threads, and work put off to the end of the turn.
 *
 * One loop belongs to one thread; only loop_post and loop_stop may be called from others. Nothing is allocated per event.
 * A turn is: wait; posted work; expired timers; ready descriptors; one piece of bulk work; deferred work (repeated until none
 * is left); the turn hook. When events of several accounts (pods) are ready, they are served in turns by account, each by the time its
 * callbacks take, for a millisecond at most before the kernel is asked again; bulk work goes by account always. A callback may remove any watch, timer or deferred work of its loop, its own included, and may free the
 * object around it: events already fetched for a removed watch are not delivered. */
#ifndef AMBAR_NET_LOOP_H
#define AMBAR_NET_LOOP_H

#include "base/list.h"
#include "base/result.h"
#include "net/fair_queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* On whose behalf the loop works: a pod. Turns go by account, however many connections it has. */
struct loop_account {
    struct fair_share ready; /* events */
    struct fair_share bulk;
};

/* Readiness of one descriptor. Embed it; zero it; set on_ready (and account); then loop_watch. */
struct io_watch {
    void (*on_ready)(struct io_watch *watch, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP */
    int descriptor;
    uint32_t events;              /* the current interest; 0 keeps the registration and delivers nothing but errors */
    struct loop_account *account; /* NULL: the loop's own */
    struct loop *loop;            /* NULL when not watched */
    /* The loop's own. */
    uint32_t slot;
    uint32_t pending; /* events fetched and not delivered yet */
    struct list pending_link;
};

/* A timer, in the loop's heap while armed. Embed it; zero it; set on_expire. */
struct timer {
    void (*on_expire)(struct timer *timer);
    uint64_t due_ns;   /* clock_monotonic_ns */
    size_t heap_index; /* the loop's own; 1-based, 0 when not armed */
    struct loop *loop;
};

/* Work put off to the end of this turn (one flush per tunnel per turn). Embed it; list_initialise link; set run. */
struct deferred {
    void (*run)(struct deferred *deferred);
    struct list link;
    struct loop_account *account; /* of bulk work; NULL: the loop's own */
};

/* Work from another thread. Embed it in an object that stays alive until `run` was called on the loop's thread. */
struct posted {
    void (*run)(struct posted *posted);
    struct posted *next; /* the loop's own */
};

struct loop *loop_new(void);
/* All watches must have been removed; armed timers and deferred work are forgotten. */
void loop_free(struct loop *loop);

/* Runs until loop_stop. */
void loop_run(struct loop *loop);
/* One turn that waits at most `timeout_ms` (-1: until something happens). For tests. */
void loop_run_once(struct loop *loop, int timeout_ms);
/* Ends loop_run after the current turn. Any thread. */
void loop_stop(struct loop *loop);

/* The time at the start of this turn: cheap, the same for all callbacks of the turn. */
uint64_t loop_now_ns(const struct loop *loop);
/* For tests of deadlines: from the first call on, the loop's time stands still and moves by these steps only, seen by the next
 * turn. Steps of less than the shortest deadline see every timer in its order, however slow the machine. */
void loop_advance_ms(struct loop *loop, uint64_t step_ms);

struct result loop_watch(struct loop *loop, struct io_watch *watch, int descriptor, uint32_t events);
/* Changes the interest; cheap when it is the same. */
void loop_watch_for(struct io_watch *watch, uint32_t events);
/* Idempotent. Does not close the descriptor. Must precede close. */
void loop_unwatch(struct io_watch *watch);
/* The same for a descriptor that is closed right afterwards and that no other process and no duplicate holds open: the kernel
 * forgets it by itself. */
void loop_unwatch_closing(struct io_watch *watch);
/* The registration of `from`, events fetched and not delivered included, becomes `to`'s, which has its own on_ready and account. */
void loop_watch_move(struct io_watch *from, struct io_watch *to);

void loop_account_initialise(struct loop_account *account);
/* Before its memory goes; none of its watches and deferred work may be left. */
void loop_account_close(struct loop *loop, struct loop_account *account);

/* (Re)arms. A time in the past expires in the next turn. */
void timer_arm_at(struct loop *loop, struct timer *timer, uint64_t due_ns);
void timer_arm_after_ms(struct loop *loop, struct timer *timer, uint64_t delay_ms);
void timer_disarm(struct timer *timer); /* idempotent */
static inline bool timer_is_armed(const struct timer *timer)
{
    return timer->heap_index != 0;
}

/* Idempotent within a turn. */
void loop_defer(struct loop *loop, struct deferred *deferred);
void deferred_cancel(struct deferred *deferred);
/* Queues bulk work, of which one piece is run a turn, so that interactive events never wait for more than one bulk read
 * (design §5). While any is queued the loop polls without sleeping. Idempotent while queued; deferred_cancel takes it back. */
void loop_defer_bulk(struct loop *loop, struct deferred *deferred);

/* A flow of small messages was served: for a moment bulk goes in smaller steps, so that the next message waits less. */
void loop_note_small_flow(struct loop *loop);
bool loop_has_small_flows(const struct loop *loop);

/* Whether other threads that could run get the processor after each piece of bulk work. Only for a thread with short slices
 * (base/processor_slice.h): with long ones a thread that yields loses most of its share to those that do not. */
void loop_yield_after_bulk(struct loop *loop, bool is_wanted);

/* Any thread. Wakes the loop through an eventfd only when its queue was empty: no futex, no lock. */
void loop_post(struct loop *loop, struct posted *posted);

/* Called at the end of each turn, and around the wait: (loop, context, is_before_wait). For QSBR and statistics. */
enum loop_phase { LOOP_TURN_ENDS, LOOP_WAIT_BEGINS, LOOP_WAIT_ENDS };
void loop_set_hook(struct loop *loop, void (*hook)(enum loop_phase phase, void *context), void *context);

#endif
