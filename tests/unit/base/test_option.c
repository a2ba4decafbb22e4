#include "base/option.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "cmocka_all.h"

#include <stdlib.h>

struct settings {
    char *name;
    struct option_list roots;
    bool is_enabled;
    uint16_t port;
    uint32_t streams;
    uint64_t window_bytes;
    uint64_t timeout_ns;
    int mode;
};

static const char *const modes[] = { "shared", "dedicated", NULL };
#define FIELD(member) offsetof(struct settings, member)

static const struct option options[] = {
    { "TEST_NAME", "name", OPTION_STRING, FIELD(name), NULL, NULL, "name", NULL, "General", "Who we are." },
    { "TEST_ROOTS", "root", OPTION_STRING_LIST, FIELD(roots), "a,b", "file", NULL, NULL, "General", "Trusted roots." },
    { "TEST_ENABLED", "enabled", OPTION_BOOL, FIELD(is_enabled), "true", NULL, NULL, NULL, "General",
        "Whether to run." },
    { "TEST_PORT", "port", OPTION_U16, FIELD(port), "15008", "port", NULL, NULL, "Network", "Where to listen." },
    { "TEST_STREAMS", NULL, OPTION_U32, FIELD(streams), "100", "streams", NULL, NULL, "Network", "Streams a tunnel." },
    { "TEST_WINDOW", NULL, OPTION_U64, FIELD(window_bytes), "4194304", "bytes", NULL, NULL, "Network", "Window." },
    { NULL, "timeout", OPTION_DURATION, FIELD(timeout_ns), "5m", NULL, NULL, NULL, "Network", "Patience." },
    { "TEST_MODE", "mode", OPTION_CHOICE, FIELD(mode), "shared", NULL, NULL, modes, "Network", "How to be captured." },
};

static struct settings settings;

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        if (options[i].environment != NULL) {
            unsetenv(options[i].environment);
        }
    }
    memset(&settings, 0, sizeof settings);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    options_free(options, ARRAY_LENGTH(options), &settings);
    return 0;
}

static struct result read_environment(void)
{
    return options_from_environment(options, ARRAY_LENGTH(options), &settings);
}

/* main gives writable strings, which nobody here writes to. */
static struct result read_arguments(int count, const char *const *arguments, int *rest)
{
    char *writable[16];
    assert_in_range(count, 0, ARRAY_LENGTH(writable));
    if (count > 0) {
        memcpy(writable, arguments, (size_t)count * sizeof writable[0]);
    }
    return options_from_arguments(options, ARRAY_LENGTH(options), &settings, count, writable, rest);
}

#define ARGUMENTS(...)                                                                                                 \
    (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), (const char *[])                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void assert_ok(struct result result)
{
    assert_string_equal(result.message, "");
    assert_int_equal(result.code, RESULT_OK);
}

static void defaults_are_set_without_any_environment(void **state)
{
    (void)state;
    assert_ok(read_environment());
    assert_null(settings.name);
    assert_int_equal(settings.roots.count, 2);
    assert_string_equal(settings.roots.items[1], "b");
    assert_true(settings.is_enabled);
    assert_int_equal(settings.port, 15008);
    assert_int_equal(settings.streams, 100);
    assert_int_equal(settings.window_bytes, 4194304);
    assert_true(settings.timeout_ns == 300ULL * 1000000000);
    assert_int_equal(settings.mode, 0);
}

static void the_environment_replaces_defaults(void **state)
{
    (void)state;
    setenv("TEST_NAME", "", 1);
    setenv("TEST_ROOTS", " x , ,y,z", 1);
    setenv("TEST_ENABLED", "false", 1);
    setenv("TEST_MODE", "dedicated", 1);
    assert_ok(read_environment());
    assert_string_equal(settings.name, "");
    assert_int_equal(settings.roots.count, 3);
    assert_string_equal(settings.roots.items[0], "x");
    assert_false(settings.is_enabled);
    assert_int_equal(settings.mode, 1);
    assert_true(option_is_set_in_environment(&options[0]));
    assert_false(option_is_set_in_environment(&options[3]));
    assert_false(option_is_set_in_environment(&options[6]));
}

