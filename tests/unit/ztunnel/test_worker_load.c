/* Who takes a saturated worker's new connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ztunnel/worker_load.h"

#define WORKERS 4
#define SATURATED_PERCENT 90

static int set_up(void **state)
{
    *state = worker_load_new(NULL, WORKERS);
    return 0;
}

static int tear_down(void **state)
{
    worker_load_free(*state);
    return 0;
}

static void set_busy(struct worker_load *load, const unsigned busy_percent[WORKERS])
{
    for (size_t i = 0; i < WORKERS; i++) {
        worker_load_set(load, i, busy_percent[i]);
    }
}

static size_t relief_of_first(struct worker_load *load, const bool *helps)
{
    return worker_load_relief(load, 0, SATURATED_PERCENT, helps);
}

static void a_worker_that_keeps_up_keeps_its_connections(void **state)
{
    set_busy(*state, (unsigned[]){ SATURATED_PERCENT - 1, 0, 0, 0 });
    assert_int_equal(relief_of_first(*state, NULL), WORKER_LOAD_NONE);
}

static void the_least_busy_relieves_a_saturated_one(void **state)
{
    set_busy(*state, (unsigned[]){ 95, 40, 10, 20 });
    assert_int_equal(relief_of_first(*state, NULL), 2);
}

static void one_that_helps_already_comes_first_while_it_has_room(void **state)
{
    const bool helps[WORKERS] = { false, true, false, false };
    set_busy(*state, (unsigned[]){ 100, 100 - WORKER_LOAD_MARGIN_PERCENT, 0, 0 });
    assert_int_equal(relief_of_first(*state, helps), 1);
    set_busy(*state, (unsigned[]){ 100, 100 - WORKER_LOAD_MARGIN_PERCENT + 1, 0, 0 });
    assert_int_equal(relief_of_first(*state, helps), 2);
}

static void nobody_relieves_whom_nobody_is_much_less_busy_than(void **state)
{
    set_busy(*state, (unsigned[]){ 95, 90, 100, 95 - WORKER_LOAD_MARGIN_PERCENT + 1 });
    assert_int_equal(relief_of_first(*state, NULL), WORKER_LOAD_NONE);
}

static void a_threshold_below_the_margin_never_hands_over_to_a_busier_one(void **state)
{
    set_busy(*state, (unsigned[]){ WORKER_LOAD_MARGIN_PERCENT - 1, 0, 0, 0 });
    assert_int_equal(worker_load_relief(*state, 0, 1, NULL), WORKER_LOAD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_worker_that_keeps_up_keeps_its_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_least_busy_relieves_a_saturated_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_helps_already_comes_first_while_it_has_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_relieves_whom_nobody_is_much_less_busy_than, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_threshold_below_the_margin_never_hands_over_to_a_busier_one, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
