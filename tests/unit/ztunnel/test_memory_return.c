/* When memory goes back to the system, and that it does. */
#include "ztunnel/memory_return.h"

#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND NANOSECONDS_PER_SECOND

static void few_connections_return_nothing(void **state)
{
    (void)state;
    struct memory_return memory = { 0 };
    for (uint64_t i = 1; i < 10; i++) {
        assert_false(memory_return_review(&memory, i * 10, 0, i * 5 * SECOND));
    }
}

static void a_peak_returns_memory_once_when_it_is_quiet_again(void **state)
{
    (void)state;
    struct memory_return memory = { 0 };
    assert_false(memory_return_review(&memory, 10000, 10000, SECOND)); /* they live */
    assert_false(memory_return_review(&memory, 10000, 6000, 2 * SECOND));
    assert_true(memory_return_review(&memory, 10000, 10, 4 * SECOND));
    assert_false(memory_return_review(&memory, 10000, 10, 6 * SECOND));
}

static void under_steady_churn_it_happens_once_a_minute(void **state)
{
    (void)state;
    struct memory_return memory = { 0 };
    unsigned returns = 0;
    for (uint64_t second = 1; second <= 600; second++) {
        returns += memory_return_review(&memory, second * 1000, 100, second * SECOND);
    }
    assert_in_range(returns, 9, 11);
}

#ifndef __SANITIZE_ADDRESS__
static long resident_pages(void)
{
    long size = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%ld %ld", &size, &resident), 2);
    (void)fclose(file);
    return resident;
}

static void freed_memory_between_what_stays_goes_back(void **state)
{
    (void)state;
    enum { COUNT = 60000 };
    static char *blocks[COUNT];
    long before = resident_pages();
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = memory_allocate(1000);
        memset(blocks[i], 1, 1000);
    }
    long peak = resident_pages();
    for (int i = 0; i < COUNT; i++) {
        if (i % 500 != 0) {
            memory_free(blocks[i]);
        }
    }
    struct memory_return memory = { 0 };
    (void)memory_return_review(&memory, COUNT, COUNT, SECOND);
    assert_true(memory_return_review(&memory, COUNT, 0, 2 * SECOND));
    assert_true(resident_pages() - before < (peak - before) / 4);
    for (int i = 0; i < COUNT; i += 500) {
        memory_free(blocks[i]);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_connections_return_nothing),
        cmocka_unit_test(a_peak_returns_memory_once_when_it_is_quiet_again),
        cmocka_unit_test(under_steady_churn_it_happens_once_a_minute),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(freed_memory_between_what_stays_goes_back),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
