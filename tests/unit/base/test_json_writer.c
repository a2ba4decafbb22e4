#include "base/json_writer.h"

#include "cmocka_all.h"

#include <jansson.h>

static struct writer out;

static int clear(void **state)
{
    (void)state;
    writer_free(&out);
    return 0;
}

static void write_sample(struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_member_string(json, "name", "a");
    json_write_member_unsigned(json, "count", UINT64_MAX);
    json_write_key(json, "list");
    json_write_array_begin(json);
    json_write_signed(json, -5);
    json_write_null(json);
    json_write_object_begin(json);
    json_write_object_end(json);
    json_write_array_end(json);
    json_write_key(json, "empty");
    json_write_array_begin(json);
    json_write_array_end(json);
    json_write_member_bool(json, "ok", true);
    json_write_member_string(json, "nothing", NULL);
    json_write_object_end(json);
}

static void compact_output_has_no_blanks(void **state)
{
    (void)state;
    struct json_writer json = json_writer_of(&out, false);
    write_sample(&json);
    assert_string_equal(writer_string(&out), "{\"name\":\"a\",\"count\":18446744073709551615,\"list\":[-5,null,{}],"
                                             "\"empty\":[],\"ok\":true,\"nothing\":null}");
}

static void pretty_output_indents_by_two(void **state)
{
    (void)state;
    struct json_writer json = json_writer_of(&out, true);
    write_sample(&json);
    assert_string_equal(writer_string(&out), "{\n"
                                             "  \"name\": \"a\",\n"
                                             "  \"count\": 18446744073709551615,\n"
                                             "  \"list\": [\n"
                                             "    -5,\n"
                                             "    null,\n"
                                             "    {}\n"
                                             "  ],\n"
                                             "  \"empty\": [],\n"
                                             "  \"ok\": true,\n"
                                             "  \"nothing\": null\n"
                                             "}");
}

/* Read back by a parser that is not ours. */
static void every_byte_of_a_string_survives_or_becomes_a_replacement_character(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t text[3] = { '<', (uint8_t)byte, '>' };
        writer_clear(&out);
        struct json_writer json = json_writer_of(&out, false);
        json_write_string_bytes(&json, bytes_of(text, sizeof text));
        json_error_t error;
        json_t *read = json_loadb((char *)out.data, out.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        assert_non_null(read);
        if (byte < 0x80) {
            assert_int_equal(json_string_length(read), sizeof text);
            assert_memory_equal(json_string_value(read), text, sizeof text);
        } else {
            assert_string_equal(json_string_value(read), "<\xEF\xBF\xBD>");
        }
        json_decref(read);
    }
}

static void a_raw_value_takes_its_place_among_the_others(void **state)
{
    (void)state;
    struct json_writer json = json_writer_of(&out, false);
    json_write_array_begin(&json);
    json_write_unsigned(&json, 1);
    json_write_raw(&json, bytes_of_string("{\"a\":[]}"));
    json_write_array_end(&json);
    assert_string_equal(writer_string(&out), "[1,{\"a\":[]}]");
}

static void well_formed_utf8_is_left_alone(void **state)
{
    (void)state;
    struct json_writer json = json_writer_of(&out, false);
    json_write_string(&json, "\xC2\xB5 \xE2\x82\xAC \xF0\x9F\x98\x80 \\ \" \t \x1b");
    assert_string_equal(writer_string(&out), "\"\xC2\xB5 \xE2\x82\xAC \xF0\x9F\x98\x80 \\\\ \\\" \\t \\u001b\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(compact_output_has_no_blanks, clear),
        cmocka_unit_test_teardown(pretty_output_indents_by_two, clear),
        cmocka_unit_test_teardown(every_byte_of_a_string_survives_or_becomes_a_replacement_character, clear),
        cmocka_unit_test_teardown(a_raw_value_takes_its_place_among_the_others, clear),
        cmocka_unit_test_teardown(well_formed_utf8_is_left_alone, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
