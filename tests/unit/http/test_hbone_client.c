/* The client's rules, frame by frame (RFC 9113, wire-protocols §11, ztunnel-dataplane §7). */
#include "unit/http/hbone_peer.h"

static struct tunnel *client(void)
{
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    peer_settings(tunnel);
    (void)peer_read(tunnel);
    return tunnel;
}

static void preface_and_settings_come_first(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    tunnel_turn(tunnel);
    char preface[HBONE_PREFACE_BYTES];
    assert_int_equal(recv(tunnel->peer, preface, sizeof preface, MSG_PEEK), HBONE_PREFACE_BYTES);
    assert_memory_equal(preface, HBONE_PREFACE, HBONE_PREFACE_BYTES);
    assert_string_equal(peer_read(tunnel), "SETTINGS stream=0 flags=0 000100000000"
                                           "000200000000"
                                           "000400040000"
                                           "000500100000"
                                           "000600004000"
                                           "f0a100001000\n"
                                           "WINDOW_UPDATE stream=0 flags=0 00ff0001\n");
    tunnel_free(tunnel);
}

static void connect_sends_the_fields_in_order_without_waiting(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    const struct hbone_field fields[] = { { bytes_of_string("b"), bytes_of_string("1") },
        { bytes_of_string("a"), bytes_of_string("2") } };
    struct consumer *consumer = &tunnel->consumers[0];
    consumer->stream =
        hbone_session_connect(tunnel->session, bytes_of_string("a:1"), fields, 2, &consumer_events, consumer);
    /* table size 0, :method CONNECT, :authority a:1, b 1, a 2; all literals without indexing */
    assert_logged(tunnel, "HEADERS stream=1 flags=4 20"
                          "0207434f4e4e454354"
                          "0103613a31"
                          "0001620131"
                          "0001610132\n");
    tunnel_free(tunnel);
}

static void hundred_streams_are_assumed_until_settings_tell(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    assert_int_equal(hbone_session_capacity(tunnel->session), 100);
    for (int i = 0; i < 100; i++) {
        assert_non_null(tunnel_connect(tunnel, "a:1")->stream);
    }
    assert_int_equal(hbone_session_capacity(tunnel->session), 0);
    assert_null(tunnel_connect(tunnel, "a:1")->stream);
    for (int i = 10; i < 100; i++) {
        tunnel_release(&tunnel->consumers[i]);
    }
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, "\0\3\0\0\0\x0c", 6);
    tunnel_turn(tunnel);
    assert_int_equal(hbone_session_capacity(tunnel->session), 2);
    assert_true(tunnel->capacity_events > 0);
    tunnel_free(tunnel);
}

static void tunnel_carries_bytes_both_ways(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "10.0.0.6:8080");
    peer_respond(tunnel, 1);
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, "hello", 5);
    peer_frame(tunnel, HBONE_FRAME_DATA, HBONE_FLAG_END_STREAM, 1, NULL, 0);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->status, 200);
    assert_string_equal(writer_string(&consumer->received), "hello");
    assert_int_equal(consumer->ends, 1);
    assert_int_equal(hbone_stream_write(consumer->stream, "abc", 3), 3);
    hbone_stream_end(consumer->stream);
    assert_true(hbone_stream_is_over(consumer->stream));
    assert_logged(tunnel, "DATA stream=1 flags=0 length=3\nDATA stream=1 flags=1 length=0\n");
    assert_int_equal(hbone_session_stream_count(tunnel->session), 0);
    tunnel_free(tunnel);
}

static void small_frames_of_one_turn_share_a_write(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumers[10];
    for (int i = 0; i < 10; i++) {
        consumers[i] = tunnel_connect(tunnel, "a:1");
    }
    (void)peer_read(tunnel);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(hbone_stream_write(consumers[i]->stream, "x", 1), 1);
    }
    loop_run_once(tunnel->loop, 0);
    char all[200];
    assert_int_equal(recv(tunnel->peer, all, sizeof all, 0), 10 * 10);
    tunnel_free(tunnel);
}

static void error_response_is_followed_by_an_orderly_reset(void **state)
{
    (void)state;
    static const char *const fields[] = { ":status", "503", NULL };
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_headers(tunnel, 1, HBONE_FLAG_END_STREAM, fields);
    peer_u32_frame(tunnel, HBONE_FRAME_RST_STREAM, 1, HBONE_NO_ERROR);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->status, 503);
    assert_int_equal(consumer->ends, 1);
    assert_true(consumer->reset.is_orderly);
    assert_false(consumer->reset.is_retryable);
    tunnel_free(tunnel);
}

