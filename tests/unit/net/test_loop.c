/* The event loop: what a turn delivers, in which order, and what it must not deliver any more. */
#include "unit/net/support.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

struct counted_watch {
    struct io_watch watch;
    unsigned count;
    uint32_t last_events;
    struct counted_watch *other; /* removed by the callback */
};

static void count_event(struct io_watch *watch, uint32_t events)
{
    struct counted_watch *counted = CONTAINER_OF(watch, struct counted_watch, watch);
    counted->count++;
    counted->last_events = events;
}

static void remove_other(struct io_watch *watch, uint32_t events)
{
    count_event(watch, events);
    loop_unwatch(&CONTAINER_OF(watch, struct counted_watch, watch)->other->watch);
}

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static void start_watch(struct loop *loop, struct counted_watch *counted, int descriptor, uint32_t events)
{
    counted->watch.on_ready = counted->watch.on_ready != NULL ? counted->watch.on_ready : count_event;
    struct result result = loop_watch(loop, &counted->watch, descriptor, events);
    assert_true(result_is_ok(&result));
}

static void test_readiness_is_delivered_until_it_is_consumed(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct counted_watch counted = { 0 };
    int pair[2];
    make_pair(pair);
    start_watch(loop, &counted, pair[0], EPOLLIN);
    loop_run_once(loop, 0);
    assert_int_equal(counted.count, 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    assert_int_equal(counted.count, 2);
    assert_int_equal(counted.last_events, EPOLLIN);
    loop_unwatch(&counted.watch);
    close_pair(pair);
    loop_free(loop);
}

static void test_interest_can_change_and_change_back_within_a_turn(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct counted_watch counted = { 0 };
    int pair[2];
    make_pair(pair);
    start_watch(loop, &counted, pair[0], EPOLLIN);
    loop_watch_for(&counted.watch, EPOLLIN | EPOLLOUT);
    loop_watch_for(&counted.watch, EPOLLIN);
    loop_run_once(loop, 0);
    assert_int_equal(counted.count, 0);
    loop_watch_for(&counted.watch, EPOLLOUT);
    loop_run_once(loop, 0);
    assert_int_equal(counted.last_events, EPOLLOUT);
    loop_watch_for(&counted.watch, 0);
    loop_run_once(loop, 0);
    assert_int_equal(counted.count, 1);
    loop_unwatch(&counted.watch);
    close_pair(pair);
    loop_free(loop);
}

static void test_no_interest_still_delivers_a_hang_up(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct counted_watch counted = { 0 };
    int pair[2];
    make_pair(pair);
    start_watch(loop, &counted, pair[0], 0);
    close(pair[1]);
    loop_run_once(loop, 0);
    assert_int_equal(counted.last_events, EPOLLHUP);
    loop_unwatch(&counted.watch);
    close(pair[0]);
    loop_free(loop);
}

static void test_an_event_fetched_for_a_watch_removed_in_the_same_turn_is_not_delivered(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct counted_watch one = { .watch.on_ready = remove_other }, two = { .watch.on_ready = remove_other };
    one.other = &two;
    two.other = &one;
    int first[2], second[2];
    make_pair(first);
    make_pair(second);
    start_watch(loop, &one, first[0], EPOLLOUT);
    start_watch(loop, &two, second[0], EPOLLOUT);
    loop_run_once(loop, 0);
    assert_int_equal(one.count + two.count, 1);
    loop_unwatch(&one.watch);
    loop_unwatch(&two.watch);
    close_pair(first);
    close_pair(second);
    loop_free(loop);
}

/* The removed watch's slot goes to a new watch at once: the stale event must not reach that one either. */
struct replacing_watch {
    struct io_watch watch;
    struct counted_watch *removed, *added;
    int added_descriptor;
};

static void replace_other(struct io_watch *watch, uint32_t events)
{
    struct replacing_watch *replacing = CONTAINER_OF(watch, struct replacing_watch, watch);
    struct loop *loop = watch->loop;
    (void)events;
    if (replacing->removed->watch.loop != NULL) {
        loop_unwatch(&replacing->removed->watch);
        start_watch(loop, replacing->added, replacing->added_descriptor, EPOLLIN);
    }
}

static void test_a_stale_event_does_not_reach_the_next_watch_in_its_slot(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    int first[2], second[2], third[2];
    make_pair(first);
    make_pair(second);
    make_pair(third);
    struct counted_watch removed = { 0 }, added = { 0 };
    struct replacing_watch replacing = {
        .watch.on_ready = replace_other, .removed = &removed, .added = &added, .added_descriptor = third[0]
    };
    struct result result = loop_watch(loop, &replacing.watch, first[0], EPOLLOUT);
    assert_true(result_is_ok(&result));
    start_watch(loop, &removed, second[0], EPOLLOUT);
    loop_run_once(loop, 0);
    assert_int_equal(added.count, 0);
    assert_int_equal(removed.count, 0);
    loop_unwatch(&replacing.watch);
    loop_unwatch(&added.watch);
    close_pair(first);
    close_pair(second);
    close_pair(third);
    loop_free(loop);
}

static void free_itself(struct io_watch *watch, uint32_t events)
{
    (void)events;
    int descriptor = watch->descriptor;
    loop_unwatch(watch);
    close(descriptor);
    memory_free(CONTAINER_OF(watch, struct counted_watch, watch));
}

static void test_a_callback_may_free_the_object_around_its_watch(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    for (int i = 0; i < 100; i++) {
        struct counted_watch *counted = NEW(struct counted_watch);
        counted->watch.on_ready = free_itself;
        int pair[2];
        make_pair(pair);
        close(pair[1]);
        start_watch(loop, counted, pair[0], EPOLLIN);
        loop_watch_for(&counted->watch, EPOLLOUT);
    }
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    loop_free(loop);
}

static void test_watching_a_closed_descriptor_fails_with_its_number(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct io_watch watch = { .on_ready = count_event };
    struct result result = loop_watch(loop, &watch, 999999, EPOLLIN);
    assert_int_equal(result.code, RESULT_SYSTEM);
    assert_non_null(strstr(result.message, "999999"));
    assert_null(watch.loop);
    loop_unwatch(&watch);
    loop_free(loop);
}

#define TIMERS 500
static unsigned expired_order[TIMERS * 2];
static unsigned expired_count;

struct numbered_timer {
    struct timer timer;
    unsigned number;
    struct numbered_timer *disarms;
    bool rearms;
};

static void record_expiry(struct timer *timer)
{
    struct numbered_timer *numbered = CONTAINER_OF(timer, struct numbered_timer, timer);
    expired_order[expired_count++] = numbered->number;
    if (numbered->disarms != NULL) {
        timer_disarm(&numbered->disarms->timer);
    }
    if (numbered->rearms) {
        timer_arm_at(timer->loop, timer, 1);
    }
}

static void run_until(struct loop *loop, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        loop_advance_ms(loop, 1);
        loop_run_once(loop, 0);
    }
}

