/* The log as a whole: its two formats, its filter, and its rings and writer thread (to run under ThreadSanitizer too). */
#include "base/log.h"

#include "base/log_filter.h"
#include "base/log_line.h"
#include "base/log_queue.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* 2026-08-20T10:11:12.123456Z */
#define SAMPLE_TIME 1787220672123456000

static const struct log_field sample_fields[] = {
    LOG_DISPLAY("src.addr", "10.0.1.5:41234"),
    LOG_STRING("src.workload", "curl-1"),
    LOG_STRING("left.out", NULL),
    LOG_NUMBER("bytes_sent", 80),
    LOG_SIGNED("delta", -3),
    LOG_BOOL("transparent", true),
};

static struct log_line sample_line(void)
{
    return (struct log_line){ SAMPLE_TIME, LOG_INFO, "access", "connection complete", sample_fields,
        ARRAY_LENGTH(sample_fields), NULL };
}

static void assert_formats(
    void (*format)(const struct log_line *, struct writer *), const struct log_line *line, const char *expected)
{
    struct writer out = writer_growing();
    format(line, &out);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void a_plain_line_is_tab_separated_with_strings_quoted_and_values_bare(void **state)
{
    (void)state;
    struct log_line line = sample_line();
    assert_formats(log_line_write_plain, &line,
        "2026-08-20T10:11:12.123456Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.1.5:41234 "
        "src.workload=\"curl-1\" "
        "bytes_sent=80 delta=-3 transparent=true\n");
}

static void the_tab_after_the_message_is_there_without_fields_and_the_scope_is_short(void **state)
{
    (void)state;
    struct log_line line = { SAMPLE_TIME, LOG_WARN, "ztunnel::xds::client", "Stream established", NULL, 0, NULL };
    assert_formats(
        log_line_write_plain, &line, "2026-08-20T10:11:12.123456Z\twarn\txds::client\tStream established\t\n");
}

static void a_json_line_has_its_keys_in_order_and_the_whole_scope(void **state)
{
    (void)state;
    struct log_line line = sample_line();
    line.target = "ztunnel::access";
    assert_formats(log_line_write_json, &line,
        "{\"level\":\"info\",\"time\":\"2026-08-20T10:11:12.123456Z\",\"scope\":\"ztunnel::access\","
        "\"message\":\"connection "
        "complete\",\"src.addr\":\"10.0.1.5:41234\",\"src.workload\":\"curl-1\",\"bytes_sent\":80,"
        "\"delta\":-3,\"transparent\":true}\n");
}

static void a_line_without_message_has_fields_only(void **state)
{
    (void)state;
    struct log_field field = LOG_STRING("result", "success");
    struct log_line line = { SAMPLE_TIME, LOG_DEBUG, "dns", NULL, &field, 1, NULL };
    assert_formats(log_line_write_plain, &line, "2026-08-20T10:11:12.123456Z\tdebug\tdns\tresult=\"success\"\n");
    assert_formats(log_line_write_json, &line,
        "{\"level\":\"debug\",\"time\":\"2026-08-20T10:11:12.123456Z\",\"scope\":\"dns\",\"result\":\"success\"}\n");
}

static void values_from_peers_cannot_forge_a_line(void **state)
{
    (void)state;
    struct log_field fields[] = { LOG_STRING("s", "a\"b\\c\nd\te\x1b\xFF"), LOG_DISPLAY("d", "x\ny\x7f") };
    struct log_line line = { SAMPLE_TIME, LOG_ERROR, "t", "m", fields, 2, NULL };
    assert_formats(log_line_write_plain, &line,
        "2026-08-20T10:11:12.123456Z\terror\tt\tm\ts=\"a\\\"b\\\\c\\nd\\te\\u{1b}\xEF\xBF\xBD\" d=x\\ny\\u{7f}\n");
}

/* U+009B begins a terminal's command as ESC [ does; U+00A0 is the first that is none. */
static void the_second_set_of_control_characters_is_escaped_too(void **state)
{
    (void)state;
    struct log_field fields[] = { LOG_STRING("s", "a\xC2\x9B"
                                                  "31mb\xC2\xA0\xC3\x9B"),
        LOG_DISPLAY("d", "x\xC2\x80y\xC2\x9F") };
    struct log_line line = { SAMPLE_TIME, LOG_ERROR, "t", "m", fields, 2, NULL };
    assert_formats(log_line_write_plain, &line,
        "2026-08-20T10:11:12.123456Z\terror\tt\tm\ts=\"a\\u{9b}31mb\xC2\xA0\xC3\x9B\" d=x\\u{80}y\\u{9f}\n");
    struct writer out = writer_growing();
    log_line_add_harmless(&out, "\xC2\x9B"
                                "2J");
    assert_string_equal(writer_string(&out), "\\u{9b}2J");
    writer_free(&out);
}

static const struct log_spans sample_spans = { .count = 2,
    .spans = { { "proxy", { LOG_DISPLAY("wl", "default/web") } },
        { "inbound", { LOG_NUMBER("id", 7), LOG_DISPLAY("peer", "10.0.0.1:5") } } } };

static void spans_follow_the_scope_in_plain_lines_and_the_fields_in_json(void **state)
{
    (void)state;
    struct log_field field = LOG_STRING("k", "v");
    struct log_line line = { SAMPLE_TIME, LOG_INFO, "ztunnel::proxy::inbound", "m", &field, 1, &sample_spans };
    assert_formats(log_line_write_plain, &line,
        "2026-08-20T10:11:12.123456Z\tinfo\tproxy::inbound:proxy{wl=default/web}:inbound{id=7 "
        "peer=10.0.0.1:5}\tm\tk=\"v\"\n");
    assert_formats(log_line_write_json, &line,
        "{\"level\":\"info\",\"time\":\"2026-08-20T10:11:12.123456Z\",\"scope\":\"ztunnel::proxy::inbound\","
        "\"message\":\"m\",\"k\":\"v\",\"proxy\":{\"wl\":\"default/web\"},"
        "\"inbound\":{\"id\":7,\"peer\":\"10.0.0.1:5\"}}\n");
}

static void a_span_without_fields_has_no_braces(void **state)
{
    (void)state;
    const struct log_spans spans = { .count = 1, .spans = { { "xds", { LOG_STRING("id", NULL) } } } };
    struct log_line line = { SAMPLE_TIME, LOG_INFO, "t", "m", NULL, 0, &spans };
    assert_formats(log_line_write_plain, &line, "2026-08-20T10:11:12.123456Z\tinfo\tt:xds\tm\t\n");
}

static struct log_filter *filter_of(const char *text)
{
    struct log_filter *filter = NULL;
    struct result result = log_filter_parse(NULL, text, &filter);
    assert_string_equal(result.message, "");
    return filter;
}

static void the_longest_prefix_decides(void **state)
{
    (void)state;
    struct log_filter *filter = filter_of("ztunnel=warn,ztunnel::xds=trace,access=off,info");
    assert_true(log_filter_allows(filter, LOG_TRACE, "ztunnel::xds::client"));
    assert_false(log_filter_allows(filter, LOG_INFO, "ztunnel::proxy"));
    assert_true(log_filter_allows(filter, LOG_WARN, "ztunnel::proxy"));
    assert_false(log_filter_allows(filter, LOG_ERROR, "access"));
    assert_true(log_filter_allows(filter, LOG_INFO, "other"));
    assert_false(log_filter_allows(filter, LOG_DEBUG, "other"));
    log_filter_free(filter);
}

static void without_a_bare_level_other_targets_are_off(void **state)
{
    (void)state;
    struct log_filter *filter = filter_of("access=debug");
    assert_true(log_filter_allows(filter, LOG_DEBUG, "access"));
    assert_false(log_filter_allows(filter, LOG_ERROR, "dns"));
    log_filter_free(filter);
    filter = filter_of("");
    assert_true(log_filter_allows(filter, LOG_INFO, "dns"));
    log_filter_free(filter);
}

static void a_filter_is_described_most_specific_first_and_later_parts_win(void **state)
{
    (void)state;
    char text[128];
    struct log_filter *filter = filter_of(" WARN ,dns=trace,hickory_server::server=off,access=info,access=debug,info,");
    log_filter_describe(filter, text, sizeof text);
    assert_string_equal(text, "hickory_server::server=off,access=debug,dns=trace,info");
    log_filter_describe(filter, text, 8);
    assert_string_equal(text, "hickory");
    log_filter_free(filter);
}

static void a_bad_filter_is_refused_by_its_part_at_fault(void **state)
{
    (void)state;
    const char *const refused[] = { "verbose", "access:debug", "access=", "=debug", "access=loud", "info=debug=x" };
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        char whole[64];
        struct log_filter *filter = NULL;
        snprintf(whole, sizeof whole, "info,%s", refused[i]);
        struct result result = log_filter_parse(NULL, whole, &filter);
        assert_int_equal(result.code, RESULT_INVALID);
        assert_true(text_starts_with(result.message, refused[i]));
        assert_null(filter);
    }
}

