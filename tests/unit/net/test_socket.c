/* Sockets: the options they are given, what accepted ones inherit, where a redirected connection wanted to go. */
#include "unit/net/support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

static const struct socket_settings keepalive_settings = {
    .keepalive_is_enabled = true,
    .user_timeout_is_enabled = true,
    .keepalive_time_s = 180,
    .keepalive_interval_s = 20,
    .keepalive_retries = 3,
};

static int accept_when_ready(int listener, struct socket_address *peer)
{
    struct pollfd polled = { .fd = listener, .events = POLLIN };
    assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
    int descriptor = socket_accept(listener, peer);
    assert_true(descriptor >= 0);
    return descriptor;
}

static int connect_to(const struct socket_address *to)
{
    static const struct socket_settings settings;
    int descriptor;
    assert_ok(socket_open(&settings, (enum ip_family)to->ip.family, 0, &descriptor, NULL));
    int outcome = socket_connect(descriptor, to);
    struct pollfd polled = { .fd = descriptor, .events = POLLOUT };
    assert_true(outcome == 0 || outcome == EINPROGRESS);
    assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
    assert_int_equal(socket_connect(descriptor, to), 0);
    return descriptor;
}

static void assert_has_keepalive(int descriptor)
{
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_KEEPIDLE), 180);
    assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_KEEPINTVL), 20);
    assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT), 240000);
}

