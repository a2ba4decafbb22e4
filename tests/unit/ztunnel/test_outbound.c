/* What becomes of a connection that an application has made (ztunnel-dataplane §§4-8). */
#include "unit/ztunnel/proxy_fixture.h"
#include "ztunnel/outbound.h"

#define TUNNELS 8

enum opening_plan { OPENS, FAILS, IS_GONE, WAITS };
enum connect_plan { ACCEPTS, ANSWERS_503, REFUSES_THE_STREAM, IS_SILENT };

/* The proxy at the other end of every tunnel. */
struct far {
    struct proxy_rig rig;
    enum opening_plan openings[TUNNELS];
    enum connect_plan connects[TUNNELS];
    int opened, cancelled, connected, ends;
    struct hbone_session *sessions[TUNNELS];
    struct hbone_stream *streams[TUNNELS];
    char key[256]; /* of the last opening */
    char authority[64], forwarded[64];
    struct writer received;
    int application; /* its end of the connection */
};

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct far *far = hbone_stream_context(stream);
    for (int i = 0; i < count; i++) {
        writer_add_bytes(&far->received, slices[i]);
        hbone_stream_credit(stream, slices[i].length);
    }
}

static void on_end(struct hbone_stream *stream)
{
    struct far *far = hbone_stream_context(stream);
    far->ends++;
    hbone_stream_end(stream);
}

static void forget_stream(struct far *far, struct hbone_stream *stream)
{
    for (int i = 0; i < TUNNELS; i++) {
        if (far->streams[i] == stream) {
            far->streams[i] = NULL;
        }
    }
    hbone_stream_release(stream);
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    (void)reset;
    forget_stream(hbone_stream_context(stream), stream);
}

static void on_writable(struct hbone_stream *stream)
{
    (void)stream;
}

static const struct hbone_stream_events STREAM_EVENTS = {
    .on_data = on_data, .on_end = on_end, .on_reset = on_reset, .on_writable = on_writable
};

static void on_request(struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    struct far *far = hbone_session_context(session);
    int index = far->connected++;
    copy_text(far->authority, sizeof far->authority, request->authority);
    copy_text(far->forwarded, sizeof far->forwarded, hbone_headers_find(&request->headers, "forwarded"));
    switch (far->connects[index]) {
    case REFUSES_THE_STREAM:
        hbone_stream_reset(stream, HBONE_REFUSED_STREAM);
        return;
    case ANSWERS_503:
        hbone_stream_respond(stream, 503, NULL, 0, true);
        return;
    case ACCEPTS:
        hbone_stream_respond(stream, 200, NULL, 0, false);
        break;
    case IS_SILENT:
        break;
    }
    far->streams[index] = stream;
    hbone_stream_attach(stream, &STREAM_EVENTS, far);
}

static void on_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)reason;
    (void)was_clean;
    struct far *far = hbone_session_context(session);
    for (int i = 0; i < TUNNELS; i++) {
        if (far->sessions[i] == session) {
            far->sessions[i] = NULL;
        }
    }
    hbone_session_free(session);
}

static const struct hbone_session_events SESSION_EVENTS = { .on_request = on_request, .on_ended = on_ended };

static void open_pair(struct far *far, int index, struct hbone_opening *opening)
{
    int pair[2];
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    far->sessions[index] = hbone_session_new(far->rig.worker.loop, piece_layer_new(pair[1], 65536, 0), pair[1],
        HBONE_SERVER, &settings, &SESSION_EVENTS, far);
    hbone_pool_opened(opening, piece_layer_new(pair[0], 65536, 0), pair[0]);
}

static void *open_tunnel(void *context, const struct hbone_pool_key *key, struct hbone_opening *opening)
{
    struct far *far = context;
    int index = far->opened++;
    char to[SOCKET_ADDRESS_TEXT_SIZE];
    char from[IP_TEXT_SIZE];
    snprintf(far->key, sizeof far->key, "%s at %s to %s at %s as %s", key->source_identity,
        ip_format(&key->source, from), key->destination_uid, socket_address_format(&key->destination, to),
        key->san_count == 1 ? key->sans[0] : "?");
    switch (far->openings[index]) {
    case OPENS:
        open_pair(far, index, opening);
        break;
    case FAILS:
        hbone_pool_open_failed(opening, result_fail(RESULT_UNAVAILABLE, "io error: no way there"));
        break;
    case IS_GONE:
        hbone_pool_open_failed(opening, result_fail(RESULT_NOT_FOUND, "the workload is gone"));
        break;
    case WAITS:
        break;
    }
    return far;
}

