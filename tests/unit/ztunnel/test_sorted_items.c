#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ztunnel/sorted_items.h"

#include <stdio.h>

#define ITEM_COUNT 5000

static const char *text_key(const void *item)
{
    return item;
}

static void make_ready(struct sorted_items *sorted)
{
    for (int steps = 0; !sorted_items_prepare(sorted); steps++) {
        assert_true(steps < 1000);
    }
}

static void items_come_in_the_order_of_their_keys(void **state)
{
    (void)state;
    static char texts[ITEM_COUNT][12];
    struct sorted_items sorted;
    sorted_items_begin(&sorted, text_key, 10);
    for (unsigned i = 0; i < ITEM_COUNT; i++) {
        snprintf(texts[i], sizeof texts[i], "%08u", (i * 7919U) % ITEM_COUNT);
        sorted_items_add(&sorted, texts[i]);
    }
    make_ready(&sorted);
    for (unsigned i = 0; i < ITEM_COUNT; i++) {
        char expected[12];
        snprintf(expected, sizeof expected, "%08u", i);
        assert_string_equal(sorted_items_next(&sorted), expected);
    }
    assert_null(sorted_items_next(&sorted));
    sorted_items_free(&sorted);
}

static void equal_keys_are_all_kept(void **state)
{
    (void)state;
    struct sorted_items sorted;
    sorted_items_begin(&sorted, text_key, 0);
    for (int i = 0; i < 1200; i++) {
        sorted_items_add(&sorted, "same");
    }
    make_ready(&sorted);
    int count = 0;
    while (sorted_items_next(&sorted) != NULL) {
        count++;
    }
    assert_int_equal(count, 1200);
    sorted_items_free(&sorted);
}

static void no_items_end_at_once(void **state)
{
    (void)state;
    struct sorted_items sorted;
    sorted_items_begin(&sorted, text_key, 0);
    make_ready(&sorted);
    assert_null(sorted_items_next(&sorted));
    sorted_items_free(&sorted);
    sorted_items_free(&sorted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_in_the_order_of_their_keys),
        cmocka_unit_test(equal_keys_are_all_kept),
        cmocka_unit_test(no_items_end_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
