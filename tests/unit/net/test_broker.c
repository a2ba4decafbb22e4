/* The broker and its clients, as in-pod mode uses them: everything privileged is set up first, then this process drops every
 * capability, and the tests run without any. */
#include "net/socket_stock.h"
#include "unit/net/broker_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#define CLIENTS 2
#define MARK 1337u

static struct network_namespace pod; /* one "pod" with an address, and rules that bring marked packets home */
static struct broker *broker;
static struct loop *loop;
static struct broker_client *clients[CLIENTS];
static uint32_t pod_handle;

static const struct socket_settings settings = {
    .mark = MARK,
    .transparency = TRANSPARENCY_IF_POSSIBLE,
    .keepalive_is_enabled = true,
    .keepalive_time_s = 180,
    .keepalive_interval_s = 180,
    .keepalive_retries = 9,
};

static struct asked ask_for_listener(struct broker_client *client, uint32_t handle, const char *address, uint8_t flags)
{
    struct asked asked = new_asked();
    struct listener_options options = { .address = address_of_text(address), .flags = flags };
    broker_make_listener(client, &asked.call, handle, &options);
    run_loop_until(loop, &asked.is_answered);
    return asked;
}

static struct asked ask_for_sockets(
    struct broker_client *client, uint32_t handle, enum ip_family family, uint8_t flags, unsigned count)
{
    struct asked asked = new_asked();
    broker_make_sockets(client, &asked.call, handle, family, flags, count);
    run_loop_until(loop, &asked.is_answered);
    return asked;
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int i = 0; i < 1024; i++) {
        count += fcntl(i, F_GETFD) >= 0;
    }
    return count;
}

static int wait_and_accept(int listener, struct socket_address *peer)
{
    struct pollfd polled = { .fd = listener, .events = POLLIN };
    assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
    int accepted = socket_accept(listener, peer);
    assert_true(accepted >= 0);
    return accepted;
}

static void test_this_process_has_no_capability_and_cannot_mark_a_socket(void **state)
{
    (void)state;
    int descriptor;
    struct result result = socket_open(&settings, IP_V4, SOCKET_MARKED, &descriptor, NULL);
    assert_int_equal(result.code, RESULT_SYSTEM);
    assert_non_null(strstr(result.message, "packet mark 1337"));
    assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

static void test_a_second_broker_without_capabilities_refuses_to_start_and_says_which(void **state)
{
    (void)state;
    struct broker_settings wanted = { .mode = BROKER_ALL_NAMESPACES, .channel_count = 1, .sockets = settings };
    struct broker *refused;
    struct result result = broker_start(&wanted, &refused);
    assert_false(result_is_ok(&result));
    assert_non_null(strstr(result.message, "CAP_SYS_ADMIN"));
    assert_null(refused);
    wanted.mode = BROKER_OWN_NAMESPACE;
    result = broker_start(&wanted, &refused);
    assert_false(result_is_ok(&result));
    assert_non_null(strstr(result.message, "CAP_NET_ADMIN"));
}

static void test_a_listener_lives_in_the_pods_namespace_marked_and_transparent(void **state)
{
    (void)state;
    struct asked asked = ask_for_listener(clients[0], pod_handle, "[::]:15008",
        SOCKET_MARKED | SOCKET_TRANSPARENT | SOCKET_REUSES_PORT | SOCKET_LOCAL_LEG);
    assert_ok(asked.answer.result);
    assert_int_equal(asked.answer.descriptor_count, 1);
    int descriptor = asked.answer.descriptors[0];
    assert_true(asked.answer.is_transparent);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_MARK), MARK);
    assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_ACCEPTCONN), 1);
    assert_int_equal(option_of(descriptor, SOL_IP, IP_TRANSPARENT), 1);
    assert_true(fcntl(descriptor, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(descriptor, F_GETFD) & FD_CLOEXEC);
    /* The same port is free in our own namespace. */
    struct asked own = ask_for_listener(clients[0], BROKER_OWN_NAMESPACE_HANDLE, "127.0.0.1:15008", 0);
    assert_ok(own.answer.result);
    assert_int_equal(option_of(own.answer.descriptors[0], SOL_SOCKET, SO_MARK), 0);
    close(own.answer.descriptors[0]);
    close(descriptor);
}

