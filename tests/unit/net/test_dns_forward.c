/* Forwarding to name servers: scripted ones on the same loop, over UDP and TCP. */
#include "net/broker_client.h"
#include "net/dns_forward.h"
#include "unit/net/support.h"

#include <sys/epoll.h>

#define QUERY_ID 0x1234

enum behaviour { ANSWERS, IS_SILENT, REFUSES, ANSWERS_WRONGLY_FIRST, ANSWERS_WRONGLY_ONLY, ENDS };

/* A name server: the query comes back with QR set. */
struct server {
    struct io_watch datagrams, listener, stream;
    enum behaviour behaviour;
    unsigned queries;
    uint16_t last_id;
    struct socket_address address;
};

static void respond(struct server *server, uint8_t *message, size_t length, const struct sockaddr_storage *peer,
    socklen_t peer_length, int descriptor, bool is_stream)
{
    uint8_t *query = message + (is_stream ? 2 : 0);
    query[2] |= 0x80;
    if (server->behaviour == REFUSES) {
        query[3] |= DNS_REFUSED;
    }
    if (server->behaviour == ANSWERS_WRONGLY_FIRST || server->behaviour == ANSWERS_WRONGLY_ONLY) {
        query[0] ^= 0xff;
        for (int i = 0; i < (server->behaviour == ANSWERS_WRONGLY_ONLY ? DNS_STRAY_DATAGRAMS_MAXIMUM : 3); i++) {
            (void)sendto(descriptor, message, length, 0, (const struct sockaddr *)peer, peer_length);
        }
        query[0] ^= 0xff;
    }
    if (server->behaviour != ANSWERS_WRONGLY_ONLY) {
        /* In two parts, as a stream may come. */
        size_t first = is_stream ? 5 : length;
        (void)sendto(descriptor, message, first, 0, (const struct sockaddr *)peer, peer_length);
        if (is_stream) {
            (void)send(descriptor, message + first, length - first, 0);
        }
    }
}

static void note_query(struct server *server, const uint8_t *query)
{
    server->queries++;
    server->last_id = (uint16_t)(query[0] << 8 | query[1]);
}

static void on_datagram(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server = CONTAINER_OF(watch, struct server, datagrams);
    uint8_t message[512];
    struct sockaddr_storage peer;
    socklen_t peer_length = sizeof peer;
    ssize_t length =
        recvfrom(watch->descriptor, message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&peer, &peer_length);
    assert_true(length > DNS_HEADER_BYTES);
    note_query(server, message);
    if (server->behaviour != IS_SILENT) {
        respond(server, message, (size_t)length, &peer, peer_length, watch->descriptor, false);
    }
}

static void on_stream(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server = CONTAINER_OF(watch, struct server, stream);
    uint8_t message[512];
    ssize_t length = recv(watch->descriptor, message, sizeof message, MSG_DONTWAIT);
    if (length > 2) {
        assert_int_equal(message[0] << 8 | message[1], length - 2);
        note_query(server, message + 2);
        if (server->behaviour == ANSWERS || server->behaviour == REFUSES) {
            respond(server, message, (size_t)length, NULL, 0, watch->descriptor, true);
        }
    }
    if (length <= 0 || server->behaviour == ENDS) {
        int descriptor = watch->descriptor;
        loop_unwatch(watch);
        close(descriptor);
    }
}

static void on_connection(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server = CONTAINER_OF(watch, struct server, listener);
    struct socket_address peer;
    int descriptor = socket_accept(watch->descriptor, &peer);
    server->stream.on_ready = on_stream;
    assert_ok(loop_watch(watch->loop, &server->stream, descriptor, EPOLLIN));
}

struct fixture {
    struct loop *loop;
    struct broker *broker;
    struct broker_client *client;
    struct socket_stock *stocks[2];
    struct server servers[2];
    struct resolver_file resolver;
    struct dns_upstream upstream;
    struct dns_forward forward;
    bool is_done, has_failed;
    struct writer answer;
    struct result failure;
};

