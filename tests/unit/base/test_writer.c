#include "base/writer.h"

#include "base/memory.h"
#include "cmocka_all.h"

static void a_growing_writer_keeps_everything(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    for (int i = 0; i < 10000; i++) {
        writer_add_u16(&writer, (uint16_t)i);
    }
    assert_int_equal(writer.length, 20000);
    assert_int_equal(writer.data[2 * 513], 2);
    assert_int_equal(writer.data[2 * 513 + 1], 1);
    writer_free(&writer);
    assert_int_equal(writer.length, 0);
}

static void a_full_fixed_writer_keeps_what_fits_and_says_so(void **state)
{
    (void)state;
    char memory[9] = "........";
    struct writer writer = writer_fixed(memory, 6);
    writer_add_string(&writer, "abcd");
    assert_false(writer.has_overflowed);
    writer_add_string(&writer, "efgh");
    assert_true(writer.has_overflowed);
    assert_int_equal(writer.length, 6);
    assert_memory_equal(memory, "abcdef..", 8);
    assert_null(writer_reserve(&writer, 1));
    assert_string_equal(writer_string(&writer), "abcde");
    assert_memory_equal(memory + 6, "..", 2);
}

static void clearing_keeps_the_memory_and_forgets_the_overflow(void **state)
{
    (void)state;
    char memory[4];
    struct writer writer = writer_fixed(memory, sizeof memory);
    writer_add_string(&writer, "too long");
    writer_clear(&writer);
    assert_false(writer.has_overflowed);
    writer_add_string(&writer, "ok");
    assert_string_equal(writer_string(&writer), "ok");
}

static void the_terminating_nul_is_not_counted(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    assert_string_equal(writer_string(&writer), "");
    writer_add_string(&writer, "one");
    assert_string_equal(writer_string(&writer), "one");
    assert_int_equal(writer.length, 3);
    writer_add_string(&writer, " two");
    char *AUTO_FREE taken = writer_take_string(&writer);
    assert_string_equal(taken, "one two");
    assert_int_equal(writer.length, 0);
    assert_null(writer.data);
}

static void numbers_are_written_big_endian(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    writer_add_u8(&writer, 0xAA);
    writer_add_u24(&writer, 0x010203);
    writer_add_u32(&writer, 0x04050607);
    writer_add_u64(&writer, 0x08090A0B0C0D0E0FULL);
    struct writer text = writer_growing();
    writer_add_hexadecimal(&text, writer_bytes(&writer));
    assert_string_equal(writer_string(&text), "aa0102030405060708090a0b0c0d0e0f");
    writer_free(&text);
    writer_free(&writer);
}

static void long_formatted_text_is_written_whole(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    writer_print(&writer, "%0*d|", 1000, 7);
    assert_int_equal(writer.length, 1001);
    assert_memory_equal(writer.data + 998, "07|", 3);
    writer_free(&writer);
}

static void reserved_room_is_writable_and_not_yet_written(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    uint8_t *room = writer_reserve(&writer, 1000);
    memset(room, 'r', 1000);
    assert_int_equal(writer.length, 0);
    writer.length = 1000;
    writer_add_u8(&writer, '!');
    assert_int_equal(writer.data[1000], '!');
    assert_int_equal(writer.data[999], 'r');
    writer_free(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_growing_writer_keeps_everything),
        cmocka_unit_test(a_full_fixed_writer_keeps_what_fits_and_says_so),
        cmocka_unit_test(clearing_keeps_the_memory_and_forgets_the_overflow),
        cmocka_unit_test(the_terminating_nul_is_not_counted),
        cmocka_unit_test(numbers_are_written_big_endian),
        cmocka_unit_test(long_formatted_text_is_written_whole),
        cmocka_unit_test(reserved_room_is_writable_and_not_yet_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
