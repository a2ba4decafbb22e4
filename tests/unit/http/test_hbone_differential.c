/* Our session against nghttp2 as the other end, in both roles: random streams, sizes, orders, splits of frames and reads. Every
 * byte that arrives must be the next one of its stream's pattern, and every ending must be the one that was meant. */
#include "unit/http/hbone_peer.h"

#include <nghttp2/nghttp2.h>

#define STREAMS 48
#define ROUNDS_MAXIMUM 20000

/* A repeatable generator: the seed of a failing run is in the message. */
static uint64_t random_state;

static uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % bound;
}

static uint8_t pattern_byte(uint32_t stream_id, size_t offset, bool is_from_peer)
{
    return (uint8_t)(stream_id * 31 + offset * 7 + (offset >> 8) + (is_from_peer ? 128 : 0));
}

/* One side of one stream: how much it sends, and what it does then. */
struct plan {
    size_t total, done;
    bool ends_by_reset;
    bool is_finished;
};

struct exchange {
    uint32_t id;
    struct plan ours, theirs;
    struct hbone_stream *stream;
    bool is_answered;
    size_t received_by_us, received_by_peer;
    size_t uncredited;
    bool saw_our_end, saw_peer_end; /* END_STREAM arrived at the other side */
    bool saw_our_reset, saw_peer_reset;
    bool is_blocked;
};

struct differential {
    struct loop *loop;
    struct hbone_session *session;
    nghttp2_session *peer;
    int peer_descriptor;
    enum hbone_role role;
    struct exchange exchanges[STREAMS];
    uint32_t opened;
    struct writer to_session; /* from nghttp2, sent in random pieces */
    size_t to_session_sent;
    bool has_ended;
};

static struct exchange *exchange_of(struct differential *test, uint32_t id)
{
    uint32_t index = (id - 1) / 2;
    assert_in_range(index, 0, STREAMS - 1);
    return &test->exchanges[index];
}

static void plan(struct exchange *exchange, uint32_t id)
{
    exchange->id = id;
    exchange->ours.total = next_random(4) == 0 ? next_random(400000) : next_random(5000);
    exchange->theirs.total = next_random(4) == 0 ? next_random(400000) : next_random(5000);
    exchange->ours.ends_by_reset = next_random(8) == 0;
    exchange->theirs.ends_by_reset = !exchange->ours.ends_by_reset && next_random(8) == 0;
}

/* Our side. */

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct exchange *exchange = hbone_stream_context(stream);
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < slices[i].length; j++) {
            uint8_t expected = pattern_byte(exchange->id, exchange->received_by_us + j, true);
            if (slices[i].data[j] != expected) {
                fail_msg("stream %u byte %zu", exchange->id, exchange->received_by_us + j);
            }
        }
        exchange->received_by_us += slices[i].length;
        exchange->uncredited += slices[i].length;
    }
}

static void on_end(struct hbone_stream *stream)
{
    struct exchange *exchange = hbone_stream_context(stream);
    assert_false(exchange->saw_peer_end);
    assert_int_equal(exchange->received_by_us, exchange->theirs.total);
    exchange->saw_peer_end = true;
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    struct exchange *exchange = hbone_stream_context(stream);
    assert_int_equal(reset->cause, HBONE_RESET_BY_PEER);
    assert_int_equal(reset->code, HBONE_CONNECT_ERROR);
    exchange->saw_peer_reset = true;
}

static void on_writable(struct hbone_stream *stream)
{
    ((struct exchange *)hbone_stream_context(stream))->is_blocked = false;
}

static void on_response(struct hbone_stream *stream, int status, const struct hbone_headers *headers)
{
    struct exchange *exchange = hbone_stream_context(stream);
    assert_int_equal(status, 200);
    struct bytes baggage = hbone_headers_find(headers, "baggage");
    assert_true(bytes_equal_string(baggage, "k8s.pod.name=b"));
    exchange->is_answered = true;
}

static const struct hbone_stream_events stream_events = { on_response, on_data, on_end, on_reset, on_writable };

