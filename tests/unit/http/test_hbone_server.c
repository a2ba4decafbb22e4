/* The server's rules, frame by frame (RFC 9113, wire-protocols §11, ztunnel-dataplane §10, §19.1). */
#include "unit/http/hbone_peer.h"

#include "http/hbone_internal.h"

static struct tunnel *server(void)
{
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    peer_preface(tunnel);
    (void)peer_read(tunnel);
    return tunnel;
}

static void expect_end(struct tunnel *tunnel, const char *goaway, const char *reason)
{
    assert_logged(tunnel, goaway);
    close(tunnel->peer);
    tunnel->peer = -1;
    tunnel_turn(tunnel);
    assert_true(tunnel->has_ended);
    assert_false(tunnel->was_clean);
    assert_contains(tunnel->end_reason, reason);
    tunnel_free(tunnel);
}

static void settings_announce_what_the_issue_asks_for(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    assert_logged(tunnel, "SETTINGS stream=0 flags=0 000100000000"
                          "0003000000c8"
                          "000400040000"
                          "000500100000"
                          "000600010000"
                          "f0a100001000\n"
                          "WINDOW_UPDATE stream=0 flags=0 00ff0001\n");
    tunnel_free(tunnel);
}

static void minimal_connect_vector_is_served(void **state)
{
    (void)state;
    static const uint8_t vectors[] = "\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x04\x00\x40\x00"
                                     "\x00\x00\x05\x00\x10\x00\x00\x00\x06\x00\x00\x40\x00"
                                     "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\xff\x00\x01"
                                     "\x00\x00\x18\x01\x04\x00\x00\x00\x01\x02\x07\x43\x4f\x4e\x4e\x45\x43\x54\x01\x0d"
                                     "10.0.0.6:8080"
                                     "\x00\x00\x02\x00\x00\x00\x00\x00\x01hi"
                                     "\x00\x00\x00\x00\x01\x00\x00\x00\x01";
    for (size_t run_maximum = 0; run_maximum < 4; run_maximum++) {
        struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
        struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 65536, run_maximum);
        peer_send(tunnel, HBONE_PREFACE, HBONE_PREFACE_BYTES);
        peer_send(tunnel, vectors, sizeof vectors - 1);
        assert_logged(tunnel, "HEADERS stream=1 flags=4 2088\n"); /* table size 0, :status 200 */
        assert_string_equal(tunnel->method, "CONNECT");
        assert_string_equal(tunnel->authority, "10.0.0.6:8080");
        assert_string_equal(writer_string(&tunnel->consumers[0].received), "hi");
        assert_int_equal(tunnel->consumers[0].ends, 1);
        tunnel_free(tunnel);
    }
}

static void what_came_with_the_handshake_is_answered_together_with_the_preface(void **state)
{
    (void)state;
    static const uint8_t words[] =
        HBONE_PREFACE "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
                      "\x00\x00\x18\x01\x04\x00\x00\x00\x01\x02\x07\x43\x4f\x4e\x4e\x45\x43\x54\x01\x0d"
                      "10.0.0.6:8080";
    piece_begins_with_input = true;
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    piece_begins_with_input = false;
    assert_int_equal(send(tunnel->peer, words, sizeof words - 1, 0), sizeof words - 1);
    tunnel_turn(tunnel);
    const char *log = peer_read(tunnel);
    assert_non_null(strstr(log, "SETTINGS stream=0 flags=0"));
    assert_non_null(strstr(log, "SETTINGS stream=0 flags=1"));
    assert_non_null(strstr(log, "HEADERS stream=1 flags=4"));
    assert_int_equal(piece_of(tunnel->session->layer)->sends, 1);
    tunnel_free(tunnel);
}

static void a_preface_does_not_wait_for_input_that_tells_nothing(void **state)
{
    (void)state;
    piece_begins_with_input = true;
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    piece_begins_with_input = false;
    assert_logged(tunnel, "SETTINGS stream=0 flags=0");
    tunnel_free(tunnel);
}

