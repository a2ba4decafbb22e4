/* Counting in shards and printing the sum. The threaded test is the one to run under ThreadSanitizer. */
#include "telemetry/metric.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const char *const traffic_labels[] = { "reporter", "peer", NULL };
static const char *const capped_labels[] = { "reporter", "peer", NULL };
static const char *const query_labels[] = { "kind", NULL };
static const double query_buckets[] = { 0.0005, 0.001, 0.01, 0.1, 1.0, 5.0, -1 };

enum { STARTS, OPEN, OPENED, BYTES, QUERIES, CAPPED, CLOSED, FAMILY_COUNT };

static const struct metric_family families[FAMILY_COUNT] = {
    [STARTS] = { .name = "starts", .type = METRIC_COUNTER, .help = "Starts", .is_help_verbatim = true },
    [OPEN] = { .name = "open", .type = METRIC_GAUGE, .help = "Open now", .labels = query_labels },
    [OPENED] = { .name = "opened", .type = METRIC_COUNTER, .help = "Opened ever", .labels = traffic_labels },
    [BYTES] = { .name = "size_bytes", .type = METRIC_COUNTER, .help = "Sizes", .unit = "bytes" },
    [QUERIES] = { .name = "query_seconds",
        .type = METRIC_HISTOGRAM,
        .help = "Time of a query",
        .unit = "seconds",
        .labels = query_labels,
        .buckets = query_buckets },
    [CAPPED] = { .name = "capped", .type = METRIC_COUNTER, .help = "Capped", .labels = capped_labels, .series_cap = 3 },
    [CLOSED] = { .name = "closed", .type = METRIC_COUNTER, .help = "Closed ever", .labels = traffic_labels },
};

static struct metric_registry *registry;
static struct metric_shard *shard;

static int setup(void **state)
{
    (void)state;
    registry = metric_registry_new(families, FAMILY_COUNT);
    shard = metric_shard_new(registry);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    metric_registry_free(registry);
    return 0;
}

static char *render(void)
{
    struct writer out = writer_growing();
    metric_registry_render(registry, &out);
    return writer_take_string(&out);
}

#define LABELS(...) ((const char *const[]){ __VA_ARGS__ })

static void count_in(struct metric_shard *in, size_t family, const char *const *labels, uint64_t amount)
{
    struct metric_series *series = metric_series_get(in, family, labels);
    metric_add(series, amount);
    metric_series_put(series);
}

static void families_print_in_table_order_and_labelled_ones_only_with_series(void **state)
{
    (void)state;
    char *AUTO_FREE text = render();
    assert_string_equal(text, "# HELP starts Starts\n"
                              "# TYPE starts counter\n"
                              "starts_total 0\n"
                              "# HELP size_bytes Sizes.\n"
                              "# TYPE size_bytes counter\n"
                              "# UNIT size_bytes bytes\n"
                              "size_bytes_total 0\n"
                              "# EOF\n");
}

static void label_sets_are_summed_over_the_shards(void **state)
{
    (void)state;
    struct metric_shard *second = metric_shard_new(registry);
    metric_count(shard, STARTS, 2);
    metric_count(second, STARTS, 3);
    count_in(shard, OPENED, LABELS("source", "a"), 5);
    count_in(second, OPENED, LABELS("source", "a"), 7);
    count_in(second, OPENED, LABELS("destination", "a"), 1);
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "starts_total 5\n"));
    assert_non_null(strstr(text, "# HELP opened Opened ever.\n# TYPE opened counter\n"
                                 "opened_total{reporter=\"destination\",peer=\"a\"} 1\n"
                                 "opened_total{reporter=\"source\",peer=\"a\"} 12\n"));
    assert_int_equal(metric_total(registry, OPENED), 13);
    assert_int_equal(metric_total(registry, STARTS), 5);
}

static void gauges_may_be_negative_in_one_shard(void **state)
{
    (void)state;
    struct metric_shard *second = metric_shard_new(registry);
    struct metric_series *here = metric_series_get(shard, OPEN, LABELS("x"));
    struct metric_series *there = metric_series_get(second, OPEN, LABELS("x"));
    metric_set(here, -5);
    metric_set(there, 3);
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "open{kind=\"x\"} -2\n"));
    metric_series_put(here);
    metric_series_put(there);
}

