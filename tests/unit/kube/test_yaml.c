/* YAML text to trees: what kubectl would read, with lines, within bounds. */
#include "base/memory.h"
#include "base/writer.h"
#include "kube/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct yaml_stream stream;

static struct result parse(const char *text)
{
    return yaml_parse(bytes_of_string(text), false, &stream);
}

static const struct yaml_node *root_of(const char *text)
{
    struct result result = parse(text);
    assert_string_equal(result.message, "");
    assert_int_equal(stream.count, 1);
    return stream.documents[0].root;
}

static int tear_down(void **state)
{
    (void)state;
    yaml_stream_free(&stream);
    return 0;
}

static void assert_refused(const char *text, uint32_t line, const char *part)
{
    struct result result = parse(text);
    assert_false(result_is_ok(&result));
    assert_int_equal(stream.error_line, line);
    assert_non_null(strstr(result.message, part));
}

static void yes_is_a_boolean_unless_quoted(void **state)
{
    (void)state;
    const struct yaml_node *root = root_of("a: yes\nb: \"yes\"\nc: off\nd: 'no'\ne: Yes!\n");
    assert_int_equal(yaml_get(root, "a")->kind, YAML_BOOL);
    assert_true(yaml_get(root, "a")->boolean);
    assert_int_equal(yaml_get(root, "b")->kind, YAML_STRING);
    assert_int_equal(yaml_get(root, "c")->kind, YAML_BOOL);
    assert_false(yaml_get(root, "c")->boolean);
    assert_int_equal(yaml_get(root, "d")->kind, YAML_STRING);
    assert_int_equal(yaml_get(root, "e")->kind, YAML_STRING);
}

static void numbers_are_read_in_every_base(void **state)
{
    (void)state;
    const struct yaml_node *root =
        root_of("[80, 0x50, 0120, 0b1010000, 1_000, -5, +5, 1.5, 1e3, .inf, 10.0.0.1, 08, 5m]");
    static const struct {
        enum yaml_kind kind;
        uint64_t magnitude;
    } expected[] = {
        { YAML_INTEGER, 80 },
        { YAML_INTEGER, 80 },
        { YAML_INTEGER, 80 },
        { YAML_INTEGER, 80 },
        { YAML_INTEGER, 1000 },
        { YAML_INTEGER, 5 },
        { YAML_INTEGER, 5 },
        { YAML_FLOAT, 0 },
        { YAML_FLOAT, 0 },
        { YAML_FLOAT, 0 },
        { YAML_STRING, 0 },
        { YAML_FLOAT, 0 },
        { YAML_STRING, 0 },
    };
    assert_int_equal(root->children.count, ARRAY_LENGTH(expected));
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        const struct yaml_node *node = root->children.items[i].value;
        assert_int_equal(node->kind, expected[i].kind);
        if (node->kind == YAML_INTEGER) {
            assert_int_equal(node->integer.magnitude, expected[i].magnitude);
            assert_int_equal(node->integer.is_negative, i == 5);
        }
    }
}

static void every_node_knows_its_line(void **state)
{
    (void)state;
    const struct yaml_node *root = root_of("# a comment\na:\n  b:\n  - 1\n  - x: 2\n    z: |\n      text\n");
    const struct yaml_node *list = yaml_get(yaml_get(root, "a"), "b");
    assert_int_equal(root->line, 2);
    assert_int_equal(list->children.items[0].value->line, 4);
    assert_int_equal(list->children.items[1].value->line, 5);
    assert_int_equal(list->children.items[1].value->children.items[1].key_line, 6);
    assert_string_equal(yaml_get(list->children.items[1].value, "z")->text, "text\n");
}

static void documents_are_separated_and_empty_ones_left_out(void **state)
{
    (void)state;
    struct result result = parse("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n");
    assert_true(result_is_ok(&result));
    assert_int_equal(stream.count, 2);
    assert_int_equal(stream.documents[1].line, 7);
}

static void an_empty_file_has_no_documents(void **state)
{
    (void)state;
    struct result result = parse("");
    assert_true(result_is_ok(&result));
    assert_int_equal(stream.count, 0);
}

static void keys_become_their_json_text(void **state)
{
    (void)state;
    const struct yaml_node *root = root_of("0x50: a\non: b\n");
    assert_string_equal(yaml_get(root, "80")->text, "a");
    assert_string_equal(yaml_get(root, "true")->text, "b");
}