static void refused_stream_may_be_tried_elsewhere(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_u32_frame(tunnel, HBONE_FRAME_RST_STREAM, 1, HBONE_REFUSED_STREAM);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->reset.cause, HBONE_RESET_REFUSED);
    assert_true(consumer->reset.is_retryable);
    assert_int_equal(hbone_session_capacity(tunnel->session), 0);
    tunnel_free(tunnel);
}

static void other_resets_are_not_retried(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_u32_frame(tunnel, HBONE_FRAME_RST_STREAM, 1, HBONE_PROTOCOL_ERROR);
    tunnel_turn(tunnel);
    assert_false(consumer->reset.is_retryable);
    assert_string_equal(consumer->reset.reason, "PROTOCOL_ERROR");
    tunnel_free(tunnel);
}

static void goaway_refuses_what_was_not_processed_and_keeps_the_rest(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *kept = tunnel_connect(tunnel, "a:1");
    struct consumer *refused = tunnel_connect(tunnel, "a:1");
    peer_respond(tunnel, 1);
    peer_frame(tunnel, HBONE_FRAME_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0too old", 15);
    tunnel_turn(tunnel);
    assert_int_equal(refused->resets, 1);
    assert_true(refused->reset.is_retryable);
    assert_int_equal(kept->resets, 0);
    assert_true(hbone_session_is_draining(tunnel->session));
    assert_null(tunnel_connect(tunnel, "a:1")->stream);
    peer_frame(tunnel, HBONE_FRAME_DATA, HBONE_FLAG_END_STREAM, 1, "end", 3);
    tunnel_turn(tunnel);
    assert_string_equal(writer_string(&kept->received), "end");
    hbone_stream_end(kept->stream);
    assert_logged(tunnel, "GOAWAY stream=0 flags=0 last=00000000 code=0 text=\n");
    shutdown(tunnel->peer, SHUT_WR);
    tunnel_turn(tunnel);
    assert_true(tunnel->was_clean);
    assert_contains(tunnel->end_reason, "NO_ERROR, too old");
    tunnel_free(tunnel);
}

static void drain_vector_stops_new_streams_only(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_send(tunnel, "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00", 17);
    peer_send(tunnel, "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88", 10);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->status, 200);
    assert_int_equal(hbone_session_capacity(tunnel->session), 0);
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void lost_tunnel_is_retryable_until_the_response(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *answered = tunnel_connect(tunnel, "a:1");
    struct consumer *waiting = tunnel_connect(tunnel, "a:1");
    peer_respond(tunnel, 1);
    tunnel_turn(tunnel);
    close(tunnel->peer);
    tunnel->peer = -1;
    tunnel_turn(tunnel);
    assert_true(tunnel->has_ended);
    assert_int_equal(answered->reset.cause, HBONE_RESET_TUNNEL_LOST);
    assert_false(answered->reset.is_retryable);
    assert_true(waiting->reset.is_retryable);
    tunnel_free(tunnel);
}

static const char *const malformed_responses[][6] = {
    { "server", "x", NULL },
    { ":status", "20", NULL },
    { ":status", "2000", NULL },
    { ":status", "abc", NULL },
    { ":status", "600", NULL },
    { ":status", "200", ":status", "200", NULL },
    { ":status", "200", ":method", "GET", NULL },
    { ":status", "200", "connection", "close", NULL },
    { ":status", "101", NULL },
};

static void malformed_responses_are_stream_errors(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    for (uint32_t i = 0; i < ARRAY_LENGTH(malformed_responses); i++) {
        struct consumer *consumer = tunnel_connect(tunnel, "a:1");
        char expected[64];
        (void)snprintf(expected, sizeof expected, "RST_STREAM stream=%u flags=0 00000001\n", i * 2 + 1);
        peer_headers(tunnel, i * 2 + 1, 0, malformed_responses[i]);
        assert_logged(tunnel, expected);
        assert_int_equal(consumer->reset.cause, HBONE_RESET_BY_VIOLATION);
        assert_int_equal(consumer->status, 0);
    }
    tunnel_free(tunnel);
}

static void informational_responses_are_skipped(void **state)
{
    (void)state;
    static const char *const fields[] = { ":status", "103", "link", "x", NULL };
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_headers(tunnel, 1, 0, fields);
    peer_respond(tunnel, 1);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->status, 200);
    tunnel_free(tunnel);
}

static void data_before_the_response_is_a_stream_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, "x", 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000001\n");
    assert_int_equal(consumer->data_calls, 0);
    tunnel_free(tunnel);
}

