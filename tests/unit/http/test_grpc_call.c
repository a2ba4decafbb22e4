#include "base/memory.h"
#include "cmocka_all.h"
#include "http/grpc_client.h"
#include "http/grpc_server.h"
#include "net/buffer_pool.h"
#include "net/loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* A client and a server of ours on one loop, for what a foreign peer would not do on request: refusals, cancellation at the
 * worst moment, back pressure, drains. Foreign peers are in tests/scenario. */
struct fixture {
    struct loop *loop;
    struct buffer_pool *pool;
    struct grpc_server *server;
    struct grpc_channel *channel;
    int started, closed;
    bool was_refused;
    struct grpc_server_call *held;

    struct writer received; /* by the client: "[message]" each */
    size_t part_bytes;
    int opened, ended;
    enum grpc_status status;
    char message[256];
    bool had_been_opened;
    bool frees_channel, cancels;
    struct grpc_call *call;
};

static int tcp_connect(uint16_t port)
{
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) }
    };
    assert_int_equal(connect(descriptor, (const struct sockaddr *)&address, sizeof address), 0);
    return descriptor;
}

/* Whatever was said before. */
static bool is_closed(int descriptor)
{
    char buffer[1024];
    ssize_t length;
    while ((length = recv(descriptor, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
    }
    return length == 0 || errno == ECONNRESET;
}

static void note_start(struct grpc_server_call *call, void *context)
{
    struct fixture *fixture = context;
    fixture->started++;
    fixture->held = call;
}

static void note_closed(struct grpc_server_call *call)
{
    struct fixture *fixture = grpc_server_call_context(call);
    fixture->closed++;
    fixture->held = NULL;
}

static void echo(struct grpc_server_call *call, struct bytes message)
{
    assert_true(grpc_server_call_send(call, message));
}

static void finish(struct grpc_server_call *call)
{
    grpc_server_call_finish(call, GRPC_OK, NULL);
}

static void deny(struct grpc_server_call *call, void *context)
{
    note_start(call, context);
    const char *token = grpc_server_call_metadata(call, "authorization", NULL);
    char text[200];
    snprintf(text, sizeof text, "no: %s", token != NULL ? token : "none");
    grpc_server_call_finish(call, GRPC_PERMISSION_DENIED, text);
}

/* Sends 1 MiB messages until it is told to stop; goes on when there is room; eight in all. */
static void pour(struct grpc_server_call *call)
{
    struct fixture *fixture = grpc_server_call_context(call);
    uint8_t *AUTO_FREE block = memory_allocate_zeroed(1, 1024 * 1024);
    uintptr_t sent = (uintptr_t)grpc_server_call_data(call);
    while (sent < 8 && grpc_server_call_send(call, bytes_of(block, 1024 * 1024))) {
        sent++;
    }
    fixture->was_refused = fixture->was_refused || sent < 8;
    grpc_server_call_set_data(call, (void *)sent);
    if (sent == 8) {
        grpc_server_call_finish(call, GRPC_OK, NULL);
    }
}

static const struct grpc_method methods[] = {
    { .path = "/test.Service/Echo",
        .on_start = note_start,
        .on_message = echo,
        .on_end_of_messages = finish,
        .on_closed = note_closed },
    { .path = "/test.Service/Deny", .on_start = deny, .on_closed = note_closed },
    { .path = "/test.Service/Pour",
        .on_start = note_start,
        .on_end_of_messages = pour,
        .on_writable = pour,
        .on_closed = note_closed },
    { .path = "/test.Service/Hang", .on_start = note_start, .on_closed = note_closed },
};

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    fixture->pool = buffer_pool_new();
    fixture->received = writer_growing();
    const struct grpc_server_settings settings = {
        .methods = methods, .method_count = ARRAY_LENGTH(methods), .context = fixture, .message_maximum_bytes = 1000
    };
    fixture->server = grpc_server_new(fixture->loop, fixture->pool, &settings);
    struct socket_address address, bound;
    assert_true(socket_address_parse("127.0.0.1:0", &address));
    struct result listening = grpc_server_listen(fixture->server, &address, NULL, &bound);
    assert_true(result_is_ok(&listening));
    const struct grpc_channel_settings dialled = { .host = "127.0.0.1", .port = bound.port };
    fixture->channel = grpc_channel_new(fixture->loop, fixture->pool, &dialled);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    grpc_channel_free(fixture->channel);
    grpc_server_free(fixture->server);
    assert_int_equal(fixture->started, fixture->closed);
    writer_free(&fixture->received);
    buffer_pool_free(fixture->pool);
    loop_free(fixture->loop);
    memory_free(fixture);
    return 0;
}

static void on_opened(struct grpc_call *call, void *context)
{
    (void)call;
    ((struct fixture *)context)->opened++;
}

static void on_message(struct grpc_call *call, struct bytes message, void *context)
{
    struct fixture *fixture = context;
    writer_print(&fixture->received, "[%.*s]", (int)message.length, (const char *)message.data);
    if (fixture->cancels) {
        grpc_call_cancel(call);
        fixture->ended++;
    }
    if (fixture->frees_channel) {
        grpc_channel_free(fixture->channel);
        fixture->channel = NULL;
        fixture->ended++;
    }
}

static void on_part(struct grpc_call *call, struct bytes part, size_t message_bytes, bool is_last, void *context)
{
    (void)call;
    (void)is_last;
    assert_int_equal(message_bytes, 1024 * 1024);
    ((struct fixture *)context)->part_bytes += part.length;
}

static void on_end(struct grpc_call *call, const struct grpc_end *end, void *context)
{
    (void)call;
    struct fixture *fixture = context;
    fixture->ended++;
    fixture->status = end->status;
    fixture->had_been_opened = end->was_opened;
    snprintf(fixture->message, sizeof fixture->message, "%s|%s", end->message, end->source != NULL ? end->source : "");
}

static const struct grpc_metadata token = { "authorization", "Bearer x" };

static struct grpc_call *start(struct fixture *fixture, const char *path)
{
    const struct grpc_call_settings settings = {
        .path = path,
        .metadata = &token,
        .metadata_count = 1,
        .message_maximum_bytes = 4u * 1024 * 1024,
        .context = fixture,
        .on_opened = on_opened,
        .on_message = on_message,
        .on_end = on_end,
    };
    return grpc_call_start(fixture->channel, &settings);
}

static void turn_until(struct fixture *fixture, const int *count, int wanted)
{
    for (int i = 0; i < 5000 && *count < wanted; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(*count, wanted);
}

static void messages_go_both_ways_and_the_status_comes_last(void **state)
{
    struct fixture *fixture = *state;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send(call, bytes_of_string("one"));
    grpc_call_send(call, bytes_of("", 0));
    grpc_call_send(call, bytes_of_string("three"));
    grpc_call_send_end(call);
    turn_until(fixture, &fixture->ended, 1);
    assert_string_equal(writer_string(&fixture->received), "[one][][three]");
    assert_int_equal(fixture->status, GRPC_OK);
    assert_int_equal(fixture->opened, 1);
    turn_until(fixture, &fixture->closed, 1);
}

static void calls_share_one_connection(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 20; i++) {
        struct grpc_call *call = start(fixture, "/test.Service/Echo");
        grpc_call_send(call, bytes_of_string("x"));
        grpc_call_send_end(call);
    }
    turn_until(fixture, &fixture->ended, 20);
    assert_int_equal(fixture->received.length, 60);
    assert_int_equal(grpc_server_connection_count(fixture->server), 1);
}

static void a_refusal_before_any_data_did_not_open_the_stream(void **state)
{
    struct fixture *fixture = *state;
    struct grpc_call *call = start(fixture, "/test.Service/Deny");
    grpc_call_send(call, bytes_of_string("x"));
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_PERMISSION_DENIED);
    assert_string_equal(fixture->message, "no: Bearer x|");
    assert_false(fixture->had_been_opened);
}