static void test_accepted_sockets_inherit_nodelay_keepalive_and_user_timeout(void **state)
{
    (void)state;
    struct listener_options options = { .address = address_of_text("127.0.0.1:0"), .flags = SOCKET_KEEPALIVE };
    struct listener listener;
    struct socket_address bound, peer, local;
    assert_ok(socket_listen(&keepalive_settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, &bound));
    int client = connect_to(&bound);
    int accepted = accept_when_ready(listener.descriptor, &peer);
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_has_keepalive(accepted);
    assert_true(fcntl(accepted, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(accepted, F_GETFD) & FD_CLOEXEC);
    assert_true(socket_local_address(client, &local));
    assert_true(socket_address_equal(&peer, &local));
    close(client);
    close(accepted);
    close(listener.descriptor);
}

static void test_tunnels_get_nodelay_and_no_keepalive(void **state)
{
    (void)state;
    int descriptor;
    assert_ok(socket_open(&keepalive_settings, IP_V4, 0, &descriptor, NULL));
    assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    close(descriptor);
    assert_ok(socket_open(&keepalive_settings, IP_V6, SOCKET_KEEPALIVE, &descriptor, NULL));
    assert_has_keepalive(descriptor);
    close(descriptor);
}

static void test_an_ipv6_wildcard_takes_ipv4_and_addresses_are_canonical(void **state)
{
    (void)state;
    struct socket_address bound, peer, destination;
    int listener = listen_at("[::]:0", &bound);
    struct socket_address to = address_of_text("127.0.0.1:1");
    to.port = bound.port;
    int client = connect_to(&to);
    int accepted = accept_when_ready(listener, &peer);
    assert_int_equal(peer.ip.family, IP_V4);
    assert_true(ip_is_loopback(&peer.ip));
    assert_true(socket_local_address(accepted, &destination));
    assert_true(socket_address_equal(&destination, &to));
    assert_true(socket_original_destination(accepted, &destination));
    assert_true(socket_address_equal(&destination, &to));
    close(client);
    close(accepted);
    close(listener);
}

static void test_nothing_to_accept_is_eagain(void **state)
{
    (void)state;
    struct socket_address bound, peer;
    int listener = listen_at("127.0.0.1:0", &bound);
    assert_int_equal(socket_accept(listener, &peer), -EAGAIN);
    close(listener);
}

static void test_a_taken_address_fails_with_the_contracts_words(void **state)
{
    (void)state;
    static const struct socket_settings settings;
    struct socket_address bound;
    int first = listen_at("127.0.0.1:0", &bound);
    struct listener_options options = { .address = bound };
    struct listener listener;
    char expected[128], text[SOCKET_ADDRESS_TEXT_SIZE];
    struct result result = socket_listen(&settings, &options, &listener);
    snprintf(expected, sizeof expected, "failed to bind to address %s: Address already in use (os error 98)",
        socket_address_format(&bound, text));
    assert_int_equal(result.code, RESULT_SYSTEM);
    assert_string_equal(result.message, expected);
    assert_int_equal(listener.descriptor, -1);
    close(first);
}

static void test_port_reuse_lets_a_successor_listen_beside(void **state)
{
    (void)state;
    static const struct socket_settings settings;
    struct listener_options options = { .address = address_of_text("127.0.0.1:0"), .flags = SOCKET_REUSES_PORT };
    struct listener first, second;
    assert_ok(socket_listen(&settings, &options, &first));
    assert_true(socket_local_address(first.descriptor, &options.address));
    assert_ok(socket_listen(&settings, &options, &second));
    assert_int_equal(option_of(first.descriptor, SOL_SOCKET, SO_REUSEADDR), 0);
    close(first.descriptor);
    close(second.descriptor);
}

static void connect_many(const struct socket_address *to, int *descriptors, size_t count)
{
    static const struct socket_settings settings;
    for (size_t i = 0; i < count; i++) {
        assert_ok(socket_open(&settings, IP_V4, 0, &descriptors[i], NULL));
        int outcome = socket_connect(descriptors[i], to);
        assert_true(outcome == 0 || outcome == EINPROGRESS);
    }
}

static size_t accept_all(int listener)
{
    struct socket_address peer;
    size_t count = 0;
    int accepted;
    while ((accepted = socket_accept(listener, &peer)) >= 0) {
        close(accepted);
        count++;
    }
    return count;
}

static void test_a_listener_that_yields_keeps_what_it_has_and_its_successor_gets_the_rest(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    static const struct socket_settings settings;
    struct listener_options options = { .address = address_of_text("127.0.0.1:0"), .flags = SOCKET_REUSES_PORT };
    struct listener first, second;
    int early[COUNT], late[COUNT], alone[COUNT];
    assert_ok(socket_listen(&settings, &options, &first));
    assert_true(socket_local_address(first.descriptor, &options.address));
    /* Without a successor nothing changes. */
    socket_yield_to_successor(first.descriptor);
    connect_many(&options.address, early, COUNT);
    assert_ok(socket_listen(&settings, &options, &second));
    socket_yield_to_successor(first.descriptor);
    connect_many(&options.address, late, COUNT);
    assert_int_equal(accept_all(first.descriptor), COUNT);
    assert_int_equal(accept_all(second.descriptor), COUNT);
    close(first.descriptor);
    connect_many(&options.address, alone, COUNT);
    assert_int_equal(accept_all(second.descriptor), COUNT);
    for (int i = 0; i < COUNT; i++) {
        close(early[i]);
        close(late[i]);
        close(alone[i]);
    }
    close(second.descriptor);
}

static void test_a_refused_connect_gives_its_error(void **state)
{
    (void)state;
    static const struct socket_settings settings;
    struct socket_address bound;
    int descriptor;
    close(listen_at("127.0.0.1:0", &bound));
    assert_ok(socket_open(&settings, IP_V4, 0, &descriptor, NULL));
    int outcome = socket_connect(descriptor, &bound);
    if (outcome == EINPROGRESS) {
        struct pollfd polled = { .fd = descriptor, .events = POLLOUT };
        assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
        outcome = socket_connect(descriptor, &bound);
    }
    assert_int_equal(outcome, ECONNREFUSED);
    close(descriptor);
}

static int unsent_limit(int descriptor)
{
    int limit = -1;
    socklen_t length = sizeof limit;
    assert_int_equal(getsockopt(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, &length), 0);
    return limit;
}

static void test_little_waits_unsent_on_both_ends_of_a_tunnel(void **state)
{
    (void)state;
    static const struct socket_settings settings;
    const struct listener_options options = { .address = { ip_of_text("127.0.0.1"), 0 }, .flags = SOCKET_TUNNEL };
    struct listener listener;
    struct socket_address bound, peer;
    int descriptor;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, &bound));
    assert_ok(socket_open(&settings, IP_V4, SOCKET_TUNNEL, &descriptor, NULL));
    (void)socket_connect(descriptor, &bound);
    int accepted = accept_when_ready(listener.descriptor, &peer);
    assert_int_equal(unsent_limit(descriptor), 128 * 1024);
    assert_int_equal(unsent_limit(accepted), 128 * 1024);
    close(accepted);
    close(descriptor);
    close(listener.descriptor);
}