static void missing_values_are_unknown_and_hostile_ones_are_escaped(void **state)
{
    (void)state;
    count_in(shard, OPENED, LABELS(NULL, ""), 1);
    count_in(shard, OPENED, LABELS("a\"b\\c\nd", "\xFFok\xC2\xB5"), 1);
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "opened_total{reporter=\"unknown\",peer=\"unknown\"} 1\n"));
    assert_non_null(strstr(text, "opened_total{reporter=\"a\\\"b\\\\c\\nd\",peer=\"\xEF\xBF\xBDok\xC2\xB5\"} 1\n"));
}

static void a_long_value_is_cut_between_characters(void **state)
{
    (void)state;
    char value[METRIC_LABEL_BYTES_MAXIMUM * 2];
    memset(value, 'x', sizeof value);
    memcpy(value + METRIC_LABEL_BYTES_MAXIMUM - 1, "\xE2\x82\xAC", 3);
    value[sizeof value - 1] = '\0';
    count_in(shard, OPEN, LABELS(value), 1);
    char *AUTO_FREE text = render();
    const char *sample = strstr(text, "open{kind=\"");
    assert_non_null(sample);
    assert_int_equal(strspn(sample + strlen("open{kind=\""), "x"), METRIC_LABEL_BYTES_MAXIMUM - 1);
    assert_true(bytes_is_utf8(bytes_of_string(text)));
}

static void histograms_print_cumulative_buckets_count_and_sum(void **state)
{
    (void)state;
    struct metric_shard *second = metric_shard_new(registry);
    struct metric_series *here = metric_series_get(shard, QUERIES, LABELS("a"));
    struct metric_series *there = metric_series_get(second, QUERIES, LABELS("a"));
    metric_observe(here, 0.0005);
    metric_observe(here, 0.05);
    metric_observe(there, 0.05);
    metric_observe(there, 60);
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "# UNIT query_seconds seconds\n"
                                 "query_seconds_bucket{le=\"0.0005\",kind=\"a\"} 1\n"
                                 "query_seconds_bucket{le=\"0.001\",kind=\"a\"} 1\n"
                                 "query_seconds_bucket{le=\"0.01\",kind=\"a\"} 1\n"
                                 "query_seconds_bucket{le=\"0.1\",kind=\"a\"} 3\n"
                                 "query_seconds_bucket{le=\"1.0\",kind=\"a\"} 3\n"
                                 "query_seconds_bucket{le=\"5.0\",kind=\"a\"} 3\n"
                                 "query_seconds_bucket{le=\"+Inf\",kind=\"a\"} 4\n"
                                 "query_seconds_count{kind=\"a\"} 4\n"
                                 "query_seconds_sum{kind=\"a\"} 60.1005\n"));
    metric_series_put(here);
    metric_series_put(there);
}

static void label_sets_over_the_cap_share_the_other_series(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        char peer[8];
        snprintf(peer, sizeof peer, "p%d", i);
        count_in(shard, CAPPED, LABELS("source", peer), 1);
        count_in(shard, CAPPED, LABELS("source", peer), 1);
    }
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "capped_total{reporter=\"other\",peer=\"other\"} 14\n"));
    assert_non_null(strstr(text, "peer=\"p2\"} 2\n"));
    assert_null(strstr(text, "peer=\"p3\""));
    assert_int_equal(metric_total(registry, CAPPED), 20);
}

/* A cap for each thread would be as many times higher as there are threads. */
static void the_cap_is_for_all_shards_together_and_what_is_over_it_is_counted(void **state)
{
    (void)state;
    struct metric_shard *second = metric_shard_new(registry);
    count_in(shard, CAPPED, LABELS("source", "a"), 1);
    count_in(shard, CAPPED, LABELS("source", "b"), 1);
    count_in(second, CAPPED, LABELS("source", "c"), 1);
    count_in(second, CAPPED, LABELS("source", "d"), 1);
    count_in(shard, CAPPED, LABELS("source", "e"), 1);
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "peer=\"c\"} 1\n"));
    assert_non_null(strstr(text, "peer=\"other\"} 2\n"));
    assert_int_equal(metric_over_cap(registry, CAPPED), 2);
    assert_int_equal(metric_over_cap(registry, OPENED), 0);
    assert_int_equal(metric_registry_set_count(registry), 3);
}

