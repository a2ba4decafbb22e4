/* Flow control and liveness: credit, growing windows, readers that stand still, peers that do. */
#include "unit/http/hbone_peer.h"

#include "http/hbone_internal.h"

static const uint8_t zeros[65536];

static struct tunnel *server(bool withholds_credit)
{
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    tunnel->withholds_credit = withholds_credit;
    peer_preface(tunnel);
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, HBONE_FLAG_ACK, 0, NULL, 0);
    (void)peer_read(tunnel);
    return tunnel;
}

static void peer_request(struct tunnel *tunnel, uint32_t stream_id)
{
    static const char *const fields[] = { ":method", "CONNECT", ":authority", "a:1", NULL };
    struct writer block = writer_growing();
    struct writer plain = encode_fields(fields);
    writer_add_u8(&block, 0x20);
    writer_add_bytes(&block, writer_bytes(&plain));
    peer_frame(tunnel, HBONE_FRAME_HEADERS, HBONE_FLAG_END_HEADERS, stream_id, block.data, block.length);
    writer_free(&plain);
    writer_free(&block);
}

static void fill_window(struct tunnel *tunnel, uint32_t stream_id, size_t bytes)
{
    while (bytes > 0) {
        size_t length = bytes < 16384 ? bytes : 16384;
        peer_frame(tunnel, HBONE_FRAME_DATA, 0, stream_id, zeros, length);
        bytes -= length;
    }
    (void)peer_read(tunnel);
}

static void withheld_credit_withholds_the_window(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(true);
    peer_request(tunnel, 1);
    fill_window(tunnel, 1, 256 * 1024);
    assert_int_equal(tunnel->consumers[0].received_bytes, 256 * 1024);
    assert_lacks(peer_read(tunnel), "WINDOW_UPDATE stream=1");
    assert_int_equal(hbone_session_statistics(tunnel->session).pinned_bytes, 256 * 1024);
    hbone_stream_credit(tunnel->consumers[0].stream, 1000);
    assert_lacks(peer_read(tunnel), "WINDOW_UPDATE stream=1"); /* batched */
    hbone_stream_credit(tunnel->consumers[0].stream, 100000);
    assert_logged(tunnel, "WINDOW_UPDATE stream=1 flags=0 00018a88\n");
    assert_int_equal(hbone_session_statistics(tunnel->session).pinned_bytes, 256 * 1024 - 101000);
    tunnel_free(tunnel);
}

static void bytes_beyond_the_stream_window_are_a_stream_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(true);
    peer_request(tunnel, 1);
    peer_request(tunnel, 3);
    fill_window(tunnel, 1, 256 * 1024 + 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000003\n");
    assert_int_equal(tunnel->consumers[0].received_bytes, 256 * 1024);
    assert_false(tunnel->has_ended);
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 3, "fine", 4);
    tunnel_turn(tunnel);
    assert_int_equal(tunnel->consumers[1].received_bytes, 4);
    tunnel_free(tunnel);
}

static void bytes_beyond_the_connection_window_end_the_tunnel(void **state)
{
    (void)state;
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    settings.connection_window_bytes = 65535;
    settings.frame_bytes_maximum = 200000;
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, 0);
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    peer_send(tunnel, "\x01\x00\x00\x00\x00\x00\x00\x00\x01", 9);
    assert_logged(tunnel, "code=3 text=the peer sent more than the connection's window");
    tunnel_free(tunnel);
}

static void connection_credit_returns_before_anybody_consumes(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(true);
    for (uint32_t i = 0; i < 64; i++) {
        peer_request(tunnel, i * 2 + 1);
        fill_window(tunnel, i * 2 + 1, 256 * 1024); /* 16 MiB in all: the whole connection window */
    }
    assert_logged(tunnel, "WINDOW_UPDATE stream=0 flags=0 00400000\n");
    assert_in_range(hbone_session_statistics(tunnel->session).receive_window_bytes, 12 * 1024 * 1024, 16 * 1024 * 1024);
    tunnel_free(tunnel);
}