static void test_a_listener_that_cannot_bind_says_so_in_the_contracts_words(void **state)
{
    (void)state;
    struct asked first = ask_for_listener(clients[0], pod_handle, "127.0.0.1:15001", 0);
    struct asked second = ask_for_listener(clients[1], pod_handle, "127.0.0.1:15001", 0);
    assert_ok(first.answer.result);
    assert_string_equal(second.answer.result.message,
        "failed to bind to address 127.0.0.1:15001: Address already in use (os error 98)");
    assert_int_equal(second.answer.descriptor_count, 0);
    close(first.answer.descriptors[0]);
}

/* The case of 15006 and 15008: towards the application under the client's address, which is nobody's here. */
static void connect_with_foreign_source(const char *listen_at_text, const char *source_text)
{
    struct ip_address source = ip_of_text(source_text);
    struct asked listening = ask_for_listener(clients[0], pod_handle, listen_at_text, 0);
    assert_ok(listening.answer.result);
    struct asked asked =
        ask_for_sockets(clients[0], pod_handle, (enum ip_family)source.family, SOCKET_MARKED | SOCKET_TRANSPARENT, 1);
    assert_ok(asked.answer.result);
    assert_true(asked.answer.is_transparent);
    int client = asked.answer.descriptors[0];
    struct socket_address to = address_of_text(listen_at_text), peer;
    assert_int_equal(socket_bind_source(client, &source), 0);
    int outcome = socket_connect(client, &to);
    assert_true(outcome == 0 || outcome == EINPROGRESS);
    int accepted = wait_and_accept(listening.answer.descriptors[0], &peer);
    assert_true(ip_equal(&peer.ip, &source));
    struct pollfd polled = { .fd = client, .events = POLLIN };
    char byte = 0;
    assert_int_equal(write(accepted, "y", 1), 1);
    assert_int_equal(poll(&polled, 1, SUPPORT_DEADLINE_MS), 1);
    assert_int_equal(read(client, &byte, 1), 1);
    assert_int_equal(byte, 'y');
    close(accepted);
    close(client);
    close(listening.answer.descriptors[0]);
}

static void test_an_unprivileged_process_connects_under_a_foreign_ipv4_source(void **state)
{
    (void)state;
    connect_with_foreign_source("10.9.0.2:8080", "192.0.2.77");
}

static void test_an_unprivileged_process_connects_under_a_foreign_ipv6_source(void **state)
{
    (void)state;
    connect_with_foreign_source("[fd09::2]:8080", "2001:db8::77");
}

static void test_sixteen_sockets_come_at_once_with_the_options_of_their_kind(void **state)
{
    (void)state;
    struct asked asked = ask_for_sockets(
        clients[1], pod_handle, IP_V6, SOCKET_MARKED | SOCKET_KEEPALIVE | SOCKET_LOCAL_LEG, BROKER_SOCKETS_A_MESSAGE);
    assert_ok(asked.answer.result);
    assert_int_equal(asked.answer.descriptor_count, BROKER_SOCKETS_A_MESSAGE);
    assert_false(asked.answer.is_transparent);
    for (unsigned i = 0; i < asked.answer.descriptor_count; i++) {
        int descriptor = asked.answer.descriptors[i];
        char congestion[16] = "";
        socklen_t length = sizeof congestion;
        assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_DOMAIN), AF_INET6);
        assert_int_equal(option_of(descriptor, SOL_SOCKET, SO_MARK), MARK);
        assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_KEEPIDLE), 180);
        assert_int_equal(option_of(descriptor, IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(getsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, congestion, &length), 0);
        assert_string_equal(congestion, "cubic");
        close(descriptor);
    }
}

static void test_a_request_that_breaks_a_rule_is_refused_and_the_channel_goes_on(void **state)
{
    (void)state;
    struct asked asked = ask_for_sockets(clients[0], pod_handle, IP_V4, 0, BROKER_SOCKETS_A_MESSAGE + 1);
    assert_int_equal(asked.answer.result.code, RESULT_INVALID);
    asked = ask_for_sockets(clients[0], pod_handle, (enum ip_family)5, 0, 1);
    assert_string_equal(asked.answer.result.message, "make sockets: address family 5");
    asked = ask_for_sockets(clients[0], pod_handle, IP_V4, 0, 1);
    assert_ok(asked.answer.result);
    close(asked.answer.descriptors[0]);
}

static void test_what_is_no_namespace_is_not_registered(void **state)
{
    (void)state;
    struct asked asked = new_asked();
    broker_register_namespace(clients[0], &asked.call, STDIN_FILENO);
    run_loop_until(loop, &asked.is_answered);
    assert_int_equal(asked.answer.result.code, RESULT_INVALID);
    assert_non_null(strstr(asked.answer.result.message, "is not a network namespace"));
}

