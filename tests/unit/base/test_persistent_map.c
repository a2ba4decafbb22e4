/* The persistent map against the mutable one as oracle, and its promise that old versions do not change. */
#include "base/persistent_map.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "base/random.h"
#include "cmocka_all.h"

#include <stdatomic.h>
#include <stdio.h>

struct item {
    _Atomic int references;
    uint64_t number;
    char key[24];
};

static _Atomic int live_items;

static struct item *item_new(const char *key, uint64_t number)
{
    struct item *item = NEW(struct item);
    atomic_init(&item->references, 1);
    item->number = number;
    snprintf(item->key, sizeof item->key, "%s", key);
    live_items++;
    return item;
}

static void item_reference(void *value)
{
    atomic_fetch_add(&((struct item *)value)->references, 1);
}

static void item_release(void *value)
{
    if (atomic_fetch_sub(&((struct item *)value)->references, 1) == 1) {
        live_items--;
        memory_free(value);
    }
}

static struct bytes item_key(const void *value)
{
    return bytes_of_string(((const struct item *)value)->key);
}

static const struct persistent_map_type copied_keys = { item_reference, item_release, NULL };
static const struct persistent_map_type keys_in_values = { item_reference, item_release, item_key };

static const char *key_text(char out[static 24], uint64_t number)
{
    snprintf(out, 24, "key-%llu", (unsigned long long)number);
    return out;
}

static void assert_equal_to_oracle(
    const struct persistent_map_type *type, struct persistent_map *map, struct hash_map *oracle)
{
    assert_int_equal(persistent_map_count(map), hash_map_count(oracle));
    size_t position = 0;
    struct bytes key;
    void *number;
    while (hash_map_next(oracle, &position, &key, &number)) {
        struct item *item = persistent_map_get(type, map, key);
        assert_non_null(item);
        assert_int_equal(item->number, (uintptr_t)number);
    }
    struct persistent_map_iterator iterator;
    persistent_map_begin(map, &iterator);
    size_t seen = 0;
    for (struct item *item; (item = persistent_map_next(&iterator)) != NULL; seen++) {
        assert_int_equal((uintptr_t)hash_map_get(oracle, item_key(item)), item->number);
    }
    assert_int_equal(seen, hash_map_count(oracle));
}

#define VERSIONS 8
#define KEYS 700

struct version {
    struct persistent_map *map;
    struct hash_map *oracle;
};

static struct hash_map *copy_oracle(const struct hash_map *oracle)
{
    struct hash_map *copy = hash_map_new();
    size_t position = 0;
    struct bytes key;
    void *value;
    while (hash_map_next(oracle, &position, &key, &value)) {
        hash_map_put(copy, key, value);
    }
    return copy;
}

static struct persistent_map *change_both(
    const struct persistent_map_type *type, struct persistent_map *map, struct hash_map *oracle, uint64_t step)
{
    char text[24];
    struct bytes key = bytes_of_string(key_text(text, random_below(KEYS)));
    if (random_below(5) < 3) {
        hash_map_put(oracle, key, (void *)(uintptr_t)(step + 1));
        return persistent_map_put(type, map, key, item_new(text, step + 1));
    }
    hash_map_remove(oracle, key);
    return persistent_map_remove(type, map, key);
}

static void compare_random_versions(const struct persistent_map_type *type)
{
    struct version versions[VERSIONS] = { 0 };
    struct persistent_map *map = NULL;
    struct hash_map *oracle = hash_map_new();
    for (uint64_t step = 0; step < 12000; step++) {
        map = change_both(type, map, oracle, step);
        if (step % 1500 == 1499) {
            versions[step / 1500] = (struct version){ persistent_map_reference(map), copy_oracle(oracle) };
        }
    }
    assert_equal_to_oracle(type, map, oracle);
    for (size_t i = 0; i < VERSIONS; i++) {
        assert_equal_to_oracle(type, versions[i].map, versions[i].oracle);
        persistent_map_release(type, versions[i].map);
        hash_map_free(versions[i].oracle, NULL);
    }
    persistent_map_release(type, map);
    hash_map_free(oracle, NULL);
    assert_int_equal(live_items, 0);
}

static void random_changes_agree_with_the_oracle_and_leave_old_versions_alone(void **state)
{
    (void)state;
    compare_random_versions(&copied_keys);
}

static void keys_in_values_work_like_copied_ones(void **state)
{
    (void)state;
    compare_random_versions(&keys_in_values);
}

static void replacing_a_value_releases_the_old_one_at_once_when_nobody_shares_it(void **state)
{
    (void)state;
    struct bytes key = bytes_of_string("a");
    struct persistent_map *map = persistent_map_put(&copied_keys, NULL, key, item_new("a", 1));
    map = persistent_map_put(&copied_keys, map, key, item_new("a", 2));
    assert_int_equal(live_items, 1);
    struct persistent_map *old = persistent_map_reference(map);
    map = persistent_map_put(&copied_keys, map, key, item_new("a", 3));
    assert_int_equal(live_items, 2);
    assert_int_equal(((struct item *)persistent_map_get(&copied_keys, old, key))->number, 2);
    assert_int_equal(((struct item *)persistent_map_get(&copied_keys, map, key))->number, 3);
    persistent_map_release(&copied_keys, old);
    persistent_map_release(&copied_keys, map);
    assert_int_equal(live_items, 0);
}

static void the_empty_map_is_null_and_comes_back(void **state)
{
    (void)state;
    struct bytes key = bytes_of_string("only");
    assert_int_equal(persistent_map_count(NULL), 0);
    assert_null(persistent_map_get(&copied_keys, NULL, key));
    assert_null(persistent_map_remove(&copied_keys, NULL, key));
    struct persistent_map *map = persistent_map_put(&copied_keys, NULL, key, item_new("only", 1));
    assert_ptr_equal(persistent_map_remove(&copied_keys, map, bytes_of_string("other")), map);
    assert_null(persistent_map_remove(&copied_keys, map, key));
    assert_int_equal(live_items, 0);
}

static void building_a_large_map_alone_edits_it_in_place(void **state)
{
    (void)state;
    struct persistent_map *map = NULL;
    char text[24];
    for (uint64_t i = 0; i < 100000; i++) {
        struct persistent_map *before = map;
        map = persistent_map_put(&keys_in_values, map, bytes_of_string(key_text(text, i)), item_new(text, i));
        assert_true(before == NULL || before == map);
    }
    assert_int_equal(persistent_map_count(map), 100000);
    persistent_map_release(&keys_in_values, map);
    assert_int_equal(live_items, 0);
}

static void the_empty_key_is_a_key(void **state)
{
    (void)state;
    struct persistent_map *map = persistent_map_put(&copied_keys, NULL, bytes_of(NULL, 0), item_new("", 9));
    assert_int_equal(((struct item *)persistent_map_get(&copied_keys, map, bytes_of(NULL, 0)))->number, 9);
    persistent_map_release(&copied_keys, map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_agree_with_the_oracle_and_leave_old_versions_alone),
        cmocka_unit_test(keys_in_values_work_like_copied_ones),
        cmocka_unit_test(replacing_a_value_releases_the_old_one_at_once_when_nobody_shares_it),
        cmocka_unit_test(the_empty_map_is_null_and_comes_back),
        cmocka_unit_test(building_a_large_map_alone_edits_it_in_place),
        cmocka_unit_test(the_empty_key_is_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