static void cancel_vector_resets_the_stream(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    peer_send(tunnel, "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08", 13);
    tunnel_turn(tunnel);
    assert_int_equal(tunnel->consumers[0].resets, 1);
    assert_int_equal(tunnel->consumers[0].reset.code, HBONE_CANCEL);
    assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_BY_PEER);
    assert_false(tunnel->consumers[0].reset.is_orderly);
    assert_true(hbone_stream_is_over(tunnel->consumers[0].stream));
    tunnel_free(tunnel);
}

static void bytes_before_a_reset_are_delivered(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    struct writer both = writer_growing();
    static const char *const fields[] = { ":method", "CONNECT", ":authority", "a:1", NULL };
    struct writer block = encode_fields(fields);
    hbone_frame_write_headers(&both, 1, writer_bytes(&block), false);
    writer_add(&both, "\x00\x00\x03\x00\x00\x00\x00\x00\x01", 9);
    writer_add_string(&both, "abc");
    hbone_frame_write_reset(&both, 1, HBONE_CONNECT_ERROR);
    peer_send(tunnel, both.data, both.length);
    tunnel_turn(tunnel);
    assert_string_equal(writer_string(&tunnel->consumers[0].received), "abc");
    assert_int_equal(tunnel->consumers[0].reset.code, HBONE_CONNECT_ERROR);
    writer_free(&both);
    writer_free(&block);
    tunnel_free(tunnel);
}

static void error_status_ends_the_stream_and_frees_the_request(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    tunnel->status = 503;
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "HEADERS stream=1 flags=5 ");
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000000\n");
    assert_int_equal(hbone_session_stream_count(tunnel->session), 0);
    tunnel_free(tunnel);
}

static void request_that_nobody_takes_is_cancelled(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    tunnel->status = -1;
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000008\n");
    assert_int_equal(hbone_session_stream_count(tunnel->session), 0);
    tunnel_free(tunnel);
}

static void session_may_be_freed_in_a_request(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    tunnel->frees_in_request = true;
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    assert_null(tunnel->session);
    tunnel_free(tunnel);
}

static void other_methods_reach_the_consumer(void **state)
{
    (void)state;
    static const char *const fields[] = { ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a:1",
        NULL };
    struct tunnel *tunnel = server();
    tunnel->status = 400;
    peer_headers(tunnel, 1, HBONE_FLAG_END_STREAM, fields);
    assert_logged(tunnel, "HEADERS stream=1 flags=5 ");
    assert_lacks(peer_read(tunnel), "RST_STREAM");
    assert_string_equal(tunnel->method, "GET");
    tunnel_free(tunnel);
}

static void request_fields_arrive_in_order(void **state)
{
    (void)state;
    static const char *const fields[] = { ":method", "CONNECT", ":authority", "a:1", "baggage", "k=v", "forwarded",
        "for=\"1\"", "te", "trailers", "baggage", "x=y", NULL };
    struct tunnel *tunnel = server();
    peer_headers(tunnel, 1, 0, fields);
    tunnel_turn(tunnel);
    assert_string_equal(tunnel->consumers[0].header_text, "baggage=k=v;forwarded=for=\"1\";te=trailers;baggage=x=y;");
    tunnel_free(tunnel);
}

static const char *const malformed_requests[][12] = {
    { ":method", "CONNECT", NULL },
    { ":authority", "a:1", NULL },
    { ":method", "CONNECT", ":scheme", "https", ":authority", "a:1", NULL },
    { ":method", "CONNECT", ":path", "/", ":authority", "a:1", NULL },
    { ":method", "CONNECT", ":scheme", "https", ":path", "/", ":authority", "a:1", ":protocol", "bytestream", NULL },
    { ":method", "CONNECT", ":authority", "a:1", ":protocol", "connect-udp", NULL },
    { ":method", "GET", ":path", "/", ":authority", "a:1", NULL },
    { ":method", "CONNECT", ":authority", "a:1", ":status", "200", NULL },
    { ":method", "CONNECT", ":authority", "a:1", ":unknown", "1", NULL },
    { ":method", "CONNECT", ":method", "CONNECT", ":authority", "a:1", NULL },
    { ":method", "CONNECT", "baggage", "", ":authority", "a:1", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "Baggage", "x", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "bag gage", "x", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "bag:gage", "x", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "", "x", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "baggage", "a\nb", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "baggage", "a\rb", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "baggage", " a", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "baggage", "a\t", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "connection", "close", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "keep-alive", "1", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "proxy-connection", "1", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "transfer-encoding", "chunked", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "upgrade", "websocket", NULL },
    { ":method", "CONNECT", ":authority", "a:1", "te", "gzip", NULL },
};