static void what_is_always_there_leads_and_says_nothing_about_the_rest(void **state)
{
    (void)state;
    static const struct {
        const char *text, *described;
    } cases[] = {
        { "access=debug,info", "noisy::server=off,access=debug,info" },
        { "", "noisy::server=off,info" },
        { "access=debug", "noisy::server=off,access=debug" },
        { "noisy::server=warn", "noisy::server=warn" },
        { "noisy::server=off,debug", "noisy::server=off,debug" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct log_filter *filter;
        char described[128];
        struct result result = log_filter_parse("noisy::server=off", cases[i].text, &filter);
        assert_true(result_is_ok(&result));
        log_filter_describe(filter, described, sizeof described);
        assert_string_equal(described, cases[i].described);
        log_filter_free(filter);
    }
}

/* Bursts come and go: what the ring had to touch for them is not kept, and nothing is lost by that. */
static void a_ring_forgets_the_memory_of_a_burst_and_no_line(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new();
    struct writer out = writer_growing();
    uint8_t line[1000];
    for (int round = 0; round < 20; round++) {
        size_t put = 0, taken = 0;
        memset(line, round + 1, sizeof line);
        for (; put < (round % 2 == 0 ? 3500 : 3); put++) {
            assert_true(log_queue_put(queue, bytes_of(line, sizeof line)));
        }
        for (; log_queue_take(queue, &out); taken++) {
            assert_int_equal(out.data[0], round + 1);
            assert_int_equal(out.data[out.length - 1], round + 1);
            writer_clear(&out);
        }
        assert_int_equal(taken, put);
    }
    writer_free(&out);
    log_queue_free(queue);
}

static void a_queue_gives_lines_back_in_order_through_many_turns_of_the_ring(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new();
    struct writer out = writer_growing();
    uint8_t line[3000];
    unsigned next_in = 0, next_out = 0;
    while (next_out < 5000) {
        for (unsigned burst = 0; burst < 1 + next_in % 60; burst++) {
            size_t length = 5 + (next_in * 37) % (sizeof line - 5);
            memset(line, (int)(next_in % 251), length);
            assert_true(log_queue_put(queue, bytes_of(line, length)));
            next_in++;
        }
        while (log_queue_take(queue, &out)) {
            assert_int_equal(out.length, 5 + (next_out * 37) % (sizeof line - 5));
            assert_int_equal(out.data[0], next_out % 251);
            assert_int_equal(out.data[out.length - 1], next_out % 251);
            writer_clear(&out);
            next_out++;
        }
        assert_int_equal(next_out, next_in);
    }
    writer_free(&out);
    log_queue_free(queue);
}

static void a_full_queue_drops_counts_and_recovers(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new();
    struct writer out = writer_growing();
    uint8_t line[1000] = { 'x' };
    size_t accepted = 0, taken = 0;
    while (log_queue_put(queue, bytes_of(line, sizeof line))) {
        accepted++;
    }
    assert_in_range(accepted, LOG_QUEUE_BYTES / 1008 - 2, LOG_QUEUE_BYTES / 1000);
    assert_false(log_queue_put(queue, bytes_of(line, sizeof line)));
    assert_int_equal(atomic_load(&queue->dropped), 2);
    while (log_queue_take(queue, &out)) {
        taken++;
    }
    assert_int_equal(taken, accepted);
    assert_true(log_queue_put(queue, bytes_of(line, sizeof line)));
    writer_free(&out);
    log_queue_free(queue);
}

static FILE *output;

static int start_plain(void **state)
{
    (void)state;
    output = tmpfile();
    struct result result = log_start(&(struct log_settings){ .filter = "debug", .output = fileno(output) });
    return result_is_ok(&result) ? 0 : -1;
}

static int close_output(void **state)
{
    (void)state;
    log_stop();
    fclose(output);
    return 0;
}

static char *stop_and_read(void)
{
    log_stop();
    long size = lseek(fileno(output), 0, SEEK_END);
    char *text = memory_allocate_zeroed((size_t)size + 1, 1);
    assert_int_equal(pread(fileno(output), text, (size_t)size, 0), size);
    return text;
}

static void stopping_writes_what_is_queued(void **state)
{
    (void)state;
    LOG_EVENT(LOG_INFO, "ztunnel::test", "first", LOG_NUMBER("n", 1));
    LOG_EVENT(LOG_TRACE, "ztunnel::test", "not enabled");
    log_print(LOG_DEBUG, "ztunnel::test", "second %s", "by\npeer");
    char *AUTO_FREE text = stop_and_read();
    assert_non_null(strstr(text, "Z\tinfo\ttest\tfirst\tn=1\n"));
    assert_non_null(strstr(text, "Z\tdebug\ttest\tsecond by\\npeer\t\n"));
    assert_null(strstr(text, "not enabled"));
}

static void the_filter_changes_at_run_time(void **state)
{
    (void)state;
    char described[64];
    struct result result = log_set_filter("test=error,info");
    assert_true(result_is_ok(&result));
    log_describe_filter(described, sizeof described);
    assert_string_equal(described, "test=error,info");
    assert_false(log_is_enabled(LOG_WARN, "test"));
    result = log_set_filter("nonsense");
    assert_int_equal(result.code, RESULT_INVALID);
    assert_false(log_is_enabled(LOG_WARN, "test"));
    assert_true(log_is_enabled(LOG_INFO, "other"));
}

static void a_filter_too_long_to_be_described_is_refused(void **state)
{
    (void)state;
    char text[LOG_FILTER_TEXT_BYTES + 64];
    struct log_filter *filter = NULL;
    snprintf(text, sizeof text, "info,%0*d=debug", LOG_FILTER_TEXT_BYTES, 0);
    struct result result = log_filter_parse(NULL, text, &filter);
    assert_int_equal(result.code, RESULT_LIMIT);
    assert_null(filter);
    snprintf(text, sizeof text, "%0*d=error,info", LOG_FILTER_TEXT_BYTES - 32, 0);
    char described[LOG_FILTER_TEXT_BYTES];
    filter = filter_of(text);
    log_filter_describe(filter, described, sizeof described);
    assert_string_equal(described, text);
    log_filter_free(filter);
}

/* To run last: what was set stays. */
static void different_filters_are_bounded_and_those_known_can_always_be_set(void **state)
{
    (void)state;
    struct result result = log_set_filter("first=warn,info");
    char filter[64], described[64];
    unsigned taken = 0;
    while (result_is_ok(&result)) {
        taken++;
        assert_in_range(taken, 1, LOG_FILTERS_MAXIMUM);
        snprintf(filter, sizeof filter, "target%u=debug,info", taken);
        result = log_set_filter(filter);
    }
    assert_int_equal(result.code, RESULT_LIMIT);
    assert_true(taken > LOG_FILTERS_MAXIMUM - 20);
    log_describe_filter(described, sizeof described);
    snprintf(filter, sizeof filter, "target%u=debug,info", taken - 1);
    assert_string_equal(described, filter);
    result = log_set_filter("first=warn,info");
    assert_true(result_is_ok(&result));
    assert_false(log_is_enabled(LOG_INFO, "first"));
    result = log_set_filter("second=warn,info");
    assert_int_equal(result.code, RESULT_LIMIT);
    assert_true(log_is_enabled(LOG_INFO, "second"));
}

static const struct log_spans *count_evaluations(int *evaluations)
{
    ++*evaluations;
    return &sample_spans;
}

static void spans_cost_nothing_where_the_level_is_off(void **state)
{
    (void)state;
    int evaluations = 0;
    LOG_EVENT_IN(count_evaluations(&evaluations), LOG_TRACE, "test", "off");
    assert_int_equal(evaluations, 0);
    LOG_EVENT_IN(count_evaluations(&evaluations), LOG_INFO, "test", "on");
    log_print_in(&sample_spans, LOG_INFO, "test", "printed %d", 5);
    assert_int_equal(evaluations, 1);
    char *AUTO_FREE text = stop_and_read();
    assert_non_null(strstr(text, "\ttest:proxy{wl=default/web}:inbound{id=7 peer=10.0.0.1:5}\ton\t\n"));
    assert_non_null(strstr(text, "peer=10.0.0.1:5}\tprinted 5\t\n"));
}

static void say_something(void)
{
    LOG_EVENT_LIMITED(2, NULL, LOG_INFO, "test", "noisy", LOG_NUMBER("n", 1));
}

static void say_of_a_peer(const char *name)
{
    LOG_PRINT_LIMITED(1, NULL, LOG_INFO, "test", "skipping %s", name);
}

static void a_limited_line_about_a_peers_text_cannot_forge_another(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        say_of_a_peer("x\n2026-08-20T10:11:12.123456Z\tinfo\taccess\tforged\t");
    }
    usleep(1100 * 1000);
    say_of_a_peer("y");
    char *AUTO_FREE text = stop_and_read();
    assert_non_null(strstr(text, "\tskipping x\\n2026"));
    assert_null(strstr(text, "\naccess"));
    assert_null(strstr(text, "\n2026-08-20"));
    assert_non_null(strstr(text, "\tskipping y\tdropped="));
}