static void on_request(struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    struct differential *test = hbone_session_context(session);
    struct exchange *exchange = exchange_of(test, hbone_stream_id(stream));
    assert_true(bytes_equal_string(request->method, "CONNECT"));
    assert_true(bytes_equal_string(request->authority, "10.0.0.6:8080"));
    struct bytes baggage = hbone_headers_find(&request->headers, "baggage");
    assert_true(bytes_equal_string(baggage, "k8s.pod.name=a"));
    exchange->stream = stream;
    hbone_stream_attach(stream, &stream_events, exchange);
}

static void on_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    struct differential *test = hbone_session_context(session);
    if (!was_clean) {
        fail_msg("ended: %s", reason);
    }
    test->has_ended = true;
}

static const struct hbone_session_events session_events = { on_request, NULL, on_ended };

static void send_ours(struct exchange *exchange)
{
    struct plan *ours = &exchange->ours;
    struct iovec holes[HBONE_HOLES_MAXIMUM];
    int count = hbone_stream_reserve(exchange->stream, holes, 1 + (int)next_random(HBONE_HOLES_MAXIMUM));
    if (count == 0) {
        exchange->is_blocked = true;
        return;
    }
    size_t wanted = next_random(3) == 0 ? next_random(100) : next_random(200000);
    wanted = wanted < ours->total - ours->done ? wanted : ours->total - ours->done;
    size_t filled = 0;
    for (int i = 0; i < count && filled < wanted; i++) {
        for (size_t j = 0; j < holes[i].iov_len && filled < wanted; j++) {
            ((uint8_t *)holes[i].iov_base)[j] = pattern_byte(exchange->id, ours->done + filled++, false);
        }
    }
    hbone_stream_commit(exchange->stream, filled);
    ours->done += filled;
}

static void finish_ours(struct exchange *exchange)
{
    exchange->ours.is_finished = true;
    if (exchange->ours.ends_by_reset) {
        hbone_stream_reset(exchange->stream, HBONE_CONNECT_ERROR);
    } else {
        hbone_stream_end(exchange->stream);
    }
}

static void act(struct differential *test, struct exchange *exchange)
{
    if (exchange->stream == NULL) {
        return;
    }
    if (test->role == HBONE_SERVER && !exchange->is_answered) {
        const struct hbone_field field = { bytes_of_string("baggage"), bytes_of_string("k8s.pod.name=b") };
        hbone_stream_respond(exchange->stream, 200, &field, 1, false);
        exchange->is_answered = true;
    }
    size_t credit = exchange->uncredited == 0 ? 0 : next_random((uint32_t)exchange->uncredited + 1);
    credit = next_random(4) == 0 ? exchange->uncredited : credit;
    hbone_stream_credit(exchange->stream, credit);
    exchange->uncredited -= credit;
    if (!exchange->is_answered || exchange->ours.is_finished || hbone_stream_is_over(exchange->stream)) {
        return;
    }
    if (exchange->ours.done < exchange->ours.total && !exchange->is_blocked) {
        send_ours(exchange);
    }
    if (exchange->ours.done == exchange->ours.total) {
        finish_ours(exchange);
    }
}

/* The side of nghttp2. */

static ssize_t peer_take(nghttp2_session *session, const uint8_t *data, size_t length, int flags, void *user_data)
{
    (void)session, (void)flags;
    struct differential *test = user_data;
    writer_add(&test->to_session, data, length);
    return (ssize_t)length;
}

static ssize_t peer_source(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t length, uint32_t *flags,
    nghttp2_data_source *source, void *user_data)
{
    (void)session, (void)source;
    struct exchange *exchange = exchange_of(user_data, (uint32_t)id);
    struct plan *theirs = &exchange->theirs;
    size_t wanted = 1 + next_random((uint32_t)length);
    wanted = wanted < theirs->total - theirs->done ? wanted : theirs->total - theirs->done;
    for (size_t i = 0; i < wanted; i++) {
        buffer[i] = pattern_byte(exchange->id, theirs->done + i, true);
    }
    theirs->done += wanted;
    if (theirs->done == theirs->total) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (theirs->ends_by_reset) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
        theirs->is_finished = true;
    }
    return (ssize_t)wanted;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    nghttp2_nv field = { .namelen = strlen(name), .valuelen = strlen(value) };
    memcpy(&field.name, &name, sizeof name);
    memcpy(&field.value, &value, sizeof value);
    return field;
}