static void start_server(struct fixture *fixture, struct server *server, enum behaviour behaviour)
{
    static const struct socket_settings settings;
    struct listener_options options = { .address = address_of_text("127.0.0.1:0") };
    struct listener listener;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, &server->address));
    server->behaviour = behaviour;
    server->listener.on_ready = on_connection;
    assert_ok(loop_watch(fixture->loop, &server->listener, listener.descriptor, EPOLLIN));
    options.address = server->address;
    options.flags = SOCKET_DATAGRAM;
    assert_ok(socket_listen(&settings, &options, &listener));
    server->datagrams.on_ready = on_datagram;
    assert_ok(loop_watch(fixture->loop, &server->datagrams, listener.descriptor, EPOLLIN));
    fixture->resolver.servers[fixture->resolver.server_count++] = server->address;
}

static void close_watch(struct io_watch *watch)
{
    if (watch->loop != NULL) {
        int descriptor = watch->descriptor;
        loop_unwatch(watch);
        close(descriptor);
    }
}

static struct socket_stock *stock_of(void *context, bool is_stream, enum ip_family family)
{
    struct fixture *fixture = context;
    assert_int_equal(family, IP_V4);
    return fixture->stocks[is_stream];
}

static struct fixture *begin(void)
{
    struct broker_settings none = { .mode = BROKER_NONE, .channel_count = 1 };
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    assert_ok(broker_start(&none, &fixture->broker));
    fixture->client = broker_client_new(fixture->broker, 0, fixture->loop);
    fixture->stocks[0] = socket_stock_new(fixture->client, BROKER_OWN_NAMESPACE_HANDLE, IP_V4, SOCKET_DATAGRAM);
    fixture->stocks[1] = socket_stock_new(fixture->client, BROKER_OWN_NAMESPACE_HANDLE, IP_V4, 0);
    fixture->resolver.timeout_s = 5;
    fixture->resolver.attempts = 2;
    fixture->upstream = (struct dns_upstream){ fixture->loop, &fixture->resolver, stock_of, fixture };
    fixture->answer = writer_growing();
    return fixture;
}

static void end(struct fixture *fixture)
{
    dns_forward_cancel(&fixture->forward);
    for (size_t i = 0; i < 2; i++) {
        close_watch(&fixture->servers[i].datagrams);
        close_watch(&fixture->servers[i].listener);
        close_watch(&fixture->servers[i].stream);
        socket_stock_free(fixture->stocks[i]);
    }
    broker_client_free(fixture->client);
    broker_stop(fixture->broker);
    loop_free(fixture->loop);
    writer_free(&fixture->answer);
    memory_free(fixture);
}

static void on_done(struct dns_forward *forward, struct bytes answer, const struct result *failure)
{
    struct fixture *fixture = CONTAINER_OF(forward, struct fixture, forward);
    assert_false(fixture->is_done);
    fixture->is_done = true;
    fixture->has_failed = failure != NULL;
    if (failure != NULL) {
        fixture->failure = *failure;
    }
    writer_clear(&fixture->answer);
    writer_add_bytes(&fixture->answer, answer);
}

static void start(struct fixture *fixture, bool is_stream)
{
    struct dns_request request;
    enum dns_code code;
    struct writer query = writer_growing();
    assert_true(dns_query_write("www.example.com", DNS_TYPE_A, QUERY_ID, &query));
    assert_int_equal(dns_request_read(writer_bytes(&query), &request, &code), DNS_READ);
    fixture->is_done = false;
    fixture->forward.on_done = on_done;
    dns_forward_start(&fixture->forward, &fixture->upstream, is_stream, writer_bytes(&query), &request);
    writer_free(&query);
    assert_false(fixture->is_done);
}

static void ask(struct fixture *fixture, bool is_stream)
{
    start(fixture, is_stream);
    run_loop_until(fixture->loop, &fixture->is_done);
}

static void assert_answered(const struct fixture *fixture, uint8_t code)
{
    assert_false(fixture->has_failed);
    assert_int_equal(fixture->answer.data[0] << 8 | fixture->answer.data[1], QUERY_ID);
    assert_int_equal(fixture->answer.data[3] & 0xf, code);
    assert_int_equal(fixture->answer.length, DNS_HEADER_BYTES + 17 + 4);
}

static void test_an_answer_comes_back_under_the_clients_id_over_either_transport(void **state)
{
    (void)state;
    struct fixture *fixture = begin();
    start_server(fixture, &fixture->servers[0], ANSWERS);
    unsigned with_the_clients_id = 0;
    for (unsigned i = 0; i < 8; i++) {
        ask(fixture, i % 2 == 1);
        assert_answered(fixture, DNS_NO_ERROR);
        with_the_clients_id += fixture->servers[0].last_id == QUERY_ID;
    }
    assert_int_equal(fixture->servers[0].queries, 8);
    assert_true(with_the_clients_id < 4);
    end(fixture);
}

