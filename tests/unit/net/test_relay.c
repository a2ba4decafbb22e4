/* The plain relay and its queue: bytes in order, ends and resets as they came, no block held when idle. */
#include "net/byte_queue.h"
#include "net/pipe_pool.h"
#include "net/socket.h"
#include "net/tcp_relay.h"

#include "base/clock.h"
#include "base/memory.h"

#include "unit/tcp_pair.h"

#include <errno.h>

struct relay_case {
    struct tcp_relay relay;
    struct loop *loop;
    struct buffer_pool *pool;
    int client, server; /* the ends outside the relay */
    size_t forward, backward;
    bool has_ended;
    enum relay_end end;
};

static void on_progress(struct tcp_relay *relay, size_t forward, size_t backward)
{
    struct relay_case *test = CONTAINER_OF(relay, struct relay_case, relay);
    test->forward += forward;
    test->backward += backward;
}

static void on_end(struct tcp_relay *relay, enum relay_end end)
{
    struct relay_case *test = CONTAINER_OF(relay, struct relay_case, relay);
    test->has_ended = true;
    test->end = end;
}

static const struct tcp_relay_events EVENTS = { on_progress, on_end };

static void begin(struct relay_case *test)
{
    int near[2];
    int far[2];
    *test = (struct relay_case){ .loop = loop_new(), .pool = buffer_pool_new() };
    tcp_pair(near);
    tcp_pair(far);
    test->client = near[0];
    test->server = far[0];
    tcp_relay_start(&test->relay, test->loop, NULL, test->pool, near[1], far[1], &EVENTS);
}

static void turn(struct relay_case *test)
{
    for (int i = 0; i < 5 && !test->has_ended; i++) {
        loop_run_once(test->loop, 10);
    }
}

static void finish(struct relay_case *test)
{
    assert_true(test->has_ended);
    assert_int_equal(buffer_pool_lent_bytes(test->pool), 0);
    close(test->client);
    if (test->server >= 0) {
        close(test->server);
    }
    loop_free(test->loop);
    buffer_pool_free(test->pool);
}

static void bytes_pass_in_both_directions_and_are_counted(void **state)
{
    (void)state;
    struct relay_case test;
    char buffer[16];
    begin(&test);
    assert_int_equal(write(test.client, "question", 8), 8);
    turn(&test);
    assert_int_equal(read(test.server, buffer, sizeof buffer), 8);
    assert_int_equal(write(test.server, "answer", 6), 6);
    turn(&test);
    assert_int_equal(read(test.client, buffer, sizeof buffer), 6);
    assert_int_equal(test.forward, 8);
    assert_int_equal(test.backward, 6);
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    finish(&test);
}

static void one_direction_may_end_before_the_other(void **state)
{
    (void)state;
    struct relay_case test;
    char buffer[16];
    begin(&test);
    assert_int_equal(write(test.client, "last", 4), 4);
    shutdown(test.client, SHUT_WR);
    turn(&test);
    assert_int_equal(read(test.server, buffer, sizeof buffer), 4);
    assert_int_equal(read(test.server, buffer, sizeof buffer), 0);
    assert_false(test.has_ended);
    assert_int_equal(write(test.server, "late", 4), 4);
    shutdown(test.server, SHUT_WR);
    turn(&test);
    assert_int_equal(read(test.client, buffer, sizeof buffer), 4);
    assert_int_equal(test.end, RELAY_END_CLEAN);
    finish(&test);
}

static void a_reset_stays_a_reset(void **state)
{
    (void)state;
    struct relay_case test;
    char buffer[16];
    begin(&test);
    socket_close_with_reset(test.server);
    test.server = -1;
    turn(&test);
    assert_int_equal(test.end, RELAY_END_RESET);
    assert_int_equal(read(test.client, buffer, sizeof buffer), -1);
    assert_int_equal(errno, ECONNRESET);
    finish(&test);
}

