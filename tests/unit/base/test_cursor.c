#include "base/cursor.h"

#include "base/writer.h"
#include "cmocka_all.h"

#define CURSOR(...) cursor_of(bytes_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })))

static void numbers_are_big_endian_unless_named_otherwise(void **state)
{
    (void)state;
    struct cursor cursor = CURSOR(1, 1, 2, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4);
    assert_int_equal(cursor_u8(&cursor), 1);
    assert_int_equal(cursor_u16(&cursor), 0x0102);
    assert_int_equal(cursor_u24(&cursor), 0x010203);
    assert_int_equal(cursor_u32(&cursor), 0x01020304);
    assert_int_equal(cursor_u32_little(&cursor), 0x04030201);
    assert_true(cursor_is_at_end(&cursor));
    assert_false(cursor.has_failed);
    cursor = CURSOR(1, 2, 3, 4, 5, 6, 7, 8);
    assert_true(cursor_u64_little(&cursor) == 0x0807060504030201ULL);
}

static void a_read_past_the_end_gives_zero_and_fails_every_later_one(void **state)
{
    (void)state;
    struct cursor cursor = CURSOR(9, 9, 9);
    assert_int_equal(cursor_u32(&cursor), 0);
    assert_true(cursor.has_failed);
    assert_int_equal(cursor_u8(&cursor), 0);
    assert_int_equal(cursor_take(&cursor, 1).length, 0);
    assert_int_equal(cursor_varint(&cursor), 0);
}

static void a_length_near_the_top_does_not_wrap(void **state)
{
    (void)state;
    struct cursor cursor = CURSOR(1, 2, 3);
    (void)cursor_u8(&cursor);
    assert_int_equal(cursor_take(&cursor, SIZE_MAX).length, 0);
    assert_true(cursor.has_failed);
}

static void varints_come_back_as_they_were_written(void **state)
{
    (void)state;
    const uint64_t values[] = { 0, 1, 127, 128, 300, 1ULL << 32, UINT64_MAX };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct writer writer = writer_growing();
        writer_add_varint(&writer, values[i]);
        struct cursor cursor = cursor_of(writer_bytes(&writer));
        assert_true(cursor_varint(&cursor) == values[i]);
        assert_true(cursor_is_at_end(&cursor) && !cursor.has_failed);
        writer_free(&writer);
    }
}

static void a_varint_beyond_64_bits_fails(void **state)
{
    (void)state;
    struct cursor largest = CURSOR(255, 255, 255, 255, 255, 255, 255, 255, 255, 1);
    assert_true(cursor_varint(&largest) == UINT64_MAX && !largest.has_failed);
    struct cursor too_large = CURSOR(255, 255, 255, 255, 255, 255, 255, 255, 255, 2);
    assert_int_equal(cursor_varint(&too_large), 0);
    assert_true(too_large.has_failed);
    struct cursor too_long = CURSOR(128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0);
    (void)cursor_varint(&too_long);
    assert_true(too_long.has_failed);
    struct cursor unfinished = CURSOR(128);
    (void)cursor_varint(&unfinished);
    assert_true(unfinished.has_failed);
}

static void an_empty_buffer_is_at_its_end_without_failing(void **state)
{
    (void)state;
    struct cursor cursor = cursor_of(bytes_of(NULL, 0));
    assert_true(cursor_is_at_end(&cursor));
    assert_int_equal(cursor_take(&cursor, 0).length, 0);
    assert_false(cursor.has_failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_big_endian_unless_named_otherwise),
        cmocka_unit_test(a_read_past_the_end_gives_zero_and_fails_every_later_one),
        cmocka_unit_test(a_length_near_the_top_does_not_wrap),
        cmocka_unit_test(varints_come_back_as_they_were_written),
        cmocka_unit_test(a_varint_beyond_64_bits_fails),
        cmocka_unit_test(an_empty_buffer_is_at_its_end_without_failing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