static void test_a_forgotten_handle_is_refused_even_when_its_place_is_taken_again(void **state)
{
    (void)state;
    uint32_t handle = register_namespace(clients[0], &pod);
    struct asked asked = ask_for_sockets(clients[1], handle, IP_V4, 0, 1);
    assert_ok(asked.answer.result);
    close(asked.answer.descriptors[0]);
    broker_forget_namespace(clients[0], handle);
    uint32_t next = register_namespace(clients[0], &pod);
    assert_int_not_equal(next, handle);
    asked = ask_for_sockets(clients[1], handle, IP_V4, 0, 1);
    assert_int_equal(asked.answer.result.code, RESULT_NOT_FOUND);
    broker_forget_namespace(clients[0], next);
}

static void test_a_cancelled_calls_descriptors_are_closed_and_later_answers_find_their_calls(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    struct asked cancelled = new_asked(), kept = new_asked();
    broker_make_sockets(clients[0], &cancelled.call, pod_handle, IP_V4, 0, 4);
    broker_make_sockets(clients[0], &kept.call, pod_handle, IP_V6, 0, 1);
    broker_call_cancel(&cancelled.call);
    broker_call_cancel(&cancelled.call);
    run_loop_until(loop, &kept.is_answered);
    assert_false(cancelled.is_answered);
    assert_int_equal(option_of(kept.answer.descriptors[0], SOL_SOCKET, SO_DOMAIN), AF_INET6);
    close(kept.answer.descriptors[0]);
    assert_int_equal(open_descriptors(), before);
}

static void test_more_calls_than_fit_into_flight_are_all_answered_in_order(void **state)
{
    (void)state;
    enum { CALLS = 300 };
    struct asked *asked = memory_allocate_zeroed(CALLS, sizeof *asked);
    for (int i = 0; i < CALLS; i++) {
        asked[i].call.on_answer = record_answer;
        broker_make_sockets(clients[0], &asked[i].call, pod_handle, i % 2 == 0 ? IP_V4 : IP_V6, 0, 2);
    }
    run_loop_until(loop, &asked[CALLS - 1].is_answered);
    for (int i = 0; i < CALLS; i++) {
        assert_true(asked[i].is_answered);
        assert_ok(asked[i].answer.result);
        assert_int_equal(
            option_of(asked[i].answer.descriptors[0], SOL_SOCKET, SO_DOMAIN), i % 2 == 0 ? AF_INET : AF_INET6);
        broker_answer_close_descriptors(&asked[i].answer);
    }
    memory_free(asked);
}

struct waiter {
    struct socket_wait wait;
    bool is_called;
    int descriptor;
    struct result failure;
};

static void record_socket(struct socket_wait *wait, int descriptor, const struct result *failure)
{
    struct waiter *waiter = CONTAINER_OF(wait, struct waiter, wait);
    assert_false(waiter->is_called);
    waiter->is_called = true;
    waiter->descriptor = descriptor;
    waiter->failure = failure != NULL ? *failure : result_ok();
}

static void test_an_empty_stock_makes_wait_and_a_filled_one_gives_at_once(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    struct socket_stock *stock = socket_stock_new(clients[1], pod_handle, IP_V4, SOCKET_MARKED | SOCKET_TRANSPARENT);
    struct waiter first = { .wait.on_socket = record_socket }, second = { .wait.on_socket = record_socket };
    assert_int_equal(socket_stock_take(stock, &first.wait), -EAGAIN);
    assert_false(first.is_called);
    run_loop_until(loop, &first.is_called);
    assert_true(first.descriptor >= 0);
    assert_int_equal(option_of(first.descriptor, SOL_SOCKET, SO_MARK), MARK);
    assert_true(socket_stock_is_transparent(stock));
    int descriptor = socket_stock_take(stock, &second.wait);
    assert_true(descriptor >= 0);
    close(descriptor);
    close(first.descriptor);
    socket_stock_free(stock);
    assert_int_equal(open_descriptors(), before);
}