static void aliases_and_merge_keys_are_followed(void **state)
{
    (void)state;
    const struct yaml_node *root = root_of("base: &base {a: 1, b: 2}\nx: {<<: *base, b: 3}\nz: *base\n");
    assert_string_equal(yaml_get(yaml_get(root, "x"), "a")->text, "1");
    assert_string_equal(yaml_get(yaml_get(root, "x"), "b")->text, "3");
    assert_ptr_equal(yaml_get(root, "z"), yaml_get(root, "base"));
    assert_null(stream.documents[0].duplicate_key);
}

static void a_repeated_key_is_noticed(void **state)
{
    (void)state;
    root_of("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n");
    assert_string_equal(stream.documents[0].duplicate_key, "c");
    assert_int_equal(stream.documents[0].duplicate_line, 5);
}

static void an_alias_to_itself_is_refused(void **state)
{
    (void)state;
    assert_refused("a: &a\n  b: *a\n", 2, "refers to the value it stands in");
}

static void an_unknown_alias_is_refused(void **state)
{
    (void)state;
    assert_refused("a: *b\n", 1, "does not exist");
}

static void aliases_cannot_expand_without_bound(void **state)
{
    (void)state;
    struct writer text = writer_growing();
    writer_add_string(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 10; i++) {
        writer_print(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1,
            i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    }
    struct result result = parse(writer_string(&text));
    writer_free(&text);
    assert_int_equal(result.code, RESULT_LIMIT);
    assert_non_null(strstr(result.message, "expand"));
}

static void depth_is_bounded(void **state)
{
    (void)state;
    struct writer text = writer_growing();
    for (int i = 0; i < 100000; i++) {
        writer_add_string(&text, "[");
    }
    struct result result = parse(writer_string(&text));
    writer_free(&text);
    assert_int_equal(result.code, RESULT_LIMIT);
    assert_non_null(strstr(result.message, "nested too deeply"));
}

static void text_that_is_not_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    assert_refused("a:\n  b: 1\n c: 2\n", 3, "indentation");
}

static void bytes_that_are_not_utf8_are_refused(void **state)
{
    (void)state;
    assert_refused("a: \xff\n", 0, "UTF-8");
}

static void tags_are_refused_but_for_str(void **state)
{
    (void)state;
    assert_string_equal(yaml_get(root_of("a: !!str 80\n"), "a")->text, "80");
    assert_int_equal(yaml_get(stream.documents[0].root, "a")->kind, YAML_STRING);
    yaml_stream_free(&stream);
    assert_refused("a: !!binary aGk=\n", 1, "tags");
}

static void json_is_read_as_such(void **state)
{
    (void)state;
    const char *text = "{\"a\": \"\\u0041\", \"b\": [true, null, 1.5]}";
    struct result result = yaml_parse(bytes_of_string(text), true, &stream);
    assert_string_equal(result.message, "");
    assert_string_equal(yaml_get(stream.documents[0].root, "a")->text, "A");
    assert_int_equal(yaml_get(stream.documents[0].root, "b")->children.items[1].value->kind, YAML_NULL);
}

static void equal_trees_have_equal_hashes_whatever_their_style(void **state)
{
    (void)state;
    uint64_t block = yaml_hash(root_of("a:\n- 1\n- b: c\n"));
    yaml_stream_free(&stream);
    uint64_t flow = yaml_hash(root_of("{a: [1, {b: \"c\"}]}"));
    yaml_stream_free(&stream);
    uint64_t other = yaml_hash(root_of("{a: [\"1\", {b: c}]}"));
    assert_true(block == flow);
    assert_true(block != other);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(yes_is_a_boolean_unless_quoted),
        TEST(numbers_are_read_in_every_base),
        TEST(every_node_knows_its_line),
        TEST(documents_are_separated_and_empty_ones_left_out),
        TEST(an_empty_file_has_no_documents),
        TEST(keys_become_their_json_text),
        TEST(aliases_and_merge_keys_are_followed),
        TEST(a_repeated_key_is_noticed),
        TEST(an_alias_to_itself_is_refused),
        TEST(an_unknown_alias_is_refused),
        TEST(aliases_cannot_expand_without_bound),
        TEST(depth_is_bounded),
        TEST(text_that_is_not_yaml_is_refused_with_its_line),
        TEST(bytes_that_are_not_utf8_are_refused),
        TEST(tags_are_refused_but_for_str),
        TEST(json_is_read_as_such),
        TEST(equal_trees_have_equal_hashes_whatever_their_style),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