static void a_noisy_place_is_limited_and_says_what_it_left_out(void **state)
{
    (void)state;
    uint64_t before = log_statistics().dropped_rate;
    for (int i = 0; i < 50; i++) {
        say_something();
    }
    uint64_t dropped = log_statistics().dropped_rate - before;
    assert_in_range(dropped, 44, 48); /* the second may change in between */
    usleep(1100 * 1000);
    say_something();
    char *AUTO_FREE text = stop_and_read();
    assert_non_null(strstr(text, "\tnoisy\tn=1\n"));
    assert_non_null(strstr(text, "\tnoisy\tn=1 dropped="));
}

static void a_line_too_long_is_replaced_by_a_whole_one_that_says_so(void **state)
{
    (void)state;
    char *AUTO_FREE huge = memory_allocate_zeroed(LOG_LINE_MAXIMUM + 1, 1);
    memset(huge, 'x', LOG_LINE_MAXIMUM);
    LOG_EVENT(LOG_INFO, "test", huge);
    char *AUTO_FREE text = stop_and_read();
    assert_true(strlen(text) < 200);
    assert_non_null(strstr(text, "\ta line too long for the log was left out\t\n"));
}

#define THREADS 4
#define LINES 3000

static void *write_lines(void *argument)
{
    unsigned thread = *(unsigned *)argument;
    for (unsigned i = 0; i < LINES; i++) {
        LOG_EVENT(LOG_INFO, "test", "line", LOG_NUMBER("thread", thread), LOG_NUMBER("n", i));
        if (i % 100 == 0) {
            struct result result = log_set_filter(i % 200 == 0 ? "info" : "test=info");
            (void)result;
            usleep(500);
        }
    }
    return NULL;
}