static void readers_that_stand_still_do_not_stop_another(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(true);
    for (uint32_t i = 0; i < 64; i++) {
        peer_request(tunnel, i * 2 + 1);
        fill_window(tunnel, i * 2 + 1, 256 * 1024);
    }
    tunnel->withholds_credit = false;
    peer_request(tunnel, 129);
    for (int i = 0; i < 256; i++) {
        fill_window(tunnel, 129, 128 * 1024);
    }
    assert_int_equal(tunnel->consumers[64].received_bytes, 32 * 1024 * 1024);
    assert_int_equal(hbone_session_statistics(tunnel->session).pinned_bytes, 64 * 256 * 1024);
    tunnel_free(tunnel);
}

static void window_grows_for_a_fast_reader_up_to_the_maximum(void **state)
{
    (void)state;
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    settings.stream_window_bytes_maximum = 1024 * 1024;
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, 0);
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    /* The time that counts is the loop's: credit whole windows within few turns of it. */
    tunnel->consumers[0].withholds_credit = true;
    tunnel->withholds_credit = true;
    size_t announced = 256 * 1024;
    size_t sent = 0;
    for (int round = 0; round < 40; round++) {
        fill_window(tunnel, 1, 256 * 1024);
        sent += 256 * 1024;
        loop_run_once(tunnel->loop, 0);
        hbone_stream_credit(tunnel->consumers[0].stream, 256 * 1024);
        peer_forget(tunnel);
        const char *update = strstr(peer_read(tunnel), "WINDOW_UPDATE stream=1 flags=0 ");
        assert_non_null(update);
        announced += strtoul(update + strlen("WINDOW_UPDATE stream=1 flags=0 "), NULL, 16);
        assert_in_range(announced - sent, 256 * 1024, 1024 * 1024);
    }
    tunnel_free(tunnel);
}

static void reader_that_was_fast_and_stops_pins_less_than_a_mebibyte(void **state)
{
    (void)state;
    struct hbone_pinned all = { .bytes = 5 };
    struct hbone_pinned pinned = { .whole = &all };
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    settings.pinned = &pinned;
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, 0);
    tunnel->withholds_credit = true;
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, HBONE_FLAG_ACK, 0, NULL, 0);
    size_t left = 256 * 1024;
    for (int round = 0; round < 40; round++) {
        fill_window(tunnel, 1, 128 * 1024);
        hbone_stream_credit(tunnel->consumers[0].stream, 128 * 1024);
        peer_forget(tunnel);
        const char *update = strstr(peer_read(tunnel), "WINDOW_UPDATE stream=1 flags=0 ");
        left -= 128 * 1024;
        left += update == NULL ? 0 : strtoul(update + strlen("WINDOW_UPDATE stream=1 flags=0 "), NULL, 16);
    }
    assert_in_range(left, 128 * 1024, 1024 * 1024 - 1);
    fill_window(tunnel, 1, left);
    assert_int_equal(pinned.bytes, left);
    assert_int_equal(pinned.largest_stream_bytes, left);
    assert_int_equal(all.bytes, left + 5);
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, "x", 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000003\n");
    tunnel_free(tunnel);
    assert_int_equal(pinned.bytes, 0);
}

static void window_beyond_what_one_machine_needs_follows_rate_and_round_trip(void **state)
{
    (void)state;
    const uint32_t maximum = 4 << 20, unmeasured = 896 << 10;
    const uint64_t ms = NANOSECONDS_PER_MILLISECOND;
    assert_int_equal(hbone_flow_window_limit(maximum, 256 << 10, ms, 0), unmeasured);
    assert_int_equal(hbone_flow_window_limit(maximum, 896 << 10, ms / 2, ms / 20), unmeasured);
    assert_int_equal(hbone_flow_window_limit(maximum, 896 << 10, 20 * ms, 20 * ms), 2 * (896 << 10));
    assert_int_equal(hbone_flow_window_limit(maximum, 2 << 20, 10 * ms, 40 * ms), maximum);
    assert_int_equal(hbone_flow_window_limit(65535, 65535, ms, 0), 65535);
    assert_int_equal(hbone_flow_window_limit(maximum, 256 << 10, 0, ms), maximum);
}