static void test_a_burst_is_served_and_the_stock_has_grown_to_serve_the_next_at_once(void **state)
{
    (void)state;
    enum { BURST = 200 };
    struct socket_stock *stock = socket_stock_new(clients[1], pod_handle, IP_V4, SOCKET_MARKED);
    struct waiter *waiters = memory_allocate_zeroed(BURST, sizeof *waiters);
    for (int i = 0; i < BURST; i++) {
        waiters[i].wait.on_socket = record_socket;
        assert_int_equal(socket_stock_take(stock, &waiters[i].wait), -EAGAIN);
    }
    socket_wait_cancel(&waiters[7].wait);
    socket_wait_cancel(&waiters[7].wait);
    run_loop_until(loop, &waiters[BURST - 1].is_called);
    for (int i = 0; i < 20; i++) {
        loop_run_once(loop, 1);
    }
    unsigned at_once = 0;
    struct waiter last = { .wait.on_socket = record_socket };
    for (int descriptor; (descriptor = socket_stock_take(stock, &last.wait)) >= 0; at_once++) {
        close(descriptor);
    }
    assert_in_range(at_once, STOCK_TARGET_MAXIMUM / 2, STOCK_TARGET_MAXIMUM + BROKER_SOCKETS_A_MESSAGE);
    for (int i = 0; i < BURST; i++) {
        assert_int_equal(waiters[i].is_called, i != 7);
        if (i != 7) {
            assert_true(waiters[i].descriptor >= 0);
            close(waiters[i].descriptor);
        }
    }
    socket_stock_free(stock);
    assert_true(last.is_called);
    assert_int_equal(last.failure.code, RESULT_UNAVAILABLE);
    memory_free(waiters);
}

static void test_a_stock_whose_namespace_is_unknown_tells_its_waiters(void **state)
{
    (void)state;
    struct socket_stock *stock = socket_stock_new(clients[1], 0xabcdef, IP_V4, 0);
    struct waiter waiter = { .wait.on_socket = record_socket };
    assert_int_equal(socket_stock_take(stock, &waiter.wait), -EAGAIN);
    run_loop_until(loop, &waiter.is_called);
    assert_int_equal(waiter.descriptor, -1);
    assert_int_equal(waiter.failure.code, RESULT_NOT_FOUND);
    socket_stock_free(stock);
}

static void test_a_listener_on_a_port_that_is_not_the_proxys_is_refused(void **state)
{
    (void)state;
    struct asked asked = ask_for_listener(clients[0], pod_handle, "[::]:443", 0);
    assert_int_equal(asked.answer.result.code, RESULT_INVALID);
    assert_string_equal(asked.answer.result.message, "make listener: port 443 is not one of the proxy's");
    asked = ask_for_listener(clients[0], BROKER_OWN_NAMESPACE_HANDLE, "[::]:0", 0);
    assert_int_equal(asked.answer.result.code, RESULT_INVALID);
}

/* The last client's channel, to be used behind its back; its answers find no call. */
static int channel_of_last_client(void)
{
    struct sockaddr_storage name;
    int channel = -1;
    for (int i = 3; i < 64; i++) {
        socklen_t length = sizeof name;
        int type = 0;
        socklen_t type_length = sizeof type;
        if (getsockname(i, (struct sockaddr *)&name, &length) == 0 && name.ss_family == AF_UNIX &&
            getsockopt(i, SOL_SOCKET, SO_TYPE, &type, &type_length) == 0 && type == SOCK_SEQPACKET) {
            channel = i;
        }
    }
    assert_true(channel >= 0);
    return channel;
}

static unsigned descriptors_of(pid_t process)
{
    char path[64];
    snprintf(path, sizeof path, "ls /proc/%d/fd | wc -l", (int)process);
    FILE *list = popen(path, "r");
    unsigned count = 0;
    assert_int_equal(fscanf(list, "%u", &count), 1);
    pclose(list);
    return count;
}

static void send_registration(int channel, uint32_t sequence, int *result)
{
    uint8_t memory[BROKER_REQUEST_BYTES];
    struct writer writer = writer_fixed(memory, sizeof memory);
    const struct broker_request request = { .sequence = sequence, .type = BROKER_REGISTER_NAMESPACE };
    broker_request_write(&request, &writer);
    int descriptors[BROKER_SOCKETS_A_MESSAGE];
    for (size_t i = 0; i < ARRAY_LENGTH(descriptors); i++) {
        descriptors[i] = STDIN_FILENO;
    }
    *result = broker_send(channel, writer_bytes(&writer), descriptors, 1 + sequence % BROKER_SOCKETS_A_MESSAGE);
}