static void trailers_are_a_stream_error(void **state)
{
    (void)state;
    static const char *const fields[] = { "grpc-status", "0", NULL };
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    peer_respond(tunnel, 1);
    peer_headers(tunnel, 1, HBONE_FLAG_END_STREAM, fields);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000001\n");
    assert_int_equal(consumer->ends, 0);
    tunnel_free(tunnel);
}

static void push_is_a_connection_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    (void)tunnel_connect(tunnel, "a:1");
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, "\0\2\0\0\0\1", 6);
    assert_logged(tunnel, "code=1 text=the peer sent ENABLE_PUSH=1");
    tunnel_free(tunnel);
}

static void response_on_an_idle_stream_is_a_connection_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    peer_respond(tunnel, 1);
    assert_logged(tunnel, "code=1 text=the peer sent HEADERS on stream 1, which it may not open");
    tunnel_free(tunnel);
}

static void server_that_is_no_http2_is_named(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    peer_send(tunnel, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    assert_logged(tunnel, "GOAWAY");
    tunnel_free(tunnel);
}

static void table_size_is_told_again_when_the_peer_changes_its_limit(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    (void)tunnel_connect(tunnel, "a:1");
    (void)tunnel_connect(tunnel, "a:1");
    assert_logged(tunnel, "HEADERS stream=1 flags=4 20");
    assert_logged(tunnel, "HEADERS stream=3 flags=4 02");
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, "\0\1\0\0\0\0", 6);
    tunnel_turn(tunnel);
    (void)tunnel_connect(tunnel, "a:1");
    assert_logged(tunnel, "HEADERS stream=5 flags=4 20");
    tunnel_free(tunnel);
}

static void drained_client_says_goaway_after_its_last_stream(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    hbone_session_drain(tunnel->session, "unused");
    assert_lacks(peer_read(tunnel), "GOAWAY");
    hbone_stream_reset(consumer->stream, HBONE_CONNECT_ERROR);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 0000000a\nGOAWAY stream=0 flags=0 last=00000000 code=0 text=\n");
    tunnel_free(tunnel);
}

static void abort_resets_streams_at_once(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    tunnel_turn(tunnel);
    hbone_session_abort(tunnel->session, "the pod is gone");
    tunnel->session = NULL;
    assert_int_equal(consumer->reset.cause, HBONE_RESET_TUNNEL_CLOSED);
    assert_null(hbone_stream_session(consumer->stream));
    assert_logged(tunnel, "GOAWAY");
    tunnel_free(tunnel);
}

/* Both within one turn: what the first had decided, the second must not swallow. */
static void abort_of_a_closing_session_resets_its_streams_too(void **state)
{
    (void)state;
    struct tunnel *tunnel = client();
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    tunnel_turn(tunnel);
    hbone_session_close(tunnel->session, "the address belongs to another workload now");
    hbone_session_abort(tunnel->session, "the pod is gone");
    tunnel->session = NULL;
    assert_int_equal(consumer->resets, 1);
    assert_int_equal(consumer->reset.cause, HBONE_RESET_TUNNEL_CLOSED);
    assert_null(hbone_stream_session(consumer->stream));
    tunnel_free(tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preface_and_settings_come_first),
        cmocka_unit_test(connect_sends_the_fields_in_order_without_waiting),
        cmocka_unit_test(hundred_streams_are_assumed_until_settings_tell),
        cmocka_unit_test(tunnel_carries_bytes_both_ways),
        cmocka_unit_test(small_frames_of_one_turn_share_a_write),
        cmocka_unit_test(error_response_is_followed_by_an_orderly_reset),
        cmocka_unit_test(refused_stream_may_be_tried_elsewhere),
        cmocka_unit_test(other_resets_are_not_retried),
        cmocka_unit_test(goaway_refuses_what_was_not_processed_and_keeps_the_rest),
        cmocka_unit_test(drain_vector_stops_new_streams_only),
        cmocka_unit_test(lost_tunnel_is_retryable_until_the_response),
        cmocka_unit_test(malformed_responses_are_stream_errors),
        cmocka_unit_test(informational_responses_are_skipped),
        cmocka_unit_test(data_before_the_response_is_a_stream_error),
        cmocka_unit_test(trailers_are_a_stream_error),
        cmocka_unit_test(push_is_a_connection_error),
        cmocka_unit_test(response_on_an_idle_stream_is_a_connection_error),
        cmocka_unit_test(server_that_is_no_http2_is_named),
        cmocka_unit_test(table_size_is_told_again_when_the_peer_changes_its_limit),
        cmocka_unit_test(drained_client_says_goaway_after_its_last_stream),
        cmocka_unit_test(abort_resets_streams_at_once),
        cmocka_unit_test(abort_of_a_closing_session_resets_its_streams_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