static void malformed_requests_are_stream_errors(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    for (uint32_t i = 0; i < ARRAY_LENGTH(malformed_requests); i++) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "RST_STREAM stream=%u flags=0 00000001\n", i * 2 + 1);
        peer_headers(tunnel, i * 2 + 1, 0, malformed_requests[i]);
        assert_logged(tunnel, expected);
    }
    assert_int_equal(tunnel->requests, 0);
    peer_connect(tunnel, 999);
    assert_logged(tunnel, "HEADERS stream=999 flags=4 ");
    tunnel_free(tunnel);
}

static void send_oversize_request(struct tunnel *tunnel, uint32_t stream_id, const char *prefix)
{
    static const char *const fields[] = { ":method", "CONNECT", ":authority", "a:1", NULL };
    struct writer block = writer_growing();
    struct writer plain = encode_fields(fields);
    writer_add_string(&block, prefix);
    writer_add_bytes(&block, writer_bytes(&plain));
    char filler[101] = { 0 };
    memset(filler, 'x', 100);
    const char *const filling[] = { "filler", filler, NULL };
    struct writer piece = encode_fields(filling);
    for (int i = 0; i < 600; i++) { /* 600 * (6 + 100 + 32) bytes */
        writer_add_bytes(&block, writer_bytes(&piece));
    }
    struct writer frames = writer_growing();
    hbone_frame_write_headers(&frames, stream_id, writer_bytes(&block), false);
    peer_send(tunnel, frames.data, frames.length);
    writer_free(&frames);
    writer_free(&piece);
    writer_free(&plain);
    writer_free(&block);
}

static void oversize_field_list_is_answered_431(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    send_oversize_request(tunnel, 1, "");
    /* table size 0, then :status 431 without indexing: 08 + "431" in Huffman */
    assert_logged(tunnel, "HEADERS stream=1 flags=5 2008");
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000000\n");
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, HBONE_FLAG_ACK, 0, NULL, 0);
    peer_forget(tunnel);
    /* After the acknowledgement the rest is not even decoded. The first block tells the table size. */
    send_oversize_request(tunnel, 3, "\x20");
    send_oversize_request(tunnel, 5, "");
    assert_logged(tunnel, "HEADERS stream=3 flags=5 08");
    assert_logged(tunnel, "HEADERS stream=5 flags=5 08");
    assert_int_equal(tunnel->requests, 0);
    peer_connect(tunnel, 7);
    assert_logged(tunnel, "HEADERS stream=7 flags=4 88");
    tunnel_free(tunnel);
}

static void streams_over_the_limit_are_refused(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    for (uint32_t id = 1; id <= 401; id += 2) {
        peer_connect(tunnel, id);
    }
    assert_logged(tunnel, "RST_STREAM stream=401 flags=0 00000007\n");
    assert_lacks(peer_read(tunnel), "RST_STREAM stream=399");
    assert_int_equal(tunnel->requests, 200);
    assert_int_equal(hbone_session_stream_count(tunnel->session), 200);
    tunnel_free(tunnel);
}

static void padding_is_dropped_and_credited(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    uint8_t padded[256] = { 200, 'h', 'i' };
    for (int i = 0; i < 2000; i++) {
        peer_frame(tunnel, HBONE_FRAME_DATA, HBONE_FLAG_PADDED, 1, padded, 203);
        (void)peer_read(tunnel);
    }
    assert_int_equal(tunnel->consumers[0].received.length, 4000);
    assert_memory_equal(tunnel->consumers[0].received.data, "hihihi", 6);
    tunnel_free(tunnel);
}