static void what_a_slow_reader_leaves_is_bounded_and_delivered(void **state)
{
    (void)state;
    struct relay_case test;
    static char block[1 << 16];
    begin(&test);
    size_t sent = 0;
    for (int i = 0; i < 400; i++) {
        ssize_t length = write(test.client, block, sizeof block);
        sent += length > 0 ? (size_t)length : 0;
        loop_run_once(test.loop, 0);
    }
    assert_true(buffer_pool_lent_bytes(test.pool) <= BUFFER_SHARED_BYTES + 2 * BUFFER_BLOCK_BYTES);
    shutdown(test.client, SHUT_WR);
    size_t received = 0;
    for (ssize_t length = 1; length != 0;) {
        loop_run_once(test.loop, 0);
        length = read(test.server, block, sizeof block);
        received += length > 0 ? (size_t)length : 0;
    }
    assert_int_equal(received, sent);
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    finish(&test);
}

static uint8_t pattern_at(size_t offset)
{
    return (uint8_t)(offset * 31 >> 3);
}

/* Writes while the other end reads at most `reads_bytes` a turn; all that was written arrives in order. */
static void pass_much(struct relay_case *test, size_t total, size_t reads_bytes)
{
    static uint8_t block[1 << 18];
    size_t sent = 0;
    size_t received = 0;
    while (received < total) {
        size_t length = total - sent < sizeof block ? total - sent : sizeof block;
        for (size_t i = 0; i < length; i++) {
            block[i] = pattern_at(sent + i);
        }
        ssize_t written = length > 0 ? write(test->client, block, length) : 0;
        sent += written > 0 ? (size_t)written : 0;
        loop_run_once(test->loop, 1);
        ssize_t got = read(test->server, block, reads_bytes < sizeof block ? reads_bytes : sizeof block);
        for (ssize_t i = 0; i < got; i++) {
            assert_int_equal(block[i], pattern_at(received + (size_t)i));
        }
        received += got > 0 ? (size_t)got : 0;
    }
    assert_int_equal(received, total);
}

static void large_reads_are_spliced_and_their_pipes_given_back(void **state)
{
    (void)state;
    struct relay_case test;
    begin(&test);
    assert_int_equal(pipe_pool_count(buffer_pool_pipes(test.pool)), 0);
    pass_much(&test, 32 << 20, 1 << 18);
    assert_int_equal(test.forward, 32 << 20);
    assert_in_range(pipe_pool_count(buffer_pool_pipes(test.pool)), 1, 2);
    turn(&test);
    assert_null(test.relay.sides[1].pipe);
    buffer_pool_release_unused(test.pool);
    buffer_pool_release_unused(test.pool);
    assert_int_equal(pipe_pool_count(buffer_pool_pipes(test.pool)), 0);
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    finish(&test);
}

static void spliced_bytes_keep_their_order_before_a_slow_reader(void **state)
{
    (void)state;
    struct relay_case test;
    begin(&test);
    pass_much(&test, 6 << 20, 20000);
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    finish(&test);
}

/* Writes until nothing is taken any more. */
static size_t stuff(struct relay_case *test)
{
    static uint8_t block[1 << 16];
    size_t sent = 0;
    for (int refused = 0; refused < 50;) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = pattern_at(sent + i);
        }
        ssize_t length = write(test->client, block, sizeof block);
        refused = length > 0 ? 0 : refused + 1;
        sent += length > 0 ? (size_t)length : 0;
        loop_run_once(test->loop, 1);
    }
    return sent;
}

static void an_end_waits_for_what_is_in_the_pipe(void **state)
{
    (void)state;
    struct relay_case test;
    static uint8_t block[1 << 16];
    begin(&test);
    size_t sent = stuff(&test);
    assert_non_null(test.relay.sides[1].pipe);
    assert_true(test.relay.sides[1].pipe->held > 0);
    shutdown(test.client, SHUT_WR);
    turn(&test);
    assert_false(test.relay.sides[1].has_sent_end);
    size_t received = 0;
    for (ssize_t length = 1; length != 0;) {
        loop_run_once(test.loop, 0);
        length = read(test.server, block, sizeof block);
        for (ssize_t i = 0; i < length; i++) {
            assert_int_equal(block[i], pattern_at(received + (size_t)i));
        }
        received += length > 0 ? (size_t)length : 0;
    }
    assert_int_equal(received, sent);
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    finish(&test);
}

static void a_pipe_that_holds_bytes_goes_with_its_relay(void **state)
{
    (void)state;
    struct relay_case test;
    begin(&test);
    (void)stuff(&test);
    assert_int_equal(pipe_pool_count(buffer_pool_pipes(test.pool)), 1);
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    assert_int_equal(pipe_pool_count(buffer_pool_pipes(test.pool)), 0);
    finish(&test);
}