static void an_unknown_path_names_what_is_unknown(void **state)
{
    struct fixture *fixture = *state;
    (void)start(fixture, "/test.Service/Nothing");
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_UNIMPLEMENTED);
    assert_string_equal(fixture->message, "unknown method Nothing for service test.Service|");
    (void)start(fixture, "/other.Service/Nothing");
    turn_until(fixture, &fixture->ended, 2);
    assert_string_equal(fixture->message, "unknown service other.Service|");
}

static void a_message_over_the_servers_bound_ends_the_call(void **state)
{
    struct fixture *fixture = *state;
    uint8_t message[1001] = { 0 };
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send(call, bytes_of(message, sizeof message));
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_RESOURCE_EXHAUSTED);
    assert_string_equal(fixture->message, "grpc: received message larger than max (1001 vs. 1000)|");
}

static void a_server_that_sends_faster_than_the_client_reads_is_held_back(void **state)
{
    struct fixture *fixture = *state;
    const struct grpc_call_settings settings = {
        .path = "/test.Service/Pour",
        .message_maximum_bytes = 1024 * 1024,
        .context = fixture,
        .on_message_part = on_part,
        .on_end = on_end,
    };
    grpc_call_send_end(grpc_call_start(fixture->channel, &settings));
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_OK);
    assert_int_equal(fixture->part_bytes, 8 * 1024 * 1024);
    assert_true(fixture->was_refused);
}