static void fields_come_padded_with_priority_and_in_continuations(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    static const char *const fields[] = { ":method", "CONNECT", ":authority", "a:1", "k", "v", NULL };
    struct writer block = encode_fields(fields);
    struct writer payload = writer_growing();
    writer_add_u8(&payload, 7);
    writer_add(&payload, "\0\0\0\0\x10", 5);
    writer_add(&payload, block.data, 5);
    writer_add(&payload, "\0\0\0\0\0\0\0", 7);
    peer_frame(tunnel, HBONE_FRAME_HEADERS, HBONE_FLAG_PADDED | HBONE_FLAG_PRIORITY, 1, payload.data, payload.length);
    peer_frame(tunnel, HBONE_FRAME_CONTINUATION, 0, 1, block.data + 5, 4);
    peer_frame(tunnel, HBONE_FRAME_CONTINUATION, 0, 1, NULL, 0);
    peer_frame(tunnel, HBONE_FRAME_CONTINUATION, HBONE_FLAG_END_HEADERS, 1, block.data + 9, block.length - 9);
    tunnel_turn(tunnel);
    assert_string_equal(tunnel->consumers[0].header_text, "k=v;");
    writer_free(&block);
    writer_free(&payload);
    tunnel_free(tunnel);
}

static void unknown_frames_and_settings_are_ignored(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_frame(tunnel, 0xfa, 0xff, 17, "anything", 8);
    peer_frame(tunnel, HBONE_FRAME_PRIORITY, 0, 9, "\0\0\0\0\0", 5);
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, "\xff\x00\0\0\0\1", 6);
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "HEADERS stream=1 flags=4 ");
    tunnel_free(tunnel);
}

static void ping_is_answered_with_its_payload(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_frame(tunnel, HBONE_FRAME_PING, 0, 0, "12345678", 8);
    assert_logged(tunnel, "PING stream=0 flags=1 3132333435363738\n");
    tunnel_free(tunnel);
}

static void data_after_our_reset_is_discarded_and_counted(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    hbone_stream_reset(tunnel->consumers[0].stream, HBONE_CONNECT_ERROR);
    int64_t before = hbone_session_statistics(tunnel->session).receive_window_bytes;
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, "late", 4);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 0000000a\n");
    assert_int_equal(hbone_session_statistics(tunnel->session).receive_window_bytes, before - 4);
    assert_int_equal(tunnel->consumers[0].received.length, 0);
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

static void frames_after_end_stream_are_stream_closed(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    peer_frame(tunnel, HBONE_FRAME_DATA, HBONE_FLAG_END_STREAM, 1, NULL, 0);
    peer_frame(tunnel, HBONE_FRAME_DATA, 0, 1, "x", 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000005\n");
    assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_BY_VIOLATION);
    tunnel_free(tunnel);
}

static void trailers_on_a_connected_stream_are_a_stream_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    peer_connect(tunnel, 1);
    assert_logged(tunnel, "RST_STREAM stream=1 flags=0 00000001\n");
    assert_false(tunnel->has_ended);
    tunnel_free(tunnel);
}

struct violation {
    const char *name;
    uint8_t type, flags;
    uint32_t stream_id;
    const char *payload;
    size_t length;
    const char *goaway;
    const char *reason;
};

