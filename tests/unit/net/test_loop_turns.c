/* Turns among accounts, edge-triggered watches and registrations that change hands. */
#include "unit/net/support.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define CROWD 2000

struct worked_watch {
    struct io_watch watch;
    unsigned *order; /* the next number */
    unsigned last;   /* number of the last event */
    unsigned count;
    uint64_t takes_ns;
};

static void work(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct worked_watch *worked = CONTAINER_OF(watch, struct worked_watch, watch);
    worked->last = ++*worked->order;
    worked->count++;
    uint64_t end_ns = clock_monotonic_ns() + worked->takes_ns;
    while (clock_monotonic_ns() < end_ns) {
    }
}

static void start(struct loop *loop, struct worked_watch *worked, struct loop_account *account, unsigned *order)
{
    worked->watch.on_ready = work;
    worked->watch.account = account;
    worked->order = order;
    int descriptor = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(descriptor >= 0);
    assert_ok(loop_watch(loop, &worked->watch, descriptor, EPOLLIN));
}

static void stop(struct worked_watch *worked)
{
    int descriptor = worked->watch.descriptor;
    loop_unwatch(&worked->watch);
    close(descriptor);
}

static void an_event_of_one_account_does_not_wait_for_all_of_another(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct loop_account crowded, small;
    loop_account_initialise(&crowded);
    loop_account_initialise(&small);
    struct worked_watch *crowd = memory_allocate_zeroed(CROWD, sizeof *crowd);
    struct worked_watch one = { 0 };
    unsigned order = 0;
    for (int i = 0; i < CROWD; i++) {
        crowd[i].takes_ns = 20000;
        start(loop, &crowd[i], &crowded, &order);
    }
    start(loop, &one, &small, &order); /* the kernel reports it last */
    /* The first fetches are of the crowd alone; as soon as the other is seen it is served within a quantum. */
    for (int i = 0; i < CROWD / 256 + 2 && one.count == 0; i++) {
        order = 0;
        loop_run_once(loop, 0);
    }
    assert_int_equal(one.count, 1);
    assert_in_range(one.last, 1, 64);
    stop(&one);
    for (int i = 0; i < CROWD; i++) {
        stop(&crowd[i]);
    }
    loop_account_close(loop, &crowded);
    loop_account_close(loop, &small);
    memory_free(crowd);
    loop_free(loop);
}

static void accounts_share_the_time_not_the_events(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct loop_account accounts[2];
    struct worked_watch watches[64 + 8] = { 0 };
    unsigned order = 0;
    loop_account_initialise(&accounts[0]);
    loop_account_initialise(&accounts[1]);
    for (int i = 0; i < 64 + 8; i++) {
        watches[i].takes_ns = 50000;
        start(loop, &watches[i], &accounts[i >= 64], &order);
    }
    for (int i = 0; i < 100; i++) {
        loop_run_once(loop, 0);
    }
    unsigned counts[2] = { 0, 0 };
    for (int i = 0; i < 64 + 8; i++) {
        counts[i >= 64] += watches[i].count;
        stop(&watches[i]);
    }
    /* By events it would be 8 to 1. */
    assert_true(counts[0] < counts[1] * 3);
    loop_account_close(loop, &accounts[0]);
    loop_account_close(loop, &accounts[1]);
    loop_free(loop);
}

struct counted_bulk {
    struct deferred deferred;
    struct loop *loop;
    unsigned count;
    uint64_t takes_ns;
};

static void bulk_again(struct deferred *deferred)
{
    struct counted_bulk *bulk = CONTAINER_OF(deferred, struct counted_bulk, deferred);
    bulk->count++;
    uint64_t end_ns = clock_monotonic_ns() + bulk->takes_ns;
    while (clock_monotonic_ns() < end_ns) {
    }
    loop_defer_bulk(bulk->loop, &bulk->deferred);
}

static void bulk_turns_go_by_account(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct loop_account accounts[2];
    struct counted_bulk bulk[9] = { 0 };
    loop_account_initialise(&accounts[0]);
    loop_account_initialise(&accounts[1]);
    for (int i = 0; i < 9; i++) {
        bulk[i].loop = loop;
        bulk[i].takes_ns = 300000;
        bulk[i].deferred.run = bulk_again;
        bulk[i].deferred.account = &accounts[i == 8];
        list_initialise(&bulk[i].deferred.link);
        loop_defer_bulk(loop, &bulk[i].deferred);
    }
    for (int i = 0; i < 200; i++) {
        loop_run_once(loop, 0);
    }
    unsigned sum = 0;
    for (int i = 0; i < 9; i++) {
        deferred_cancel(&bulk[i].deferred);
        sum += i < 8 ? bulk[i].count : 0;
    }
    assert_int_equal(sum + bulk[8].count, 200);
    assert_in_range(bulk[8].count, 60, 140); /* half, but for what others do to the clock */
    loop_account_close(loop, &accounts[0]);
    loop_account_close(loop, &accounts[1]);
    loop_free(loop);
}

struct owner {
    struct counted_bulk bulk;
    struct loop_account account;
};

static void end_owner(struct deferred *deferred)
{
    struct owner *owner = CONTAINER_OF(deferred, struct owner, bulk.deferred);
    loop_account_close(owner->bulk.loop, &owner->account);
    memory_free(owner);
}

static void an_account_may_end_in_its_own_turn(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct owner *owner = NEW(struct owner);
    loop_account_initialise(&owner->account);
    owner->bulk.loop = loop;
    owner->bulk.deferred.run = end_owner;
    owner->bulk.deferred.account = &owner->account;
    list_initialise(&owner->bulk.deferred.link);
    loop_defer_bulk(loop, &owner->bulk.deferred);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    loop_free(loop);
}

static void an_edge_is_told_once(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct worked_watch worked = { 0 };
    unsigned order = 0;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    worked.watch.on_ready = work;
    worked.order = &order;
    assert_ok(loop_watch(loop, &worked.watch, pair[0], (uint32_t)EPOLLIN | (uint32_t)EPOLLET));
    assert_int_equal(write(pair[1], "a", 1), 1);
    loop_run_once(loop, 0);
    loop_run_once(loop, 0);
    assert_int_equal(worked.count, 1);
    assert_int_equal(write(pair[1], "b", 1), 1);
    loop_run_once(loop, 0);
    assert_int_equal(worked.count, 2);
    loop_unwatch_closing(&worked.watch);
    close(pair[0]);
    close(pair[1]);
    loop_free(loop);
}

static void a_registration_that_moved_tells_its_new_owner(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct worked_watch first = { 0 }, second = { .watch.on_ready = work };
    unsigned order = 0;
    second.order = &order;
    start(loop, &first, NULL, &order);
    loop_watch_move(&first.watch, &second.watch);
    assert_null(first.watch.loop);
    loop_run_once(loop, 0);
    assert_int_equal(first.count, 0);
    assert_int_equal(second.count, 1);
    loop_watch_for(&second.watch, 0);
    loop_run_once(loop, 0);
    assert_int_equal(second.count, 1);
    stop(&second);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_of_one_account_does_not_wait_for_all_of_another),
        cmocka_unit_test(accounts_share_the_time_not_the_events),
        cmocka_unit_test(bulk_turns_go_by_account),
        cmocka_unit_test(an_account_may_end_in_its_own_turn),
        cmocka_unit_test(an_edge_is_told_once),
        cmocka_unit_test(a_registration_that_moved_tells_its_new_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