static void cancel_tunnel(void *context, void *handle)
{
    struct far *far = context;
    assert_ptr_equal(handle, far);
    far->cancelled++;
}

static const struct hbone_pool_opener OPENER = { open_tunnel, cancel_tunnel, NULL };

static int set_up(void **state)
{
    struct far *far = NEW_LINES(struct far);
    far->received = writer_growing();
    proxy_rig_begin(&far->rig, &OPENER, far);
    proxy_rig_add_pod(&far->rig, CLIENT_UID, "10.0.0.1");
    proxy_rig_add_pod(&far->rig, SERVER_UID, "10.0.0.2");
    *state = far;
    return 0;
}

static int tear_down(void **state)
{
    struct far *far = *state;
    if (far->application > 0) {
        close(far->application);
    }
    proxy_rig_cut(&far->rig);
    for (int i = 0; i < TUNNELS; i++) {
        if (far->streams[i] != NULL) {
            forget_stream(far, far->streams[i]);
        }
        hbone_session_free(far->sessions[i]);
    }
    proxy_rig_end(&far->rig);
    writer_free(&far->received);
    memory_free(far);
    return 0;
}

static void dial(struct far *far, const char *target)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    far->application = pair[1];
    struct socket_address from = target_of("10.0.0.1:41000");
    struct socket_address to = target_of(target);
    outbound_start(&far->rig.pod, pair[0], &from, &to);
}

/* What the application reads: a count, 0 at the end, -1 for nothing yet. */
static ssize_t application_read(const struct far *far, char out[static 16])
{
    memset(out, 0, 16);
    return recv(far->application, out, 15, MSG_DONTWAIT);
}

static bool is_application_closed(const struct far *far)
{
    char out[16];
    return application_read(far, out) == 0;
}

static void a_workload_is_reached_through_a_tunnel_that_both_ends_are_named_for(void **state)
{
    struct far *far = *state;
    char read[16];
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, far->streams[0] != NULL);
    assert_string_equal(far->key, IDENTITY " at 10.0.0.1 to " SERVER_UID " at 10.0.0.2:15008 as " IDENTITY);
    assert_string_equal(far->authority, "10.0.0.2:8080");
    assert_string_equal(far->forwarded, "for=\"10.0.0.1:41000\"");
    assert_int_equal(send(far->application, "ping", 4, MSG_NOSIGNAL), 4);
    TURN_UNTIL(&far->rig, far->received.length == 4);
    assert_int_equal(hbone_stream_write(far->streams[0], "pong", 4), 4);
    TURN_UNTIL(&far->rig, application_read(far, read) == 4);
    assert_string_equal(read, "pong");
    assert_int_equal(shutdown(far->application, SHUT_WR), 0);
    TURN_UNTIL(&far->rig, is_application_closed(far));
    TURN_UNTIL(&far->rig, list_is_empty(&far->rig.pod.connections));
    assert_string_equal(last_refusal(&far->rig), "");
}

static void what_is_not_in_the_mesh_is_dialled_as_it_is(void **state)
{
    struct far *far = *state;
    int listener;
    char target[32], read[16];
    snprintf(target, sizeof target, "127.0.0.1:%u", application_listen(&listener));
    dial(far, target);
    int accepted;
    TURN_UNTIL(&far->rig, (accepted = accept(listener, NULL, NULL)) >= 0);
    assert_int_equal(send(accepted, "plain", 5, MSG_NOSIGNAL), 5);
    TURN_UNTIL(&far->rig, application_read(far, read) == 5);
    assert_int_equal(far->opened, 0);
    close(accepted);
    close(listener);
}

static void an_own_port_of_the_proxy_is_not_dialled(void **state)
{
    struct far *far = *state;
    dial(far, "127.0.0.1:15008");
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_int_equal(far->opened, 0);
    assert_true(list_is_empty(&far->rig.pod.connections));
    assert_string_not_equal(last_refusal(&far->rig), "");
}