/* Against a connection with stream 1 open. */
static const struct violation violations[] = {
    { "data on the connection", HBONE_FRAME_DATA, 0, 0, "x", 1, "code=1 ", "DATA on stream 0" },
    { "data on an idle stream", HBONE_FRAME_DATA, 0, 3, "x", 1, "code=1 ", "idle stream 3" },
    { "headers on an even stream", HBONE_FRAME_HEADERS, 4, 2, "x", 1, "code=1 ", "may not open" },
    { "headers on the connection", HBONE_FRAME_HEADERS, 4, 0, "x", 1, "code=1 ", "HEADERS on stream 0" },
    { "reset of an idle stream", HBONE_FRAME_RST_STREAM, 0, 5, "\0\0\0\0", 4, "code=1 ", "idle stream 5" },
    { "short reset", HBONE_FRAME_RST_STREAM, 0, 1, "\0\0\0", 3, "code=6 ", "RST_STREAM of 3 bytes" },
    { "short ping", HBONE_FRAME_PING, 0, 0, "1234567", 7, "code=6 ", "PING of 7 bytes" },
    { "ping on a stream", HBONE_FRAME_PING, 0, 1, "12345678", 8, "code=1 ", "PING on stream 1" },
    { "settings on a stream", HBONE_FRAME_SETTINGS, 0, 1, NULL, 0, "code=1 ", "SETTINGS on stream 1" },
    { "odd settings", HBONE_FRAME_SETTINGS, 0, 0, "12345", 5, "code=6 ", "SETTINGS of 5 bytes" },
    { "settings ack with payload", HBONE_FRAME_SETTINGS, 1, 0, "\0\1\0\0\0\0", 6, "code=6 ", "SETTINGS of 6" },
    { "push of 2", HBONE_FRAME_SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, "code=1 ", "ENABLE_PUSH=2" },
    { "window setting too large", HBONE_FRAME_SETTINGS, 0, 0, "\0\4\x80\0\0\0", 6, "code=3 ", "INITIAL_WINDOW_SIZE" },
    { "frame size too small", HBONE_FRAME_SETTINGS, 0, 0, "\0\5\0\0\0\1", 6, "code=1 ", "MAX_FRAME_SIZE=1" },
    { "push promise", HBONE_FRAME_PUSH_PROMISE, 4, 1, "\0\0\0\2", 4, "code=1 ", "PUSH_PROMISE" },
    { "continuation without headers", HBONE_FRAME_CONTINUATION, 4, 1, "x", 1, "code=1 ", "order of HEADERS" },
    { "window update of 0", HBONE_FRAME_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, "code=1 ", "WINDOW_UPDATE of 0" },
    { "window overflow", HBONE_FRAME_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, "code=3 ", "overflow" },
    { "window update on idle", HBONE_FRAME_WINDOW_UPDATE, 0, 9, "\0\0\0\1", 4, "code=1 ", "idle stream 9" },
    { "short goaway", HBONE_FRAME_GOAWAY, 0, 0, "1234567", 7, "code=6 ", "GOAWAY of 7 bytes" },
    { "short priority", HBONE_FRAME_PRIORITY, 0, 1, "123", 3, "code=6 ", "PRIORITY of 3 bytes" },
    { "padding beyond the frame", HBONE_FRAME_DATA, 8, 1,
        "\x05"
        "abc",
        4, "code=1 ", "padding is longer" },
    { "padding without room", HBONE_FRAME_DATA, 8, 1, NULL, 0, "code=6 ", "too short for its flags" },
    { "priority without room", HBONE_FRAME_HEADERS, 0x24, 3, "abc", 3, "code=6 ", "too short for its flags" },
    { "bad field block", HBONE_FRAME_HEADERS, 4, 3, "\xff\xff\xff\xff\xff\xff", 6, "code=9 ", "does not decode" },
};

static void violations_of_the_connection_end_it_with_the_right_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(violations); i++) {
        const struct violation *violation = &violations[i];
        print_message("%s\n", violation->name);
        struct tunnel *tunnel = server();
        peer_connect(tunnel, 1);
        tunnel_turn(tunnel);
        peer_frame(
            tunnel, violation->type, violation->flags, violation->stream_id, violation->payload, violation->length);
        assert_logged(tunnel, "GOAWAY");
        assert_int_equal(tunnel->consumers[0].resets, 1);
        assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_TUNNEL_LOST);
        expect_end(tunnel, violation->goaway, violation->reason);
    }
}

static void oversize_frame_is_a_frame_size_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_send(tunnel, "\x10\x00\x01\x00\x00\x00\x00\x00\x01", 9);
    expect_end(tunnel, "code=6 ", "a frame of 1048577 bytes");
}

static void interrupted_field_block_is_a_protocol_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_frame(tunnel, HBONE_FRAME_HEADERS, 0, 1, "\0", 1);
    peer_frame(tunnel, HBONE_FRAME_PING, 0, 0, "12345678", 8);
    expect_end(tunnel, "code=1 ", "order of HEADERS");
}

static void field_block_must_tell_table_size_after_acknowledgement(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, HBONE_FLAG_ACK, 0, NULL, 0);
    peer_connect(tunnel, 1);
    expect_end(tunnel, "code=9 ", "does not decode");
}