static void families_with_the_same_labels_share_a_set_and_print_what_they_counted(void **state)
{
    (void)state;
    struct metric_label_set *set = metric_label_set_get(shard, OPENED, LABELS("source", "a"));
    metric_add(metric_label_set_series(set, CLOSED), 2);
    assert_ptr_equal(metric_label_set_get(shard, CLOSED, LABELS("source", "a")), set);
    char *AUTO_FREE text = render();
    assert_null(strstr(text, "opened_total"));
    assert_non_null(strstr(text, "# TYPE closed counter\nclosed_total{reporter=\"source\",peer=\"a\"} 2\n"));
    metric_add(metric_label_set_series(set, OPENED), 1);
    char *AUTO_FREE later = render();
    assert_non_null(strstr(later, "opened_total{reporter=\"source\",peer=\"a\"} 1\n"));
    metric_label_set_put(set);
    metric_label_set_put(set);
}

static void a_scrape_in_pieces_is_the_whole_one_whatever_expires_meanwhile(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        char peer[16];
        snprintf(peer, sizeof peer, "p%d", i);
        count_in(shard, OPENED, LABELS("source", peer), 1);
    }
    char *AUTO_FREE whole = render();
    struct writer pieces = writer_growing();
    struct metric_scrape *scrape = metric_scrape_new(registry);
    metric_registry_set_grace_ns(registry, 0);
    size_t count = 1;
    while (metric_scrape_next(scrape, 40, &pieces)) {
        if (strstr(writer_string(&pieces), "opened_total") != NULL) {
            metric_registry_expire(registry, clock_monotonic_ns() + 1);
            count_in(shard, OPEN, LABELS("new"), 1);
        }
        count++;
    }
    metric_scrape_free(scrape);
    assert_true(count > 20);
    char *AUTO_FREE text = writer_take_string(&pieces);
    const char *family = "# HELP opened ";
    assert_string_equal(strstr(text, family), strstr(whole, family));
    count_in(shard, OPEN, LABELS("newer"), 1);
    assert_int_equal(metric_total(registry, OPENED), 0);
}

static void expire_all_unused(void)
{
    metric_registry_expire(registry, clock_monotonic_ns() + METRIC_GRACE_NS + 1000000000);
}

static void unused_series_expire_and_start_again_from_zero(void **state)
{
    (void)state;
    struct metric_series *used = metric_series_get(shard, OPENED, LABELS("source", "used"));
    metric_add(used, 4);
    count_in(shard, OPENED, LABELS("source", "idle"), 5);
    count_in(shard, OPENED, LABELS("source", "back"), 6);
    metric_count(shard, STARTS, 1);
    metric_registry_expire(registry, clock_monotonic_ns());
    assert_int_equal(metric_total(registry, OPENED), 15);
    expire_all_unused();
    count_in(shard, OPENED, LABELS("source", "back"), 1);
    char *AUTO_FREE text = render();
    assert_non_null(strstr(text, "peer=\"used\"} 4\n"));
    assert_non_null(strstr(text, "peer=\"back\"} 1\n"));
    assert_null(strstr(text, "idle"));
    assert_non_null(strstr(text, "starts_total 1\n"));
    metric_series_put(used);
}

static void expiry_makes_room_under_the_cap(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            char peer[16];
            snprintf(peer, sizeof peer, "p%d-%d", round, i);
            count_in(shard, CAPPED, LABELS("source", peer), 1);
        }
        char *AUTO_FREE text = render();
        assert_null(strstr(text, "other"));
        expire_all_unused();
    }
}

/* Each scrape begins before the one ahead of it is over, so that there always is one. */
static void expiry_makes_room_while_scrapes_overlap_without_end(void **state)
{
    (void)state;
    struct metric_scrape *under_way = metric_scrape_new(registry);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            char peer[16];
            snprintf(peer, sizeof peer, "p%d-%d", round, i);
            count_in(shard, CAPPED, LABELS("source", peer), 1);
        }
        assert_int_equal(metric_over_cap(registry, CAPPED), 0);
        expire_all_unused();
        struct metric_scrape *next = metric_scrape_new(registry);
        metric_scrape_free(under_way);
        under_way = next;
    }
    metric_scrape_free(under_way);
}

