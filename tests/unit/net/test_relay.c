/* The plain relay and its queue: bytes in order, ends and resets as they came, no block held when idle. */
#include "net/byte_queue.h"
#include "net/socket.h"
#include "net/tcp_relay.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A connected pair of TCP sockets on loopback, non-blocking. */
static void tcp_pair(int out[2])
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    out[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(out[0], (const struct sockaddr *)&address, sizeof address), 0);
    out[1] = accept(listener, NULL, NULL);
    close(listener);
    for (int i = 0; i < 2; i++) {
        fcntl(out[i], F_SETFL, O_NONBLOCK);
    }
}

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
    tcp_relay_start(&test->relay, test->loop, test->pool, near[1], far[1], &EVENTS);
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
        cmocka_unit_test(the_queue_keeps_order_across_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