static void test_timers_expire_in_the_order_they_are_due(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct numbered_timer *timers = memory_allocate_zeroed(TIMERS, sizeof *timers);
    uint64_t start_ns = loop_now_ns(loop);
    expired_count = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        unsigned place = (i * 211) % TIMERS; /* a permutation: 211 and 500 have no common divisor */
        timers[i] = (struct numbered_timer){ .timer.on_expire = record_expiry, .number = place };
        timer_arm_at(loop, &timers[i].timer, start_ns + 1000000 + place * 10000);
    }
    unsigned disarmed = 0;
    for (unsigned i = 0; i < TIMERS; i += 7, disarmed++) {
        timer_disarm(&timers[i].timer);
        timer_disarm(&timers[i].timer);
        assert_false(timer_is_armed(&timers[i].timer));
    }
    run_until(loop, 20);
    assert_int_equal(expired_count, TIMERS - disarmed);
    for (unsigned i = 1; i < expired_count; i++) {
        assert_true(expired_order[i - 1] < expired_order[i]);
    }
    memory_free(timers);
    loop_free(loop);
}

static void test_an_armed_timer_can_be_moved_both_ways(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct numbered_timer early = { .timer.on_expire = record_expiry, .number = 1 };
    struct numbered_timer late = { .timer.on_expire = record_expiry, .number = 2 };
    expired_count = 0;
    timer_arm_after_ms(loop, &early.timer, 1);
    timer_arm_after_ms(loop, &late.timer, 60000);
    timer_arm_after_ms(loop, &early.timer, 60000);
    timer_arm_after_ms(loop, &late.timer, 1);
    run_until(loop, 5);
    assert_int_equal(expired_count, 1);
    assert_int_equal(expired_order[0], 2);
    loop_free(loop);
    assert_false(timer_is_armed(&early.timer));
}

