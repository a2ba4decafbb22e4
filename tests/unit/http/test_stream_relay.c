/* Relays between applications and streams, at both ends of one tunnel: bytes, ends, resets, back pressure, nothing held when idle. */
#include "unit/http/hbone_peer.h"
#include "unit/tcp_pair.h"

#include "base/clock.h"
#include "http/stream_relay.h"
#include "net/buffer_pool.h"
#include "net/socket.h"

#include <poll.h>

struct end {
    struct stream_relay relay;
    struct io_watch watch; /* the client's application before the relay has it */
    uint32_t watch_events;
    struct hbone_stream *stream;
    int application; /* outside */
    int inside;
    size_t from_application, to_application;
    bool is_relaying, has_ended;
    enum relay_end how;
};

struct chain {
    struct loop *loop;
    struct buffer_pool *pool;
    struct hbone_session *sessions[2]; /* client, server */
    struct end ends[2];
    bool watches_early;
};

static struct chain *chain; /* of the test that runs */

static struct end *end_of(const struct hbone_stream *stream)
{
    return hbone_stream_context(stream);
}

static void on_progress(struct stream_relay *relay, size_t from_application, size_t to_application)
{
    struct end *end = CONTAINER_OF(relay, struct end, relay);
    end->from_application += from_application;
    end->to_application += to_application;
}

static void on_relay_end(struct stream_relay *relay, enum relay_end how, const char *reason)
{
    struct end *end = CONTAINER_OF(relay, struct end, relay);
    assert_false(end->has_ended);
    assert_true((how == RELAY_END_CLEAN) == (reason == NULL));
    end->has_ended = true;
    end->how = how;
}

static const struct stream_relay_events RELAY_EVENTS = { on_progress, on_relay_end };

static void on_response(struct hbone_stream *stream, int status, const struct hbone_headers *headers)
{
    (void)headers;
    struct end *end = end_of(stream);
    assert_int_equal(status, 200);
    end->is_relaying = true;
    if (chain->watches_early) {
        (void)stream_relay_start_watched(
            &end->relay, chain->pool, &end->watch, end->watch_events, false, stream, &RELAY_EVENTS);
    } else {
        (void)stream_relay_start(&end->relay, chain->loop, chain->pool, end->inside, stream, &RELAY_EVENTS);
    }
}

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    stream_relay_on_data(&end_of(stream)->relay, slices, count);
}

static void on_end_stream(struct hbone_stream *stream)
{
    stream_relay_on_end_stream(&end_of(stream)->relay);
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    stream_relay_on_reset(&end_of(stream)->relay, reset);
}

static void on_writable(struct hbone_stream *stream)
{
    if (end_of(stream)->is_relaying) {
        stream_relay_on_writable(&end_of(stream)->relay);
    }
}

static const struct hbone_stream_events STREAM_EVENTS = { on_response, on_data, on_end_stream, on_reset, on_writable };

static void on_request(struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    (void)session;
    (void)request;
    struct end *end = &chain->ends[1];
    end->is_relaying = true;
    hbone_stream_attach(stream, &STREAM_EVENTS, end);
    hbone_stream_respond(stream, 200, NULL, 0, false);
    (void)stream_relay_start(&end->relay, chain->loop, chain->pool, end->inside, stream, &RELAY_EVENTS);
}

static void on_session_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)session;
    (void)reason;
    (void)was_clean;
}

static const struct hbone_session_events SESSION_EVENTS = { on_request, NULL, on_session_ended };

/* The kernel hands packets over when it has time: by turns alone a busy machine would not be waited for. */
#define TURN_MS 2
#define PATIENCE_NS (20 * NANOSECONDS_PER_SECOND)
#define STANDSTILL_NS (200 * NANOSECONDS_PER_MILLISECOND)

static void turns(int count)
{
    uint64_t end_ns = clock_monotonic_ns() + (uint64_t)count * TURN_MS * NANOSECONDS_PER_MILLISECOND;
    do {
        loop_run_once(chain->loop, TURN_MS);
    } while (clock_monotonic_ns() < end_ns);
}

/* Turns until there is something to read: bytes, an end or a reset. */
static void await_readable(int descriptor)
{
    struct pollfd polled = { .fd = descriptor, .events = POLLIN };
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (poll(&polled, 1, 0) == 0 && clock_monotonic_ns() < end_ns) {
        loop_run_once(chain->loop, TURN_MS);
    }
}

static void await_ends(void)
{
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (!(chain->ends[0].has_ended && chain->ends[1].has_ended) && clock_monotonic_ns() < end_ns) {
        loop_run_once(chain->loop, TURN_MS);
    }
}

static void note_events(struct io_watch *watch, uint32_t events)
{
    CONTAINER_OF(watch, struct end, watch)->watch_events |= events;
}

