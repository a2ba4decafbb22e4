/* The resolver of workloads' names: against a scripted name server on the same loop. */
#include "base/cursor.h"
#include "base/writer.h"
#include "net/name_resolver.h"
#include "unit/net/support.h"

#include <sys/epoll.h>

/* A server that answers A questions with `addresses` (127.0.0.N each) and AAAA questions with nothing. */
struct server {
    struct io_watch watch;
    char address[SOCKET_ADDRESS_TEXT_SIZE];
    unsigned a_questions, aaaa_questions;
    unsigned addresses;
    uint32_t ttl_s;
    uint8_t code;
    bool is_silent;
};

static void answer_question(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server = CONTAINER_OF(watch, struct server, watch);
    uint8_t query[512];
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    ssize_t received = recvfrom(watch->descriptor, query, sizeof query, 0, (struct sockaddr *)&peer, &length);
    assert_true(received > 16);
    bool is_a = query[received - 3] == 1;
    server->a_questions += is_a;
    server->aaaa_questions += !is_a;
    if (server->is_silent) {
        return;
    }
    unsigned records = is_a && server->code == 0 ? server->addresses : 0;
    struct writer out = writer_growing();
    writer_add(&out, query, 2);
    writer_add_u16(&out, (uint16_t)(0x8180 | server->code));
    writer_add_u16(&out, 1);
    writer_add_u16(&out, (uint16_t)records);
    writer_add_u32(&out, 0);
    writer_add(&out, query + 12, (size_t)received - 12);
    for (unsigned i = 0; i < records; i++) {
        static const uint8_t head[] = { 0xc0, 12, 0, 1, 0, 1 };
        writer_add(&out, head, sizeof head);
        writer_add_u32(&out, server->ttl_s);
        writer_add_u16(&out, 4);
        writer_add_u32(&out, 0x7f000000u + i + 1);
    }
    assert_int_equal(
        sendto(watch->descriptor, out.data, out.length, 0, (struct sockaddr *)&peer, length), (ssize_t)out.length);
    writer_free(&out);
}

static void start_server(struct server *server, struct loop *loop)
{
    struct sockaddr_storage storage;
    struct socket_address address = address_of_text("127.0.0.1:0");
    socklen_t length = socket_address_to_kernel(&address, false, &storage);
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(descriptor, (struct sockaddr *)&storage, length), 0);
    assert_true(socket_local_address(descriptor, &address));
    socket_address_format(&address, server->address);
    server->watch.on_ready = answer_question;
    assert_ok(loop_watch(loop, &server->watch, descriptor, EPOLLIN));
}

struct fixture {
    struct loop *loop;
    struct server server;
    struct name_resolver *resolver;
};

static struct fixture *start(struct server server, bool is_ipv4_only)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    fixture->server = server;
    start_server(&fixture->server, fixture->loop);
    const struct name_resolver_settings settings = { is_ipv4_only, fixture->server.address };
    assert_ok(name_resolver_new(fixture->loop, &settings, &fixture->resolver));
    return fixture;
}

static void stop(struct fixture *fixture)
{
    name_resolver_free(fixture->resolver);
    loop_unwatch(&fixture->server.watch);
    close(fixture->server.watch.descriptor);
    loop_free(fixture->loop);
    memory_free(fixture);
}

struct asking {
    struct name_lookup lookup;
    bool is_done;
    bool does_exist;
    size_t count;
    struct ip_address first;
};

static void record_answer(struct name_lookup *lookup, const struct name_answer *answer)
{
    struct asking *asking = CONTAINER_OF(lookup, struct asking, lookup);
    assert_false(asking->is_done);
    asking->is_done = true;
    asking->does_exist = answer->does_exist;
    asking->count = answer->address_count;
    if (answer->address_count > 0) {
        asking->first = answer->addresses[0];
    }
}

static void ask(struct fixture *fixture, struct asking *asking, const char *hostname)
{
    *asking = (struct asking){ .lookup.on_answer = record_answer };
    name_lookup_start(&asking->lookup, fixture->resolver, hostname);
}

static void test_both_families_are_asked_for_and_the_answer_is_kept(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .addresses = 3, .ttl_s = 60 }, false);
    struct asking first, second;
    ask(fixture, &first, "db.example.com");
    assert_false(first.is_done);
    run_loop_until(fixture->loop, &first.is_done);
    assert_true(first.does_exist);
    assert_int_equal(first.count, 3);
    assert_int_equal(first.first.family, IP_V4);
    assert_int_equal(fixture->server.a_questions, 1);
    assert_int_equal(fixture->server.aaaa_questions, 1);
    ask(fixture, &second, "db.example.com");
    assert_true(second.is_done);
    assert_int_equal(second.count, 3);
    assert_int_equal(fixture->server.a_questions, 1);
    stop(fixture);
}

