/* What becomes of a CONNECT that has come through an inbound tunnel (ztunnel-dataplane §10). */
#include "unit/ztunnel/proxy_fixture.h"
#include "ztunnel/inbound.h"

/* The pod is the workload "client" at 127.0.0.1, where the test's application listens; the far proxy is a session of its own. */
struct near {
    struct proxy_rig rig;
    struct inbound_tunnel tunnel;
    struct hbone_session *server, *far;
    struct hbone_stream *stream; /* of the far proxy */
    int status;
    struct hbone_reset reset;
    int resets, ends;
    struct writer received;
    int listener, application;
    uint16_t port;
};

static void on_request(struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    struct near *near = hbone_session_context(session);
    near->tunnel.streams++;
    pod_count_stream(&near->rig.pod, 1);
    inbound_stream_accept(&near->tunnel, stream, request);
}

static void on_server_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)reason;
    (void)was_clean;
    struct near *near = hbone_session_context(session);
    near->server = NULL;
    hbone_session_free(session);
}

static const struct hbone_session_events SERVER_EVENTS = { .on_request = on_request, .on_ended = on_server_ended };

static void on_far_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)reason;
    (void)was_clean;
    struct near *near = hbone_session_context(session);
    near->far = NULL;
    hbone_session_free(session);
}

static const struct hbone_session_events FAR_EVENTS = { .on_ended = on_far_ended };

static void on_response(struct hbone_stream *stream, int status, const struct hbone_headers *headers)
{
    (void)headers;
    struct near *near = hbone_stream_context(stream);
    near->status = status;
}

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct near *near = hbone_stream_context(stream);
    for (int i = 0; i < count; i++) {
        writer_add_bytes(&near->received, slices[i]);
        hbone_stream_credit(stream, slices[i].length);
    }
}

static void on_end(struct hbone_stream *stream)
{
    struct near *near = hbone_stream_context(stream);
    near->ends++;
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    struct near *near = hbone_stream_context(stream);
    near->resets++;
    near->reset = *reset;
}

static void on_writable(struct hbone_stream *stream)
{
    (void)stream;
}

static const struct hbone_stream_events STREAM_EVENTS = { on_response, on_data, on_end, on_reset, on_writable };

static void open_sessions(struct near *near)
{
    int pair[2];
    struct hbone_settings server = hbone_settings_default(HBONE_SERVER), client = hbone_settings_default(HBONE_CLIENT);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    struct loop *loop = near->rig.worker.loop;
    near->server = hbone_session_new(
        loop, piece_layer_new(pair[0], 65536, 0), pair[0], HBONE_SERVER, &server, &SERVER_EVENTS, near);
    near->far =
        hbone_session_new(loop, piece_layer_new(pair[1], 65536, 0), pair[1], HBONE_CLIENT, &client, &FAR_EVENTS, near);
    near->tunnel.session = near->server;
}

static int set_up(void **state)
{
    static const struct hbone_pool_opener NO_OPENER = { NULL, NULL, NULL };
    struct near *near = NEW_LINES(struct near);
    near->received = writer_growing();
    near->application = -1;
    proxy_rig_begin(&near->rig, &NO_OPENER, NULL);
    proxy_rig_add_pod(&near->rig, CLIENT_UID, "127.0.0.1");
    near->tunnel.pod = &near->rig.pod;
    near->tunnel.peer = target_of("10.0.0.9:40000");
    near->tunnel.local = target_of("127.0.0.1:15008");
    near->tunnel.peer_identity = spiffe_identity_parse(TEXT(IDENTITY));
    near->port = application_listen(&near->listener);
    open_sessions(near);
    *state = near;
    return 0;
}

static int tear_down(void **state)
{
    struct near *near = *state;
    proxy_rig_cut(&near->rig);
    if (near->stream != NULL) {
        hbone_stream_release(near->stream);
    }
    hbone_session_free(near->far);
    hbone_session_free(near->server);
    assert_int_equal(near->tunnel.streams, 0);
    spiffe_identity_free(near->tunnel.peer_identity);
    close(near->listener);
    if (near->application >= 0) {
        close(near->application);
    }
    proxy_rig_end(&near->rig);
    writer_free(&near->received);
    memory_free(near);
    return 0;
}

static void connect_to(struct near *near, const char *authority)
{
    near->stream = hbone_session_connect(near->far, TEXT(authority), NULL, 0, &STREAM_EVENTS, near);
    assert_non_null(near->stream);
}

static void connect_to_application(struct near *near)
{
    char authority[32];
    snprintf(authority, sizeof authority, "127.0.0.1:%u", near->port);
    connect_to(near, authority);
}

