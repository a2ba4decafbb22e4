#include "base/text.h"

#include "base/writer.h"
#include "cmocka_all.h"

static void predicates_look_at_the_right_end(void **state)
{
    (void)state;
    assert_true(text_starts_with("ztunnel::xds", "ztunnel::"));
    assert_false(text_starts_with("zt", "ztunnel"));
    assert_true(text_ends_with("a.svc", ".svc"));
    assert_false(text_ends_with("svc", ".svc"));
    assert_true(text_equal_ignoring_case("Content-Type", "content-tYPE"));
    assert_false(text_equal_ignoring_case("abc", "abcd"));
    assert_false(text_equal_ignoring_case("\xC3\x84", "\xC3\xA4"));
    assert_true(text_is_empty(NULL) && text_is_empty("") && !text_is_empty("x"));
}

static void numbers_are_digits_only_and_bounded(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(text_to_u64("18446744073709551615", UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_true(text_to_u64("65535", 65535, &value) && value == 65535);
    const char *const refused[] = { "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "65536", "18446744073709551616" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        value = 7;
        assert_false(text_to_u64(refused[i], 65535, &value));
        assert_int_equal(value, 7);
    }
    assert_false(text_to_u64("99999999999999999999", UINT64_MAX, &value));
    assert_false(bytes_to_u64(bytes_of("1\0", 2), 10, &value));
}

static void booleans_are_two_words(void **state)
{
    (void)state;
    bool value = false;
    assert_true(text_to_bool("true", &value) && value);
    assert_true(text_to_bool("false", &value) && !value);
    assert_false(text_to_bool("True", &value));
    assert_false(text_to_bool("1", &value));
    assert_false(text_to_bool("", &value));
}

static void splitting_keeps_empty_pieces_and_ends(void **state)
{
    (void)state;
    const char *const expected[] = { "a", "", "b", "" };
    struct bytes rest = bytes_of_string("a,,b,");
    struct bytes piece;
    size_t count = 0;
    while (bytes_split(&rest, ',', &piece)) {
        assert_true(count < 4 && bytes_equal_string(piece, expected[count]));
        count++;
    }
    assert_int_equal(count, 4);
    rest = bytes_of_string("");
    assert_true(bytes_split(&rest, ',', &piece) && piece.length == 0);
    assert_false(bytes_split(&rest, ',', &piece));
}

static void trimming_takes_blanks_at_both_ends_only(void **state)
{
    (void)state;
    assert_true(bytes_equal_string(bytes_trim(bytes_of_string(" \t a b\r\n")), "a b"));
    assert_int_equal(bytes_trim(bytes_of_string(" \n ")).length, 0);
}

static void utf8_is_checked_as_in_rfc_3629(void **state)
{
    (void)state;
    const char *const good[] = { "", "plain", "\xC2\xB5", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xED\x9F\xBF",
        "\xF4\x8F\xBF\xBF" };
    const char *const bad[] = { "\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82", "\xE2\x82z", "a\xC2" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(bytes_is_utf8(bytes_of_string(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(bytes_is_utf8(bytes_of_string(bad[i])));
    }
}

static void hexadecimal_needs_pairs_and_room(void **state)
{
    (void)state;
    uint8_t bytes[3];
    size_t length = 0;
    assert_true(text_from_hexadecimal("00fFA9", bytes, sizeof bytes, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(bytes, "\x00\xFF\xA9", 3);
    assert_false(text_from_hexadecimal("000", bytes, sizeof bytes, &length));
    assert_false(text_from_hexadecimal("0g", bytes, sizeof bytes, &length));
    assert_false(text_from_hexadecimal("00112233", bytes, sizeof bytes, &length));
}

/* RFC 4648 §10 */
static void base64_gives_the_vectors_of_the_rfc(void **state)
{
    (void)state;
    const char *const pairs[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" } };
    struct writer out = writer_growing();
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        writer_clear(&out);
        writer_add_base64(&out, bytes_of_string(pairs[i][0]));
        assert_string_equal(writer_string(&out), pairs[i][1]);
    }
    writer_clear(&out);
    writer_add_base64url(&out, bytes_of("\xFB\xFF\xFE", 3));
    writer_add_base64url(&out, bytes_of("\xFB", 1));
    assert_string_equal(writer_string(&out), "-__--w");
    writer_free(&out);
}

static void base64url_is_read_strictly(void **state)
{
    (void)state;
    struct writer out = writer_growing();
    assert_true(bytes_from_base64url(bytes_of_string("-__-Zg"), &out));
    assert_int_equal(out.length, 4);
    assert_memory_equal(out.data,
        "\xFB\xFF\xFE"
        "f",
        4);
    const char *const refused[] = { "Zg==", "Z", "Zh", "Zm9=", "Zm 9v", "+/+/", "Zm9v\n" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_false(bytes_from_base64url(bytes_of_string(refused[i]), &out));
    }
    assert_true(bytes_from_base64url(bytes_of_string(""), &out));
    writer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predicates_look_at_the_right_end),
        cmocka_unit_test(numbers_are_digits_only_and_bounded),
        cmocka_unit_test(booleans_are_two_words),
        cmocka_unit_test(splitting_keeps_empty_pieces_and_ends),
        cmocka_unit_test(trimming_takes_blanks_at_both_ends_only),
        cmocka_unit_test(utf8_is_checked_as_in_rfc_3629),
        cmocka_unit_test(hexadecimal_needs_pairs_and_room),
        cmocka_unit_test(base64_gives_the_vectors_of_the_rfc),
        cmocka_unit_test(base64url_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