static void dynamic_table_works_before_acknowledgement_only(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    static const uint8_t inserting[] = "\x02\x07"
                                       "CONNECT\x41\x03"
                                       "a:1\x40\x01k\x01v";
    static const uint8_t referring[] = "\x02\x07"
                                       "CONNECT\xbf\xbe"; /* entries 63 and 62 */
    peer_frame(tunnel, HBONE_FRAME_HEADERS, 4, 1, inserting, sizeof inserting - 1);
    peer_frame(tunnel, HBONE_FRAME_HEADERS, 4, 3, referring, sizeof referring - 1);
    tunnel_turn(tunnel);
    assert_string_equal(tunnel->authority, "a:1");
    assert_string_equal(tunnel->consumers[1].header_text, "k=v;");
    peer_frame(tunnel, HBONE_FRAME_SETTINGS, HBONE_FLAG_ACK, 0, NULL, 0);
    static const uint8_t referring_later[] = "\x20\x02\x07"
                                             "CONNECT\xbf\xbe";
    peer_frame(tunnel, HBONE_FRAME_HEADERS, 4, 5, referring_later, sizeof referring_later - 1);
    expect_end(tunnel, "code=9 ", "does not decode");
}

static void garbage_instead_of_a_preface_ends_the_session(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    peer_send(tunnel, "GET / HTTP/1.1\r\nhost: x\r\n\r\n", 27);
    expect_end(tunnel, "code=1 ", "does not speak HTTP/2");
}

static void first_frame_must_be_settings(void **state)
{
    (void)state;
    struct tunnel *tunnel = tunnel_new(HBONE_SERVER);
    peer_send(tunnel, HBONE_PREFACE, HBONE_PREFACE_BYTES);
    peer_connect(tunnel, 1);
    expect_end(tunnel, "code=1 ", "first frame is not SETTINGS");
}

static void flood(uint8_t type, uint8_t flags, uint32_t stream_id, const char *payload, size_t length, const char *what)
{
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    for (int i = 0; i < 1600 && !tunnel->has_ended; i++) {
        peer_frame(tunnel, type, flags, stream_id, payload, length);
        if (i % 100 == 0) {
            (void)peer_read(tunnel);
        }
    }
    expect_end(tunnel, "code=11 ", what);
}

static void floods_are_told_to_calm_down(void **state)
{
    (void)state;
    flood(HBONE_FRAME_PING, 0, 0, "12345678", 8, "(PING)");
    flood(HBONE_FRAME_SETTINGS, 0, 0, NULL, 0, "(SETTINGS)");
    flood(HBONE_FRAME_DATA, 0, 1, NULL, 0, "(empty DATA)");
    flood(HBONE_FRAME_PRIORITY, 0, 1, "12345", 5, "(PRIORITY)");
    flood(0x77, 0, 1, "12345", 5, "(unknown)");
}

static void rapid_resets_are_told_to_calm_down(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    tunnel->status = 0;
    for (uint32_t id = 1; id < 4000 && !tunnel->has_ended; id += 2) {
        peer_connect(tunnel, id);
        peer_u32_frame(tunnel, HBONE_FRAME_RST_STREAM, id, HBONE_CANCEL);
        tunnel_turn(tunnel);
        struct consumer *consumer = &tunnel->consumers[(id / 2) % CONSUMERS];
        if (consumer->stream != NULL) {
            tunnel_release(consumer);
        }
        (void)peer_read(tunnel);
    }
    expect_end(tunnel, "code=11 ", "unanswered request");
}

static void continuation_flood_is_bounded(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    char filler[127] = { 0 };
    memset(filler, 'x', 126);
    const char *const filling[] = { "filler", filler, NULL };
    struct writer piece = encode_fields(filling);
    peer_frame(tunnel, HBONE_FRAME_HEADERS, 0, 1, piece.data, piece.length);
    for (int i = 0; i < 4000 && !tunnel->has_ended; i++) {
        peer_frame(tunnel, HBONE_FRAME_CONTINUATION, 0, 1, piece.data, piece.length);
        if (i % 100 == 0) {
            (void)peer_read(tunnel);
        }
    }
    writer_free(&piece);
    expect_end(tunnel, "code=11 ", "CONTINUATION");
}

static void answers_that_nobody_reads_are_bounded(void **state)
{
    (void)state;
    struct hbone_settings settings = hbone_settings_default(HBONE_SERVER);
    struct tunnel *tunnel = tunnel_new_with(HBONE_SERVER, &settings, 16384, 0);
    peer_preface(tunnel);
    tunnel->status = 400;
    size_t most = 0;
    for (uint32_t id = 1; id < 100000 && !hbone_session_is_draining(tunnel->session); id += 2) {
        peer_connect(tunnel, id);
        size_t unsent = hbone_session_statistics(tunnel->session).unsent_bytes;
        most = unsent > most ? unsent : most;
    }
    assert_in_range(most, 0, 300 * 1024);
    expect_end(tunnel, "code=11 ", "does not read the answers");
}

