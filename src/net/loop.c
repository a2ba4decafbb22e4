#include "net/loop.h"

#include "base/clock.h"
#include "net/timer_heap.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_A_TURN 256
#define FETCHES_A_TURN 16                                /* of EVENTS_A_TURN, while more than one account has events */
#define READY_QUANTUM_NS 100000                          /* an account's share of a round; about ten small events */
#define BULK_QUANTUM_NS 200000                           /* about half a read of bulk */
#define CONTENDED_TURN_NS NANOSECONDS_PER_MILLISECOND    /* after this the kernel is asked again */
#define SMALL_FLOW_NS (20 * NANOSECONDS_PER_MILLISECOND) /* how long one that was served counts */
#define ALWAYS_DELIVERED ((uint32_t)(EPOLLERR | EPOLLHUP))
#define WAKE_UP_TOKEN UINT64_MAX
#define NO_SLOT UINT32_MAX

/* What the kernel's event points to: never the watch itself, which may be gone when the event is looked at. */
struct watch_slot {
    struct io_watch *watch; /* NULL when free */
    uint32_t generation;    /* differs from the event's when the slot has been given to another watch */
    uint32_t registered;    /* the interest the kernel knows */
    uint32_t next;          /* next free slot, or next slot whose interest has changed */
    bool is_changed;
};

struct loop {
    _Alignas(MEMORY_LINE_BYTES) int epoll;
    int wake_up;
    uint64_t now_ns;
    uint64_t held_now_ns; /* of loop_advance_ms; 0: the clock's */
    uint64_t small_flows_until_ns;

    struct watch_slot *slots;
    uint32_t slot_count;
    uint32_t first_free;
    uint32_t first_changed;

    struct timer_heap timers;
    struct list deferred;
    struct loop_account own;
    struct fair_queue ready; /* events of several accounts that wait for their turn */
    struct fair_queue bulk;
    struct fair_share *paying; /* for the callback that runs; NULL once its account was closed */
    bool yields_after_bulk;
    bool owes_yield; /* before the next wait */

    /* What other threads write, and nothing that is read at every event. */
    _Alignas(MEMORY_LINE_BYTES) _Atomic(struct posted *) posted; /* newest first */
    atomic_bool is_stopping;

    void (*hook)(enum loop_phase phase, void *context);
    void *hook_context;
    _Alignas(MEMORY_LINE_BYTES) struct epoll_event events[EVENTS_A_TURN];
};

_Static_assert(sizeof(struct loop) % MEMORY_LINE_BYTES == 0, "a loop shares no cache line with another thread's");
_Static_assert(offsetof(struct loop, posted) % MEMORY_LINE_BYTES == 0, "posting touches no line of the loop's own");

static void no_hook(enum loop_phase phase, void *context)
{
    (void)phase;
    (void)context;
}

struct loop *loop_new(void)
{
    struct loop *loop = NEW_LINES(struct loop);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_up = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Edge-triggered, so that the counter need never be read: each write is one event. */
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = WAKE_UP_TOKEN };
    if (loop->epoll < 0 || loop->wake_up < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake_up, &event) != 0) {
        /* Only at start-up, and only without descriptors or memory: the same policy as for memory. */
        static const char message[] = "cannot make an event loop: out of descriptors or memory\n";
        (void)!write(STDERR_FILENO, message, sizeof message - 1);
        abort();
    }
    loop->now_ns = clock_monotonic_ns();
    loop->first_free = loop->first_changed = NO_SLOT;
    list_initialise(&loop->deferred);
    fair_queue_initialise(&loop->ready, READY_QUANTUM_NS);
    fair_queue_initialise(&loop->bulk, BULK_QUANTUM_NS);
    loop_account_initialise(&loop->own);
    loop->hook = no_hook;
    return loop;
}