static void test_a_timer_armed_in_the_past_expires_in_the_next_turn_not_in_this_one(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct numbered_timer timer = { .timer.on_expire = record_expiry, .rearms = true };
    expired_count = 0;
    timer_arm_at(loop, &timer.timer, 1);
    loop_run_once(loop, -1);
    assert_int_equal(expired_count, 1);
    loop_run_once(loop, -1);
    assert_int_equal(expired_count, 2);
    timer_disarm(&timer.timer);
    loop_free(loop);
}

static void test_a_timer_disarmed_by_another_of_the_same_turn_does_not_expire(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct numbered_timer second = { .timer.on_expire = record_expiry, .number = 2 };
    struct numbered_timer first = { .timer.on_expire = record_expiry, .number = 1, .disarms = &second };
    expired_count = 0;
    timer_arm_at(loop, &first.timer, loop_now_ns(loop) + 1000);
    timer_arm_at(loop, &second.timer, loop_now_ns(loop) + 2000);
    usleep(1000);
    loop_run_once(loop, 0);
    assert_int_equal(expired_count, 1);
    loop_free(loop);
}

static void test_a_wait_ends_when_the_first_timer_is_due(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct numbered_timer timer = { .timer.on_expire = record_expiry };
    expired_count = 0;
    timer_arm_after_ms(loop, &timer.timer, 3);
    loop_run_once(loop, -1);
    assert_int_equal(expired_count, 1);
    loop_free(loop);
}

static char turn_story[64];

static void tell(const char *what)
{
    strncat(turn_story, what, sizeof turn_story - strlen(turn_story) - 1);
}

struct telling {
    struct deferred deferred;
    struct loop *loop;
    struct telling *next;
    const char *name;
};

static void tell_and_defer_next(struct deferred *deferred)
{
    struct telling *telling = CONTAINER_OF(deferred, struct telling, deferred);
    tell(telling->name);
    if (telling->next != NULL) {
        loop_defer(telling->loop, &telling->next->deferred);
    }
}

static void tell_phase(enum loop_phase phase, void *context)
{
    (void)context;
    tell(phase == LOOP_TURN_ENDS ? "." : phase == LOOP_WAIT_BEGINS ? "(" : ")");
}

static void tell_posted(struct posted *posted)
{
    (void)posted;
    tell("p");
}
static void tell_timer(struct timer *timer)
{
    (void)timer;
    tell("t");
}
static void tell_ready(struct io_watch *watch, uint32_t events)
{
    (void)watch;
    (void)events;
    tell("r");
}

static void test_a_turn_keeps_its_order_and_runs_deferred_work_until_none_is_left(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    int pair[2];
    make_pair(pair);
    struct io_watch watch = { .on_ready = tell_ready };
    struct result result = loop_watch(loop, &watch, pair[0], EPOLLOUT);
    assert_true(result_is_ok(&result));
    struct timer timer = { .on_expire = tell_timer };
    struct posted posted = { .run = tell_posted };
    struct telling second = { .deferred.run = tell_and_defer_next, .name = "b" };
    struct telling first = { .deferred.run = tell_and_defer_next, .loop = loop, .next = &second, .name = "a" };
    struct telling bulk[2] = { { .deferred.run = tell_and_defer_next, .name = "B" },
        { .deferred.run = tell_and_defer_next, .name = "B" } };
    struct deferred *all[] = { &second.deferred, &first.deferred, &bulk[0].deferred, &bulk[1].deferred };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        list_initialise(&all[i]->link);
    }
    turn_story[0] = '\0';
    loop_set_hook(loop, tell_phase, NULL);
    loop_defer(loop, &first.deferred);
    loop_defer(loop, &first.deferred);
    loop_defer_bulk(loop, &bulk[0].deferred);
    loop_defer_bulk(loop, &bulk[1].deferred);
    timer_arm_at(loop, &timer, 1);
    loop_post(loop, &posted);
    loop_run_once(loop, -1);
    assert_string_equal(turn_story, "()ptrBab.");
    loop_unwatch(&watch);
    /* One piece of bulk work a turn, and the loop does not sleep while there is more. */
    loop_run_once(loop, -1);
    assert_string_equal(turn_story, "()ptrBab.()B.");
    close_pair(pair);
    loop_free(loop);
}