static void small_configured_window_is_never_exceeded(void **state)
{
    (void)state;
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    settings.stream_window_bytes_maximum = 20000;
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, 0);
    tunnel->withholds_credit = true;
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "000400004e20");
    fill_window(tunnel, 1, 20000);
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, HBONE_FLAG_ACK, 0, NULL, 0);
    assert_lacks(peer_read(tunnel), "RST_STREAM");
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, "x", 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000003\n");
    tunnel_free(tunnel);
}

static void sender_stops_at_the_stream_window_and_goes_on_after_an_update(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    tunnel_turn(tunnel);
    struct consumer *consumer = &tunnel->consumers[0];
    assert_int_equal(hbone_stream_write(consumer->stream, zeros, 65536), 65535);
    struct iovec hole;
    assert_int_equal(hbone_stream_reserve(consumer->stream, &hole, 1), 0);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 1, 10);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->writables, 0); /* the connection's window is shut too */
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 0, 7);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->writables, 1);
    assert_int_equal(hbone_stream_write(consumer->stream, zeros, 100), 7);
    tunnel_free(tunnel);
}

static void shrunk_initial_window_makes_windows_negative(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    tunnel_turn(tunnel);
    struct consumer *consumer = &tunnel->consumers[0];
    assert_int_equal(hbone_stream_write(consumer->stream, zeros, 1000), 1000);
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, "\0\4\0\0\0\x64", 6); /* 100: the window is -900 */
    tunnel_turn(tunnel);
    assert_int_equal(hbone_stream_write(consumer->stream, zeros, 1), 0);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 1, 905);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->writables, 1);
    assert_int_equal(hbone_stream_write(consumer->stream, zeros, 100), 5);
    tunnel_free(tunnel);
}

static void window_update_of_a_stream_overflows_alone(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 1, 0x7fffffff);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000003\n");
    peer_request(tunnel, 3);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 3, 0);
    assert_logged(tunnel, "RST_STREAM stream=3 flags=0 00000001\n");
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void full_socket_stops_the_sender_and_room_wakes_it(void **state)
{
    (void)state;
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, 0);
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 0, 0x70000000);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 1, 0x70000000);
    tunnel_turn(tunnel);
    struct consumer *consumer = &tunnel->consumers[0];
    size_t sent = 0;
    size_t piece;
    while ((piece = hbone_stream_write(consumer->stream, zeros, sizeof zeros)) > 0 && sent < 64 * 1024 * 1024) {
        sent += piece;
        tunnel_turn(tunnel);
    }
    assert_in_range(sent, 1, 8 * 1024 * 1024);
    assert_in_range(hbone_session_statistics(tunnel->session).unsent_bytes, 1, 400 * 1024);
    assert_int_equal(consumer->writables, 0);
    (void)peer_read(tunnel);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->writables, 1);
    tunnel_free(tunnel);
}

static void holes_follow_the_window_and_partial_commits_add_up(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    tunnel_turn(tunnel);
    struct hbone_stream *stream = tunnel->consumers[0].stream;
    struct iovec holes[HBONE_HOLES_MAXIMUM];
    int count = hbone_stream_reserve(stream, holes, HBONE_HOLES_MAXIMUM);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        assert_true(holes[i].iov_len <= HBONE_HOLE_BYTES);
        memset(holes[i].iov_base, 'z', holes[i].iov_len);
        total += holes[i].iov_len;
    }
    assert_int_equal(total, 65535);
    hbone_stream_commit(stream, HBONE_HOLE_BYTES + 5);
    assert_int_equal(hbone_stream_reserve(stream, holes, 1), 1);
    hbone_stream_commit(stream, 0);
    assert_int_equal(hbone_stream_write(stream, "abc", 3), 3);
    assert_logged(tunnel, "DATA stream=1 flags=0 length=16353\n"
                          "DATA stream=1 flags=0 length=5\n"
                          "DATA stream=1 flags=0 length=3\n");
    tunnel_free(tunnel);
}