static void forget_deferred(struct list *list)
{
    while (list_take_first(list) != NULL) {
    }
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    timer_heap_free(&loop->timers);
    forget_deferred(&loop->deferred);
    struct fair_share *share;
    while (fair_queue_take(&loop->bulk, &share) != NULL) {
    }
    (void)close(loop->wake_up);
    (void)close(loop->epoll);
    memory_free(loop->slots);
    memory_free(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

static uint64_t clock_ns(const struct loop *loop)
{
    return loop->held_now_ns != 0 ? loop->held_now_ns : clock_monotonic_ns();
}

void loop_advance_ms(struct loop *loop, uint64_t step_ms)
{
    uint64_t from_ns = loop->held_now_ns != 0 ? loop->held_now_ns : loop->now_ns;
    loop->held_now_ns = from_ns + step_ms * NANOSECONDS_PER_MILLISECOND;
}

void loop_yield_after_bulk(struct loop *loop, bool is_wanted)
{
    loop->yields_after_bulk = is_wanted;
}

void loop_set_hook(struct loop *loop, void (*hook)(enum loop_phase phase, void *context), void *context)
{
    loop->hook = hook != NULL ? hook : no_hook;
    loop->hook_context = context;
}

static uint32_t take_slot(struct loop *loop)
{
    if (loop->first_free == NO_SLOT) {
        uint32_t old_count = loop->slot_count;
        loop->slot_count = old_count == 0 ? 64 : old_count * 2;
        loop->slots = memory_resize(loop->slots, loop->slot_count, sizeof *loop->slots);
        for (uint32_t i = loop->slot_count; i-- > old_count;) {
            loop->slots[i] = (struct watch_slot){ .next = loop->first_free };
            loop->first_free = i;
        }
    }
    uint32_t slot = loop->first_free;
    loop->first_free = loop->slots[slot].next;
    return slot;
}

/* A slot on the list of changed interests is freed when that list is worked off. */
static void give_slot(struct loop *loop, uint32_t slot)
{
    loop->slots[slot].watch = NULL;
    loop->slots[slot].generation++;
    if (!loop->slots[slot].is_changed) {
        loop->slots[slot].next = loop->first_free;
        loop->first_free = slot;
    }
}

static uint64_t slot_token(const struct loop *loop, uint32_t slot)
{
    return (uint64_t)loop->slots[slot].generation << 32 | slot;
}

struct result loop_watch(struct loop *loop, struct io_watch *watch, int descriptor, uint32_t events)
{
    uint32_t slot = take_slot(loop);
    struct epoll_event event = { .events = events, .data.u64 = slot_token(loop, slot) };
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        int error = errno;
        give_slot(loop, slot);
        return result_system(error, "descriptor %d cannot be watched", descriptor);
    }
    loop->slots[slot].watch = watch;
    loop->slots[slot].registered = events;
    watch->descriptor = descriptor;
    watch->events = events;
    watch->slot = slot;
    watch->pending = 0;
    watch->loop = loop;
    list_initialise(&watch->pending_link);
    return result_ok();
}

/* The kernel hears of it before the next wait, and not at all when the interest has changed back by then. */
void loop_watch_for(struct io_watch *watch, uint32_t events)
{
    struct loop *loop = watch->loop;
    if (loop == NULL || watch->events == events) {
        return;
    }
    watch->events = events;
    struct watch_slot *slot = &loop->slots[watch->slot];
    if (!slot->is_changed) {
        slot->is_changed = true;
        slot->next = loop->first_changed;
        loop->first_changed = watch->slot;
    }
}

static void tell_changed_interests(struct loop *loop)
{
    while (loop->first_changed != NO_SLOT) {
        uint32_t index = loop->first_changed;
        struct watch_slot *slot = &loop->slots[index];
        loop->first_changed = slot->next;
        slot->is_changed = false;
        if (slot->watch == NULL) {
            slot->next = loop->first_free;
            loop->first_free = index;
            continue;
        }
        if (slot->registered != slot->watch->events) {
            struct epoll_event event = { .events = slot->watch->events, .data.u64 = slot_token(loop, index) };
            /* Cannot fail for a registered descriptor; one closed too early has no events to lose. */
            (void)epoll_ctl(loop->epoll, EPOLL_CTL_MOD, slot->watch->descriptor, &event);
            slot->registered = slot->watch->events;
        }
    }
}

void loop_unwatch_closing(struct io_watch *watch)
{
    struct loop *loop = watch->loop;
    if (loop == NULL) {
        return;
    }
    list_remove(&watch->pending_link);
    watch->pending = 0;
    give_slot(loop, watch->slot);
    watch->loop = NULL;
}

void loop_unwatch(struct io_watch *watch)
{
    if (watch->loop != NULL) {
        (void)epoll_ctl(watch->loop->epoll, EPOLL_CTL_DEL, watch->descriptor, NULL);
        loop_unwatch_closing(watch);
    }
}

void loop_watch_move(struct io_watch *from, struct io_watch *to)
{
    to->descriptor = from->descriptor;
    to->events = from->events;
    to->loop = from->loop;
    to->slot = from->slot;
    to->pending = from->pending;
    list_initialise(&to->pending_link);
    if (from->pending != 0) {
        list_insert_before(&from->pending_link, &to->pending_link);
        list_remove(&from->pending_link);
        from->pending = 0;
    }
    to->loop->slots[to->slot].watch = to;
    from->loop = NULL;
}

void loop_account_initialise(struct loop_account *account)
{
    fair_share_initialise(&account->ready);
    fair_share_initialise(&account->bulk);
}

void loop_account_close(struct loop *loop, struct loop_account *account)
{
    if (loop->paying == &account->ready || loop->paying == &account->bulk) {
        loop->paying = NULL;
    }
    fair_share_leave(&account->ready);
    fair_share_leave(&account->bulk);
}

void timer_disarm(struct timer *timer)
{
    if (timer->heap_index != 0) {
        timer_heap_remove(&timer->loop->timers, timer);
    }
}

void timer_arm_at(struct loop *loop, struct timer *timer, uint64_t due_ns)
{
    timer_disarm(timer);
    timer->loop = loop;
    /* Never due in this turn, so that a timer that arms itself in the past cannot hold the turn for ever. */
    timer->due_ns = due_ns > loop->now_ns ? due_ns : loop->now_ns + 1;
    timer_heap_insert(&loop->timers, timer);
}

void timer_arm_after_ms(struct loop *loop, struct timer *timer, uint64_t delay_ms)
{
    timer_arm_at(loop, timer, loop->now_ns + delay_ms * NANOSECONDS_PER_MILLISECOND);
}

static void run_expired_timers(struct loop *loop)
{
    struct timer *timer;
    while ((timer = timer_heap_first(&loop->timers)) != NULL && timer->due_ns <= loop->now_ns) {
        timer_disarm(timer);
        timer->on_expire(timer);
    }
}

void loop_defer(struct loop *loop, struct deferred *deferred)
{
    if (list_is_empty(&deferred->link)) {
        list_append(&loop->deferred, &deferred->link);
    }
}

void loop_defer_bulk(struct loop *loop, struct deferred *deferred)
{
    if (list_is_empty(&deferred->link)) {
        struct loop_account *account = deferred->account != NULL ? deferred->account : &loop->own;
        fair_queue_add(&loop->bulk, &account->bulk, &deferred->link);
    }
}

void loop_note_small_flow(struct loop *loop)
{
    loop->small_flows_until_ns = loop->now_ns + SMALL_FLOW_NS;
}

bool loop_has_small_flows(const struct loop *loop)
{
    return loop->now_ns < loop->small_flows_until_ns;
}

void deferred_cancel(struct deferred *deferred)
{
    list_remove(&deferred->link);
}

static void run_deferred(struct list *link)
{
    struct deferred *deferred = LIST_ENTRY(link, struct deferred, link);
    deferred->run(deferred);
}

/* The callback may have ended the pod whose account pays for it. Returns the time. */
static uint64_t charge_since(struct loop *loop, const struct fair_queue *queue, uint64_t began_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    if (loop->paying != NULL) {
        fair_queue_charge(queue, loop->paying, (int64_t)(now_ns - began_ns));
        loop->paying = NULL;
    }
    return now_ns;
}

static void run_one_bulk(struct loop *loop)
{
    struct list *link = fair_queue_take(&loop->bulk, &loop->paying);
    if (link != NULL) {
        uint64_t began_ns = clock_monotonic_ns();
        run_deferred(link);
        (void)charge_since(loop, &loop->bulk, began_ns);
        loop->owes_yield = loop->yields_after_bulk;
    }
}

/* Threads that copy bulk never sleep, and the scheduler would let each have the processor for milliseconds, behind which the
 * small messages of all others wait. */
static void yield_if_owed(struct loop *loop)
{
    if (loop->owes_yield) {
        loop->owes_yield = false;
        (void)sched_yield();
    }
}

static void wake_up(struct loop *loop)
{
    uint64_t one = 1;
    (void)!write(loop->wake_up, &one, sizeof one);
}

void loop_post(struct loop *loop, struct posted *posted)
{
    struct posted *newest = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        posted->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(
        &loop->posted, &newest, posted, memory_order_release, memory_order_relaxed));
    /* Whoever found the queue empty wakes; the loop takes the whole queue after every wait. */
    if (newest == NULL) {
        wake_up(loop);
    }
}

