/* Listening sockets of servers: a bounded number a turn, and a pause without descriptors. */
#include "net/acceptor.h"

#include "unit/net/support.h"

#include <errno.h>
#include <sys/resource.h>

#define CLIENTS 5

struct counting {
    struct acceptor acceptor;
    int accepted;
};

static void count_and_close(struct acceptor *acceptor, int descriptor, const struct socket_address *peer)
{
    assert_true(peer->port != 0);
    CONTAINER_OF(acceptor, struct counting, acceptor)->accepted++;
    close(descriptor);
}

static void open_at(struct counting *counting, struct loop *loop, int clients[CLIENTS])
{
    static const struct socket_settings settings;
    const struct listener_options options = { .address = address_of_text("127.0.0.1:0") };
    struct listener listener;
    struct socket_address bound;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, &bound));
    *counting = (struct counting){ .acceptor = { .on_accept = count_and_close, .accepts_a_turn = 2 } };
    assert_ok(acceptor_open(&counting->acceptor, loop, listener.descriptor));
    for (int i = 0; i < CLIENTS; i++) {
        assert_ok(socket_open(&settings, IP_V4, 0, &clients[i], NULL));
        int outcome = socket_connect(clients[i], &bound);
        assert_true(outcome == 0 || outcome == EINPROGRESS);
    }
}

static void close_all(struct counting *counting, struct loop *loop, const int clients[CLIENTS])
{
    acceptor_close(&counting->acceptor);
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
    loop_free(loop);
}

static void a_turn_accepts_so_many_and_leaves_the_rest_to_the_next(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct counting counting;
    int clients[CLIENTS];
    open_at(&counting, loop, clients);
    loop_run_once(loop, SUPPORT_DEADLINE_MS);
    assert_int_equal(counting.accepted, 2);
    while (counting.accepted < CLIENTS) {
        int before = counting.accepted;
        loop_run_once(loop, SUPPORT_DEADLINE_MS);
        assert_in_range(counting.accepted - before, 1, 2);
    }
    close_all(&counting, loop, clients);
}

static void without_descriptors_it_pauses_and_then_goes_on(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct counting counting;
    int clients[CLIENTS];
    struct rlimit before;
    open_at(&counting, loop, clients);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = { .rlim_cur = 3, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    loop_run_once(loop, SUPPORT_DEADLINE_MS);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(counting.accepted, 0);
    loop_run_once(loop, 0);
    assert_int_equal(counting.accepted, 0); /* it is not woken though the clients wait */
    loop_advance_ms(loop, 200);
    loop_run_once(loop, 0);
    while (counting.accepted < CLIENTS) {
        loop_run_once(loop, SUPPORT_DEADLINE_MS);
    }
    close_all(&counting, loop, clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_accepts_so_many_and_leaves_the_rest_to_the_next),
        cmocka_unit_test(without_descriptors_it_pauses_and_then_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