/* Every line is whole, those of a thread are in order, and those missing are accounted for. */
static void assert_lines_are_whole_and_in_order(char *text)
{
    unsigned next[THREADS] = { 0 };
    unsigned long lines = 0, dropped = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        unsigned thread, number;
        unsigned long lost;
        char *fields = strstr(line, "thread=");
        char *report = strstr(line, "\tlog queue was full, lines were dropped\tlines=");
        if (report != NULL) {
            assert_int_equal(sscanf(strstr(report, "lines="), "lines=%lu", &lost), 1);
            dropped += lost;
            continue;
        }
        assert_non_null(fields);
        assert_int_equal(sscanf(fields, "thread=%u n=%u", &thread, &number), 2);
        assert_true(thread < THREADS && number >= next[thread]);
        next[thread] = number + 1;
        lines++;
    }
    assert_int_equal(lines + dropped, THREADS * LINES);
}

static void lines_of_many_threads_arrive_whole_and_in_order(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned numbers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    char *AUTO_FREE text = stop_and_read();
    assert_lines_are_whole_and_in_order(text);
}

static void the_log_can_be_started_again(void **state)
{
    for (int i = 0; i < 3; i++) {
        LOG_EVENT(LOG_INFO, "test", "again");
        char *AUTO_FREE text = stop_and_read();
        assert_non_null(strstr(text, "again"));
        fclose(output);
        assert_int_equal(start_plain(state), 0);
    }
}