static void run_posted(struct loop *loop)
{
    if (atomic_load_explicit(&loop->posted, memory_order_relaxed) == NULL) {
        return;
    }
    struct posted *newest = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct posted *oldest = NULL;
    while (newest != NULL) {
        struct posted *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct posted *posted = oldest;
        oldest = posted->next; /* `run` may free it */
        posted->run(posted);
    }
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stopping, true);
    wake_up(loop);
}

/* How long the wait may sleep: rounded up, so that a timer is due when its wait ends. */
static int wait_limit_ms(const struct loop *loop, int timeout_ms)
{
    if (!list_is_empty(&loop->deferred) || !fair_queue_is_empty(&loop->bulk) || !fair_queue_is_empty(&loop->ready)) {
        return 0;
    }
    const struct timer *first = timer_heap_first(&loop->timers);
    if (first == NULL) {
        return timeout_ms;
    }
    uint64_t now_ns = clock_ns(loop);
    uint64_t due_ns = first->due_ns;
    if (loop->held_now_ns != 0 && due_ns > now_ns) {
        return timeout_ms;
    }
    uint64_t left_ms = due_ns <= now_ns ? 0 : (due_ns - now_ns - 1) / NANOSECONDS_PER_MILLISECOND + 1;
    if (left_ms > INT_MAX) {
        left_ms = INT_MAX;
    }
    return timeout_ms < 0 || left_ms < (uint64_t)timeout_ms ? (int)left_ms : timeout_ms;
}

