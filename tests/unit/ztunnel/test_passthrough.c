/* Plaintext that comes for the pod from outside the mesh (ztunnel-dataplane §11). No rule redirects it here, so that its original
 * destination is the address it was accepted on: the test's listener takes the client's connection first, then the proxy's. */
#include "ztunnel/passthrough.h"

#include "unit/ztunnel/proxy_fixture.h"

struct fixture {
    struct proxy_rig rig;
    int listener, client, application;
    uint16_t port;
};

static const struct hbone_pool_opener NO_OPENER = { NULL, NULL, NULL };

static int set_up(void **state)
{
    struct fixture *fixture = NEW_LINES(struct fixture);
    fixture->client = fixture->application = -1;
    proxy_rig_begin(&fixture->rig, &NO_OPENER, NULL);
    proxy_rig_add_pod(&fixture->rig, CLIENT_UID, "127.0.0.1");
    fixture->port = application_listen(&fixture->listener);
    *state = fixture;
    return 0;
}

static void close_if_open(int *descriptor)
{
    if (*descriptor >= 0) {
        close(*descriptor);
        *descriptor = -1;
    }
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    proxy_rig_cut(&fixture->rig);
    close_if_open(&fixture->client);
    close_if_open(&fixture->application);
    close_if_open(&fixture->listener);
    proxy_rig_end(&fixture->rig);
    memory_free(fixture);
    return 0;
}

static int take_connection(const struct fixture *fixture)
{
    return accept4(fixture->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* A client connects; the answer is the proxy's end, for passthrough_accept. */
static int dial(struct fixture *fixture)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(fixture->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    fixture->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fixture->client, (struct sockaddr *)&to, sizeof to), 0);
    int accepted = take_connection(fixture);
    assert_true(accepted >= 0);
    return accepted;
}

static void pass(struct fixture *fixture, int accepted)
{
    struct socket_address from = target_of("10.0.0.9:40000");
    passthrough_accept(&fixture->rig.pod, accepted, &from);
}

static void accept_application(struct fixture *fixture)
{
    TURN_UNTIL(&fixture->rig, (fixture->application = take_connection(fixture)) >= 0);
}

static bool is_client_closed(const struct fixture *fixture)
{
    char out[16];
    ssize_t got = recv(fixture->client, out, sizeof out, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static void plaintext_reaches_the_application_it_was_meant_for(void **state)
{
    struct fixture *fixture = *state;
    char read[16] = "";
    pass(fixture, dial(fixture));
    accept_application(fixture);
    assert_int_equal(send(fixture->client, "ping", 4, MSG_NOSIGNAL), 4);
    TURN_UNTIL(&fixture->rig, recv(fixture->application, read, 15, MSG_DONTWAIT) == 4);
    assert_string_equal(read, "ping");
    assert_int_equal(send(fixture->application, "pong", 4, MSG_NOSIGNAL), 4);
    TURN_UNTIL(&fixture->rig, recv(fixture->client, read, 15, MSG_DONTWAIT) == 4);
    assert_string_equal(read, "pong");
    close_if_open(&fixture->client);
    TURN_UNTIL(&fixture->rig, recv(fixture->application, read, 15, MSG_DONTWAIT) == 0);
    close_if_open(&fixture->application);
    TURN_UNTIL(&fixture->rig, list_is_empty(&fixture->rig.pod.connections));
    assert_string_equal(last_refusal(&fixture->rig), "");
    assert_int_equal(metric_total(fixture->rig.shared.metrics, METRIC_CONNECTIONS_CLOSED), 1);
    assert_int_equal(fixture->rig.pod.account.descriptors, 0);
}

static void what_a_policy_denies_is_closed_and_never_dialled(void **state)
{
    struct fixture *fixture = *state;
    int accepted = dial(fixture);
    proxy_rig_deny_port(&fixture->rig, fixture->port);
    pass(fixture, accepted);
    TURN_UNTIL(&fixture->rig, is_client_closed(fixture));
    assert_int_equal(take_connection(fixture), -1);
    assert_non_null(strstr(last_refusal(&fixture->rig), "policy"));
}

static void a_policy_that_comes_later_cuts_it(void **state)
{
    struct fixture *fixture = *state;
    pass(fixture, dial(fixture));
    accept_application(fixture);
    turn_some(&fixture->rig);
    proxy_rig_deny_port(&fixture->rig, fixture->port);
    TURN_UNTIL(&fixture->rig, is_client_closed(fixture));
    assert_string_equal(last_refusal(&fixture->rig), "connection closed due to policy change");
    assert_true(list_is_empty(&fixture->rig.pod.connections));
}

static void an_application_that_does_not_listen_closes_the_client(void **state)
{
    struct fixture *fixture = *state;
    int accepted = dial(fixture);
    close_if_open(&fixture->listener);
    pass(fixture, accepted);
    TURN_UNTIL(&fixture->rig, is_client_closed(fixture));
    assert_non_null(strstr(last_refusal(&fixture->rig), "connection failed: "));
}

static void it_waits_until_the_pods_workload_is_known(void **state)
{
    struct fixture *fixture = *state;
    int accepted = dial(fixture);
    proxy_rig_remove_pod(&fixture->rig, CLIENT_UID);
    pass(fixture, accepted);
    turn_some(&fixture->rig);
    assert_int_equal(take_connection(fixture), -1);
    proxy_rig_add_pod(&fixture->rig, CLIENT_UID, "127.0.0.1");
    accept_application(fixture);
}

static void a_client_that_resets_while_it_waits_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    int accepted = dial(fixture);
    proxy_rig_remove_pod(&fixture->rig, CLIENT_UID);
    pass(fixture, accepted);
    turn_some(&fixture->rig);
    socket_close_with_reset(fixture->client);
    fixture->client = -1;
    TURN_UNTIL(&fixture->rig, list_is_empty(&fixture->rig.pod.connections));
    assert_true(list_is_empty(&fixture->rig.pod.workload_waits));
    assert_string_equal(last_refusal(&fixture->rig), "client disconnected before the connection was made");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(plaintext_reaches_the_application_it_was_meant_for),
        TEST(what_a_policy_denies_is_closed_and_never_dialled),
        TEST(a_policy_that_comes_later_cuts_it),
        TEST(an_application_that_does_not_listen_closes_the_client),
        TEST(it_waits_until_the_pods_workload_is_known),
        TEST(a_client_that_resets_while_it_waits_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