static void what_a_scrape_may_hold_stays_although_newer_ones_are_over(void **state)
{
    (void)state;
    count_in(shard, CAPPED, LABELS("source", "held"), 1);
    size_t before = metric_registry_set_count(registry);
    struct metric_scrape *old = metric_scrape_new(registry);
    expire_all_unused();
    metric_scrape_free(metric_scrape_new(registry));
    count_in(shard, CAPPED, LABELS("source", "new"), 1);
    assert_int_equal(metric_registry_set_count(registry), before + 1);
    metric_scrape_free(old);
    count_in(shard, CAPPED, LABELS("source", "newer"), 1);
    assert_int_equal(metric_registry_set_count(registry), before + 1);
}

/* Else the sum would go down, which reads as a reset counter. */
static void a_label_set_stays_whole_while_any_shard_uses_it(void **state)
{
    (void)state;
    struct metric_shard *second = metric_shard_new(registry);
    count_in(shard, OPENED, LABELS("source", "a"), 100);
    struct metric_series *used = metric_series_get(second, OPENED, LABELS("source", "a"));
    metric_add(used, 1);
    expire_all_unused();
    assert_int_equal(metric_total(registry, OPENED), 101);
    metric_series_put(used);
    expire_all_unused();
    assert_int_equal(metric_total(registry, OPENED), 0);
}

#define THREADS 4
#define CONNECTIONS 4000

static _Atomic int threads_running;

static void *count_connections(void *argument)
{
    struct metric_shard *own = argument;
    for (int i = 0; i < CONNECTIONS; i++) {
        char peer[8];
        snprintf(peer, sizeof peer, "p%d", i % 50);
        struct metric_series *opened = metric_series_get(own, OPENED, LABELS("source", peer));
        struct metric_series *time = metric_series_get(own, QUERIES, LABELS("a"));
        metric_add(opened, 1);
        metric_observe(time, 0.5);
        metric_count(own, STARTS, 1);
        metric_series_put(time);
        metric_series_put(opened);
    }
    threads_running--;
    return NULL;
}

static void start_threads(pthread_t threads[THREADS])
{
    threads_running = THREADS;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_connections, metric_shard_new(registry)), 0);
    }
}

static void scrapes_never_see_less_than_before_and_nothing_is_lost(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint64_t last = 0;
    start_threads(threads);
    while (threads_running > 0) {
        char *AUTO_FREE text = render();
        uint64_t now = metric_total(registry, OPENED);
        assert_true(now >= last && text_ends_with(text, "# EOF\n"));
        last = now;
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(metric_total(registry, OPENED), THREADS * CONNECTIONS);
    assert_int_equal(metric_total(registry, STARTS), THREADS * CONNECTIONS);
    assert_int_equal(metric_total(registry, QUERIES), THREADS * CONNECTIONS);
}

/* With no grace at all, series come and go under the scraper's feet. */
static void expiring_while_others_count_is_safe(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    metric_registry_set_grace_ns(registry, 0);
    start_threads(threads);
    while (threads_running > 0) {
        metric_registry_expire(registry, clock_monotonic_ns());
        char *AUTO_FREE text = render();
        assert_non_null(text);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(metric_total(registry, STARTS), THREADS * CONNECTIONS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            families_print_in_table_order_and_labelled_ones_only_with_series, setup, teardown),
        cmocka_unit_test_setup_teardown(label_sets_are_summed_over_the_shards, setup, teardown),
        cmocka_unit_test_setup_teardown(gauges_may_be_negative_in_one_shard, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_values_are_unknown_and_hostile_ones_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_value_is_cut_between_characters, setup, teardown),
        cmocka_unit_test_setup_teardown(histograms_print_cumulative_buckets_count_and_sum, setup, teardown),
        cmocka_unit_test_setup_teardown(label_sets_over_the_cap_share_the_other_series, setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_cap_is_for_all_shards_together_and_what_is_over_it_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(
            families_with_the_same_labels_share_a_set_and_print_what_they_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_scrape_in_pieces_is_the_whole_one_whatever_expires_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(unused_series_expire_and_start_again_from_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(expiry_makes_room_under_the_cap, setup, teardown),
        cmocka_unit_test_setup_teardown(expiry_makes_room_while_scrapes_overlap_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_scrape_may_hold_stays_although_newer_ones_are_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_label_set_stays_whole_while_any_shard_uses_it, setup, teardown),
        cmocka_unit_test_setup_teardown(scrapes_never_see_less_than_before_and_nothing_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(expiring_while_others_count_is_safe, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