static void bulk_goes_in_steps_half_as_large_beside_small_flows(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 0, 0x70000000);
    peer_u32_frame(tunnel, HBONE_FRAME_WINDOW_UPDATE, 1, 0x70000000);
    tunnel_turn(tunnel);
    struct hbone_stream *stream = tunnel->consumers[0].stream;
    struct iovec holes[HBONE_HOLES_MAXIMUM];
    assert_int_equal(hbone_stream_reserve(stream, holes, HBONE_HOLES_MAXIMUM), HBONE_HOLES_MAXIMUM);
    hbone_stream_commit(stream, 0);
    tunnel_turn(tunnel);
    loop_note_small_flow(tunnel->loop);
    assert_int_equal(hbone_stream_reserve(stream, holes, HBONE_HOLES_MAXIMUM), HBONE_HOLES_MAXIMUM / 2);
    hbone_stream_commit(stream, 0);
    loop_advance_ms(tunnel->loop, 1000);
    tunnel_turn(tunnel);
    assert_int_equal(hbone_stream_reserve(stream, holes, HBONE_HOLES_MAXIMUM), HBONE_HOLES_MAXIMUM);
    hbone_stream_commit(stream, 0);
    tunnel_free(tunnel);
}

static void slices_of_one_read_come_in_one_call(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    peer_request(tunnel, 3);
    tunnel_turn(tunnel);
    struct writer frames = writer_growing();
    for (int i = 0; i < 20; i++) {
        writer_add(&frames, "\0\0\1\0\0\0\0\0\1a\0\0\1\0\0\0\0\0\3b", 20);
    }
    peer_send(tunnel, frames.data, frames.length);
    writer_free(&frames);
    assert_int_equal(tunnel->consumers[0].data_calls, 1);
    assert_int_equal(tunnel->consumers[1].data_calls, 1);
    assert_string_equal(writer_string(&tunnel->consumers[0].received), "aaaaaaaaaaaaaaaaaaaa");
    tunnel_free(tunnel);
}

static void write_data(struct writer *frames, uint32_t stream_id, uint32_t length)
{
    uint8_t header[HBONE_FRAME_HEADER_BYTES];
    hbone_frame_put(header, (struct hbone_frame){ length, HBONE_FRAME_DATA, 0, stream_id });
    writer_add(frames, header, sizeof header);
    writer_add(frames, zeros, length);
}

static void small_message_is_delivered_before_the_bulk_it_came_behind(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    for (uint32_t id = 1; id <= 7; id += 2) {
        peer_request(tunnel, id);
    }
    tunnel_turn(tunnel);
    struct writer frames = writer_growing();
    write_data(&frames, 1, 16000);
    write_data(&frames, 3, 1000);
    write_data(&frames, 5, 1000);
    write_data(&frames, 3, 16000);
    write_data(&frames, 7, 1000);
    peer_send(tunnel, frames.data, frames.length);
    writer_free(&frames);
    const struct consumer *consumers = tunnel->consumers;
    assert_int_equal(consumers[1].received_bytes, 17000);
    assert_int_equal(consumers[3].last_data_call - consumers[2].last_data_call, 1);
    assert_true(consumers[3].last_data_call < consumers[0].last_data_call);
    assert_true(consumers[3].last_data_call < consumers[1].last_data_call);
    tunnel_free(tunnel);
}

static void thousands_of_slices_of_one_read_all_arrive(void **state)
{
    (void)state;
    struct tunnel *tunnel = server(false);
    peer_request(tunnel, 1);
    tunnel_turn(tunnel);
    struct writer frames = writer_growing();
    for (int i = 0; i < 3000; i++) {
        writer_add(&frames, "\0\0\1\0\0\0\0\0\1a", 10);
    }
    peer_send(tunnel, frames.data, frames.length);
    tunnel_turn(tunnel);
    writer_free(&frames);
    assert_int_equal(tunnel->consumers[0].received_bytes, 3000);
    tunnel_free(tunnel);
}

/* By the loop's own time, a millisecond a turn: the machine's speed has no part in it. */
static void run_for_ms(struct tunnel *tunnel, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        loop_advance_ms(tunnel->loop, 1);
        loop_run_once(tunnel->loop, 0);
    }
}

