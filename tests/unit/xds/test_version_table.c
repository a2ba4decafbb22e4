#include "base/hash_map.h"
#include "base/memory.h"
#include "base/random.h"
#include "cmocka_all.h"
#include "xds/version_table.h"

#include <stdio.h>

static void put(struct version_table *table, const char *name, const char *version)
{
    (void)version_table_put(table, bytes_of_string(name), bytes_of_string(version), 0);
}

/* The version of a name, "-" when absent. */
static const char *version_of(const struct version_table *table, const char *name)
{
    static char text[VERSION_MAXIMUM_BYTES + 1];
    uint32_t position = 0;
    struct version_entry entry;
    while (version_table_next(table, &position, &entry)) {
        if (bytes_equal_string(entry.name, name)) {
            memcpy(text, entry.version, entry.version_bytes);
            text[entry.version_bytes] = '\0';
            return text;
        }
    }
    return "-";
}

static void versions_come_back_exactly(void **state)
{
    (void)state;
    static const char *const versions[] = { "", "b98fc29277397031", "0", "00", "0f", "F", "ffffffffffffffff",
        "10000000000000000", "v1", "2026-08-20T10:11:12Z/7" };
    struct version_table *table = version_table_new();
    for (size_t i = 0; i < ARRAY_LENGTH(versions); i++) {
        put(table, "a/b", versions[i]);
        assert_string_equal(version_of(table, "a/b"), versions[i]);
        assert_int_equal(version_table_count(table), 1);
    }
    version_table_free(table);
}

static void a_version_too_long_to_keep_becomes_empty(void **state)
{
    (void)state;
    char longest[VERSION_MAXIMUM_BYTES + 2];
    memset(longest, 'x', sizeof longest);
    struct version_table *table = version_table_new();
    (void)version_table_put(table, bytes_of_string("fits"), bytes_of(longest, VERSION_MAXIMUM_BYTES), 0);
    (void)version_table_put(table, bytes_of_string("does not"), bytes_of(longest, VERSION_MAXIMUM_BYTES + 1), 0);
    assert_int_equal(strlen(version_of(table, "fits")), VERSION_MAXIMUM_BYTES);
    assert_string_equal(version_of(table, "does not"), "");
    version_table_free(table);
}

static void marks_last_until_the_next_put(void **state)
{
    (void)state;
    struct version_table *table = version_table_new();
    uint32_t handle = version_table_put(table, bytes_of_string("a"), bytes_of_string("1"), 0);
    struct version_entry entry;
    uint32_t position = 0;
    version_table_mark(table, handle);
    assert_true(version_table_next(table, &position, &entry));
    assert_true(entry.is_marked);
    put(table, "a", "2");
    position = 0;
    assert_true(version_table_next(table, &position, &entry));
    assert_false(entry.is_marked);
    version_table_free(table);
}

static void a_forgotten_version_is_empty_and_its_name_stays(void **state)
{
    (void)state;
    struct version_table *table = version_table_new();
    uint32_t handle = version_table_put(table, bytes_of_string("a"), bytes_of_string("1f"), 0);
    version_table_forget_version(table, handle);
    version_table_forget_version(table, handle);
    assert_string_equal(version_of(table, "a"), "");
    assert_int_equal(version_table_count(table), 1);
    version_table_free(table);
}

/* A response that is cut may have brought the same contents once more, in a version that did not fit into the old place. */
static void a_version_is_forgotten_wherever_its_entry_has_moved(void **state)
{
    (void)state;
    struct version_table *table = version_table_new();
    uint32_t handle = version_table_put(table, bytes_of_string("a"), bytes_of_string("1"), 7);
    assert_true(version_table_put_unchanged(table, bytes_of_string("a"), bytes_of_string("not hex"), 7));
    version_table_forget_version(table, handle);
    assert_string_equal(version_of(table, "a"), "");
    uint32_t removed = version_table_put(table, bytes_of_string("b"), bytes_of_string("1"), 7);
    assert_true(version_table_remove(table, bytes_of_string("b")));
    version_table_forget_version(table, removed);
    assert_false(version_table_has(table, bytes_of_string("b")));
    version_table_free(table);
}

/* Handles are 32 bits, and memory is not for names. */
static void it_is_full_at_its_bound_whatever_the_names_are(void **state)
{
    (void)state;
    char name[RESOURCE_NAME_MAXIMUM_BYTES + 1];
    memset(name, 'n', sizeof name - 1);
    for (int slash = 0; slash < 2; slash++) {
        struct version_table *table = version_table_new();
        size_t count = 0;
        while (!version_table_is_full(table) && count < 100000) {
            int length = snprintf(name, sizeof name, "%zu", count++);
            name[length] = 'n';
            name[sizeof name - 2] = slash ? '/' : 'n'; /* all of it is a beginning to share, or none */
            name[sizeof name - 1] = '\0';
            put(table, name, "1");
        }
        assert_in_range(count, 10000, 40000);
        assert_int_equal(version_table_count(table), count);
        version_table_free(table);
    }
}