static void without_a_pipe_left_bytes_are_copied(void **state)
{
    (void)state;
    struct relay_case test;
    struct splice_pipe *taken[PIPE_POOL_PIPES_MAXIMUM];
    begin(&test);
    struct pipe_pool *pipes = buffer_pool_pipes(test.pool);
    for (int i = 0; i < PIPE_POOL_PIPES_MAXIMUM; i++) {
        taken[i] = pipe_pool_take(pipes);
        assert_non_null(taken[i]);
    }
    assert_null(pipe_pool_take(pipes));
    pass_much(&test, 8 << 20, 1 << 18);
    for (int i = 0; i < PIPE_POOL_PIPES_MAXIMUM; i++) {
        pipe_pool_give(pipes, taken[i]);
    }
    tcp_relay_cut(&test.relay, RELAY_END_CUT);
    finish(&test);
}

/* Without it the loop would turn for ever: EPOLLHUP is reported whatever was asked for. */
static void an_end_behind_a_reader_that_stands_still_costs_no_turns(void **state)
{
    (void)state;
    struct relay_case test;
    static const uint8_t data[64 * 1024];
    begin(&test);
    shutdown(test.client, SHUT_WR);
    turn(&test);
    size_t sent = 4096;
    struct tcp_relay_side *stuck = &test.relay.sides[0];
    while (stuck->backlog.length == 0 && (stuck->pipe == NULL || stuck->pipe->held == 0)) {
        ssize_t length = write(test.server, data, sizeof data);
        assert_true(length > 0);
        sent += (size_t)length;
        turn(&test);
    }
    assert_int_equal(write(test.server, data, 4096), 4096);
    shutdown(test.server, SHUT_WR);
    turn(&test);
    uint64_t began_ns = clock_monotonic_ns();
    for (int i = 0; i < 10; i++) {
        loop_run_once(test.loop, 50);
    }
    assert_false(test.has_ended);
    assert_true(clock_monotonic_ns() - began_ns > 250 * NANOSECONDS_PER_MILLISECOND);
    while (!test.has_ended) { /* and nothing of it is lost once the reader goes on */
        static uint8_t taken[sizeof data];
        ssize_t length = read(test.client, taken, sizeof taken);
        assert_true(length > 0 || (length < 0 && errno == EAGAIN));
        turn(&test);
    }
    assert_int_equal(test.end, RELAY_END_CLEAN);
    assert_int_equal(test.backward, sent);
    finish(&test);
}

static void the_queue_keeps_order_across_blocks(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new();
    struct byte_queue queue = byte_queue_of(pool);
    static uint8_t data[100000];
    static uint8_t copy[sizeof data];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 31 >> 3);
    }
    byte_queue_append(&queue, bytes_of(data, 60000));
    byte_queue_append(&queue, bytes_of(data + 60000, sizeof data - 60000));
    assert_int_equal(queue.length, sizeof data);
    int pair[2];
    tcp_pair(pair);
    size_t received = 0;
    while (received < sizeof data) {
        size_t written;
        assert_int_not_equal(byte_queue_write(&queue, pair[0], &written), BYTE_QUEUE_FAILED);
        ssize_t length = read(pair[1], copy + received, sizeof copy - received);
        received += length > 0 ? (size_t)length : 0;
    }
    assert_memory_equal(data, copy, sizeof data);
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    close(pair[0]);
    close(pair[1]);
    buffer_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_pass_in_both_directions_and_are_counted),
        cmocka_unit_test(one_direction_may_end_before_the_other),
        cmocka_unit_test(a_reset_stays_a_reset),
        cmocka_unit_test(what_a_slow_reader_leaves_is_bounded_and_delivered),
        cmocka_unit_test(large_reads_are_spliced_and_their_pipes_given_back),
        cmocka_unit_test(spliced_bytes_keep_their_order_before_a_slow_reader),
        cmocka_unit_test(an_end_waits_for_what_is_in_the_pipe),
        cmocka_unit_test(a_pipe_that_holds_bytes_goes_with_its_relay),
        cmocka_unit_test(without_a_pipe_left_bytes_are_copied),
        cmocka_unit_test(an_end_behind_a_reader_that_stands_still_costs_no_turns),
        cmocka_unit_test(the_queue_keeps_order_across_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