static void test_a_client_that_floods_and_reads_nothing_costs_no_descriptor_and_delays_nobody(void **state)
{
    (void)state;
    int channel = channel_of_last_client();
    unsigned before = descriptors_of(broker_process(broker));
    int sent = 0;
    for (uint32_t sequence = 0; sequence < 20000 && (sent == 0 || sequence < 1000); sequence++) {
        send_registration(channel, sequence, &sent);
    }
    assert_int_equal(sent, -EAGAIN);
    struct asked asked = ask_for_sockets(clients[0], pod_handle, IP_V4, 0, 1);
    assert_ok(asked.answer.result);
    close(asked.answer.descriptors[0]);
    /* Its answers taken, it is served again. */
    asked = ask_for_sockets(clients[CLIENTS - 1], pod_handle, IP_V4, 0, 1);
    assert_ok(asked.answer.result);
    close(asked.answer.descriptors[0]);
    /* The broker closes its copy of a descriptor after the client has it, so the count is awaited, for at most 10 s. */
    for (unsigned waited_ms = 0; descriptors_of(broker_process(broker)) > before && waited_ms < 10000;
         waited_ms += 10) {
        (void)usleep(10000);
    }
    assert_true(descriptors_of(broker_process(broker)) <= before);
}

static void test_garbage_on_one_channel_leaves_the_others_alone(void **state)
{
    (void)state;
    static const uint8_t garbage[200] = { 1, 2, 3 };
    int channel = channel_of_last_client();
    assert_int_equal(send(channel, garbage, 3, MSG_NOSIGNAL), 3);
    assert_int_equal(send(channel, garbage, 33, MSG_NOSIGNAL), 33);
    assert_int_equal(send(channel, garbage, sizeof garbage, MSG_NOSIGNAL), sizeof garbage);
    struct asked asked = ask_for_sockets(clients[0], pod_handle, IP_V4, 0, 1);
    assert_ok(asked.answer.result);
    close(asked.answer.descriptors[0]);
    /* Too long a datagram was the end of that channel: its client is told. */
    asked = ask_for_sockets(clients[1], pod_handle, IP_V4, 0, 1);
    assert_int_equal(asked.answer.result.code, RESULT_UNAVAILABLE);
}

static bool is_dead;
static struct result death;

static void record_death(void *context, const struct result *reason)
{
    assert_ptr_equal(context, &death);
    is_dead = true;
    death = *reason;
}

static void test_the_brokers_death_is_told_with_its_signal_and_fails_calls(void **state)
{
    (void)state;
    assert_ok(broker_watch_death(broker, loop, record_death, &death));
    struct asked asked = new_asked();
    assert_int_equal(kill(broker_process(broker), SIGTERM), 0); /* ignored: the main process decides */
    struct asked served = ask_for_sockets(clients[0], pod_handle, IP_V4, 0, 1);
    assert_ok(served.answer.result);
    close(served.answer.descriptors[0]);
    assert_int_equal(kill(broker_process(broker), SIGKILL), 0);
    run_loop_until(loop, &is_dead);
    assert_non_null(strstr(death.message, "was ended by signal 9 (Killed)"));
    broker_make_sockets(clients[0], &asked.call, pod_handle, IP_V4, 0, 1);
    assert_false(asked.is_answered);
    run_loop_until(loop, &asked.is_answered);
    assert_int_equal(asked.answer.result.code, RESULT_UNAVAILABLE);
}

static void test_without_a_broker_the_same_calls_are_done_in_place(void **state)
{
    (void)state;
    struct broker_settings none = { .mode = BROKER_NONE, .channel_count = 1, .sockets = settings };
    struct broker *in_place;
    none.sockets.mark = 0;
    assert_ok(broker_start(&none, &in_place));
    assert_int_equal(broker_process(in_place), 0);
    struct broker_client *client = broker_client_new(in_place, 0, loop);
    struct asked asked = ask_for_listener(client, BROKER_OWN_NAMESPACE_HANDLE, "127.0.0.1:0", SOCKET_TRANSPARENT);
    assert_ok(asked.answer.result);
    assert_false(asked.answer.is_transparent); /* best effort: this process may not */
    close(asked.answer.descriptors[0]);
    struct socket_stock *stock = socket_stock_new(client, BROKER_OWN_NAMESPACE_HANDLE, IP_V4, SOCKET_MARKED);
    struct waiter waiter = { .wait.on_socket = record_socket };
    assert_int_equal(socket_stock_take(stock, &waiter.wait), -EAGAIN);
    run_loop_until(loop, &waiter.is_called);
    assert_true(waiter.descriptor >= 0);
    close(waiter.descriptor);
    socket_stock_free(stock);
    struct asked refused = new_asked();
    broker_register_namespace(client, &refused.call, pod.descriptor);
    run_loop_until(loop, &refused.is_answered);
    assert_int_equal(refused.answer.result.code, RESULT_UNSUPPORTED);
    broker_client_free(client);
    broker_stop(in_place);
}

