/* Code and constants that are given back come back as they were. */
#include "cmocka_all.h"

#include "base/loaded_code.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TABLE_BYTES (256 * 1024)

static const uint8_t table[TABLE_BYTES] = { 1, 2, 3, [TABLE_BYTES / 2] = 4, [TABLE_BYTES - 1] = 5 };

static unsigned sum_of_table(void)
{
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof table; i++) {
        sum += ((const volatile uint8_t *)table)[i];
    }
    return sum;
}

/* KiB of files' pages in memory. */
static unsigned long resident_file_kib(void)
{
    char line[256];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL) {
        (void)sscanf(line, "RssFile: %lu kB", &kib);
    }
    assert_int_equal(fclose(status), 0);
    return kib;
}

static void test_what_was_given_back_is_gone_and_comes_back_unchanged(void **state)
{
    (void)state;
    assert_int_equal(sum_of_table(), 15);
    unsigned long before = resident_file_kib();
    loaded_code_release(NULL);
    assert_true(resident_file_kib() + TABLE_BYTES / 1024 / 2 < before);
    assert_int_equal(sum_of_table(), 15);
}

static void test_one_object_can_be_given_back_alone(void **state)
{
    (void)state;
    assert_int_equal(sum_of_table(), 15);
    loaded_code_release(table);
    loaded_code_release(&state); /* in no object */
    assert_int_equal(sum_of_table(), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_given_back_is_gone_and_comes_back_unchanged),
        cmocka_unit_test(test_one_object_can_be_given_back_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