/* The interest may have shrunk since the event was fetched. */
static void deliver(struct io_watch *watch, uint32_t fetched)
{
    uint32_t events = fetched & (watch->events | ALWAYS_DELIVERED);
    if (events != 0) {
        watch->on_ready(watch, events);
    }
}

/* NULL: the wake-up, or removed earlier in this turn. */
static struct io_watch *watch_of_event(const struct loop *loop, const struct epoll_event *event)
{
    uint64_t token = event->data.u64;
    if (token == WAKE_UP_TOKEN) {
        return NULL;
    }
    const struct watch_slot *slot = &loop->slots[(uint32_t)token];
    return slot->generation == (uint32_t)(token >> 32) ? slot->watch : NULL;
}

static bool concern_several_accounts(const struct loop *loop, int count)
{
    const struct io_watch *first = NULL;
    for (int i = 0; i < count; i++) {
        const struct io_watch *watch = watch_of_event(loop, &loop->events[i]);
        if (watch != NULL && first != NULL && watch->account != first->account) {
            return true;
        }
        first = first != NULL ? first : watch;
    }
    return false;
}

static void queue_events(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        struct io_watch *watch = watch_of_event(loop, &loop->events[i]);
        if (watch == NULL) {
            continue;
        }
        if (watch->pending == 0) {
            struct loop_account *account = watch->account != NULL ? watch->account : &loop->own;
            fair_queue_add(&loop->ready, &account->ready, &watch->pending_link);
        }
        watch->pending |= loop->events[i].events;
    }
}

/* All that are ready are fetched first: the one event of a small pod may lie behind ten thousand of another. */
static void deliver_in_turns(struct loop *loop, int count)
{
    queue_events(loop, count);
    for (int fetches = 1; count == EVENTS_A_TURN && fetches < FETCHES_A_TURN; fetches++) {
        count = epoll_wait(loop->epoll, loop->events, EVENTS_A_TURN, 0);
        queue_events(loop, count);
    }
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t end_ns = now_ns + CONTENDED_TURN_NS;
    struct list *link;
    while (now_ns < end_ns && (link = fair_queue_take(&loop->ready, &loop->paying)) != NULL) {
        struct io_watch *watch = LIST_ENTRY(link, struct io_watch, pending_link);
        uint32_t events = watch->pending;
        watch->pending = 0;
        deliver(watch, events);
        now_ns = charge_since(loop, &loop->ready, now_ns);
    }
}

static void deliver_events(struct loop *loop, int count)
{
    if (!fair_queue_is_empty(&loop->ready) || concern_several_accounts(loop, count)) {
        deliver_in_turns(loop, count);
        return;
    }
    for (int i = 0; i < count; i++) {
        struct io_watch *watch = watch_of_event(loop, &loop->events[i]);
        if (watch != NULL) {
            deliver(watch, loop->events[i].events);
        }
    }
}

void loop_run_once(struct loop *loop, int timeout_ms)
{
    tell_changed_interests(loop);
    int limit_ms = wait_limit_ms(loop, timeout_ms);
    loop->hook(LOOP_WAIT_BEGINS, loop->hook_context);
    yield_if_owed(loop);
    int count = epoll_wait(loop->epoll, loop->events, EVENTS_A_TURN, limit_ms);
    loop->hook(LOOP_WAIT_ENDS, loop->hook_context);
    loop->now_ns = clock_ns(loop);

    run_posted(loop);
    run_expired_timers(loop);
    deliver_events(loop, count);
    run_one_bulk(loop);
    struct list *link;
    while ((link = list_take_first(&loop->deferred)) != NULL) {
        run_deferred(link);
    }
    loop->hook(LOOP_TURN_ENDS, loop->hook_context);
}

void loop_run(struct loop *loop)
{
    while (!atomic_load(&loop->is_stopping)) {
        loop_run_once(loop, -1);
    }
    atomic_store(&loop->is_stopping, false);
}