static void prepare_pod(void)
{
    pod = make_namespace();
    /* What the mesh's rules do: marked packets to foreign addresses stay here; answers carry their request's mark. */
    run_command_inside(&pod,
        "ip addr add 10.9.0.2/32 dev lo && ip -6 addr add fd09::2/128 dev lo nodad"
        " && ip rule add fwmark 1337 lookup 100 && ip route add local 0.0.0.0/0 dev lo table 100"
        " && ip -6 rule add fwmark 1337 lookup 100 && ip -6 route add local ::/0 dev lo table 100"
        " && sysctl -qw net.ipv4.tcp_fwmark_accept=1 net.ipv4.fwmark_reflect=1 net.ipv6.fwmark_reflect=1");
}

static int set_up(void **state)
{
    (void)state;
    struct broker_settings wanted = { .mode = BROKER_ALL_NAMESPACES,
        .channel_count = CLIENTS,
        .sockets = settings,
        .listener_ports = { 15001, 15006, 15008, 8080 } };
    prepare_pod();
    assert_ok(broker_start(&wanted, &broker));
    assert_ok(broker_drop_privileges());
    loop = loop_new();
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = broker_client_new(broker, i, loop);
    }
    pod_handle = register_namespace(clients[0], &pod);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CLIENTS; i++) {
        broker_client_free(clients[i]);
    }
    broker_stop(broker);
    loop_free(loop);
    network_namespace_close(&pod);
    return 0;
}

static void test_needs_root(void **state)
{
    (void)state;
    skip_without_root();
}

int main(void)
{
    const struct CMUnitTest skipped[] = { cmocka_unit_test(test_needs_root) };
    /* The last two are the end of a client and of the broker. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_process_has_no_capability_and_cannot_mark_a_socket),
        cmocka_unit_test(test_a_second_broker_without_capabilities_refuses_to_start_and_says_which),
        cmocka_unit_test(test_a_listener_lives_in_the_pods_namespace_marked_and_transparent),
        cmocka_unit_test(test_a_listener_that_cannot_bind_says_so_in_the_contracts_words),
        cmocka_unit_test(test_an_unprivileged_process_connects_under_a_foreign_ipv4_source),
        cmocka_unit_test(test_an_unprivileged_process_connects_under_a_foreign_ipv6_source),
        cmocka_unit_test(test_sixteen_sockets_come_at_once_with_the_options_of_their_kind),
        cmocka_unit_test(test_a_request_that_breaks_a_rule_is_refused_and_the_channel_goes_on),
        cmocka_unit_test(test_what_is_no_namespace_is_not_registered),
        cmocka_unit_test(test_a_forgotten_handle_is_refused_even_when_its_place_is_taken_again),
        cmocka_unit_test(test_a_cancelled_calls_descriptors_are_closed_and_later_answers_find_their_calls),
        cmocka_unit_test(test_more_calls_than_fit_into_flight_are_all_answered_in_order),
        cmocka_unit_test(test_an_empty_stock_makes_wait_and_a_filled_one_gives_at_once),
        cmocka_unit_test(test_a_burst_is_served_and_the_stock_has_grown_to_serve_the_next_at_once),
        cmocka_unit_test(test_a_stock_whose_namespace_is_unknown_tells_its_waiters),
        cmocka_unit_test(test_without_a_broker_the_same_calls_are_done_in_place),
        cmocka_unit_test(test_a_listener_on_a_port_that_is_not_the_proxys_is_refused),
        cmocka_unit_test(test_a_client_that_floods_and_reads_nothing_costs_no_descriptor_and_delays_nobody),
        cmocka_unit_test(test_garbage_on_one_channel_leaves_the_others_alone),
        cmocka_unit_test(test_the_brokers_death_is_told_with_its_signal_and_fails_calls),
    };
    return geteuid() != 0 ? cmocka_run_group_tests(skipped, NULL, NULL)
                          : cmocka_run_group_tests(tests, set_up, tear_down);
}