static int peer_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct differential *test = user_data;
    bool has_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_DATA && has_end) {
        struct exchange *exchange = exchange_of(test, (uint32_t)frame->hd.stream_id);
        assert_int_equal(exchange->received_by_peer, exchange->ours.total);
        exchange->saw_our_end = true;
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        struct exchange *exchange = exchange_of(test, (uint32_t)frame->hd.stream_id);
        assert_int_equal(frame->rst_stream.error_code, HBONE_CONNECT_ERROR);
        exchange->saw_our_reset = true;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && test->role == HBONE_CLIENT) {
        nghttp2_nv fields[] = { nv(":status", "200"), nv("baggage", "k8s.pod.name=b") };
        nghttp2_data_provider provider = { .read_callback = peer_source };
        assert_int_equal(nghttp2_submit_response(session, frame->hd.stream_id, fields, 2, &provider), 0);
    }
    return 0;
}

static int peer_data_received(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t length, void *user_data)
{
    (void)session, (void)flags;
    struct exchange *exchange = exchange_of(user_data, (uint32_t)id);
    for (size_t i = 0; i < length; i++) {
        if (data[i] != pattern_byte(exchange->id, exchange->received_by_peer + i, false)) {
            fail_msg("stream %u byte %zu at the peer", exchange->id, exchange->received_by_peer + i);
        }
    }
    exchange->received_by_peer += length;
    return 0;
}

static int peer_header_received(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags, void *user_data)
{
    (void)session, (void)flags, (void)frame;
    struct differential *test = user_data;
    const char *expected = test->role == HBONE_SERVER ? "k8s.pod.name=b" : "k8s.pod.name=a";
    if (bytes_equal_string(bytes_of(name, name_length), "baggage")) {
        assert_true(bytes_equal_string(bytes_of(value, value_length), expected));
    }
    return 0;
}

static int peer_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
    (void)session, (void)user_data;
    fail_msg("nghttp2 finds frame type %u invalid: %s", frame->hd.type, nghttp2_strerror(error));
    return 0;
}

static void make_peer(struct differential *test)
{
    nghttp2_session_callbacks *callbacks;
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_send_callback(callbacks, peer_take);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, peer_frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, peer_data_received);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, peer_header_received);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, peer_invalid_frame);
    int made = test->role == HBONE_CLIENT ? nghttp2_session_server_new(&test->peer, callbacks, test)
                                          : nghttp2_session_client_new(&test->peer, callbacks, test);
    assert_int_equal(made, 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 + next_random(100000) },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384 + next_random(100000) },
        { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, next_random(5000) },
    };
    assert_int_equal(nghttp2_submit_settings(test->peer, 0, settings, 1 + next_random(3)), 0);
}

static void peer_opens(struct differential *test)
{
    nghttp2_nv fields[] = { nv(":method", "CONNECT"), nv(":authority", "10.0.0.6:8080"),
        nv("baggage", "k8s.pod.name=a") };
    nghttp2_data_provider provider = { .read_callback = peer_source };
    int32_t id = nghttp2_submit_request(test->peer, NULL, fields, 3, &provider, NULL);
    assert_true(id > 0);
}

static void we_open(struct differential *test, struct exchange *exchange)
{
    const struct hbone_field field = { bytes_of_string("baggage"), bytes_of_string("k8s.pod.name=a") };
    exchange->stream =
        hbone_session_connect(test->session, bytes_of_string("10.0.0.6:8080"), &field, 1, &stream_events, exchange);
    assert_non_null(exchange->stream);
    assert_int_equal(hbone_stream_id(exchange->stream), exchange->id);
}

static void open_next(struct differential *test)
{
    if (test->opened == STREAMS) {
        return;
    }
    struct exchange *exchange = &test->exchanges[test->opened];
    plan(exchange, test->opened * 2 + 1);
    test->opened++;
    if (test->role == HBONE_CLIENT) {
        we_open(test, exchange);
    } else {
        peer_opens(test);
    }
}

