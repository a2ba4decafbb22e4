#include "base/clock.h"

#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND NANOSECONDS_PER_SECOND

static void the_steady_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t before = clock_monotonic_ns();
    assert_true(before > 0 && clock_monotonic_ns() >= before);
    assert_in_range(clock_wall_s(), time(NULL) - 2, time(NULL) + 2);
}

static void times_are_formatted_as_rfc_3339(void **state)
{
    (void)state;
    char text[40];
    clock_format_rfc3339(1787220672123456789, 6, text);
    assert_string_equal(text, "2026-08-20T10:11:12.123456Z");
    clock_format_rfc3339(1787220672123456789, 0, text);
    assert_string_equal(text, "2026-08-20T10:11:12Z");
    clock_format_rfc3339(-1, 9, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
}

static void times_with_fractions_and_offsets_are_read(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t wall_ns;
    } cases[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "2026-08-20T10:11:12.123456789Z", 1787220672123456789 },
        { "2026-08-20T12:11:12.1234567891234+02:00", 1787220672123456789 },
        { "2026-08-20t05:41:12-04:30", 1787220672000000000 },
        { "2024-02-29T00:00:00z", 1709164800000000000 },
        { "1969-12-31T23:59:59.5Z", -500000000 },
        { "2016-12-31T23:59:60Z", 1483228800000000000 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t wall_ns = 1;
        struct result result = clock_parse_rfc3339(cases[i].text, &wall_ns);
        assert_string_equal(result.message, "");
        assert_true(wall_ns == cases[i].wall_ns);
    }
}

static void what_is_no_time_is_refused_by_name(void **state)
{
    (void)state;
    const char *const refused[] = { "", "2026-08-20", "2026-08-20T10:11:12", "2026-08-20T10:11:12Z ",
        "2026-13-20T10:11:12Z", "2025-02-29T00:00:00Z", "2026-08-20T24:00:00Z", "2026-08-20T10:11:12.Z",
        "2026-08-20T10:11:12+0200", "2026-08-20 10:11:12Z", "0000-01-01T00:00:00Z", "9999-01-01T00:00:00Z",
        "+026-08-20T10:11:12Z" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int64_t wall_ns;
        struct result result = clock_parse_rfc3339(refused[i], &wall_ns);
        assert_int_equal(result.code, RESULT_INVALID);
        assert_true(strncmp(result.message, refused[i], strlen(refused[i])) == 0);
    }
}

/* The C library's own calendar as oracle. */
static void every_day_of_two_centuries_comes_back(void **state)
{
    (void)state;
    for (int64_t day = -25000; day < 60000; day += 13) {
        time_t seconds = day * 86400 + 12345;
        char text[40];
        struct tm broken_down;
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &broken_down));
        int64_t wall_ns;
        struct result result = clock_parse_rfc3339(text, &wall_ns);
        assert_true(result_is_ok(&result) && wall_ns == seconds * (int64_t)SECOND);
    }
}

static void durations_follow_the_grammar(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t duration_ns;
    } cases[] = {
        { "90", 90 * SECOND },
        { "5m", 300 * SECOND },
        { "1h30m", 5400 * SECOND },
        { "1m*10", 600 * SECOND },
        { "1m 30", 90 * SECOND },
        { "1m+30s", 90 * SECOND },
        { "1m + 30s * 2", 120 * SECOND },
        { "60*60*24", 86400 * SECOND },
        { "250MS", 250 * NANOSECONDS_PER_MILLISECOND },
        { "3us", 3000 },
        { "3\xC2\xB5s", 3000 },
        { "7ns", 7 },
        { "2Weeks", 14 * 86400 * SECOND },
        { "1mon", 30 * 86400 * SECOND },
        { "1y", 365 * 86400 * SECOND },
        { "0", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t duration_ns = 1;
        struct result result = duration_parse(cases[i].text, &duration_ns);
        assert_string_equal(result.message, "");
        assert_true(duration_ns == cases[i].duration_ns);
    }
}

static void what_is_no_duration_is_refused_by_name(void **state)
{
    (void)state;
    const char *const refused[] = { "", " ", "m", "5 m", "-5s", "+5s", "5x", "1.5h", "5m+", "5m*", "5m ", "5m**2",
        "600y", "18446744073709551615", "99999999999999999999s", "100y*100y" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        uint64_t duration_ns;
        struct result result = duration_parse(refused[i], &duration_ns);
        assert_int_equal(result.code, RESULT_INVALID);
        assert_true(strncmp(result.message, refused[i], strlen(refused[i])) == 0);
    }
}

static void spans_are_whole_milliseconds(void **state)
{
    (void)state;
    char text[32];
    duration_format_ms(1500 * NANOSECONDS_PER_MILLISECOND + 999999, text);
    assert_string_equal(text, "1500ms");
    duration_format_ms(999, text);
    assert_string_equal(text, "0ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_steady_clock_goes_forward),
        cmocka_unit_test(times_are_formatted_as_rfc_3339),
        cmocka_unit_test(times_with_fractions_and_offsets_are_read),
        cmocka_unit_test(what_is_no_time_is_refused_by_name),
        cmocka_unit_test(every_day_of_two_centuries_comes_back),
        cmocka_unit_test(durations_follow_the_grammar),
        cmocka_unit_test(what_is_no_duration_is_refused_by_name),
        cmocka_unit_test(spans_are_whole_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
