/* Colliding keys: a 64-bit keyed hash hardly ever gives two alike, so the map is compiled here with one that does. */
#include "base/hash_map.h"

static uint64_t weak_hash(struct bytes key);
#define hash_bytes weak_hash
#include "base/persistent_map.c"
#undef hash_bytes

#include "base/random.h"
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

/* Seven hashes in all, four of which differ only in bits that the last levels look at. */
static uint64_t weak_hash(struct bytes key)
{
    uint64_t group = key.length == 0 ? 0 : key.data[key.length - 1] % 7;
    return group < 4 ? group << 60 : group;
}

static int live_values;

static void release(void *value)
{
    live_values--;
    memory_free(value);
}

static const struct persistent_map_type type = { NULL, release, NULL };

static struct persistent_map *put(struct persistent_map *map, int number)
{
    char key[16];
    snprintf(key, sizeof key, "%d", number);
    live_values++;
    return persistent_map_put(&type, map, bytes_of_string(key), string_duplicate(key));
}

static struct persistent_map *take_out(struct persistent_map *map, int number)
{
    char key[16];
    snprintf(key, sizeof key, "%d", number);
    return persistent_map_remove(&type, map, bytes_of_string(key));
}

static const char *get(struct persistent_map *map, int number)
{
    char key[16];
    snprintf(key, sizeof key, "%d", number);
    return persistent_map_get(&type, map, bytes_of_string(key));
}

static void assert_holds(struct persistent_map *map, int first, int end, int all)
{
    assert_int_equal(persistent_map_count(map), end - first);
    for (int i = 0; i < all; i++) {
        const char *value = get(map, i);
        assert_int_equal(value != NULL, i >= first && i < end);
        assert_true(value == NULL || atoi(value) == i);
    }
}

static void colliding_keys_are_all_found_and_removed(void **state)
{
    (void)state;
    struct persistent_map *map = NULL;
    for (int i = 0; i < 400; i++) {
        map = put(map, i);
    }
    assert_holds(map, 0, 400, 400);
    struct persistent_map *old = persistent_map_reference(map);
    for (int i = 0; i < 400; i++) {
        map = take_out(map, i);
        if (i % 50 == 0) {
            assert_holds(map, i + 1, 400, 400);
        }
    }
    assert_null(map);
    assert_holds(old, 0, 400, 400);
    persistent_map_release(&type, old);
    assert_int_equal(live_values, 0);
}

static void iteration_visits_every_colliding_value_once(void **state)
{
    (void)state;
    struct persistent_map *map = NULL;
    bool seen[300] = { false };
    for (int i = 0; i < 300; i++) {
        map = put(map, i);
    }
    struct persistent_map_iterator iterator;
    persistent_map_begin(map, &iterator);
    size_t count = 0;
    for (const char *value; (value = persistent_map_next(&iterator)) != NULL; count++) {
        assert_false(seen[atoi(value)]);
        seen[atoi(value)] = true;
    }
    assert_int_equal(count, 300);
    persistent_map_release(&type, map);
}

static void replacing_in_a_shared_collision_leaves_the_other_version_alone(void **state)
{
    (void)state;
    struct persistent_map *map = put(put(put(NULL, 1), 11), 21);
    struct persistent_map *old = persistent_map_reference(map);
    const char *old_value = get(old, 11);
    map = put(map, 11);
    assert_ptr_equal(get(old, 11), old_value);
    assert_ptr_not_equal(get(map, 11), old_value);
    assert_ptr_equal(get(map, 21), get(old, 21));
    persistent_map_release(&type, map);
    persistent_map_release(&type, old);
    assert_int_equal(live_values, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colliding_keys_are_all_found_and_removed),
        cmocka_unit_test(iteration_visits_every_colliding_value_once),
        cmocka_unit_test(replacing_in_a_shared_collision_leaves_the_other_version_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
