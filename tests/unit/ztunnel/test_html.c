#include "ztunnel/html.h"

#include "cmocka_all.h"

static void assert_text(const char *text, const char *expected)
{
    struct writer out = writer_growing();
    html_add_text(&out, text);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void characters_with_a_meaning_are_escaped(void **state)
{
    (void)state;
    assert_text("<script>alert(\"1\")</script>", "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;");
    assert_text("a&b'c", "a&amp;b&#39;c");
}

static void text_of_any_language_stays(void **state)
{
    (void)state;
    assert_text("Zürich 東京", "Zürich 東京");
}

static void what_is_not_text_is_replaced(void **state)
{
    (void)state;
    assert_text("a\x01\xff"
                "b\x1b",
        "a\xEF\xBF\xBD\xEF\xBF\xBD"
        "b\xEF\xBF\xBD");
    assert_text(NULL, "");
}

static void keys_in_attributes_are_escaped(void **state)
{
    (void)state;
    struct writer out = writer_growing();
    html_add_cell(&out, "shown", "\" onclick=\"x");
    assert_string_equal(writer_string(&out), "<td data-key=\"&quot; onclick=&quot;x\">shown</td>");
    writer_clear(&out);
    html_add_pair_cell(&out, "a", "\"><b>", "<i>");
    assert_string_equal(writer_string(&out),
        "<td class=\"a\" data-key=\"&quot;&gt;&lt;b&gt;\">&quot;&gt;&lt;b&gt;<small>&lt;i&gt;</small></td>");
    writer_free(&out);
}

static void an_empty_cell_has_a_dash(void **state)
{
    (void)state;
    struct writer out = writer_growing();
    html_add_cell(&out, "", NULL);
    html_add_number_cell(&out, "1 KiB", 1024);
    assert_string_equal(writer_string(&out), "<td>\xE2\x80\x93</td><td class=\"n\" data-key=\"1024\">1 KiB</td>");
    writer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_with_a_meaning_are_escaped),
        cmocka_unit_test(text_of_any_language_stays),
        cmocka_unit_test(what_is_not_text_is_replaced),
        cmocka_unit_test(keys_in_attributes_are_escaped),
        cmocka_unit_test(an_empty_cell_has_a_dash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
