#include "base/hash_map.h"

#include "base/random.h"
#include "cmocka_all.h"

#include <stdio.h>

#define KEYS 500

static void random_changes_agree_with_an_array(void **state)
{
    (void)state;
    struct hash_map *map = hash_map_new();
    uintptr_t expected[KEYS] = { 0 };
    for (uintptr_t step = 1; step <= 40000; step++) {
        uint32_t number = (uint32_t)random_below(KEYS);
        struct bytes key = bytes_of(&number, sizeof number);
        void *before = (void *)expected[number];
        if (random_below(2) == 0) {
            assert_ptr_equal(hash_map_put(map, key, (void *)step), before);
            expected[number] = step;
        } else {
            assert_ptr_equal(hash_map_remove(map, key), before);
            expected[number] = 0;
        }
    }
    size_t count = 0;
    for (uint32_t number = 0; number < KEYS; number++) {
        assert_ptr_equal(hash_map_get(map, bytes_of(&number, sizeof number)), (void *)expected[number]);
        count += expected[number] != 0;
    }
    assert_int_equal(hash_map_count(map), count);
    hash_map_free(map, NULL);
}

static void the_current_entry_may_be_removed_while_iterating(void **state)
{
    (void)state;
    struct hash_map *map = hash_map_new();
    for (uint32_t number = 0; number < 1000; number++) {
        hash_map_put(map, bytes_of(&number, sizeof number), (void *)(uintptr_t)(number + 1));
    }
    bool seen[1000] = { false };
    size_t position = 0;
    struct bytes key;
    void *value;
    while (hash_map_next(map, &position, &key, &value)) {
        uint32_t number;
        memcpy(&number, key.data, sizeof number);
        assert_int_equal((uintptr_t)value, number + 1);
        assert_false(seen[number]);
        seen[number] = true;
        if (number % 3 != 0) {
            assert_ptr_equal(hash_map_remove(map, bytes_of(&number, sizeof number)), value);
        }
    }
    assert_int_equal(hash_map_count(map), 334);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(seen[i]);
    }
    hash_map_free(map, NULL);
}

static void an_empty_key_and_an_empty_map_are_fine(void **state)
{
    (void)state;
    int value;
    struct hash_map *map = hash_map_new();
    size_t position = 0;
    struct bytes key = bytes_of(NULL, 0);
    void *found;
    assert_null(hash_map_get(map, key));
    assert_null(hash_map_remove(map, key));
    assert_false(hash_map_next(map, &position, &key, &found));
    assert_null(hash_map_put(map, bytes_of(NULL, 0), &value));
    assert_ptr_equal(hash_map_get(map, bytes_of("", 0)), &value);
    hash_map_free(map, NULL);
    hash_map_free(NULL, NULL);
}

static int freed_values;

static void count_freed(void *value)
{
    (void)value;
    freed_values++;
}

static void freeing_the_map_frees_each_value_once(void **state)
{
    (void)state;
    struct hash_map *map = hash_map_new();
    int value;
    for (uint32_t number = 0; number < 20; number++) {
        hash_map_put(map, bytes_of(&number, sizeof number), &value);
    }
    uint32_t removed = 3;
    hash_map_remove(map, bytes_of(&removed, sizeof removed));
    hash_map_free(map, count_freed);
    assert_int_equal(freed_values, 19);
}

/* A key that comes and goes must not fill the table with marks. */
static void churn_does_not_slow_the_map_down_forever(void **state)
{
    (void)state;
    struct hash_map *map = hash_map_new();
    int value;
    for (uint32_t number = 0; number < 300000; number++) {
        hash_map_put(map, bytes_of(&number, sizeof number), &value);
        assert_ptr_equal(hash_map_remove(map, bytes_of(&number, sizeof number)), &value);
    }
    assert_int_equal(hash_map_count(map), 0);
    hash_map_free(map, NULL);
}

static void the_hash_follows_the_bytes(void **state)
{
    (void)state;
    assert_true(hash_bytes(bytes_of_string("abc")) == hash_bytes(bytes_of_string("abc")));
    assert_true(hash_bytes(bytes_of_string("abc")) != hash_bytes(bytes_of_string("abd")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_agree_with_an_array),
        cmocka_unit_test(the_current_entry_may_be_removed_while_iterating),
        cmocka_unit_test(an_empty_key_and_an_empty_map_are_fine),
        cmocka_unit_test(freeing_the_map_frees_each_value_once),
        cmocka_unit_test(churn_does_not_slow_the_map_down_forever),
        cmocka_unit_test(the_hash_follows_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