static void test_a_loop_that_yields_does_its_bulk_work_piece_by_piece_all_the_same(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct telling next = { .deferred.run = tell_and_defer_next, .name = "b" };
    struct telling bulk[2] = { { .deferred.run = tell_and_defer_next, .loop = loop, .next = &next, .name = "B" },
        { .deferred.run = tell_and_defer_next, .name = "C" } };
    struct deferred *all[] = { &next.deferred, &bulk[0].deferred, &bulk[1].deferred };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        list_initialise(&all[i]->link);
    }
    turn_story[0] = '\0';
    loop_set_hook(loop, tell_phase, NULL);
    loop_yield_after_bulk(loop, true);
    loop_defer_bulk(loop, &bulk[0].deferred);
    loop_defer_bulk(loop, &bulk[1].deferred);
    for (int turn = 0; turn < 3; turn++) {
        loop_run_once(loop, 0);
    }
    assert_string_equal(turn_story, "()Bb.()C.().");
    loop_free(loop);
}

static void test_cancelled_deferred_work_is_not_run(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct telling telling = { .deferred.run = tell_and_defer_next, .name = "x" };
    list_initialise(&telling.deferred.link);
    turn_story[0] = '\0';
    loop_defer(loop, &telling.deferred);
    deferred_cancel(&telling.deferred);
    loop_run_once(loop, 0);
    assert_string_equal(turn_story, "");
    loop_free(loop);
}

#define POSTERS 4
#define POSTS_A_THREAD 5000

struct counted_post {
    struct posted posted;
    unsigned thread, number;
};

struct poster {
    struct loop *loop;
    unsigned thread;
};

static struct loop *posted_loop;
static unsigned next_number[POSTERS]; /* written by the loop's thread only */
static unsigned received;
static bool order_is_kept;

static void receive_post(struct posted *posted)
{
    struct counted_post *counted = CONTAINER_OF(posted, struct counted_post, posted);
    order_is_kept = order_is_kept && counted->number == next_number[counted->thread]++;
    if (++received == POSTERS * POSTS_A_THREAD) {
        loop_stop(posted_loop);
    }
    memory_free(counted);
}

static void *post_many(void *argument)
{
    const struct poster *poster = argument;
    for (unsigned i = 0; i < POSTS_A_THREAD; i++) {
        struct counted_post *counted = NEW(struct counted_post);
        counted->posted.run = receive_post;
        counted->thread = poster->thread;
        counted->number = i;
        loop_post(poster->loop, &counted->posted);
    }
    return NULL;
}

static void test_posts_from_several_threads_all_arrive_in_each_threads_order(void **state)
{
    (void)state;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    posted_loop = loop_new();
    received = 0;
    order_is_kept = true;
    for (unsigned i = 0; i < POSTERS; i++) {
        next_number[i] = 0;
        posters[i] = (struct poster){ posted_loop, i };
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    loop_run(posted_loop);
    for (unsigned i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(received, POSTERS * POSTS_A_THREAD);
    assert_true(order_is_kept);
    loop_free(posted_loop);
}

static void *stop_loop(void *argument)
{
    usleep(10000);
    loop_stop(argument);
    return NULL;
}

static void test_another_thread_can_stop_a_sleeping_loop(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_loop, loop), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readiness_is_delivered_until_it_is_consumed),
        cmocka_unit_test(test_interest_can_change_and_change_back_within_a_turn),
        cmocka_unit_test(test_no_interest_still_delivers_a_hang_up),
        cmocka_unit_test(test_an_event_fetched_for_a_watch_removed_in_the_same_turn_is_not_delivered),
        cmocka_unit_test(test_a_stale_event_does_not_reach_the_next_watch_in_its_slot),
        cmocka_unit_test(test_a_callback_may_free_the_object_around_its_watch),
        cmocka_unit_test(test_watching_a_closed_descriptor_fails_with_its_number),
        cmocka_unit_test(test_timers_expire_in_the_order_they_are_due),
        cmocka_unit_test(test_an_armed_timer_can_be_moved_both_ways),
        cmocka_unit_test(test_a_timer_armed_in_the_past_expires_in_the_next_turn_not_in_this_one),
        cmocka_unit_test(test_a_timer_disarmed_by_another_of_the_same_turn_does_not_expire),
        cmocka_unit_test(test_a_wait_ends_when_the_first_timer_is_due),
        cmocka_unit_test(test_a_turn_keeps_its_order_and_runs_deferred_work_until_none_is_left),
        cmocka_unit_test(test_a_loop_that_yields_does_its_bulk_work_piece_by_piece_all_the_same),
        cmocka_unit_test(test_cancelled_deferred_work_is_not_run),
        cmocka_unit_test(test_posts_from_several_threads_all_arrive_in_each_threads_order),
        cmocka_unit_test(test_another_thread_can_stop_a_sleeping_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
