/* DATA behind a CONNECT that is not answered yet, and answers that wait for the application's first bytes (http/hbone_early.c). */
#include "unit/http/hbone_peer.h"

#define EARLY_MAXIMUM 4096
#define LONGER_THAN_HELD_MS 10
#define LONGER_THAN_FRESH_MS 2500

static void peer_announces(struct tunnel *tunnel, uint8_t high, uint8_t low)
{
    const uint8_t setting[] = { 0xf0, 0xa1, 0, 0, high, low };
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, setting, sizeof setting);
    (void)peer_read(tunnel);
    peer_forget(tunnel);
}

static struct tunnel *client(uint8_t high, uint8_t low)
{
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    peer_announces(tunnel, high, low);
    return tunnel;
}

static struct tunnel *server(void)
{
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    peer_send(tunnel, HBONE_PREFACE, HBONE_PREFACE_BYTES);
    peer_announces(tunnel, EARLY_MAXIMUM >> 8, 0);
    loop_advance_ms(tunnel->loop, 1); /* the clock stands still from now on */
    return tunnel;
}

static void nothing_is_early_for_a_peer_that_does_not_say_so(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    assert_int_equal(hbone_session_early_bytes(tunnel->session), 0);
    peer_settings(tunnel);
    tunnel_turn(tunnel);
    assert_int_equal(hbone_session_early_bytes(tunnel->session), 0);
    tunnel_free(tunnel);
}

static void the_smaller_of_both_announcements_counts(void **state)
{
    (void)state;
    struct tunnel *modest = client(0, 100);
    assert_int_equal(hbone_session_early_bytes(modest->session), 100);
    tunnel_free(modest);
    struct tunnel *generous = client(0xff, 0xff);
    assert_int_equal(hbone_session_early_bytes(generous->session), EARLY_MAXIMUM);
    tunnel_free(generous);
}

static void a_peer_that_was_silent_for_long_has_to_answer_first(void **state)
{
    (void)state;
    struct tunnel *tunnel = client(0x10, 0);
    loop_advance_ms(tunnel->loop, LONGER_THAN_FRESH_MS);
    loop_run_once(tunnel->loop, 0);
    assert_int_equal(hbone_session_early_bytes(tunnel->session), 0);
    tunnel_free(tunnel);
}

static void early_bytes_leave_in_the_turn_of_their_connect(void **state)
{
    (void)state;
    struct tunnel *tunnel = client(0x10, 0);
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    assert_int_equal(hbone_stream_write(consumer->stream, "first", 5), 5);
    hbone_stream_end(consumer->stream);
    const char *log = peer_read(tunnel);
    const char *headers = strstr(log, "HEADERS stream=1");
    assert_non_null(headers);
    assert_non_null(strstr(headers, "DATA stream=1 flags=0 length=5\nDATA stream=1 flags=1 length=0\n"));
    tunnel_free(tunnel);
}

static void early_bytes_of_a_lost_tunnel_are_not_to_be_repeated(void **state)
{
    (void)state;
    struct tunnel *tunnel = client(0x10, 0);
    struct consumer *spoke = tunnel_connect(tunnel, "a:1");
    struct consumer *silent = tunnel_connect(tunnel, "a:1");
    assert_int_equal(hbone_stream_write(spoke->stream, "first", 5), 5);
    tunnel_turn(tunnel);
    close(tunnel->peer);
    tunnel->peer = -1;
    tunnel_turn(tunnel);
    assert_int_equal(spoke->reset.cause, HBONE_RESET_TUNNEL_LOST);
    assert_false(spoke->reset.is_retryable);
    assert_true(silent->reset.is_retryable);
    tunnel_free(tunnel);
}

static void a_refused_stream_may_be_repeated_with_its_early_bytes(void **state)
{
    (void)state;
    struct tunnel *tunnel = client(0x10, 0);
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    assert_int_equal(hbone_stream_write(consumer->stream, "first", 5), 5);
    peer_u32_frame(tunnel, HBONE_FRAME_RST_STREAM, 1, HBONE_REFUSED_STREAM);
    tunnel_turn(tunnel);
    assert_true(consumer->reset.is_retryable);
    tunnel_free(tunnel);
}

static void answers_leave_at_once_to_a_peer_that_waits_for_them(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    peer_preface(tunnel);
    (void)peer_read(tunnel);
    loop_advance_ms(tunnel->loop, 1);
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "HEADERS stream=1 flags=4 ");
    tunnel_free(tunnel);
}

static void an_answer_leaves_with_the_first_bytes_of_the_application(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    assert_lacks(peer_read(tunnel), "HEADERS");
    assert_int_equal(hbone_stream_write(tunnel->consumers[0].stream, "hello", 5), 5);
    const char *headers = strstr(peer_read(tunnel), "HEADERS stream=1 flags=4 ");
    assert_non_null(headers);
    assert_non_null(strstr(headers, "DATA stream=1 flags=0 length=5\n"));
    tunnel_free(tunnel);
}

static void an_answer_leaves_soon_when_the_application_says_nothing(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    assert_lacks(peer_read(tunnel), "HEADERS");
    loop_advance_ms(tunnel->loop, LONGER_THAN_HELD_MS);
    assert_logged(tunnel, "HEADERS stream=1 flags=4 ");
    tunnel_free(tunnel);
}

static void an_answer_leaves_when_the_client_has_sent_all_it_may(void **state)
{
    (void)state;
    static const uint8_t bytes[EARLY_MAXIMUM / 2];
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, bytes, sizeof bytes);
    assert_lacks(peer_read(tunnel), "HEADERS");
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, bytes, sizeof bytes);
    assert_logged(tunnel, "HEADERS stream=1 flags=4 ");
    tunnel_free(tunnel);
}

static void a_refusal_is_not_held_back(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    tunnel->status = 401;
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "HEADERS stream=1 flags=5 ");
    tunnel_free(tunnel);
}

static void a_session_may_end_while_an_answer_is_held(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    assert_lacks(peer_read(tunnel), "HEADERS");
    hbone_session_close(tunnel->session, "enough");
    assert_logged(tunnel, "HEADERS stream=1 flags=4 ");
    tunnel_free(tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_early_for_a_peer_that_does_not_say_so),
        cmocka_unit_test(the_smaller_of_both_announcements_counts),
        cmocka_unit_test(a_peer_that_was_silent_for_long_has_to_answer_first),
        cmocka_unit_test(early_bytes_leave_in_the_turn_of_their_connect),
        cmocka_unit_test(early_bytes_of_a_lost_tunnel_are_not_to_be_repeated),
        cmocka_unit_test(a_refused_stream_may_be_repeated_with_its_early_bytes),
        cmocka_unit_test(answers_leave_at_once_to_a_peer_that_waits_for_them),
        cmocka_unit_test(an_answer_leaves_with_the_first_bytes_of_the_application),
        cmocka_unit_test(an_answer_leaves_soon_when_the_application_says_nothing),
        cmocka_unit_test(an_answer_leaves_when_the_client_has_sent_all_it_may),
        cmocka_unit_test(a_refusal_is_not_held_back),
        cmocka_unit_test(a_session_may_end_while_an_answer_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