static void test_a_source_bind_leaves_the_port_to_connect(void **state)
{
    (void)state;
    static const struct socket_settings settings;
    struct socket_address bound, peer, local;
    int listener = listen_at("127.0.0.1:0", &bound);
    int descriptor;
    assert_ok(socket_open(&settings, IP_V4, 0, &descriptor, NULL));
    struct ip_address source = ip_of_text("127.0.0.77");
    assert_int_equal(socket_bind_source(descriptor, &source), 0);
    assert_true(socket_local_address(descriptor, &local));
    assert_int_equal(local.port, 0);
    (void)socket_connect(descriptor, &bound);
    int accepted = accept_when_ready(listener, &peer);
    assert_true(ip_equal(&peer.ip, &source));
    assert_int_not_equal(peer.port, 0);
    close(accepted);
    close(descriptor);
    close(listener);
}

static void test_an_abortive_close_is_a_reset_to_the_peer(void **state)
{
    (void)state;
    struct socket_address bound, peer;
    int listener = listen_at("[::1]:0", &bound);
    int client = connect_to(&bound);
    int accepted = accept_when_ready(listener, &peer);
    struct pollfd polled = { .fd = client, .events = POLLIN };
    char byte;
    socket_close_with_reset(accepted);
    assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
    assert_int_equal(read(client, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    close(client);
    close(listener);
}

/* What the peer of an accepted socket with SOCKET_ENDS_BY_RESET reads after "bytes" once `end` has closed it. */
static ssize_t read_after_end(void (*end)(int descriptor))
{
    static const struct socket_settings settings;
    struct listener_options options = { .address = address_of_text("127.0.0.1:0"), .flags = SOCKET_ENDS_BY_RESET };
    struct listener listener;
    struct socket_address bound, peer;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, &bound));
    int client = connect_to(&bound);
    int accepted = accept_when_ready(listener.descriptor, &peer);
    assert_int_equal(write(accepted, "bytes", 5), 5);
    char taken[5];
    assert_int_equal(recv(client, taken, sizeof taken, MSG_WAITALL), 5);
    end(accepted);
    struct pollfd polled = { .fd = client, .events = POLLIN };
    assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
    ssize_t got = recv(client, taken, sizeof taken, MSG_DONTWAIT);
    ssize_t outcome = got < 0 ? -errno : got;
    close(client);
    close(listener.descriptor);
    return outcome;
}

static void close_as_a_dying_process_does(int descriptor)
{
    (void)close(descriptor);
}

static void test_an_application_socket_ends_by_reset_unless_it_is_closed_cleanly(void **state)
{
    (void)state;
    assert_int_equal(read_after_end(close_as_a_dying_process_does), -ECONNRESET);
    assert_int_equal(read_after_end(socket_close_cleanly), 0);
}

static void test_a_write_shutdown_is_an_end_to_the_peer_and_leaves_the_other_way_open(void **state)
{
    (void)state;
    struct socket_address bound, peer;
    int listener = listen_at("127.0.0.1:0", &bound);
    int client = connect_to(&bound);
    int accepted = accept_when_ready(listener, &peer);
    struct pollfd polled[] = { { .fd = client, .events = POLLIN }, { .fd = accepted, .events = POLLIN } };
    char byte;
    socket_shutdown_write(accepted);
    assert_int_equal(poll(&polled[0], 1, SUPPORT_DEADLINE_MS), 1);
    assert_int_equal(read(client, &byte, 1), 0);
    assert_int_equal(write(client, "x", 1), 1);
    assert_int_equal(poll(&polled[1], 1, SUPPORT_DEADLINE_MS), 1);
    assert_int_equal(read(accepted, &byte, 1), 1);
    close(client);
    close(accepted);
    close(listener);
}

static void test_bytes_that_a_full_peer_does_not_take_are_counted(void **state)
{
    (void)state;
    struct socket_address bound, peer;
    int listener = listen_at("127.0.0.1:0", &bound);
    int client = connect_to(&bound);
    int accepted = accept_when_ready(listener, &peer);
    static char bytes[65536];
    assert_int_equal(socket_unacknowledged_bytes(client), 0);
    size_t written = 0;
    for (ssize_t length; (length = write(client, bytes, sizeof bytes)) > 0; written += (size_t)length) {
    }
    assert_true(socket_unsent_bytes(client) > 0);
    assert_true(socket_unsent_bytes(client) <= socket_unacknowledged_bytes(client));
    assert_true(socket_unacknowledged_bytes(client) <= written);
    close(client);
    close(accepted);
    close(listener);
}