static void test_the_next_server_is_asked_at_once_when_one_refuses_or_is_not_there(void **state)
{
    (void)state;
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        struct fixture *fixture = begin();
        start_server(fixture, &fixture->servers[0], REFUSES);
        start_server(fixture, &fixture->servers[1], ANSWERS);
        ask(fixture, is_stream);
        assert_answered(fixture, DNS_NO_ERROR);
        close_watch(&fixture->servers[0].datagrams);
        close_watch(&fixture->servers[0].listener);
        ask(fixture, is_stream);
        assert_answered(fixture, DNS_NO_ERROR);
        end(fixture);
    }
}

static void test_a_refusal_is_passed_on_when_nobody_answers_better(void **state)
{
    (void)state;
    struct fixture *fixture = begin();
    start_server(fixture, &fixture->servers[0], REFUSES);
    ask(fixture, false);
    assert_answered(fixture, DNS_REFUSED);
    ask(fixture, true);
    assert_answered(fixture, DNS_REFUSED);
    end(fixture);
}

static void test_a_silent_server_is_asked_again_and_then_given_up_within_the_time(void **state)
{
    (void)state;
    struct fixture *fixture = begin();
    start_server(fixture, &fixture->servers[0], IS_SILENT);
    fixture->resolver.timeout_s = 1;
    ask(fixture, false);
    assert_true(fixture->has_failed);
    assert_int_equal(fixture->failure.code, RESULT_TIMEOUT);
    assert_int_equal(fixture->servers[0].queries, 2);
    end(fixture);
}

static void test_the_second_server_answers_while_the_first_is_silent(void **state)
{
    (void)state;
    struct fixture *fixture = begin();
    start_server(fixture, &fixture->servers[0], IS_SILENT);
    start_server(fixture, &fixture->servers[1], ANSWERS);
    ask(fixture, false);
    assert_answered(fixture, DNS_NO_ERROR);
    assert_int_equal(fixture->servers[0].queries, 1);
    end(fixture);
}

static void test_wrong_answers_are_left_aside_but_not_without_end(void **state)
{
    (void)state;
    struct fixture *fixture = begin();
    start_server(fixture, &fixture->servers[0], ANSWERS_WRONGLY_FIRST);
    ask(fixture, false);
    assert_answered(fixture, DNS_NO_ERROR);
    fixture->servers[0].behaviour = ANSWERS_WRONGLY_ONLY;
    ask(fixture, false);
    assert_true(fixture->has_failed);
    assert_non_null(strstr(fixture->failure.message, "too many wrong answers from name server 127.0.0.1:"));
    end(fixture);
}

static void test_a_stream_that_ends_early_is_a_failure(void **state)
{
    (void)state;
    struct fixture *fixture = begin();
    start_server(fixture, &fixture->servers[0], ENDS);
    ask(fixture, true);
    assert_true(fixture->has_failed);
    assert_non_null(strstr(fixture->failure.message, "no answer from name server 127.0.0.1:"));
    end(fixture);
}

static void test_a_cancelled_forward_says_nothing_and_leaves_nothing(void **state)
{
    (void)state;
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        struct fixture *fixture = begin();
        start_server(fixture, &fixture->servers[0], IS_SILENT);
        start(fixture, is_stream);
        for (int turn = 0; turn < 3; turn++) {
            loop_run_once(fixture->loop, 10);
        }
        dns_forward_cancel(&fixture->forward);
        dns_forward_cancel(&fixture->forward);
        assert_false(fixture->is_done);
        start(fixture, is_stream); /* and is usable again */
        end(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_comes_back_under_the_clients_id_over_either_transport),
        cmocka_unit_test(test_the_next_server_is_asked_at_once_when_one_refuses_or_is_not_there),
        cmocka_unit_test(test_a_refusal_is_passed_on_when_nobody_answers_better),
        cmocka_unit_test(test_a_silent_server_is_asked_again_and_then_given_up_within_the_time),
        cmocka_unit_test(test_the_second_server_answers_while_the_first_is_silent),
        cmocka_unit_test(test_wrong_answers_are_left_aside_but_not_without_end),
        cmocka_unit_test(test_a_stream_that_ends_early_is_a_failure),
        cmocka_unit_test(test_a_cancelled_forward_says_nothing_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