/* REFUSED_STREAM is a server's word. From a client it is a reset, counted and judged like any other, and drains nothing. */
static void client_that_refuses_its_own_stream_has_reset_it(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    peer_forget(tunnel);
    peer_u32_frame(tunnel, HBONE_FRAME_RST_STREAM, 1, HBONE_REFUSED_STREAM);
    tunnel_turn(tunnel);
    assert_int_equal(tunnel->consumers[0].resets, 1);
    assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_BY_PEER);
    assert_int_equal(tunnel->consumers[0].reset.code, HBONE_REFUSED_STREAM);
    assert_false(hbone_session_is_draining(tunnel->session));
    hbone_session_drain(tunnel->session, "draining");
    assert_logged(tunnel, "GOAWAY stream=0 flags=0 last=7fffffff code=0 text=\n");
    tunnel_free(tunnel);
}

static void drain_announces_waits_and_closes_after_the_last_stream(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    peer_forget(tunnel);
    hbone_session_drain(tunnel->session, "draining");
    assert_logged(tunnel, "GOAWAY stream=0 flags=0 last=7fffffff code=0 text=\n"
                          "PING stream=0 flags=0 0b7ba2f08b9bfe54\n");
    peer_connect(tunnel, 3); /* crossed on the way: served */
    tunnel_turn(tunnel);
    peer_frame(tunnel, HBONE_FRAME_PING, HBONE_FLAG_ACK, 0, "\x0b\x7b\xa2\xf0\x8b\x9b\xfe\x54", 8);
    assert_logged(tunnel, "GOAWAY stream=0 flags=0 last=00000003 code=0 text=\n");
    peer_connect(tunnel, 5);
    assert_logged(tunnel, "RST_STREAM stream=5 flags=0 00000007\n");
    peer_frame(tunnel, HBONE_FRAME_DATA, HBONE_FLAG_END_STREAM, 1, "bye", 3);
    tunnel_turn(tunnel);
    assert_string_equal(writer_string(&tunnel->consumers[0].received), "bye");
    hbone_stream_end(tunnel->consumers[0].stream);
    tunnel_turn(tunnel);
    assert_false(tunnel->has_ended);
    hbone_stream_end(tunnel->consumers[1].stream);
    peer_frame(tunnel, HBONE_FRAME_DATA, HBONE_FLAG_END_STREAM, 3, NULL, 0);
    (void)peer_read(tunnel);
    shutdown(tunnel->peer, SHUT_WR);
    tunnel_turn(tunnel);
    assert_true(tunnel->has_ended);
    assert_true(tunnel->was_clean);
    assert_string_equal(tunnel->end_reason, "draining");
    tunnel_free(tunnel);
}

static void close_resets_streams_and_says_goaway(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    hbone_session_close(tunnel->session, "the pod is gone");
    assert_int_equal(tunnel->consumers[0].resets, 0); /* not from within the call */
    assert_logged(tunnel, "GOAWAY stream=0 flags=0 last=00000001 code=0 text=\n");
    assert_int_equal(tunnel->consumers[0].resets, 1);
    expect_end(tunnel, "GOAWAY", "the pod is gone");
}

static void peer_that_closes_with_streams_open_is_not_clean(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    shutdown(tunnel->peer, SHUT_WR);
    tunnel_turn(tunnel);
    assert_true(tunnel->has_ended);
    assert_false(tunnel->was_clean);
    assert_int_equal(tunnel->consumers[0].ends, 0);
    assert_int_equal(tunnel->consumers[0].reset.cause, HBONE_RESET_TUNNEL_LOST);
    tunnel_free(tunnel);
}

static void peer_that_closes_without_streams_is_clean(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    shutdown(tunnel->peer, SHUT_WR);
    tunnel_turn(tunnel);
    assert_true(tunnel->has_ended);
    assert_true(tunnel->was_clean);
    tunnel_free(tunnel);
}