static void a_message_over_the_clients_bound_ends_the_call(void **state)
{
    struct fixture *fixture = *state;
    const struct grpc_call_settings settings = {
        .path = "/test.Service/Pour",
        .message_maximum_bytes = 1000,
        .context = fixture,
        .on_message = on_message,
        .on_end = on_end,
    };
    grpc_call_send_end(grpc_call_start(fixture->channel, &settings));
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_OUT_OF_RANGE);
    turn_until(fixture, &fixture->closed, 1);
}

static void a_deadline_ends_a_call_that_hangs(void **state)
{
    struct fixture *fixture = *state;
    const struct grpc_call_settings settings = {
        .path = "/test.Service/Hang", .deadline_ms = 50, .context = fixture, .on_message = on_message, .on_end = on_end
    };
    (void)grpc_call_start(fixture->channel, &settings);
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_DEADLINE_EXCEEDED);
    turn_until(fixture, &fixture->closed, 1);
}

static void a_cancelled_call_closes_on_the_server_and_says_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct grpc_call *call = start(fixture, "/test.Service/Hang");
    turn_until(fixture, &fixture->started, 1);
    grpc_call_cancel(call);
    turn_until(fixture, &fixture->closed, 1);
    assert_int_equal(fixture->ended, 0);
}

static void a_call_may_be_cancelled_inside_its_message(void **state)
{
    struct fixture *fixture = *state;
    fixture->cancels = true;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send(call, bytes_of_string("a"));
    grpc_call_send(call, bytes_of_string("b"));
    turn_until(fixture, &fixture->closed, 1);
    assert_string_equal(writer_string(&fixture->received), "[a]");
}

static void a_channel_may_be_freed_inside_a_message(void **state)
{
    struct fixture *fixture = *state;
    fixture->frees_channel = true;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send(call, bytes_of_string("a"));
    turn_until(fixture, &fixture->closed, 1);
    assert_null(fixture->channel);
}

static void a_channel_that_retires_lets_its_calls_end(void **state)
{
    struct fixture *fixture = *state;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_channel_retire(fixture->channel);
    fixture->channel = NULL;
    grpc_call_send(call, bytes_of_string("a"));
    grpc_call_send_end(call);
    turn_until(fixture, &fixture->ended, 1);
    assert_string_equal(writer_string(&fixture->received), "[a]");
    for (int i = 0; i < 100 && grpc_server_connection_count(fixture->server) > 0; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(grpc_server_connection_count(fixture->server), 0);
}

static void a_refused_connection_is_unavailable_with_its_cause(void **state)
{
    struct fixture *fixture = *state;
    grpc_server_free(fixture->server);
    const struct grpc_server_settings settings = { .methods = methods, .method_count = 1, .context = fixture };
    fixture->server = grpc_server_new(fixture->loop, fixture->pool, &settings);
    (void)start(fixture, "/test.Service/Echo");
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_UNAVAILABLE);
    assert_non_null(strstr(fixture->message, "tcp connect error"));
    assert_non_null(strstr(fixture->message, "Connection refused"));
    assert_false(fixture->had_been_opened);
}

