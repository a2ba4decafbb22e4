#include "base/memory.h"
#include "base/writer.h"
#include "cmocka_all.h"
#include "http/http1_server.h"
#include "net/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

/* A server on a loop that the test turns while it waits for what a plain socket gets. */
struct fixture {
    struct loop *loop;
    struct http1_server *server;
    uint16_t port;
    size_t pieces_left;
    int streams_closed;
    int times_asked;
    struct http1_exchange *held;
};

static void answer_hello(struct http1_exchange *exchange, void *context)
{
    (void)context;
    char *AUTO_FREE name = http1_query(exchange, "name");
    char *AUTO_FREE text = string_format(
        "%s hello %s %zu\n", http1_method(exchange), name != NULL ? name : "nobody", http1_body(exchange).length);
    http1_respond_text(exchange, 200, text);
}

static void fail_on_purpose(struct http1_exchange *exchange, void *context)
{
    (void)context;
    struct result failure = result_fail(RESULT_SYSTEM, "it broke");
    http1_respond_failure(exchange, &failure);
}

static void write_piece(struct http1_exchange *exchange, void *context)
{
    struct fixture *fixture = context;
    char piece[16384];
    memset(piece, 'z', sizeof piece);
    if (fixture->pieces_left == 0) {
        http1_stream_end(exchange);
        return;
    }
    fixture->pieces_left--;
    http1_stream_write(exchange, bytes_of(piece, sizeof piece));
}

static void note_closed(void *context)
{
    ((struct fixture *)context)->streams_closed++;
}

static void answer_stream(struct http1_exchange *exchange, void *context)
{
    const struct http1_stream_handlers handlers = { write_piece, note_closed, context };
    http1_stream_begin(exchange, 200, "application/json", &handlers);
}

static void hold(struct http1_exchange *exchange, void *context)
{
    ((struct fixture *)context)->held = exchange;
}

/* Pauses at once; the test resumes it. */
static void pause_first(struct http1_exchange *exchange, void *context)
{
    struct fixture *fixture = context;
    if (fixture->times_asked++ == 0) {
        fixture->held = exchange;
        http1_stream_pause(exchange);
        return;
    }
    http1_stream_write(exchange, bytes_of_string("late"));
    http1_stream_end(exchange);
}

static void answer_paused(struct http1_exchange *exchange, void *context)
{
    const struct http1_stream_handlers handlers = { pause_first, note_closed, context };
    http1_add_field(exchange, "x-test", "one");
    http1_stream_begin(exchange, 200, "text/plain", &handlers);
}

static const struct http1_route routes[] = {
    { .path = "/paused", .handle = answer_paused },
    { .path = "/hello", .handle = answer_hello, .body_maximum_bytes = 1000 },
    { .path = "/fail", .handle = fail_on_purpose },
    { .path = "/stream", .handle = answer_stream },
    { .path = "/gzip", .handle = answer_stream, .may_compress = true },
    { .path = "/hold", .handle = hold },
};

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    const struct http1_server_settings settings = {
        .routes = routes, .route_count = ARRAY_LENGTH(routes), .context = fixture, .connection_maximum = 8
    };
    fixture->server = http1_server_new(fixture->loop, &settings);
    struct socket_address address, bound;
    assert_true(socket_address_parse("127.0.0.1:0", &address));
    struct result listening = http1_server_listen(fixture->server, &address, &bound);
    assert_true(result_is_ok(&listening));
    fixture->port = bound.port;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    http1_server_free(fixture->server);
    loop_free(fixture->loop);
    memory_free(fixture);
    return 0;
}

static int dial(const struct fixture *fixture)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(fixture->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    fcntl(client, F_SETFL, O_NONBLOCK);
    return client;
}