static void streams_outlive_a_freed_session(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    tunnel_turn(tunnel);
    hbone_session_free(tunnel->session);
    tunnel->session = NULL;
    struct hbone_stream *stream = tunnel->consumers[0].stream;
    struct iovec hole;
    assert_null(hbone_stream_session(stream));
    assert_true(hbone_stream_is_over(stream));
    assert_int_equal(hbone_stream_reserve(stream, &hole, 1), 0);
    hbone_stream_end(stream);
    hbone_stream_credit(stream, 1);
    hbone_stream_reset(stream, HBONE_CANCEL);
    tunnel_free(tunnel);
}

static void released_stream_of_a_server_that_ended_says_no_error(void **state)
{
    (void)state;
    struct tunnel *tunnel = server();
    peer_connect(tunnel, 1);
    peer_connect(tunnel, 3);
    tunnel_turn(tunnel);
    hbone_stream_end(tunnel->consumers[0].stream);
    tunnel_release(&tunnel->consumers[0]);
    tunnel_release(&tunnel->consumers[1]);
    assert_logged(tunnel, "DATA stream=1 flags=1 length=0\nRST_STREAM stream=1 flags=0 00000000\n"
                          "RST_STREAM stream=3 flags=0 00000008\n");
    tunnel_free(tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_announce_what_the_issue_asks_for),
        cmocka_unit_test(minimal_connect_vector_is_served),
        cmocka_unit_test(what_came_with_the_handshake_is_answered_together_with_the_preface),
        cmocka_unit_test(a_preface_does_not_wait_for_input_that_tells_nothing),
        cmocka_unit_test(cancel_vector_resets_the_stream),
        cmocka_unit_test(bytes_before_a_reset_are_delivered),
        cmocka_unit_test(error_status_ends_the_stream_and_frees_the_request),
        cmocka_unit_test(request_that_nobody_takes_is_cancelled),
        cmocka_unit_test(session_may_be_freed_in_a_request),
        cmocka_unit_test(other_methods_reach_the_consumer),
        cmocka_unit_test(request_fields_arrive_in_order),
        cmocka_unit_test(malformed_requests_are_stream_errors),
        cmocka_unit_test(oversize_field_list_is_answered_431),
        cmocka_unit_test(streams_over_the_limit_are_refused),
        cmocka_unit_test(padding_is_dropped_and_credited),
        cmocka_unit_test(fields_come_padded_with_priority_and_in_continuations),
        cmocka_unit_test(unknown_frames_and_settings_are_ignored),
        cmocka_unit_test(ping_is_answered_with_its_payload),
        cmocka_unit_test(data_after_our_reset_is_discarded_and_counted),
        cmocka_unit_test(frames_after_end_stream_are_stream_closed),
        cmocka_unit_test(trailers_on_a_connected_stream_are_a_stream_error),
        cmocka_unit_test(violations_of_the_connection_end_it_with_the_right_code),
        cmocka_unit_test(oversize_frame_is_a_frame_size_error),
        cmocka_unit_test(interrupted_field_block_is_a_protocol_error),
        cmocka_unit_test(field_block_must_tell_table_size_after_acknowledgement),
        cmocka_unit_test(dynamic_table_works_before_acknowledgement_only),
        cmocka_unit_test(garbage_instead_of_a_preface_ends_the_session),
        cmocka_unit_test(first_frame_must_be_settings),
        cmocka_unit_test(floods_are_told_to_calm_down),
        cmocka_unit_test(rapid_resets_are_told_to_calm_down),
        cmocka_unit_test(continuation_flood_is_bounded),
        cmocka_unit_test(answers_that_nobody_reads_are_bounded),
        cmocka_unit_test(client_that_refuses_its_own_stream_has_reset_it),
        cmocka_unit_test(drain_announces_waits_and_closes_after_the_last_stream),
        cmocka_unit_test(close_resets_streams_and_says_goaway),
        cmocka_unit_test(peer_that_closes_with_streams_open_is_not_clean),
        cmocka_unit_test(peer_that_closes_without_streams_is_clean),
        cmocka_unit_test(streams_outlive_a_freed_session),
        cmocka_unit_test(released_stream_of_a_server_that_ended_says_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