static struct tunnel *impatient(enum hbone_role role)
{
    struct hbone_settings settings = hbone_settings_default(role);
    settings.ping_interval_ms = 100;
    settings.ping_timeout_ms = 200;
    settings.suspicion_ms = 20;
    settings.suspicion_grace_ms = 30;
    settings.settings_timeout_ms = 50;
    return tunnel_new_with(role, &settings, 65536, 0);
}

static void silent_peer_misses_the_settings_deadline(void **state)
{
    (void)state;
    struct tunnel *tunnel = impatient(HBONE_SERVER);
    (void)peer_read(tunnel); /* nothing is owed but the preface */
    run_for_ms(tunnel, 80);
    assert_logged(tunnel, "code=4 text=the peer sent no SETTINGS for 50 ms");
    tunnel_free(tunnel);
}

static void peer_that_does_not_answer_pings_is_lost(void **state)
{
    (void)state;
    struct tunnel *tunnel = impatient(HBONE_SERVER);
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    (void)peer_read(tunnel);
    run_for_ms(tunnel, 110);
    assert_logged(tunnel, "PING stream=0 flags=0 ");
    assert_false(tunnel->has_ended);
    run_for_ms(tunnel, 200);
    assert_true(tunnel->has_ended);
    assert_contains(tunnel->end_reason, "HBONE ping timeout/error: the peer did not answer a PING for 200 ms");
    assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_TUNNEL_LOST);
    tunnel_free(tunnel);
}

static void answer_last_ping(struct tunnel *tunnel)
{
    const char *ping = strstr(peer_read(tunnel), "PING stream=0 flags=0 ");
    if (ping != NULL) {
        uint8_t payload[8];
        for (int i = 0; i < 8; i++) {
            unsigned byte;
            assert_int_equal(sscanf(ping + strlen("PING stream=0 flags=0 ") + i * 2, "%2x", &byte), 1);
            payload[i] = (uint8_t)byte;
        }
        peer_frame(tunnel, HBONE_FRAME_PING, HBONE_FLAG_ACK, 0, payload, 8);
        peer_forget(tunnel);
    }
}

static void answered_pings_keep_the_tunnel_and_measure_the_round_trip(void **state)
{
    (void)state;
    struct tunnel *tunnel = impatient(HBONE_SERVER);
    peer_preface(tunnel);
    for (int i = 0; i < 50; i++) {
        run_for_ms(tunnel, 9); /* so that the answer is not in the PING's own turn */
        answer_last_ping(tunnel);
    }
    assert_false(tunnel->has_ended);
    assert_true(hbone_session_statistics(tunnel->session).round_trip_ns > 0);
    tunnel_free(tunnel);
}

static void unanswered_connect_on_a_dead_path_ends_the_tunnel_early(void **state)
{
    (void)state;
    struct tunnel *tunnel = impatient(HBONE_CLIENT);
    peer_settings(tunnel);
    (void)peer_read(tunnel);
    peer_forget(tunnel);
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    (void)peer_read(tunnel);
    run_for_ms(tunnel, 35);
    assert_logged(tunnel, "PING stream=0 flags=0 ");
    run_for_ms(tunnel, 40);
    assert_true(tunnel->has_ended);
    assert_contains(tunnel->end_reason, "no sign of life");
    assert_true(consumer->reset.is_retryable);
    tunnel_free(tunnel);
}

static void tunnel_lost_before_settings_is_told_from_one_lost_later(void **state)
{
    (void)state;
    for (int has_settings = 0; has_settings < 2; has_settings++) {
        struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
        if (has_settings) {
            peer_settings(tunnel);
        }
        struct consumer *consumer = tunnel_connect(tunnel, "a:1");
        tunnel_turn(tunnel);
        (void)shutdown(tunnel->peer, SHUT_RDWR);
        tunnel_turn(tunnel);
        assert_int_equal(consumer->reset.cause, HBONE_RESET_TUNNEL_LOST);
        assert_int_equal(consumer->reset.is_before_settings, !has_settings);
        tunnel_free(tunnel);
    }
}