static void make_chain(bool watches_early)
{
    chain = NEW(struct chain);
    chain->loop = loop_new();
    chain->pool = buffer_pool_new();
    chain->watches_early = watches_early;
    int tunnel[2];
    tcp_pair(tunnel);
    for (int i = 0; i < 2; i++) {
        enum hbone_role role = i == 0 ? HBONE_CLIENT : HBONE_SERVER;
        struct hbone_settings settings = hbone_settings_default(role);
        struct record_layer *layer = piece_layer_new(tunnel[i], 256 * 1024, 0);
        chain->sessions[i] = hbone_session_new(chain->loop, layer, tunnel[i], role, &settings, &SESSION_EVENTS, NULL);
        int pair[2];
        tcp_pair(pair);
        chain->ends[i].application = pair[0];
        chain->ends[i].inside = pair[1];
    }
    if (watches_early) {
        struct end *end = &chain->ends[0];
        end->watch.on_ready = note_events;
        struct result watched = loop_watch(chain->loop, &end->watch, end->inside, STREAM_RELAY_INTEREST);
        assert_true(result_is_ok(&watched));
    }
}

static void connect_stream(void)
{
    chain->ends[0].stream = hbone_session_connect(
        chain->sessions[0], bytes_of_string("10.0.0.1:80"), NULL, 0, &STREAM_EVENTS, &chain->ends[0]);
    assert_non_null(chain->ends[0].stream);
    /* An answer without bytes of the application is held back for a moment. */
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (!(chain->ends[0].is_relaying && chain->ends[1].is_relaying) && clock_monotonic_ns() < end_ns) {
        loop_run_once(chain->loop, TURN_MS);
    }
    assert_true(chain->ends[0].is_relaying && chain->ends[1].is_relaying);
    turns(1);
}

static void free_chain(void)
{
    for (int i = 0; i < 2; i++) {
        if (!chain->ends[i].has_ended) {
            stream_relay_cut(&chain->ends[i].relay, HBONE_CANCEL, "the test is over");
        }
        if (chain->ends[i].application >= 0) {
            close(chain->ends[i].application);
        }
    }
    assert_int_equal(buffer_pool_lent_bytes(chain->pool), 0);
    hbone_session_free(chain->sessions[0]);
    hbone_session_free(chain->sessions[1]);
    loop_free(chain->loop);
    buffer_pool_free(chain->pool);
    memory_free(chain);
    chain = NULL;
}

static void expect(int descriptor, const char *text)
{
    char buffer[64] = "";
    await_readable(descriptor);
    assert_int_equal(read(descriptor, buffer, sizeof buffer), (ssize_t)strlen(text));
    assert_memory_equal(buffer, text, strlen(text));
}

static void say(int descriptor, const char *text)
{
    assert_int_equal(write(descriptor, text, strlen(text)), (ssize_t)strlen(text));
    turns(8);
}

static void bytes_pass_in_both_directions_and_are_counted(void **state)
{
    (void)state;
    make_chain(false);
    connect_stream();
    say(chain->ends[0].application, "question");
    expect(chain->ends[1].application, "question");
    say(chain->ends[1].application, "answer");
    expect(chain->ends[0].application, "answer");
    assert_int_equal(chain->ends[0].from_application, 8);
    assert_int_equal(chain->ends[0].to_application, 6);
    assert_int_equal(chain->ends[1].from_application, 6);
    assert_true(loop_has_small_flows(chain->loop));
    assert_int_equal(buffer_pool_lent_bytes(chain->pool), 0);
    free_chain();
}

static void what_came_before_the_answer_is_sent_after_it(void **state)
{
    (void)state;
    make_chain(true);
    say(chain->ends[0].application, "early");
    connect_stream();
    expect(chain->ends[1].application, "early");
    say(chain->ends[0].application, "late");
    expect(chain->ends[1].application, "late");
    free_chain();
}

static void an_end_that_came_before_the_answer_follows_its_bytes(void **state)
{
    (void)state;
    make_chain(true);
    assert_int_equal(write(chain->ends[0].application, "all", 3), 3);
    shutdown(chain->ends[0].application, SHUT_WR);
    turns(3);
    connect_stream();
    expect(chain->ends[1].application, "all");
    char byte;
    await_readable(chain->ends[1].application);
    assert_int_equal(read(chain->ends[1].application, &byte, 1), 0);
    say(chain->ends[1].application, "thanks");
    expect(chain->ends[0].application, "thanks");
    free_chain();
}

static void both_ends_close_cleanly(void **state)
{
    (void)state;
    make_chain(false);
    connect_stream();
    assert_int_equal(write(chain->ends[0].application, "last", 4), 4);
    shutdown(chain->ends[0].application, SHUT_WR);
    turns(8);
    expect(chain->ends[1].application, "last");
    close(chain->ends[1].application);
    chain->ends[1].application = -1;
    await_ends();
    for (int i = 0; i < 2; i++) {
        assert_true(chain->ends[i].has_ended);
        assert_int_equal(chain->ends[i].how, RELAY_END_CLEAN);
    }
    free_chain();
}