static void a_connection_waits_until_its_own_workload_is_known(void **state)
{
    struct far *far = *state;
    proxy_rig_remove_pod(&far->rig, CLIENT_UID);
    dial(far, "10.0.0.2:8080");
    turn_some(&far->rig);
    assert_int_equal(far->opened, 0);
    assert_false(is_application_closed(far));
    proxy_rig_add_pod(&far->rig, CLIENT_UID, "10.0.0.1");
    TURN_UNTIL(&far->rig, far->connected == 1);
}

static void a_stream_the_peer_refuses_is_tried_once_more_on_another_tunnel(void **state)
{
    struct far *far = *state;
    far->connects[0] = REFUSES_THE_STREAM;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, far->streams[1] != NULL);
    assert_int_equal(far->opened, 2);
    assert_int_equal(metric_total(far->rig.shared.metrics, METRIC_TUNNEL_RETRIES), 1);
    assert_string_equal(far->authority, "10.0.0.2:8080");
    assert_false(is_application_closed(far));
}

static void a_stream_refused_twice_is_given_up(void **state)
{
    struct far *far = *state;
    far->connects[0] = far->connects[1] = REFUSES_THE_STREAM;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_int_equal(far->connected, 2);
    assert_non_null(strstr(last_refusal(&far->rig), "h2 failed: "));
    assert_true(list_is_empty(&far->rig.pod.connections));
}

static void a_tunnel_lost_before_the_answer_is_replaced_once(void **state)
{
    struct far *far = *state;
    far->connects[0] = IS_SILENT;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, far->streams[0] != NULL);
    struct hbone_session *lost = far->sessions[0];
    far->sessions[0] = NULL;
    forget_stream(far, far->streams[0]);
    hbone_session_free(lost);
    TURN_UNTIL(&far->rig, far->connected == 2);
    assert_int_equal(far->opened, 2);
}

static void an_error_status_closes_the_connection_with_its_name(void **state)
{
    struct far *far = *state;
    far->connects[0] = ANSWERS_503;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_int_equal(far->connected, 1);
    assert_string_equal(last_refusal(&far->rig), "http status: 503 Service Unavailable");
    assert_int_equal(metric_total(far->rig.shared.metrics, METRIC_CONNECTIONS_FAILED), 1);
}

static void a_tunnel_that_cannot_be_opened_closes_the_connection_with_the_reason(void **state)
{
    struct far *far = *state;
    far->openings[0] = FAILS;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_int_equal(far->opened, 1);
    assert_string_equal(last_refusal(&far->rig), "io error: no way there");
}

static void a_destination_that_left_while_its_tunnel_opened_is_chosen_anew_once(void **state)
{
    struct far *far = *state;
    far->openings[0] = far->openings[1] = IS_GONE;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_int_equal(far->opened, 2);
    assert_string_equal(last_refusal(&far->rig), "the workload is gone");
}

static void an_application_that_goes_while_the_tunnel_opens_takes_its_wait_along(void **state)
{
    struct far *far = *state;
    far->openings[0] = WAITS;
    dial(far, "10.0.0.2:8080");
    turn_some(&far->rig);
    close(far->application);
    far->application = -1;
    TURN_UNTIL(&far->rig, list_is_empty(&far->rig.pod.connections));
    assert_int_equal(far->cancelled, 1);
    assert_string_equal(last_refusal(&far->rig), "client disconnected before the connection was made");
    assert_int_equal(far->rig.pod.account.descriptors, 0);
}

static void a_connection_cut_before_its_answer_ends_its_stream(void **state)
{
    struct far *far = *state;
    far->connects[0] = IS_SILENT;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, far->streams[0] != NULL);
    proxy_rig_cut(&far->rig);
    assert_true(list_is_empty(&far->rig.pod.connections));
    TURN_UNTIL(&far->rig, far->streams[0] == NULL);
    assert_true(is_application_closed(far));
}

