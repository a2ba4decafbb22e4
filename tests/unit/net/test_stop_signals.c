/* SIGTERM and SIGINT as events of a loop. */
#include "net/stop_signals.h"

#include "unit/net/support.h"

#include <fcntl.h>
#include <signal.h>

static int taken[4];
static int taken_count;

static void take_all(struct io_watch *watch, uint32_t events)
{
    (void)events;
    int number;
    while ((number = stop_signals_take(watch)) != 0) {
        taken[taken_count++] = number;
    }
}

static void both_signals_are_events_and_end_nothing(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct io_watch watch = { .on_ready = take_all };
    assert_ok(stop_signals_watch(loop, &watch));
    taken_count = 0;
    raise(SIGINT);
    raise(SIGTERM);
    loop_run_once(loop, SUPPORT_DEADLINE_MS);
    assert_int_equal(taken_count, 2);
    assert_int_equal(taken[0] + taken[1], SIGINT + SIGTERM);
    assert_int_equal(stop_signals_take(&watch), 0);
    int descriptor = watch.descriptor;
    stop_signals_unwatch(&watch);
    assert_int_equal(fcntl(descriptor, F_GETFD), -1);
    loop_free(loop);
}

static void what_was_never_watched_closes_no_descriptor(void **state)
{
    (void)state;
    struct io_watch watch = { .on_ready = take_all };
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    watch.descriptor = null;
    stop_signals_unwatch(&watch);
    assert_true(fcntl(null, F_GETFD) >= 0);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_signals_are_events_and_end_nothing),
        cmocka_unit_test(what_was_never_watched_closes_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
