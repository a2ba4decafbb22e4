#include "base/random.h"

#include "cmocka_all.h"

#include <string.h>

static void numbers_stay_below_their_bound_and_reach_all_of_it(void **state)
{
    (void)state;
    unsigned seen[7] = { 0 };
    for (int i = 0; i < 7000; i++) {
        uint64_t number = random_below(7);
        assert_true(number < 7);
        seen[number]++;
    }
    for (size_t i = 0; i < 7; i++) {
        assert_in_range(seen[i], 700, 1300);
    }
    assert_int_equal(random_below(0), 0);
    assert_int_equal(random_below(1), 0);
}

static void jitter_stays_within_its_percentage_on_both_sides(void **state)
{
    (void)state;
    uint64_t lowest = UINT64_MAX, highest = 0;
    for (int i = 0; i < 5000; i++) {
        uint64_t value = random_jitter(1000, 20);
        lowest = value < lowest ? value : lowest;
        highest = value > highest ? value : highest;
    }
    assert_in_range(lowest, 800, 820);
    assert_in_range(highest, 1180, 1200);
    assert_int_equal(random_jitter(0, 50), 0);
    assert_int_equal(random_jitter(5, 0), 5);
    assert_true(random_jitter(UINT64_MAX, 10) >= UINT64_MAX / 100 * 90);
}

static void uuids_are_version_4_and_differ(void **state)
{
    (void)state;
    char first[37], second[37];
    random_uuid(first);
    random_uuid(second);
    assert_int_equal(strlen(first), 36);
    assert_int_equal(strspn(first, "0123456789abcdef-"), 36);
    assert_true(first[8] == '-' && first[13] == '-' && first[18] == '-' && first[23] == '-');
    assert_int_equal(first[14], '4');
    assert_non_null(strchr("89ab", first[19]));
    assert_string_not_equal(first, second);
}

static void kernel_bytes_fill_the_whole_buffer(void **state)
{
    (void)state;
    unsigned char bytes[4096] = { 0 };
    size_t zeros = 0;
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        zeros += bytes[i] == 0;
    }
    assert_in_range(zeros, 0, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stay_below_their_bound_and_reach_all_of_it),
        cmocka_unit_test(jitter_stays_within_its_percentage_on_both_sides),
        cmocka_unit_test(uuids_are_version_4_and_differ),
        cmocka_unit_test(kernel_bytes_fill_the_whole_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
