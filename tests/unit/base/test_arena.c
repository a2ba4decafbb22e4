#include "base/arena.h"

#include "cmocka_all.h"

#include <stdalign.h>

static void objects_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    unsigned char *previous_end = NULL;
    for (size_t size = 1; size < 600; size++) {
        unsigned char *object = arena_allocate(&arena, size);
        assert_int_equal((uintptr_t)object % alignof(max_align_t), 0);
        assert_true(object[0] == 0 && object[size - 1] == 0);
        assert_true(object >= previous_end || object + size <= previous_end);
        memset(object, 0xFF, size);
        previous_end = object + size;
    }
    assert_true(arena.total_bytes >= 600 * 599 / 2);
    arena_free(&arena);
    assert_int_equal(arena.total_bytes, 0);
}

static void a_large_object_does_not_waste_the_current_block(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    unsigned char *first = arena_allocate(&arena, 16);
    unsigned char *large = arena_allocate(&arena, 1 << 20);
    unsigned char *second = arena_allocate(&arena, 16);
    assert_ptr_equal(second, first + 16);
    memset(large, 1, 1 << 20);
    arena_free(&arena);
    large = arena_allocate(&arena, 1 << 20);
    second = arena_allocate(&arena, 16);
    memset(large, 1, 1 << 20);
    assert_int_equal(second[0], 0);
    arena_free(&arena);
}

static void strings_are_copied_into_it(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    assert_string_equal(arena_string(&arena, "text"), "text");
    assert_string_equal(arena_string_bytes(&arena, bytes_of("bytes!", 5)), "bytes");
    assert_string_equal(arena_string_bytes(&arena, bytes_of(NULL, 0)), "");
    assert_string_equal(arena_format(&arena, "%s-%d", "n", 4), "n-4");
    arena_free(&arena);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(a_large_object_does_not_waste_the_current_block),
        cmocka_unit_test(strings_are_copied_into_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
