/* What one source may make us do for nothing, over all its tunnels and all workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/clock.h"
#include "ztunnel/source_accounts.h"

static struct ip_address source_number(uint16_t number)
{
    return (struct ip_address){ .family = IP_V4, .bytes = { 10, 1, (uint8_t)(number >> 8), (uint8_t)number } };
}

static int set_up(void **state)
{
    *state = source_accounts_new();
    return 0;
}

static int tear_down(void **state)
{
    source_accounts_free(*state);
    return 0;
}

static void handshakes_under_way_are_bounded_by_source(void **state)
{
    struct ip_address attacker = source_number(1), other = source_number(2);
    for (int i = 0; i < SOURCE_HANDSHAKES_MAXIMUM; i++) {
        assert_true(source_accounts_begin_handshake(*state, &attacker));
    }
    assert_false(source_accounts_begin_handshake(*state, &attacker));
    assert_true(source_accounts_begin_handshake(*state, &other));
    source_accounts_end_handshake(*state, &attacker);
    assert_true(source_accounts_begin_handshake(*state, &attacker));
}

static void resets_are_spent_and_come_back_with_time(void **state)
{
    struct ip_address attacker = source_number(1), other = source_number(2);
    uint64_t now_ns = 1000 * NANOSECONDS_PER_SECOND;
    for (int i = 0; i < SOURCE_RESETS_MAXIMUM; i++) {
        assert_true(source_accounts_spend_reset(*state, &attacker, now_ns));
    }
    assert_false(source_accounts_is_barred(*state, &attacker, now_ns));
    assert_false(source_accounts_spend_reset(*state, &attacker, now_ns));
    assert_true(source_accounts_is_barred(*state, &attacker, now_ns));
    assert_true(source_accounts_spend_reset(*state, &other, now_ns));
    assert_false(source_accounts_is_barred(*state, &other, now_ns));
    now_ns += NANOSECONDS_PER_SECOND;
    assert_true(source_accounts_is_barred(*state, &attacker, now_ns));
    now_ns += NANOSECONDS_PER_SECOND;
    assert_false(source_accounts_is_barred(*state, &attacker, now_ns));
}

static void a_slow_trickle_of_resets_never_bars(void **state)
{
    struct ip_address source = source_number(1);
    uint64_t now_ns = 1000 * NANOSECONDS_PER_SECOND;
    for (int i = 0; i < 4 * SOURCE_RESETS_MAXIMUM; i++) {
        now_ns += NANOSECONDS_PER_SECOND / SOURCE_RESETS_A_SECOND;
        assert_true(source_accounts_spend_reset(*state, &source, now_ns));
    }
}

static void the_table_is_bounded_and_keeps_who_has_handshakes_under_way(void **state)
{
    struct ip_address first = source_number(0);
    assert_true(source_accounts_begin_handshake(*state, &first));
    for (int i = 1; i < 2 * SOURCE_ACCOUNTS_MAXIMUM; i++) {
        struct ip_address source = source_number((uint16_t)i);
        assert_true(source_accounts_spend_reset(*state, &source, NANOSECONDS_PER_SECOND));
    }
    assert_int_equal(source_accounts_count(*state), SOURCE_ACCOUNTS_MAXIMUM);
    source_accounts_end_handshake(*state, &first);
    for (int i = 0; i < SOURCE_HANDSHAKES_MAXIMUM; i++) {
        assert_true(source_accounts_begin_handshake(*state, &first));
    }
    assert_false(source_accounts_begin_handshake(*state, &first));
}

#define THREADS 4
#define HANDSHAKES_A_THREAD 20000

static void *shake_hands(void *accounts)
{
    struct ip_address source = source_number(7);
    uint64_t now_ns = NANOSECONDS_PER_SECOND;
    for (int i = 0; i < HANDSHAKES_A_THREAD; i++) {
        if (source_accounts_begin_handshake(accounts, &source)) {
            (void)source_accounts_spend_reset(accounts, &source, now_ns);
            source_accounts_end_handshake(accounts, &source);
        }
    }
    return NULL;
}

static void the_bounds_of_a_source_hold_over_all_threads(void **state)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shake_hands, *state), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    struct ip_address source = source_number(7);
    assert_true(source_accounts_is_barred(*state, &source, NANOSECONDS_PER_SECOND)); /* 80,000 resets by all together */
    for (int i = 0; i < SOURCE_HANDSHAKES_MAXIMUM; i++) {
        assert_true(source_accounts_begin_handshake(*state, &source));
    }
    assert_false(source_accounts_begin_handshake(*state, &source));
}

#define accounts_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        accounts_test(handshakes_under_way_are_bounded_by_source),
        accounts_test(resets_are_spent_and_come_back_with_time),
        accounts_test(a_slow_trickle_of_resets_never_bars),
        accounts_test(the_bounds_of_a_source_hold_over_all_threads),
        accounts_test(the_table_is_bounded_and_keeps_who_has_handshakes_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