static void a_reset_of_one_application_resets_the_other(void **state)
{
    (void)state;
    for (int from = 0; from < 2; from++) {
        make_chain(false);
        connect_stream();
        say(chain->ends[from].application, "x");
        expect(chain->ends[1 - from].application, "x");
        socket_close_with_reset(chain->ends[from].application);
        chain->ends[from].application = -1;
        await_ends();
        char byte;
        await_readable(chain->ends[1 - from].application);
        assert_int_equal(read(chain->ends[1 - from].application, &byte, 1), -1);
        assert_int_equal(errno, ECONNRESET);
        assert_int_equal(chain->ends[0].how, RELAY_END_RESET);
        assert_int_equal(chain->ends[1].how, RELAY_END_RESET);
        free_chain();
    }
}

static void a_lost_tunnel_is_a_reset_at_the_application(void **state)
{
    (void)state;
    make_chain(false);
    connect_stream();
    hbone_session_abort(chain->sessions[1], "gone");
    chain->sessions[1] = NULL;
    await_ends();
    for (int i = 0; i < 2; i++) {
        char byte;
        await_readable(chain->ends[i].application);
        assert_int_equal(read(chain->ends[i].application, &byte, 1), -1);
        assert_int_equal(errno, ECONNRESET);
        /* The side that gave the tunnel up knows that it did. */
        assert_int_equal(chain->ends[i].how, i == 1 ? RELAY_END_CUT : RELAY_END_LOST);
    }
    free_chain();
}

/* Sends until nothing moves any more; returns how much was taken. */
static size_t push(int descriptor, size_t limit)
{
    static uint8_t block[65536];
    size_t sent = 0;
    uint64_t moved_ns = clock_monotonic_ns();
    while (sent < limit && clock_monotonic_ns() < moved_ns + STANDSTILL_NS) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (uint8_t)((sent + i) * 31 >> 3);
        }
        size_t wanted = limit - sent < sizeof block ? limit - sent : sizeof block;
        ssize_t length = write(descriptor, block, wanted);
        if (length > 0) {
            sent += (size_t)length;
            moved_ns = clock_monotonic_ns();
        }
        loop_run_once(chain->loop, TURN_MS);
    }
    return sent;
}

/* Reads what was sent, checking the bytes. Returns how much came. */
static size_t pull(int descriptor, size_t expected)
{
    static uint8_t block[65536];
    size_t got = 0;
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;
    while (got < expected && clock_monotonic_ns() < end_ns) {
        ssize_t length = read(descriptor, block, sizeof block);
        for (ssize_t i = 0; i < length; i++) {
            assert_int_equal(block[i], (uint8_t)((got + (size_t)i) * 31 >> 3));
        }
        got += length > 0 ? (size_t)length : 0;
        loop_run_once(chain->loop, TURN_MS);
    }
    turns(8);
    return got;
}

static void a_reader_that_stops_stops_the_writer_and_goes_on_without_loss(void **state)
{
    (void)state;
    make_chain(false);
    connect_stream();
    int small = 16 * 1024;
    setsockopt(chain->ends[1].inside, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(chain->ends[1].application, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    size_t sent = push(chain->ends[0].application, 64 << 20);
    assert_in_range(sent, 256 * 1024, 32 << 20);
    size_t held = hbone_stream_pinned_bytes(chain->ends[1].relay.stream);
    assert_in_range(held, 64 * 1024, 1024 * 1024 - 1);
    assert_int_equal(pull(chain->ends[1].application, sent), sent);
    assert_int_equal(hbone_stream_pinned_bytes(chain->ends[1].relay.stream), 0);
    assert_int_equal(buffer_pool_lent_bytes(chain->pool), 0);
    free_chain();
}

static void an_end_behind_a_backlog_waits_for_it(void **state)
{
    (void)state;
    make_chain(false);
    connect_stream();
    size_t sent = push(chain->ends[0].application, 64 << 20);
    shutdown(chain->ends[0].application, SHUT_WR);
    turns(8);
    assert_false(chain->ends[1].relay.has_passed_stream_end);
    assert_int_equal(pull(chain->ends[1].application, sent), sent);
    assert_true(chain->ends[1].relay.has_passed_stream_end);
    free_chain();
}

static void a_cut_resets_both_applications(void **state)
{
    (void)state;
    make_chain(false);
    connect_stream();
    stream_relay_cut(&chain->ends[0].relay, HBONE_CANCEL, "policy");
    await_ends();
    assert_int_equal(chain->ends[0].how, RELAY_END_CUT);
    assert_int_equal(chain->ends[1].how, RELAY_END_RESET);
    char byte;
    await_readable(chain->ends[1].application);
    assert_int_equal(read(chain->ends[1].application, &byte, 1), -1);
    free_chain();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_pass_in_both_directions_and_are_counted),
        cmocka_unit_test(what_came_before_the_answer_is_sent_after_it),
        cmocka_unit_test(an_end_that_came_before_the_answer_follows_its_bytes),
        cmocka_unit_test(both_ends_close_cleanly),
        cmocka_unit_test(a_reset_of_one_application_resets_the_other),
        cmocka_unit_test(a_lost_tunnel_is_a_reset_at_the_application),
        cmocka_unit_test(a_reader_that_stops_stops_the_writer_and_goes_on_without_loss),
        cmocka_unit_test(an_end_behind_a_backlog_waits_for_it),
        cmocka_unit_test(a_cut_resets_both_applications),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
