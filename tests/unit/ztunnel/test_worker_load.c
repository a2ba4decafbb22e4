/* Who takes a saturated worker's new connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ztunnel/worker_load.h"

#define WORKERS 4
#define SATURATED_PERCENT 90

static size_t relief_of_first(const unsigned busy_percent[WORKERS], const bool *helps)
{
    return worker_load_relief(busy_percent, WORKERS, 0, SATURATED_PERCENT, helps);
}

static void a_worker_that_keeps_up_keeps_its_connections(void **state)
{
    (void)state;
    assert_int_equal(relief_of_first((unsigned[]){ SATURATED_PERCENT - 1, 0, 0, 0 }, NULL), WORKER_LOAD_NONE);
}

static void the_least_busy_relieves_a_saturated_one(void **state)
{
    (void)state;
    assert_int_equal(relief_of_first((unsigned[]){ 95, 40, 10, 20 }, NULL), 2);
}

static void one_that_helps_already_comes_first_while_it_has_room(void **state)
{
    (void)state;
    const bool helps[WORKERS] = { false, true, false, false };
    assert_int_equal(relief_of_first((unsigned[]){ 100, 100 - WORKER_LOAD_MARGIN_PERCENT, 0, 0 }, helps), 1);
    assert_int_equal(relief_of_first((unsigned[]){ 100, 100 - WORKER_LOAD_MARGIN_PERCENT + 1, 0, 0 }, helps), 2);
}

static void nobody_relieves_whom_nobody_is_much_less_busy_than(void **state)
{
    (void)state;
    assert_int_equal(
        relief_of_first((unsigned[]){ 95, 90, 100, 95 - WORKER_LOAD_MARGIN_PERCENT + 1 }, NULL), WORKER_LOAD_NONE);
}

static void a_threshold_below_the_margin_never_hands_over_to_a_busier_one(void **state)
{
    (void)state;
    const unsigned busy_percent[WORKERS] = { WORKER_LOAD_MARGIN_PERCENT - 1, 0, 0, 0 };
    assert_int_equal(worker_load_relief(busy_percent, WORKERS, 0, 1, NULL), WORKER_LOAD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_keeps_up_keeps_its_connections),
        cmocka_unit_test(the_least_busy_relieves_a_saturated_one),
        cmocka_unit_test(one_that_helps_already_comes_first_while_it_has_room),
        cmocka_unit_test(nobody_relieves_whom_nobody_is_much_less_busy_than),
        cmocka_unit_test(a_threshold_below_the_margin_never_hands_over_to_a_busier_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