static void accept_application(struct near *near)
{
    TURN_UNTIL(&near->rig, (near->application = accept4(near->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
}

/* The status comes with the end of the stream, and the connection is gone. */
static void assert_refused(struct near *near, int status, const char *reason)
{
    TURN_UNTIL(&near->rig, near->ends == 1);
    assert_int_equal(near->status, status);
    assert_non_null(strstr(last_refusal(&near->rig), reason));
    assert_true(list_is_empty(&near->rig.pod.connections));
    assert_int_equal(near->tunnel.streams, 0);
}

static void a_connect_to_the_pods_own_address_reaches_its_application(void **state)
{
    struct near *near = *state;
    char read[16] = "";
    connect_to_application(near);
    accept_application(near);
    TURN_UNTIL(&near->rig, near->status == 200);
    assert_int_equal(hbone_stream_write(near->stream, "ping", 4), 4);
    TURN_UNTIL(&near->rig, recv(near->application, read, 15, MSG_DONTWAIT) == 4);
    assert_string_equal(read, "ping");
    assert_int_equal(send(near->application, "pong", 4, MSG_NOSIGNAL), 4);
    TURN_UNTIL(&near->rig, near->received.length == 4);
    hbone_stream_end(near->stream);
    TURN_UNTIL(&near->rig, recv(near->application, read, 15, MSG_DONTWAIT) == 0);
    assert_int_equal(shutdown(near->application, SHUT_WR), 0);
    TURN_UNTIL(&near->rig, near->ends == 1);
    TURN_UNTIL(&near->rig, near->tunnel.streams == 0);
    assert_string_equal(last_refusal(&near->rig), "");
}

/* All in one flight, before anybody has answered. */
static void bytes_and_an_end_that_come_before_the_application_are_kept_for_it(void **state)
{
    struct near *near = *state;
    char read[16] = "";
    TURN_UNTIL(&near->rig, hbone_session_statistics(near->far).round_trip_ns > 0);
    connect_to_application(near);
    assert_int_equal(hbone_stream_write(near->stream, "early", 5), 5);
    hbone_stream_end(near->stream);
    accept_application(near);
    TURN_UNTIL(&near->rig, recv(near->application, read, 15, MSG_DONTWAIT) == 5);
    assert_string_equal(read, "early");
    TURN_UNTIL(&near->rig, recv(near->application, read, 15, MSG_DONTWAIT) == 0);
    TURN_UNTIL(&near->rig, near->status == 200);
}

static void an_application_that_does_not_listen_is_said_to_be_unavailable(void **state)
{
    struct near *near = *state;
    close(near->listener);
    near->listener = -1;
    connect_to_application(near);
    assert_refused(near, 503, "connection failed: ");
    assert_int_equal(metric_total(near->rig.shared.metrics, METRIC_CONNECTIONS_FAILED), 1);
}

static void an_address_that_is_not_the_pods_is_refused(void **state)
{
    struct near *near = *state;
    connect_to(near, "10.0.0.77:8080");
    assert_refused(near, 400, "ip mismatch: 127.0.0.1 != 10.0.0.77");
}

static void an_authority_that_cannot_be_read_is_refused(void **state)
{
    struct near *near = *state;
    connect_to(near, "nonsense");
    assert_refused(near, 400, "nonsense");
}

static void an_own_port_of_the_proxy_is_refused(void **state)
{
    struct near *near = *state;
    connect_to(near, "127.0.0.1:15008");
    assert_refused(near, 503, "");
    assert_string_not_equal(last_refusal(&near->rig), "");
}

static void what_a_policy_denies_is_unauthorized_and_never_dialled(void **state)
{
    struct near *near = *state;
    proxy_rig_deny_port(&near->rig, near->port);
    connect_to_application(near);
    assert_refused(near, 401, "policy");
    assert_int_equal(accept(near->listener, NULL, NULL), -1);
}

static void a_policy_that_comes_later_cuts_the_connection(void **state)
{
    struct near *near = *state;
    connect_to_application(near);
    accept_application(near);
    TURN_UNTIL(&near->rig, near->status == 200);
    proxy_rig_deny_port(&near->rig, near->port);
    TURN_UNTIL(&near->rig, near->resets == 1);
    assert_int_equal(near->reset.cause, HBONE_RESET_BY_PEER);
    assert_string_equal(last_refusal(&near->rig), "connection closed due to policy change");
    assert_int_equal(near->tunnel.streams, 0);
}

static void a_connect_waits_until_the_pods_workload_is_known(void **state)
{
    struct near *near = *state;
    proxy_rig_remove_pod(&near->rig, CLIENT_UID);
    connect_to_application(near);
    TURN_UNTIL(&near->rig, near->tunnel.streams == 1);
    turn_some(&near->rig);
    assert_int_equal(near->status, 0);
    proxy_rig_add_pod(&near->rig, CLIENT_UID, "127.0.0.1");
    accept_application(near);
    TURN_UNTIL(&near->rig, near->status == 200);
}

/* The workload is not known, so that the answer is still to come. */
static void a_stream_reset_before_its_answer_is_forgotten(void **state)
{
    struct near *near = *state;
    proxy_rig_remove_pod(&near->rig, CLIENT_UID);
    connect_to_application(near);
    TURN_UNTIL(&near->rig, near->tunnel.streams == 1);
    hbone_stream_reset(near->stream, HBONE_CANCEL);
    TURN_UNTIL(&near->rig, near->tunnel.streams == 0);
    assert_true(list_is_empty(&near->rig.pod.connections));
    assert_true(list_is_empty(&near->rig.pod.workload_waits));
    assert_non_null(strstr(last_refusal(&near->rig), "client disconnected before the connection was made"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connect_to_the_pods_own_address_reaches_its_application),
        TEST(bytes_and_an_end_that_come_before_the_application_are_kept_for_it),
        TEST(an_application_that_does_not_listen_is_said_to_be_unavailable),
        TEST(an_address_that_is_not_the_pods_is_refused),
        TEST(an_authority_that_cannot_be_read_is_refused),
        TEST(an_own_port_of_the_proxy_is_refused),
        TEST(what_a_policy_denies_is_unauthorized_and_never_dialled),
        TEST(a_policy_that_comes_later_cuts_the_connection),
        TEST(a_connect_waits_until_the_pods_workload_is_known),
        TEST(a_stream_reset_before_its_answer_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
