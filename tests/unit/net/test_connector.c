/* The connector: one outcome for each connection, within its deadline, never from within the start. */
#include "net/connector.h"
#include "unit/net/support.h"

#include <errno.h>

struct attempt {
    struct connector connector;
    bool is_done;
    int descriptor;
    struct result failure;
};

static void record_result(struct connector *connector, int descriptor, const struct result *failure)
{
    struct attempt *attempt = CONTAINER_OF(connector, struct attempt, connector);
    assert_false(attempt->is_done);
    assert_false(connector_is_running(connector));
    attempt->is_done = true;
    attempt->descriptor = descriptor;
    attempt->failure = failure != NULL ? *failure : result_ok();
}

static void start(struct attempt *attempt, struct loop *loop, const struct socket_address *to, uint64_t deadline_ms)
{
    static const struct socket_settings settings;
    int descriptor;
    *attempt = (struct attempt){ .connector.on_result = record_result };
    assert_ok(socket_open(&settings, (enum ip_family)to->ip.family, 0, &descriptor, NULL));
    connector_start(&attempt->connector, loop, descriptor, to, deadline_ms);
}

/* A listener whose queue is full: the kernel drops further handshakes, as a dead host would. */
static int listen_without_answering(struct socket_address *bound, int fillers[2])
{
    static const struct socket_settings settings;
    struct listener_options options = { .address = address_of_text("127.0.0.1:0"), .backlog = 1 };
    struct listener listener;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, bound));
    for (int i = 0; i < 2; i++) {
        assert_ok(socket_open(&settings, IP_V4, 0, &fillers[i], NULL));
        (void)socket_connect(fillers[i], bound);
    }
    return listener.descriptor;
}

static void close_all(int listener, const int fillers[2])
{
    close(fillers[0]);
    close(fillers[1]);
    close(listener);
}

static void test_a_connection_arrives_after_the_start_not_within_it(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct socket_address bound;
    struct attempt attempt;
    int listener = listen_at("127.0.0.1:0", &bound);
    start(&attempt, loop, &bound, 0);
    assert_false(attempt.is_done);
    run_loop_until(loop, &attempt.is_done);
    assert_true(attempt.descriptor >= 0);
    assert_true(result_is_ok(&attempt.failure));
    assert_int_equal(write(attempt.descriptor, "x", 1), 1);
    close(attempt.descriptor);
    close(listener);
    loop_free(loop);
}

static void test_a_refusal_names_address_and_reason(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct socket_address bound;
    struct attempt attempt;
    char expected[128], text[SOCKET_ADDRESS_TEXT_SIZE];
    close(listen_at("[::1]:0", &bound));
    start(&attempt, loop, &bound, 0);
    assert_false(attempt.is_done);
    run_loop_until(loop, &attempt.is_done);
    snprintf(expected, sizeof expected, "connect to %s: Connection refused (os error 111)",
        socket_address_format(&bound, text));
    assert_int_equal(attempt.descriptor, -1);
    assert_int_equal(attempt.failure.code, RESULT_SYSTEM);
    assert_string_equal(attempt.failure.message, expected);
    loop_free(loop);
}

static void test_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct socket_address bound;
    struct attempt attempt;
    int fillers[2];
    int listener = listen_without_answering(&bound, fillers);
    uint64_t start_ns = clock_monotonic_ns();
    start(&attempt, loop, &bound, 50);
    run_loop_until(loop, &attempt.is_done);
    assert_int_equal(attempt.descriptor, -1);
    assert_int_equal(attempt.failure.code, RESULT_TIMEOUT);
    assert_non_null(strstr(attempt.failure.message, "no answer within 50 ms"));
    assert_true(clock_monotonic_ns() - start_ns >= 49 * NANOSECONDS_PER_MILLISECOND);
    close_all(listener, fillers);
    loop_free(loop);
}

static void test_a_handshake_that_needs_time_is_waited_for(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct socket_address bound, peer;
    struct attempt attempt;
    int fillers[2];
    int listener = listen_without_answering(&bound, fillers);
    start(&attempt, loop, &bound, 0);
    loop_run_once(loop, 20);
    assert_false(attempt.is_done);
    int first = socket_accept(listener, &peer), second = socket_accept(listener, &peer);
    assert_true(first >= 0 && second >= 0);
    run_loop_until(loop, &attempt.is_done); /* the kernel's second SYN, after a second */
    assert_true(attempt.descriptor >= 0);
    close(attempt.descriptor);
    close(first);
    close(second);
    close_all(listener, fillers);
    loop_free(loop);
}

static void test_a_cancelled_connect_calls_nobody_back(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct socket_address bound;
    struct attempt local, silent;
    int fillers[2];
    int answering = listen_at("127.0.0.1:0", &bound);
    start(&local, loop, &bound, 0);
    int listener = listen_without_answering(&bound, fillers);
    start(&silent, loop, &bound, 10);
    assert_true(connector_is_running(&local.connector));
    connector_cancel(&local.connector);
    connector_cancel(&silent.connector);
    connector_cancel(&silent.connector);
    for (int i = 0; i < 5; i++) {
        loop_run_once(loop, 5);
    }
    assert_false(local.is_done);
    assert_false(silent.is_done);
    close(answering);
    close_all(listener, fillers);
    loop_free(loop);
}

static void test_a_zeroed_connector_can_be_cancelled(void **state)
{
    (void)state;
    struct connector connector = { 0 };
    connector_cancel(&connector);
    assert_false(connector_is_running(&connector));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_arrives_after_the_start_not_within_it),
        cmocka_unit_test(test_a_refusal_names_address_and_reason),
        cmocka_unit_test(test_silence_ends_at_the_deadline),
        cmocka_unit_test(test_a_handshake_that_needs_time_is_waited_for),
        cmocka_unit_test(test_a_cancelled_connect_calls_nobody_back),
        cmocka_unit_test(test_a_zeroed_connector_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