static void say(int client, const char *text)
{
    assert_int_equal(send(client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Turns the loop until the server has closed, or `until` has come. */
static void listen_for(struct fixture *fixture, int client, const char *until, struct writer *answer)
{
    for (int turn = 0; turn < 20000; turn++) {
        loop_run_once(fixture->loop, 1);
        uint8_t *room = writer_reserve(answer, 65536);
        ssize_t length = recv(client, room, 65536, 0);
        if (length == 0 || (length < 0 && errno != EAGAIN)) {
            assert_null(until);
            return;
        }
        answer->length += length > 0 ? (size_t)length : 0;
        if (until != NULL && strstr(writer_string(answer), until) != NULL) {
            return;
        }
    }
    fail_msg("no end came; so far: %s", writer_string(answer));
}

/* One request on a connection that ends after it. */
static void ask(struct fixture *fixture, const char *request, struct writer *answer)
{
    int client = dial(fixture);
    say(client, request);
    shutdown(client, SHUT_WR);
    listen_for(fixture, client, NULL, answer);
    close(client);
}

static void assert_answer(struct fixture *fixture, const char *request, const char *first_line, const char *end)
{
    struct writer answer = writer_growing();
    ask(fixture, request, &answer);
    const char *text = writer_string(&answer);
    assert_memory_equal(text, first_line, strlen(first_line));
    assert_true(strlen(text) >= strlen(end));
    assert_string_equal(text + strlen(text) - strlen(end), end);
    writer_free(&answer);
}

static void a_client_that_closed_its_half_is_answered(void **state)
{
    assert_answer(*state, "GET /hello?name=a%20b HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nGET hello a b 0\n");
}

static void an_unknown_path_is_404_without_a_body(void **state)
{
    assert_answer(*state, "GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "content-length: 0\r\n\r\n");
}

static void a_failing_handler_is_500_with_its_text(void **state)
{
    assert_answer(*state, "GET /fail HTTP/1.1\r\n\r\n", "HTTP/1.1 500 ", "\r\n\r\nit broke");
}

static void head_has_the_length_and_no_body(void **state)
{
    assert_answer(*state, "HEAD /hello HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "content-length: 20\r\n\r\n");
}

static void garbage_is_400(void **state)
{
    assert_answer(*state, "\x16\x03\x01\x02garbage\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "\r\n\r\n");
}

static void a_head_over_the_bound_is_431(void **state)
{
    char *AUTO_FREE request = memory_allocate(20000);
    memset(request, 'a', 20000);
    memcpy(request, "GET / HTTP/1.1\r\nA: ", 19);
    request[19999] = '\0';
    assert_answer(*state, request, "HTTP/1.1 431 ", "\r\n\r\n");
}

static void a_body_over_the_routes_bound_is_413(void **state)
{
    assert_answer(*state, "POST /hello HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413 ", "\r\n\r\n");
}

static void bodies_arrive_by_length_and_in_chunks(void **state)
{
    assert_answer(
        *state, "POST /hello HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 ", "POST hello nobody 3\n");
    assert_answer(*state, "POST /hello HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 ", "POST hello nobody 2\n");
}

static void one_connection_serves_one_request_after_another(void **state)
{
    struct fixture *fixture = *state;
    int client = dial(fixture);
    for (int i = 0; i < 3; i++) {
        struct writer answer = writer_growing();
        say(client, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        listen_for(fixture, client, "GET hello nobody 0\n", &answer);
        writer_free(&answer);
    }
    struct writer answer = writer_growing();
    say(client, "GET /hello HTTP/1.1\r\n\r\nGET /hello?name=second HTTP/1.1\r\nConnection: close\r\n\r\n");
    listen_for(fixture, client, NULL, &answer);
    assert_non_null(strstr(writer_string(&answer), "hello nobody"));
    assert_non_null(strstr(writer_string(&answer), "hello second"));
    writer_free(&answer);
    close(client);
}

static void a_silent_client_is_closed_after_the_head_timeout(void **state)
{
    struct fixture *fixture = *state;
    int client = dial(fixture);
    say(client, "GET /hel");
    struct writer answer = writer_growing();
    listen_for(fixture, client, NULL, &answer);
    assert_int_equal(answer.length, 0);
    writer_free(&answer);
    close(client);
}

static void a_stream_of_any_size_passes_through_a_small_queue(void **state)
{
    struct fixture *fixture = *state;
    fixture->pieces_left = 1000;
    int client = dial(fixture);
    say(client, "GET /stream HTTP/1.1\r\nConnection: close\r\n\r\n");
    /* Nobody reads: the server may not make more than what the kernel and its queue take. */
    for (int i = 0; i < 300; i++) {
        loop_run_once(fixture->loop, 0);
    }
    assert_true(fixture->pieces_left > 500);
    struct writer answer = writer_growing();
    listen_for(fixture, client, NULL, &answer);
    assert_true(answer.length > 1000u * 16384);
    assert_string_equal(writer_string(&answer) + answer.length - 5, "0\r\n\r\n");
    assert_int_equal(fixture->streams_closed, 1);
    writer_free(&answer);
    close(client);
}

static void a_stream_whose_client_leaves_is_told(void **state)
{
    struct fixture *fixture = *state;
    fixture->pieces_left = 1000;
    int client = dial(fixture);
    say(client, "GET /stream HTTP/1.1\r\n\r\n");
    for (int i = 0; i < 50; i++) {
        loop_run_once(fixture->loop, 0);
    }
    struct linger reset = { 1, 0 };
    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(client);
    for (int i = 0; i < 100 && fixture->streams_closed == 0; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(fixture->streams_closed, 1);
}

static void a_stream_is_compressed_when_client_and_route_agree(void **state)
{
    struct fixture *fixture = *state;
    fixture->pieces_left = 10;
    struct writer answer = writer_growing();
    /* HTTP/1.0: the body is not in chunks, so that it can be unpacked as it is. */
    ask(fixture, "GET /gzip HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n", &answer);
    assert_non_null(strstr(writer_string(&answer), "content-encoding: gzip\r\n"));
    const char *body = strstr(writer_string(&answer), "\r\n\r\n");
    assert_non_null(body);
    uint8_t *AUTO_FREE plain = memory_allocate(200000);
    z_stream unpacker = { 0 };
    assert_int_equal(inflateInit2(&unpacker, 15 + 16), Z_OK);
    uint8_t *start = answer.data + (body + 4 - (const char *)answer.data);
    unpacker.next_in = start;
    unpacker.avail_in = (uInt)(answer.data + answer.length - start);
    unpacker.next_out = plain;
    unpacker.avail_out = 200000;
    assert_int_equal(inflate(&unpacker, Z_FINISH), Z_STREAM_END);
    assert_int_equal(unpacker.total_out, 10 * 16384);
    inflateEnd(&unpacker);
    writer_free(&answer);
}

static void an_exchange_may_be_answered_after_its_client_left(void **state)
{
    struct fixture *fixture = *state;
    int client = dial(fixture);
    say(client, "GET /hold HTTP/1.1\r\n\r\n");
    for (int i = 0; i < 50 && fixture->held == NULL; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_non_null(fixture->held);
    struct linger reset = { 1, 0 };
    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(client);
    for (int i = 0; i < 20; i++) {
        loop_run_once(fixture->loop, 1);
    }
    http1_respond_text(fixture->held, 200, "too late");
    loop_run_once(fixture->loop, 0);
}

static void connections_over_the_bound_are_closed(void **state)
{
    struct fixture *fixture = *state;
    int clients[9];
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        clients[i] = dial(fixture);
        loop_run_once(fixture->loop, 1);
    }
    struct writer answer = writer_growing();
    listen_for(fixture, clients[8], NULL, &answer);
    say(clients[0], "GET /hello HTTP/1.1\r\n\r\n");
    listen_for(fixture, clients[0], "hello nobody", &answer);
    writer_free(&answer);
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        close(clients[i]);
    }
}

static void a_paused_stream_is_not_asked_until_it_is_resumed(void **state)
{
    struct fixture *fixture = *state;
    struct writer answer = writer_growing();
    int client = dial(fixture);
    say(client, "GET /paused HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    listen_for(fixture, client, "\r\n\r\n", &answer);
    for (int turn = 0; turn < 20; turn++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(fixture->times_asked, 1);
    http1_stream_resume(fixture->held);
    listen_for(fixture, client, NULL, &answer);
    assert_int_equal(fixture->times_asked, 2);
    assert_non_null(strstr(writer_string(&answer), "4\r\nlate\r\n0\r\n\r\n"));
    assert_int_equal(fixture->streams_closed, 1);
    writer_free(&answer);
    close(client);
}

static void a_handlers_own_fields_are_in_the_head(void **state)
{
    struct fixture *fixture = *state;
    struct writer answer = writer_growing();
    int client = dial(fixture);
    say(client, "GET /paused HTTP/1.1\r\nhost: a\r\n\r\n");
    listen_for(fixture, client, "\r\n\r\n", &answer);
    assert_non_null(strstr(writer_string(&answer), "\r\nx-test: one\r\n"));
    writer_free(&answer);
    close(client);
}

static void a_client_that_resets_a_paused_stream_ends_it(void **state)
{
    struct fixture *fixture = *state;
    struct writer answer = writer_growing();
    int client = dial(fixture);
    say(client, "GET /paused HTTP/1.1\r\nhost: a\r\n\r\n");
    listen_for(fixture, client, "\r\n\r\n", &answer);
    const struct linger at_once = { 1, 0 };
    setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(client);
    for (int turn = 0; turn < 1000 && fixture->streams_closed == 0; turn++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(fixture->streams_closed, 1);
    writer_free(&answer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_client_that_closed_its_half_is_answered),
        TEST(an_unknown_path_is_404_without_a_body),
        TEST(a_failing_handler_is_500_with_its_text),
        TEST(head_has_the_length_and_no_body),
        TEST(garbage_is_400),
        TEST(a_head_over_the_bound_is_431),
        TEST(a_body_over_the_routes_bound_is_413),
        TEST(bodies_arrive_by_length_and_in_chunks),
        TEST(one_connection_serves_one_request_after_another),
        TEST(a_silent_client_is_closed_after_the_head_timeout),
        TEST(a_stream_of_any_size_passes_through_a_small_queue),
        TEST(a_stream_whose_client_leaves_is_told),
        TEST(a_stream_is_compressed_when_client_and_route_agree),
        TEST(an_exchange_may_be_answered_after_its_client_left),
        TEST(connections_over_the_bound_are_closed),
        TEST(a_paused_stream_is_not_asked_until_it_is_resumed),
        TEST(a_handlers_own_fields_are_in_the_head),
        TEST(a_client_that_resets_a_paused_stream_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