static void move_bytes(struct differential *test)
{
    for (uint32_t i = 0; i < test->opened; i++) {
        struct exchange *exchange = &test->exchanges[i];
        if (exchange->theirs.is_finished && exchange->theirs.ends_by_reset && !exchange->saw_peer_reset &&
            exchange->received_by_us == exchange->theirs.total) {
            (void)nghttp2_submit_rst_stream(test->peer, 0, (int32_t)exchange->id, HBONE_CONNECT_ERROR);
        }
    }
    assert_int_equal(nghttp2_session_send(test->peer), 0);
    size_t left = test->to_session.length - test->to_session_sent;
    if (left > 0) {
        size_t piece = 1 + next_random(next_random(2) == 0 ? 50 : 100000);
        piece = piece < left ? piece : left;
        ssize_t sent = send(
            test->peer_descriptor, test->to_session.data + test->to_session_sent, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        test->to_session_sent += sent > 0 ? (size_t)sent : 0;
    }
    uint8_t received[70000];
    ssize_t length = recv(test->peer_descriptor, received, 1 + next_random(sizeof received), MSG_DONTWAIT);
    if (length > 0) {
        ssize_t used = nghttp2_session_mem_recv(test->peer, received, (size_t)length);
        if (used != length) {
            fail_msg("nghttp2 does not take our bytes: %s", nghttp2_strerror((int)used));
        }
    }
    loop_run_once(test->loop, 0);
}

static bool is_complete(const struct differential *test)
{
    for (uint32_t i = 0; i < STREAMS; i++) {
        const struct exchange *exchange = &test->exchanges[i];
        bool is_reset = exchange->saw_our_reset || exchange->saw_peer_reset;
        if (!is_reset && !(exchange->saw_our_end && exchange->saw_peer_end)) {
            return false;
        }
    }
    return test->opened == STREAMS;
}

static void check_endings(const struct differential *test)
{
    for (uint32_t i = 0; i < STREAMS; i++) {
        const struct exchange *exchange = &test->exchanges[i];
        assert_int_equal(exchange->saw_peer_reset && !exchange->theirs.ends_by_reset, 0);
        assert_int_equal(exchange->saw_our_reset && !exchange->ours.ends_by_reset, 0);
        if (exchange->saw_our_reset) {
            assert_in_range(exchange->received_by_peer, 0, exchange->ours.total);
        }
    }
    assert_int_equal(hbone_session_stream_count(test->session), 0);
}

static void close_cleanly(struct differential *test)
{
    shutdown(test->peer_descriptor, SHUT_WR);
    for (int i = 0; i < 100 && !test->has_ended; i++) {
        loop_run_once(test->loop, 0);
    }
    assert_true(test->has_ended);
}

static void run(enum hbone_role role, uint64_t seed)
{
    random_state = seed;
    struct differential *test = NEW(struct differential);
    test->role = role;
    test->to_session = writer_growing();
    test->loop = loop_new();
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    test->peer_descriptor = pair[1];
    struct hbone_settings settings = hbone_settings_default(role);
    struct record_layer *layer = piece_layer_new(pair[0], 1 + next_random(200000), next_random(3) * next_random(5000));
    test->session = hbone_session_new(test->loop, layer, pair[0], role, &settings, &session_events, test);
    make_peer(test);
    for (int round = 0; round < ROUNDS_MAXIMUM && !is_complete(test); round++) {
        if (next_random(4) == 0) {
            open_next(test);
        }
        for (uint32_t i = 0; i < test->opened; i++) {
            if (next_random(3) == 0) {
                act(test, &test->exchanges[i]);
            }
        }
        move_bytes(test);
    }
    if (!is_complete(test)) {
        fail_msg("seed %llu does not complete", (unsigned long long)seed);
    }
    for (int round = 0; round < 1000; round++) {
        move_bytes(test);
    }
    check_endings(test);
    close_cleanly(test);
    for (int i = 0; i < STREAMS; i++) {
        if (test->exchanges[i].stream != NULL) {
            hbone_stream_release(test->exchanges[i].stream);
        }
    }
    hbone_session_free(test->session);
    nghttp2_session_del(test->peer);
    loop_free(test->loop);
    close(test->peer_descriptor);
    writer_free(&test->to_session);
    memory_free(test);
}

static void server_agrees_with_nghttp2_as_client(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        run(HBONE_SERVER, seed);
    }
}

static void client_agrees_with_nghttp2_as_server(void **state)
{
    (void)state;
    for (uint64_t seed = 101; seed <= 112; seed++) {
        run(HBONE_CLIENT, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_agrees_with_nghttp2_as_client),
        cmocka_unit_test(client_agrees_with_nghttp2_as_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
