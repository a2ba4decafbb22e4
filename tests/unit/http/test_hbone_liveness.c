/* Dead peers (issue 6): silence after DATA although the peer's kernel takes every byte, probes, and what is no sign of death. */
#include "unit/http/hbone_peer.h"

static void run_for_ms(struct tunnel *tunnel, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        loop_advance_ms(tunnel->loop, 1);
        loop_run_once(tunnel->loop, 0);
    }
}

/* A server's session with one answered stream; the peer has read everything. */
static struct tunnel *tunnel_with_stream(void)
{
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    settings.suspicion_ms = 20;
    settings.suspicion_grace_ms = 30;
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, 0);
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    (void)peer_read(tunnel);
    run_for_ms(tunnel, 1);
    return tunnel;
}

static void answer_pings(struct tunnel *tunnel)
{
    const char *ping = strstr(peer_read(tunnel), "PING stream=0 flags=0 ");
    uint8_t payload[8];
    for (int i = 0; ping != NULL && i < 8; i++) {
        unsigned byte;
        assert_int_equal(sscanf(ping + strlen("PING stream=0 flags=0 ") + i * 2, "%2x", &byte), 1);
        payload[i] = (uint8_t)byte;
    }
    if (ping != NULL) {
        peer_frame(tunnel, HBONE_FRAME_PING, HBONE_FLAG_ACK, 0, payload, 8);
        peer_forget(tunnel);
    }
}

static void silence_after_data_ends_the_tunnel_though_every_byte_was_taken(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_with_stream();
    assert_int_equal(hbone_stream_write(tunnel->consumers[0].stream, "x", 1), 1);
    for (int i = 0; i < 15; i++) {
        run_for_ms(tunnel, 1);
        (void)peer_read(tunnel);
    }
    assert_false(tunnel->has_ended);
    for (int i = 0; i < 10; i++) {
        run_for_ms(tunnel, 1);
        (void)peer_read(tunnel);
    }
    assert_logged(tunnel, "PING stream=0 flags=0 ");
    for (int i = 0; i < 40; i++) {
        run_for_ms(tunnel, 1);
        (void)peer_read(tunnel);
    }
    assert_true(tunnel->has_ended);
    assert_contains(tunnel->end_reason, "no sign of life");
    assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_TUNNEL_LOST);
    tunnel_free(tunnel);
}

static void a_peer_that_only_answers_pings_lives(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_with_stream();
    for (int i = 0; i < 30; i++) {
        assert_int_equal(hbone_stream_write(tunnel->consumers[0].stream, "x", 1), 1);
        run_for_ms(tunnel, 10);
        answer_pings(tunnel);
    }
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void an_idle_tunnel_owes_nothing(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_with_stream();
    assert_int_equal(hbone_stream_write(tunnel->consumers[0].stream, "x", 1), 1);
    run_for_ms(tunnel, 25);
    answer_pings(tunnel);
    for (int i = 0; i < 30; i++) {
        run_for_ms(tunnel, 10);
        (void)peer_read(tunnel);
    }
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void a_probe_sends_its_ping_at_once_and_an_answer_ends_the_doubt(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_with_stream();
    hbone_session_probe(tunnel->session);
    run_for_ms(tunnel, 1);
    answer_pings(tunnel);
    run_for_ms(tunnel, 100);
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void a_probe_that_is_not_answered_ends_the_tunnel(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_with_stream();
    hbone_session_probe(tunnel->session);
    for (int i = 0; i < 25; i++) {
        run_for_ms(tunnel, 1);
        (void)peer_read(tunnel);
    }
    assert_false(tunnel->has_ended);
    hbone_session_probe(tunnel->session); /* again: the first one counts */
    run_for_ms(tunnel, 10);
    assert_true(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void drops_of_credit_do_not_unstick_a_tunnel(void **state)
{
    (void)state;
    static uint8_t bytes[4096];
    struct tunnel *tunnel = tunnel_with_stream();
    for (int i = 0; i < 100; i++) { /* the default window of 65,535 bytes, for the stream and for the connection */
        (void)hbone_stream_write(tunnel->consumers[0].stream, bytes, sizeof bytes);
        run_for_ms(tunnel, 1);
        answer_pings(tunnel);
    }
    assert_int_equal(hbone_session_statistics(tunnel->session).send_window_bytes, 0);
    for (int i = 0; i < 15; i++) {
        run_for_ms(tunnel, 10);
        answer_pings(tunnel);
    }
    assert_true(hbone_session_is_stalled(tunnel->session));
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 0, 4096);
    run_for_ms(tunnel, 1);
    assert_true(hbone_session_is_stalled(tunnel->session));
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 0, 65535);
    run_for_ms(tunnel, 1);
    assert_false(hbone_session_is_stalled(tunnel->session));
    tunnel_free(tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_after_data_ends_the_tunnel_though_every_byte_was_taken),
        cmocka_unit_test(a_peer_that_only_answers_pings_lives),
        cmocka_unit_test(an_idle_tunnel_owes_nothing),
        cmocka_unit_test(a_probe_sends_its_ping_at_once_and_an_answer_ends_the_doubt),
        cmocka_unit_test(a_probe_that_is_not_answered_ends_the_tunnel),
        cmocka_unit_test(drops_of_credit_do_not_unstick_a_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
