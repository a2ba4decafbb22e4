#include "base/result.h"

#include "base/bytes.h"
#include "base/text.h"
#include "cmocka_all.h"

#include <errno.h>

static void a_failure_carries_its_code_and_sentence(void **state)
{
    (void)state;
    struct result result = result_fail(RESULT_LIMIT, "%s: more than %d", "streams", 100);
    assert_false(result_is_ok(&result));
    assert_int_equal(result.code, RESULT_LIMIT);
    assert_string_equal(result.message, "streams: more than 100");
    assert_string_equal(result_code_name(result.code), "limit");
}

static void success_has_no_message(void **state)
{
    (void)state;
    struct result result = result_ok();
    assert_true(result_is_ok(&result));
    assert_string_equal(result.message, "");
}

static void a_system_failure_names_the_error_as_the_rust_ztunnel_does(void **state)
{
    (void)state;
    struct result result = result_system(ECONNREFUSED, "10.0.0.1:80");
    assert_int_equal(result.code, RESULT_SYSTEM);
    assert_string_equal(result.message, "10.0.0.1:80: Connection refused (os error 111)");
}

static void context_goes_in_front_and_keeps_the_code(void **state)
{
    (void)state;
    struct result result = result_in(result_fail(RESULT_DENIED, "no"), "file %s", "a");
    assert_int_equal(result.code, RESULT_DENIED);
    assert_string_equal(result.message, "file a: no");
    result = result_in(result_ok(), "file");
    assert_true(result_is_ok(&result));
    assert_string_equal(result.message, "");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    char text[400];
    for (size_t padding = 0; padding < 4; padding++) {
        memset(text, 'x', padding);
        for (size_t i = padding; i + 3 < sizeof text; i += 3) {
            memcpy(text + i, "\xE2\x82\xAC", 4);
        }
        struct result result = result_fail(RESULT_INVALID, "%s", text);
        assert_true(bytes_is_utf8(bytes_of_string(result.message)));
        assert_in_range(strlen(result.message), sizeof result.message - 3, sizeof result.message - 1);
    }
}

static struct result try_it(struct result inner, bool *went_on)
{
    RESULT_TRY(inner);
    *went_on = true;
    return result_ok();
}

static void try_leaves_with_the_failure_or_goes_on(void **state)
{
    (void)state;
    bool went_on = false;
    struct result result = try_it(result_fail(RESULT_TIMEOUT, "late"), &went_on);
    assert_int_equal(result.code, RESULT_TIMEOUT);
    assert_false(went_on);
    result = try_it(result_ok(), &went_on);
    assert_true(result_is_ok(&result) && went_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_carries_its_code_and_sentence),
        cmocka_unit_test(success_has_no_message),
        cmocka_unit_test(a_system_failure_names_the_error_as_the_rust_ztunnel_does),
        cmocka_unit_test(context_goes_in_front_and_keeps_the_code),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(try_leaves_with_the_failure_or_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
