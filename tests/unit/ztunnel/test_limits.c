/* What is refused at a limit, by which name, and what two workers that serve one workload count together. */
#include "cmocka_all.h"

#include "ztunnel/limits.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

#include <string.h>

/* A pod on each of two workers, as in dedicated mode. */
struct fixture {
    struct configuration configuration;
    struct shared_state shared;
    struct pod_totals *totals;
    struct worker workers[2];
    struct pod pods[2];
};

static int set_up(void **state)
{
    struct fixture *fixture = NEW_LINES(struct fixture);
    fixture->configuration.worker_count = 2;
    fixture->shared.configuration = &fixture->configuration;
    fixture->shared.metrics = metric_registry_new(ZTUNNEL_METRICS, METRIC_COUNT);
    fixture->totals = NEW_LINES(struct pod_totals);
    for (int i = 0; i < LIMIT_COUNT; i++) {
        fixture->shared.limits.values[i] = 1000;
    }
    fixture->shared.limits.values[LIMIT_PROCESS_BYTES] = 1 << 20;
    for (int i = 0; i < 2; i++) {
        struct worker *worker = &fixture->workers[i];
        worker->shared = &fixture->shared;
        worker->metrics = metric_shard_new(fixture->shared.metrics);
        worker->buffers = buffer_pool_new();
        list_initialise(&worker->pods);
        fixture->pods[i].worker = worker;
        fixture->pods[i].totals = fixture->totals;
        fixture->pods[i].account.pinned.whole = &worker->pinned;
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++) {
        buffer_pool_free(fixture->workers[i].buffers);
    }
    metric_registry_free(fixture->shared.metrics);
    memory_free(fixture->totals);
    memory_free(fixture);
    return 0;
}

static void streams_and_handshakes_count_over_all_workers_of_a_workload(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 1000; i++) {
        assert_null(limits_refuse_handshake(&fixture->pods[i % 2]));
        assert_null(limits_refuse_stream(&fixture->pods[i % 2]));
        pod_count_handshake(&fixture->pods[i % 2], 1);
        pod_count_stream(&fixture->pods[i % 2], 1);
    }
    pod_count_stream(&fixture->pods[1], 1);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(limits_refuse_handshake(&fixture->pods[i]), "the limit pod_handshakes=1000 is reached");
        assert_string_equal(limits_refuse_stream(&fixture->pods[i]), "the limit pod_streams=1000 is reached");
    }
    pod_count_handshake(&fixture->pods[0], -1);
    pod_count_stream(&fixture->pods[0], -1);
    assert_null(limits_refuse_handshake(&fixture->pods[1]));
    assert_null(limits_refuse_stream(&fixture->pods[1]));
}

static void pod_whose_readers_hold_too_much_gets_nothing_new(void **state)
{
    struct fixture *fixture = *state;
    fixture->pods[0].account.pinned.bytes = 1001;
    assert_string_equal(limits_refuse_stream(&fixture->pods[0]), "the limit pod_bytes=1000 is reached");
    assert_string_equal(limits_refuse_connection(&fixture->pods[0], 10), "the limit pod_bytes=1000 is reached");
    assert_null(limits_refuse_stream(&fixture->pods[1]));
    assert_null(limits_refuse_connection(&fixture->pods[1], 10));
    fixture->pods[0].account.pinned.bytes = 1000;
    assert_null(limits_refuse_stream(&fixture->pods[0]));
}

static void worker_that_holds_its_share_of_the_bytes_takes_nothing_new(void **state)
{
    struct fixture *fixture = *state;
    void *blocks[64];
    size_t count = 0;
    while (limits_refuse_stream(&fixture->pods[0]) == NULL && count < ARRAY_LENGTH(blocks)) {
        blocks[count++] = buffer_pool_take(fixture->workers[0].buffers);
    }
    assert_true(
        count * BUFFER_BLOCK_BYTES >= (1 << 19) && count * BUFFER_BLOCK_BYTES < (1 << 19) + 2 * BUFFER_BLOCK_BYTES);
    assert_string_equal(limits_refuse_connection(&fixture->pods[0], 10), "the limit process_bytes=1048576 is reached");
    assert_null(limits_refuse_connection(&fixture->pods[1], 10));
    while (count > 0) {
        buffer_pool_give(fixture->workers[0].buffers, blocks[--count]);
    }
}

static void connections_and_descriptors_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    fixture->pods[0].account.descriptors = 1000;
    assert_string_equal(limits_refuse_connection(&fixture->pods[0], 10), "the limit pod_connections=1000 is reached");
    assert_string_equal(
        limits_refuse_connection(&fixture->pods[1], 1000), "the limit process_descriptors=1000 is reached");
}

static void every_limit_has_a_name_a_scope_and_an_effect(void **state)
{
    (void)state;
    for (int i = 0; i < LIMIT_COUNT; i++) {
        assert_non_null(limit_name((enum limit)i));
        assert_true(strlen(limit_scope((enum limit)i)) > 0);
        assert_true(strlen(limit_effect((enum limit)i)) > 0);
    }
}

static void one_pod_never_gets_all_of_the_process(void **state)
{
    (void)state;
    struct configuration configuration = { .proxy_mode = PROXY_MODE_SHARED, .worker_count = 2 };
    struct limits shared = limits_resolve(&configuration);
    assert_true(shared.values[LIMIT_POD_BYTES] < shared.values[LIMIT_PROCESS_BYTES] / 2);
    assert_true(shared.values[LIMIT_POD_CONNECTIONS] < shared.values[LIMIT_PROCESS_DESCRIPTORS]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(streams_and_handshakes_count_over_all_workers_of_a_workload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pod_whose_readers_hold_too_much_gets_nothing_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(worker_that_holds_its_share_of_the_bytes_takes_nothing_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connections_and_descriptors_are_bounded, set_up, tear_down),
        cmocka_unit_test(every_limit_has_a_name_a_scope_and_an_effect),
        cmocka_unit_test(one_pod_never_gets_all_of_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