static void a_limit_lets_its_burst_through_and_counts_the_rest(void **state)
{
    (void)state;
    struct log_limit limit = { 0 };
    uint64_t dropped = 0;
    unsigned allowed = 0;
    /* A new second may begin once in between. */
    for (int i = 0; i < 100; i++) {
        allowed += log_limit_allows(&limit, 5, &dropped) ? 1 : 0;
    }
    assert_in_range(allowed, 5, 10);
    sleep(1);
    assert_true(log_limit_allows(&limit, 5, &dropped));
    assert_in_range(dropped, 85, 95);
    assert_true(log_limit_allows(&limit, 5, &dropped));
    assert_int_equal(dropped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_line_is_tab_separated_with_strings_quoted_and_values_bare),
        cmocka_unit_test(the_tab_after_the_message_is_there_without_fields_and_the_scope_is_short),
        cmocka_unit_test(a_json_line_has_its_keys_in_order_and_the_whole_scope),
        cmocka_unit_test(a_line_without_message_has_fields_only),
        cmocka_unit_test(values_from_peers_cannot_forge_a_line),
        cmocka_unit_test(the_second_set_of_control_characters_is_escaped_too),
        cmocka_unit_test(spans_follow_the_scope_in_plain_lines_and_the_fields_in_json),
        cmocka_unit_test(a_span_without_fields_has_no_braces),
        cmocka_unit_test(what_is_always_there_leads_and_says_nothing_about_the_rest),
        cmocka_unit_test(a_ring_forgets_the_memory_of_a_burst_and_no_line),
        cmocka_unit_test_setup_teardown(spans_cost_nothing_where_the_level_is_off, start_plain, close_output),
        cmocka_unit_test_setup_teardown(
            a_limited_line_about_a_peers_text_cannot_forge_another, start_plain, close_output),
        cmocka_unit_test_setup_teardown(a_noisy_place_is_limited_and_says_what_it_left_out, start_plain, close_output),
        cmocka_unit_test(the_longest_prefix_decides),
        cmocka_unit_test(without_a_bare_level_other_targets_are_off),
        cmocka_unit_test(a_filter_is_described_most_specific_first_and_later_parts_win),
        cmocka_unit_test(a_bad_filter_is_refused_by_its_part_at_fault),
        cmocka_unit_test(a_queue_gives_lines_back_in_order_through_many_turns_of_the_ring),
        cmocka_unit_test(a_full_queue_drops_counts_and_recovers),
        cmocka_unit_test_setup_teardown(stopping_writes_what_is_queued, start_plain, close_output),
        cmocka_unit_test_setup_teardown(the_filter_changes_at_run_time, start_plain, close_output),
        cmocka_unit_test_setup_teardown(
            a_line_too_long_is_replaced_by_a_whole_one_that_says_so, start_plain, close_output),
        cmocka_unit_test_setup_teardown(lines_of_many_threads_arrive_whole_and_in_order, start_plain, close_output),
        cmocka_unit_test_setup_teardown(the_log_can_be_started_again, start_plain, close_output),
        cmocka_unit_test(a_limit_lets_its_burst_through_and_counts_the_rest),
        cmocka_unit_test(a_filter_too_long_to_be_described_is_refused),
        cmocka_unit_test_setup_teardown(
            different_filters_are_bounded_and_those_known_can_always_be_set, start_plain, close_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