static void test_marks_transparency_and_cubic_are_inherited_by_accepted_sockets(void **state)
{
    (void)state;
    skip_without_root();
    struct socket_settings settings = { .mark = 1337, .transparency = TRANSPARENCY_REQUIRED };
    struct listener_options options = { .address = address_of_text("[::]:0"),
        .flags = SOCKET_MARKED | SOCKET_TRANSPARENT | SOCKET_LOCAL_LEG };
    struct listener listener;
    struct socket_address bound, peer;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(listener.is_transparent);
    assert_true(socket_local_address(listener.descriptor, &bound));
    struct socket_address to = address_of_text("127.0.0.1:1");
    to.port = bound.port;
    int client = connect_to(&to);
    int accepted = accept_when_ready(listener.descriptor, &peer);
    char congestion[16] = "";
    socklen_t length = sizeof congestion;
    assert_int_equal(getsockopt(accepted, IPPROTO_TCP, TCP_CONGESTION, congestion, &length), 0);
    assert_int_equal(option_of(accepted, SOL_SOCKET, SO_MARK), 1337);
    assert_int_equal(option_of(accepted, SOL_IP, IP_TRANSPARENT), 1);
    assert_string_equal(congestion, "cubic");
    close(client);
    close(accepted);
    close(listener.descriptor);
}

static void test_transparency_that_is_not_wanted_is_not_attempted(void **state)
{
    (void)state;
    struct socket_settings settings = { .mark = 1337, .transparency = TRANSPARENCY_NEVER };
    bool is_transparent = true;
    int descriptor;
    assert_ok(socket_open(&settings, IP_V4, SOCKET_TRANSPARENT, &descriptor, &is_transparent));
    assert_false(is_transparent);
    assert_int_equal(option_of(descriptor, SOL_IP, IP_TRANSPARENT), 0);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_MARK), 0);
    close(descriptor);
}

static void connect_through_redirection(void *context)
{
    struct socket_address to = address_of_text(context), bound, peer, destination;
    int listener = listen_at("[::]:15001", &bound);
    int client = connect_to(&to);
    int accepted = accept_when_ready(listener, &peer);
    assert_true(socket_original_destination(accepted, &destination));
    assert_true(socket_address_equal(&destination, &to));
    close(client);
    close(accepted);
    close(listener);
}

static void test_the_original_destination_of_redirected_connections_is_found_for_both_families(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace namespace_ = make_namespace();
    run_command_inside(&namespace_, "ip route add default dev lo && ip -6 route add default dev lo"
                                    " && ip addr add 10.9.9.9/32 dev lo && ip addr add fd09::9/128 dev lo nodad"
                                    " && nft add table inet nat"
                                    " && nft 'add chain inet nat output { type nat hook output priority -100; }'"
                                    " && nft add rule inet nat output tcp dport 81 redirect to :15001");
    char ipv4[] = "203.0.113.5:81", ipv6[] = "[2001:db8::5]:81";
    assert_ok(network_namespace_run(&namespace_, NULL, connect_through_redirection, ipv4));
    assert_ok(network_namespace_run(&namespace_, NULL, connect_through_redirection, ipv6));
    network_namespace_close(&namespace_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_sockets_inherit_nodelay_keepalive_and_user_timeout),
        cmocka_unit_test(test_tunnels_get_nodelay_and_no_keepalive),
        cmocka_unit_test(test_an_ipv6_wildcard_takes_ipv4_and_addresses_are_canonical),
        cmocka_unit_test(test_nothing_to_accept_is_eagain),
        cmocka_unit_test(test_a_taken_address_fails_with_the_contracts_words),
        cmocka_unit_test(test_port_reuse_lets_a_successor_listen_beside),
        cmocka_unit_test(test_a_listener_that_yields_keeps_what_it_has_and_its_successor_gets_the_rest),
        cmocka_unit_test(test_a_refused_connect_gives_its_error),
        cmocka_unit_test(test_little_waits_unsent_on_both_ends_of_a_tunnel),
        cmocka_unit_test(test_a_source_bind_leaves_the_port_to_connect),
        cmocka_unit_test(test_an_abortive_close_is_a_reset_to_the_peer),
        cmocka_unit_test(test_an_application_socket_ends_by_reset_unless_it_is_closed_cleanly),
        cmocka_unit_test(test_a_write_shutdown_is_an_end_to_the_peer_and_leaves_the_other_way_open),
        cmocka_unit_test(test_bytes_that_a_full_peer_does_not_take_are_counted),
        cmocka_unit_test(test_marks_transparency_and_cubic_are_inherited_by_accepted_sockets),
        cmocka_unit_test(test_transparency_that_is_not_wanted_is_not_attempted),
        cmocka_unit_test(test_the_original_destination_of_redirected_connections_is_found_for_both_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