static void test_without_ipv6_only_a_is_asked_for(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .addresses = 1, .ttl_s = 60 }, true);
    struct asking asking;
    ask(fixture, &asking, "db.example.com");
    run_loop_until(fixture->loop, &asking.is_done);
    assert_int_equal(asking.count, 1);
    assert_int_equal(fixture->server.aaaa_questions, 0);
    stop(fixture);
}

static void test_an_answer_without_time_to_live_is_asked_for_again(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .addresses = 1, .ttl_s = 0 }, true);
    for (unsigned i = 1; i <= 2; i++) {
        struct asking asking;
        ask(fixture, &asking, "db.example.com");
        run_loop_until(fixture->loop, &asking.is_done);
        assert_int_equal(fixture->server.a_questions, i);
    }
    assert_int_equal(name_resolver_count(fixture->resolver), 1);
    stop(fixture);
}

static void test_many_who_ask_at_once_share_one_question(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .addresses = 1, .ttl_s = 0 }, true);
    struct asking askings[8];
    for (size_t i = 0; i < ARRAY_LENGTH(askings); i++) {
        ask(fixture, &askings[i], "db.example.com");
    }
    name_lookup_cancel(&askings[3].lookup);
    name_lookup_cancel(&askings[3].lookup);
    run_loop_until(fixture->loop, &askings[7].is_done);
    for (size_t i = 0; i < ARRAY_LENGTH(askings); i++) {
        assert_int_equal(askings[i].is_done, i != 3);
    }
    assert_int_equal(fixture->server.a_questions, 1);
    stop(fixture);
}

static void test_a_name_that_does_not_exist_is_told_from_one_without_addresses(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .code = 3 }, true);
    struct asking absent, empty;
    ask(fixture, &absent, "absent.example.com");
    run_loop_until(fixture->loop, &absent.is_done);
    assert_false(absent.does_exist);
    assert_int_equal(absent.count, 0);
    fixture->server.code = 0;
    ask(fixture, &empty, "empty.example.com");
    run_loop_until(fixture->loop, &empty.is_done);
    assert_true(empty.does_exist);
    assert_int_equal(empty.count, 0);
    stop(fixture);
}

static void test_a_silent_server_is_waited_for_in_bounds(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .is_silent = true }, true);
    struct asking asking;
    ask(fixture, &asking, "db.example.com");
    uint64_t end_ns = clock_monotonic_ns() + 2 * RESOLVER_DEADLINE_MS * NANOSECONDS_PER_MILLISECOND;
    while (!asking.is_done && clock_monotonic_ns() < end_ns) {
        loop_run_once(fixture->loop, 50);
    }
    assert_true(asking.is_done);
    assert_false(asking.does_exist);
    stop(fixture);
}

static void test_questions_under_way_are_bounded_and_forgotten_at_the_end(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .is_silent = true }, true);
    struct asking *askings = memory_allocate_zeroed(RESOLVER_RUNNING_MAXIMUM + 1, sizeof *askings);
    for (unsigned i = 0; i <= RESOLVER_RUNNING_MAXIMUM; i++) {
        char hostname[64];
        snprintf(hostname, sizeof hostname, "h%u.example.com", i);
        ask(fixture, &askings[i], hostname);
        assert_int_equal(askings[i].is_done, i == RESOLVER_RUNNING_MAXIMUM);
    }
    stop(fixture);
    assert_false(askings[0].is_done);
    memory_free(askings);
}

static void test_the_names_kept_are_bounded(void **state)
{
    (void)state;
    struct fixture *fixture = start((struct server){ .addresses = 1, .ttl_s = 600 }, true);
    for (unsigned i = 0; i < RESOLVER_NAMES_MAXIMUM + 40; i++) {
        struct asking asking;
        char hostname[64];
        snprintf(hostname, sizeof hostname, "h%u.example.com", i);
        ask(fixture, &asking, hostname);
        run_loop_until(fixture->loop, &asking.is_done);
    }
    assert_int_equal(name_resolver_count(fixture->resolver), RESOLVER_NAMES_MAXIMUM);
    struct asking oldest;
    unsigned before = fixture->server.a_questions;
    ask(fixture, &oldest, "h0.example.com");
    run_loop_until(fixture->loop, &oldest.is_done);
    assert_int_equal(fixture->server.a_questions, before + 1);
    stop(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_families_are_asked_for_and_the_answer_is_kept),
        cmocka_unit_test(test_without_ipv6_only_a_is_asked_for),
        cmocka_unit_test(test_an_answer_without_time_to_live_is_asked_for_again),
        cmocka_unit_test(test_many_who_ask_at_once_share_one_question),
        cmocka_unit_test(test_a_name_that_does_not_exist_is_told_from_one_without_addresses),
        cmocka_unit_test(test_a_silent_server_is_waited_for_in_bounds),
        cmocka_unit_test(test_questions_under_way_are_bounded_and_forgotten_at_the_end),
        cmocka_unit_test(test_the_names_kept_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