/* The far proxy takes its time, and the application speaks meanwhile. */
static void speak_early(struct far *far)
{
    far->connects[0] = IS_SILENT;
    dial(far, "10.0.0.2:8080");
    TURN_UNTIL(&far->rig, far->streams[0] != NULL);
    assert_int_equal(send(far->application, "ping", 4, MSG_NOSIGNAL), 4);
    TURN_UNTIL(&far->rig, far->received.length == 4);
}

static void an_applications_first_bytes_do_not_wait_for_the_answer(void **state)
{
    struct far *far = *state;
    speak_early(far);
    assert_int_equal(metric_total(far->rig.shared.metrics, METRIC_RECEIVED_BYTES), 0); /* until somebody has them */
    hbone_stream_respond(far->streams[0], 200, NULL, 0, false);
    TURN_UNTIL(&far->rig, metric_total(far->rig.shared.metrics, METRIC_RECEIVED_BYTES) == 4);
    assert_int_equal(send(far->application, "pong", 4, MSG_NOSIGNAL), 4);
    TURN_UNTIL(&far->rig, far->received.length == 8);
    assert_string_equal(writer_string(&far->received), "pingpong");
    assert_int_equal(metric_total(far->rig.shared.metrics, METRIC_RECEIVED_BYTES), 8);
}

static void first_bytes_and_the_end_of_a_refused_stream_are_said_again_on_the_next(void **state)
{
    struct far *far = *state;
    speak_early(far);
    assert_int_equal(shutdown(far->application, SHUT_WR), 0);
    TURN_UNTIL(&far->rig, far->ends == 1);
    writer_clear(&far->received);
    hbone_stream_reset(far->streams[0], HBONE_REFUSED_STREAM);
    forget_stream(far, far->streams[0]);
    TURN_UNTIL(&far->rig, far->ends == 2);
    assert_int_equal(far->connected, 2);
    assert_string_equal(writer_string(&far->received), "ping");
    TURN_UNTIL(&far->rig, list_is_empty(&far->rig.pod.connections));
    assert_string_equal(last_refusal(&far->rig), "");
}

/* The far application may have them already. */
static void first_bytes_of_a_lost_tunnel_are_not_said_again(void **state)
{
    struct far *far = *state;
    speak_early(far);
    struct hbone_session *lost = far->sessions[0];
    far->sessions[0] = NULL;
    forget_stream(far, far->streams[0]);
    hbone_session_free(lost);
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_int_equal(far->connected, 1);
    assert_true(list_is_empty(&far->rig.pod.connections));
    assert_string_not_equal(last_refusal(&far->rig), "");
}

static void first_bytes_do_not_save_a_connection_that_is_denied(void **state)
{
    struct far *far = *state;
    speak_early(far);
    hbone_stream_respond(far->streams[0], 401, NULL, 0, true);
    TURN_UNTIL(&far->rig, is_application_closed(far));
    assert_string_equal(last_refusal(&far->rig), "http status: 401 Unauthorized");
    assert_int_equal(metric_total(far->rig.shared.metrics, METRIC_RECEIVED_BYTES), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_workload_is_reached_through_a_tunnel_that_both_ends_are_named_for),
        TEST(what_is_not_in_the_mesh_is_dialled_as_it_is),
        TEST(an_own_port_of_the_proxy_is_not_dialled),
        TEST(a_connection_waits_until_its_own_workload_is_known),
        TEST(a_stream_the_peer_refuses_is_tried_once_more_on_another_tunnel),
        TEST(a_stream_refused_twice_is_given_up),
        TEST(a_tunnel_lost_before_the_answer_is_replaced_once),
        TEST(an_error_status_closes_the_connection_with_its_name),
        TEST(a_tunnel_that_cannot_be_opened_closes_the_connection_with_the_reason),
        TEST(a_destination_that_left_while_its_tunnel_opened_is_chosen_anew_once),
        TEST(an_application_that_goes_while_the_tunnel_opens_takes_its_wait_along),
        TEST(a_connection_cut_before_its_answer_ends_its_stream),
        TEST(an_applications_first_bytes_do_not_wait_for_the_answer),
        TEST(first_bytes_and_the_end_of_a_refused_stream_are_said_again_on_the_next),
        TEST(first_bytes_of_a_lost_tunnel_are_not_said_again),
        TEST(first_bytes_do_not_save_a_connection_that_is_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