static void a_bad_variable_is_refused_in_one_sentence_that_says_what_would_be_valid(void **state)
{
    (void)state;
    const char *const cases[][3] = {
        { "TEST_ENABLED", "True", "invalid env var TEST_ENABLED=True (must be true or false)" },
        { "TEST_PORT", "65536", "invalid env var TEST_PORT=65536 (must be a whole number from 0 to 65535)" },
        { "TEST_STREAMS", "-1", "invalid env var TEST_STREAMS=-1 (must be a whole number from 0 to 4294967295)" },
        { "TEST_MODE", "both", "invalid env var TEST_MODE=both (TEST_MODE must be one of shared, dedicated)" },
        { "TEST_WINDOW", "", "invalid env var TEST_WINDOW= (must be a whole number from 0 to 18446744073709551615)" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        setenv(cases[i][0], cases[i][1], 1);
        struct result result = read_environment();
        assert_int_equal(result.code, RESULT_INVALID);
        assert_string_equal(result.message, cases[i][2]);
        unsetenv(cases[i][0]);
    }
}

static void flags_win_over_the_environment(void **state)
{
    (void)state;
    int rest = 0;
    setenv("TEST_PORT", "1", 1);
    assert_ok(read_environment());
    assert_ok(read_arguments(
        ARGUMENTS("--port", "2", "--name=x=y", "--enabled=false", "--timeout", "1h", "run", "--port"), &rest));
    assert_int_equal(settings.port, 2);
    assert_string_equal(settings.name, "x=y");
    assert_false(settings.is_enabled);
    assert_true(settings.timeout_ns == 3600ULL * 1000000000);
    assert_int_equal(rest, 6);
}

static void a_lone_boolean_flag_is_true_and_takes_no_value(void **state)
{
    (void)state;
    int rest = 0;
    assert_ok(read_arguments(ARGUMENTS("--enabled", "false"), &rest));
    assert_true(settings.is_enabled);
    assert_int_equal(rest, 1);
}

static void two_dashes_end_the_flags(void **state)
{
    (void)state;
    int rest = 0;
    assert_ok(read_arguments(ARGUMENTS("--port", "7", "--", "--name"), &rest));
    assert_int_equal(rest, 3);
    assert_ok(read_arguments(ARGUMENTS("-"), &rest));
    assert_int_equal(rest, 0);
    assert_ok(read_arguments(0, NULL, &rest));
    assert_int_equal(rest, 0);
}

static void a_repeated_flag_replaces_the_default_list_and_then_adds(void **state)
{
    (void)state;
    int rest;
    assert_ok(read_environment());
    assert_ok(read_arguments(ARGUMENTS("--root", "one,still one", "--root=two"), &rest));
    assert_int_equal(settings.roots.count, 2);
    assert_string_equal(settings.roots.items[0], "one,still one");
    assert_string_equal(settings.roots.items[1], "two");
}

static void a_bad_flag_is_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *arguments[2];
        const char *message;
    } cases[] = {
        { { "--poort", "1" }, "unknown flag --poort (did you mean --port?)" },
        { { "--completely-different", "1" }, "unknown flag --completely-different (see --help)" },
        { { "-x", "1" }, "unknown flag -x (flags begin with two dashes; see --help)" },
        { { "--port", "http" }, "invalid flag --port http (must be a whole number from 0 to 65535)" },
        { { "--enabled", "--timeout" }, "flag --timeout needs a value" },
        { { "--enabled=yes", "" }, "invalid flag --enabled yes (must be true or false)" },
        { { "--timeout", "soon" },
            "invalid flag --timeout soon (must be a duration such as 5m, 1h30m or 90 (seconds))" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int rest;
        struct result result = read_arguments(2, cases[i].arguments, &rest);
        assert_int_equal(result.code, RESULT_INVALID);
        assert_string_equal(result.message, cases[i].message);
    }
}

static void help_and_reference_show_every_option(void **state)
{
    (void)state;
    struct writer help = writer_growing(), reference = writer_growing();
    options_write_help(options, ARRAY_LENGTH(options), &help);
    options_write_reference(options, ARRAY_LENGTH(options), &reference);
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        const char *name = options[i].flag != NULL ? options[i].flag : options[i].environment;
        assert_non_null(strstr(writer_string(&help), name));
        assert_non_null(strstr(writer_string(&reference), name));
        assert_non_null(strstr(writer_string(&help), options[i].help));
    }
    assert_non_null(strstr(writer_string(&help), "Network:\n  --port <port>, or TEST_PORT=<port>\n"));
    assert_non_null(strstr(writer_string(&reference), "### General\n"));
    assert_non_null(strstr(writer_string(&reference), "| `TEST_PORT`, `--port` | port | `15008` | Where to listen. |"));
    writer_free(&help);
    writer_free(&reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_are_set_without_any_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(the_environment_replaces_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_bad_variable_is_refused_in_one_sentence_that_says_what_would_be_valid, setup, teardown),
        cmocka_unit_test_setup_teardown(flags_win_over_the_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lone_boolean_flag_is_true_and_takes_no_value, setup, teardown),
        cmocka_unit_test_setup_teardown(two_dashes_end_the_flags, setup, teardown),
        cmocka_unit_test_setup_teardown(a_repeated_flag_replaces_the_default_list_and_then_adds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_flag_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(help_and_reference_show_every_option, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