static void a_lost_connection_ends_open_streams_as_unknown(void **state)
{
    struct fixture *fixture = *state;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send(call, bytes_of_string("a"));
    turn_until(fixture, &fixture->opened, 1);
    grpc_server_free(fixture->server);
    const struct grpc_server_settings settings = { .methods = methods, .method_count = 1, .context = fixture };
    fixture->server = grpc_server_new(fixture->loop, fixture->pool, &settings);
    turn_until(fixture, &fixture->ended, 1);
    assert_int_equal(fixture->status, GRPC_UNKNOWN);
    assert_true(fixture->had_been_opened);
}

static void note_drained(void *context)
{
    ++*(int *)context;
}

static void a_drain_lets_calls_end_and_then_closes(void **state)
{
    struct fixture *fixture = *state;
    int drained = 0;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send(call, bytes_of_string("a"));
    turn_until(fixture, &fixture->opened, 1);
    grpc_server_drain(fixture->server, note_drained, &drained);
    for (int i = 0; i < 20; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(drained, 0);
    grpc_call_send(call, bytes_of_string("b"));
    grpc_call_send_end(call);
    turn_until(fixture, &drained, 1);
    turn_until(fixture, &fixture->ended, 1);
    assert_string_equal(writer_string(&fixture->received), "[a][b]");
    assert_int_equal(fixture->status, GRPC_OK);
}

static void a_connection_that_makes_no_call_is_closed_and_one_that_has_called_may_be_idle(void **state)
{
    struct fixture *fixture = *state;
    struct grpc_call *call = start(fixture, "/test.Service/Echo");
    grpc_call_send_end(call);
    turn_until(fixture, &fixture->ended, 1);
    struct socket_address address;
    assert_true(socket_address_parse("127.0.0.1:0", &address));
    struct result listening = grpc_server_listen(fixture->server, &address, NULL, &address);
    assert_true(result_is_ok(&listening));
    int silent = tcp_connect(address.port), slow = tcp_connect(address.port);
    for (int second = 0; second < 12; second++) {
        loop_advance_ms(fixture->loop, 1000);
        (void)send(slow, &"PRI * HTTP/2.0"[second], 1, MSG_NOSIGNAL);
        for (int i = 0; i < 5; i++) {
            loop_run_once(fixture->loop, 1);
        }
    }
    assert_true(is_closed(silent));
    assert_true(is_closed(slow));
    assert_int_equal(grpc_server_connection_count(fixture->server), 1);
    close(silent);
    close(slow);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(messages_go_both_ways_and_the_status_comes_last),
        TEST(calls_share_one_connection),
        TEST(a_refusal_before_any_data_did_not_open_the_stream),
        TEST(an_unknown_path_names_what_is_unknown),
        TEST(a_message_over_the_servers_bound_ends_the_call),
        TEST(a_server_that_sends_faster_than_the_client_reads_is_held_back),
        TEST(a_message_over_the_clients_bound_ends_the_call),
        TEST(a_deadline_ends_a_call_that_hangs),
        TEST(a_cancelled_call_closes_on_the_server_and_says_nothing),
        TEST(a_call_may_be_cancelled_inside_its_message),
        TEST(a_channel_may_be_freed_inside_a_message),
        TEST(a_channel_that_retires_lets_its_calls_end),
        TEST(a_refused_connection_is_unavailable_with_its_cause),
        TEST(a_lost_connection_ends_open_streams_as_unknown),
        TEST(a_drain_lets_calls_end_and_then_closes),
        TEST(a_connection_that_makes_no_call_is_closed_and_one_that_has_called_may_be_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