/* Every operation against a plain hash map. */
static void it_agrees_with_a_plain_map_over_many_changes(void **state)
{
    (void)state;
    struct version_table *table = version_table_new();
    struct hash_map *oracle = hash_map_new();
    for (int i = 0; i < 200000; i++) {
        char name[64], version[32];
        snprintf(name, sizeof name, "Kubernetes//Pod/default/pod-%d", (int)random_below(3000));
        struct bytes key = bytes_of_string(name);
        if (random_below(3) == 0) {
            char *before = hash_map_remove(oracle, key);
            assert_int_equal(version_table_remove(table, key), before != NULL);
            memory_free(before);
        } else {
            snprintf(version, sizeof version, random_below(2) ? "%llx" : "v%llx", (unsigned long long)random_u64());
            (void)version_table_put(table, key, bytes_of_string(version), 0);
            memory_free(hash_map_put(oracle, key, string_duplicate(version)));
        }
        if (i % 100 == 0) {
            version_table_tidy(table);
        }
    }
    size_t seen = 0;
    uint32_t position = 0;
    struct version_entry entry;
    while (version_table_next(table, &position, &entry)) {
        const char *expected = hash_map_get(oracle, entry.name);
        assert_non_null(expected);
        assert_true(bytes_equal_string(bytes_of(entry.version, entry.version_bytes), expected));
        seen++;
    }
    assert_int_equal(seen, hash_map_count(oracle));
    assert_int_equal(version_table_count(table), seen);
    hash_map_free(oracle, memory_free);
    version_table_free(table);
}

static void contents_are_unchanged_only_while_their_fingerprint_is_held(void **state)
{
    (void)state;
    struct version_table *table = version_table_new();
    struct bytes name = bytes_of_string("a"), first = bytes_of_string("1"), second = bytes_of_string("not hex");
    assert_false(version_table_put_unchanged(table, name, first, 7));
    assert_int_equal(version_table_count(table), 0);
    uint32_t handle = version_table_put(table, name, first, 7);
    version_table_mark(table, handle);
    assert_false(version_table_put_unchanged(table, name, second, 8));
    assert_true(version_table_put_unchanged(table, name, second, 7));
    assert_string_equal(version_of(table, "a"), "not hex");
    assert_int_equal(version_table_count(table), 1);
    handle = version_table_put(table, name, first, 9);
    assert_false(version_table_put_unchanged(table, name, first, 7));
    version_table_forget_version(table, handle);
    assert_false(version_table_put_unchanged(table, name, first, 9));
    assert_false(version_table_put_unchanged(table, name, first, 0));
    (void)version_table_put(table, name, first, 9);
    assert_true(version_table_remove(table, name));
    assert_false(version_table_put_unchanged(table, name, first, 9));
    version_table_free(table);
}

static void fingerprints_survive_tidying(void **state)
{
    (void)state;
    struct version_table *table = version_table_new();
    char name[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "namespace/name-%d", i);
        (void)version_table_put(table, bytes_of_string(name), bytes_of_string("1"), (uint64_t)i + 1);
    }
    for (int i = 0; i < 19000; i++) {
        snprintf(name, sizeof name, "namespace/name-%d", i);
        assert_true(version_table_remove(table, bytes_of_string(name)));
    }
    version_table_tidy(table);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "namespace/name-%d", i);
        struct bytes key = bytes_of_string(name);
        assert_int_equal(version_table_put_unchanged(table, key, bytes_of_string("1"), (uint64_t)i + 1), i >= 19000);
    }
    version_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_come_back_exactly),
        cmocka_unit_test(a_version_too_long_to_keep_becomes_empty),
        cmocka_unit_test(marks_last_until_the_next_put),
        cmocka_unit_test(a_forgotten_version_is_empty_and_its_name_stays),
        cmocka_unit_test(a_version_is_forgotten_wherever_its_entry_has_moved),
        cmocka_unit_test(it_is_full_at_its_bound_whatever_the_names_are),
        cmocka_unit_test(contents_are_unchanged_only_while_their_fingerprint_is_held),
        cmocka_unit_test(fingerprints_survive_tidying),
        cmocka_unit_test(it_agrees_with_a_plain_map_over_many_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
