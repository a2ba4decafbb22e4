/* Arbitrary bytes into one HBONE session over a socket pair with the plain engine: it answers, refuses or ends, and nothing leaks. */
#ifndef AMBAR_TESTS_HBONE_FUZZ_H
#define AMBAR_TESTS_HBONE_FUZZ_H

#include "base/memory.h"
#include "http/hbone_session.h"
#include "net/buffer_pool.h"
#include "net/loop.h"
#include "tls/plain_engine.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct hbone_fuzz {
    struct loop *loop;
    struct buffer_pool *pool;
    struct hbone_session *session;
    int peer;
    bool has_ended;
};

/* A stream is its owner's until it is released, whatever happens to the session. */
#define FUZZ_STREAMS_MAXIMUM 4096
static struct hbone_stream *fuzz_streams[FUZZ_STREAMS_MAXIMUM];
static size_t fuzz_stream_count;

static void fuzz_keep(struct hbone_stream *stream)
{
    if (fuzz_stream_count == FUZZ_STREAMS_MAXIMUM) {
        abort(); /* far more than the session may let in at once */
    }
    fuzz_streams[fuzz_stream_count++] = stream;
}

static void fuzz_release(struct hbone_stream *stream)
{
    for (size_t i = 0; i < fuzz_stream_count; i++) {
        if (fuzz_streams[i] == stream) {
            fuzz_streams[i] = fuzz_streams[--fuzz_stream_count];
            hbone_stream_release(stream);
            return;
        }
    }
    abort(); /* an event of a stream that is not ours */
}

static void fuzz_on_response(struct hbone_stream *stream, int status, const struct hbone_headers *headers)
{
    (void)stream, (void)status, (void)headers;
}

static void fuzz_on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += slices[i].length;
    }
    hbone_stream_credit(stream, total);
}

static void fuzz_on_end(struct hbone_stream *stream)
{
    hbone_stream_end(stream);
}

static void fuzz_on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    (void)reset;
    fuzz_release(stream);
}

static void fuzz_on_writable(struct hbone_stream *stream)
{
    (void)stream;
}

static const struct hbone_stream_events FUZZ_STREAM_EVENTS = { fuzz_on_response, fuzz_on_data, fuzz_on_end,
    fuzz_on_reset, fuzz_on_writable };

static void fuzz_on_request(
    struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    (void)session;
    hbone_stream_attach(stream, &FUZZ_STREAM_EVENTS, NULL);
    fuzz_keep(stream);
    bool is_connect = bytes_equal_string(request->method, "CONNECT");
    hbone_stream_respond(stream, is_connect ? 200 : 400, NULL, 0, !is_connect);
    if (!is_connect) {
        fuzz_release(stream);
    }
}

static void fuzz_on_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)reason, (void)was_clean;
    struct hbone_fuzz *fuzz = hbone_session_context(session);
    fuzz->has_ended = true;
}

static const struct hbone_session_events FUZZ_SESSION_EVENTS = { .on_request = fuzz_on_request,
    .on_ended = fuzz_on_ended };

static void drain_peer(const struct hbone_fuzz *fuzz)
{
    uint8_t sink[65536];
    while (recv(fuzz->peer, sink, sizeof sink, MSG_DONTWAIT) > 0) {
    }
}

static void hbone_fuzz_run(enum hbone_role role, const uint8_t *data, size_t size)
{
    struct hbone_fuzz fuzz = { loop_new(), buffer_pool_new(), NULL, -1, false };
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) {
        abort();
    }
    fuzz.peer = pair[1];
    struct hbone_settings settings = hbone_settings_default(role);
    fuzz.session = hbone_session_new(
        fuzz.loop, plain_record_layer_new(fuzz.pool, pair[0]), pair[0], role, &settings, &FUZZ_SESSION_EVENTS, &fuzz);
    struct hbone_stream *stream = NULL;
    if (role == HBONE_CLIENT) {
        stream =
            hbone_session_connect(fuzz.session, bytes_of_string("10.0.0.1:80"), NULL, 0, &FUZZ_STREAM_EVENTS, NULL);
        if (stream != NULL) {
            fuzz_keep(stream);
            (void)hbone_stream_write(stream, "hello", 5);
        }
    }
    for (size_t sent = 0; sent < size && !fuzz.has_ended;) {
        size_t part = size - sent < 4096 ? size - sent : 4096;
        ssize_t taken = send(fuzz.peer, data + sent, part, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += taken > 0 ? (size_t)taken : part;
        loop_run_once(fuzz.loop, 0);
        drain_peer(&fuzz);
    }
    shutdown(fuzz.peer, SHUT_WR);
    for (int turn = 0; turn < 3; turn++) {
        loop_run_once(fuzz.loop, 0);
        drain_peer(&fuzz);
    }
    hbone_session_free(fuzz.session);
    while (fuzz_stream_count > 0) {
        fuzz_release(fuzz_streams[0]);
    }
    close(fuzz.peer);
    loop_free(fuzz.loop);
    buffer_pool_free(fuzz.pool);
}

#endif