static void tunnel_that_we_close_before_settings_is_no_failure_of_the_peer(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_CLIENT);
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    hbone_session_close(tunnel->session, "draining");
    tunnel_turn(tunnel);
    assert_int_equal(consumer->reset.cause, HBONE_RESET_TUNNEL_CLOSED);
    assert_false(consumer->reset.is_before_settings);
    assert_true(consumer->reset.is_retryable);
    tunnel_free(tunnel);
}

static void slow_response_from_a_living_peer_is_waited_for(void **state)
{
    (void)state;
    struct tunnel *tunnel = impatient(HBONE_CLIENT);
    peer_settings(tunnel);
    struct consumer *consumer = tunnel_connect(tunnel, "a:1");
    for (int i = 0; i < 40; i++) {
        run_for_ms(tunnel, 5);
        answer_last_ping(tunnel);
    }
    assert_false(tunnel->has_ended);
    peer_respond(tunnel, 1);
    tunnel_turn(tunnel);
    assert_int_equal(consumer->status, 200);
    tunnel_free(tunnel);
}

static void unacknowledged_bytes_end_the_tunnel_early(void **state)
{
    (void)state;
    struct tunnel *tunnel = impatient(HBONE_SERVER);
    peer_preface(tunnel);
    peer_connect(tunnel, 1);
    (void)peer_read(tunnel);
    run_for_ms(tunnel, 60);
    assert_false(tunnel->has_ended); /* all was read: nothing is owed */
    assert_int_equal(hbone_stream_write(tunnel->consumers[0].stream, "x", 1), 1);
    run_for_ms(tunnel, 100);
    assert_true(tunnel->has_ended);
    assert_contains(tunnel->end_reason, "no sign of life");
    tunnel_free(tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(withheld_credit_withholds_the_window),
        cmocka_unit_test(bytes_beyond_the_stream_window_are_a_stream_error),
        cmocka_unit_test(bytes_beyond_the_connection_window_end_the_tunnel),
        cmocka_unit_test(connection_credit_returns_before_anybody_consumes),
        cmocka_unit_test(readers_that_stand_still_do_not_stop_another),
        cmocka_unit_test(window_grows_for_a_fast_reader_up_to_the_maximum),
        cmocka_unit_test(reader_that_was_fast_and_stops_pins_less_than_a_mebibyte),
        cmocka_unit_test(window_beyond_what_one_machine_needs_follows_rate_and_round_trip),
        cmocka_unit_test(small_configured_window_is_never_exceeded),
        cmocka_unit_test(sender_stops_at_the_stream_window_and_goes_on_after_an_update),
        cmocka_unit_test(shrunk_initial_window_makes_windows_negative),
        cmocka_unit_test(window_update_of_a_stream_overflows_alone),
        cmocka_unit_test(full_socket_stops_the_sender_and_room_wakes_it),
        cmocka_unit_test(holes_follow_the_window_and_partial_commits_add_up),
        cmocka_unit_test(bulk_goes_in_steps_half_as_large_beside_small_flows),
        cmocka_unit_test(slices_of_one_read_come_in_one_call),
        cmocka_unit_test(small_message_is_delivered_before_the_bulk_it_came_behind),
        cmocka_unit_test(thousands_of_slices_of_one_read_all_arrive),
        cmocka_unit_test(silent_peer_misses_the_settings_deadline),
        cmocka_unit_test(peer_that_does_not_answer_pings_is_lost),
        cmocka_unit_test(answered_pings_keep_the_tunnel_and_measure_the_round_trip),
        cmocka_unit_test(unanswered_connect_on_a_dead_path_ends_the_tunnel_early),
        cmocka_unit_test(tunnel_lost_before_settings_is_told_from_one_lost_later),
        cmocka_unit_test(tunnel_that_we_close_before_settings_is_no_failure_of_the_peer),
        cmocka_unit_test(slow_response_from_a_living_peer_is_waited_for),
        cmocka_unit_test(unacknowledged_bytes_end_the_tunnel_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
