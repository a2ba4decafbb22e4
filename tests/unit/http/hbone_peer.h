/* For the tests of the HBONE session: a record layer without encryption whose reads come in pieces of any size, a peer that
 * writes and reads raw frames at the other end of a socket pair, and a consumer that remembers what its stream told it. */
#ifndef AMBAR_TESTS_HBONE_PEER_H
#define AMBAR_TESTS_HBONE_PEER_H

#include "base/memory.h"
#include "base/writer.h"
#include "http/hbone_frame.h"
#include "http/hbone_session.h"
#include "net/loop.h"
#include "tls/record_layer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define UNUSED_HELPER __attribute__((unused))

/* The engine. */

#define PIECE_SLOTS HBONE_HOLES_MAXIMUM

struct piece_layer {
    struct record_layer base;
    uint8_t *slots[PIECE_SLOTS];
    struct writer sealed;
    size_t sealed_sent;
    size_t unsent_maximum;
    size_t run_maximum; /* the longest run of a read; 0: whole reads */
    uint8_t input[256 * 1024];
    bool has_buffered; /* until the first read: bytes came with the handshake */
    bool is_closed;
    size_t sends;
};

/* Layers made from now on begin so. */
static bool piece_begins_with_input;

static struct piece_layer *piece_of(struct record_layer *layer)
{
    return CONTAINER_OF(layer, struct piece_layer, base);
}

static size_t piece_unsent(const struct record_layer *layer)
{
    struct record_layer *mutable;
    memcpy(&mutable, &layer, sizeof mutable);
    return piece_of(mutable)->sealed.length - piece_of(mutable)->sealed_sent;
}

static void piece_return_slots(struct piece_layer *layer)
{
    for (int i = 0; i < PIECE_SLOTS; i++) {
        memory_free(layer->slots[i]);
        layer->slots[i] = NULL;
    }
}

static void piece_free(struct record_layer *base)
{
    piece_return_slots(piece_of(base));
    writer_free(&piece_of(base)->sealed);
    memory_free(piece_of(base));
}

static int piece_reserve(struct record_layer *base, struct iovec *slots, int count)
{
    struct piece_layer *layer = piece_of(base);
    piece_return_slots(layer);
    if (piece_unsent(base) >= layer->unsent_maximum) {
        return 0;
    }
    for (int i = 0; i < count && i < PIECE_SLOTS; i++) {
        layer->slots[i] = memory_allocate(RECORD_SLOT_BYTES);
        slots[i] = (struct iovec){ layer->slots[i], RECORD_SLOT_BYTES };
    }
    return count < PIECE_SLOTS ? count : PIECE_SLOTS;
}

static void piece_commit(struct record_layer *base, int index, size_t length)
{
    struct piece_layer *layer = piece_of(base);
    assert_false(layer->is_closed);
    assert_non_null(layer->slots[index]);
    assert_in_range(length, 0, RECORD_PLAINTEXT_MAXIMUM);
    writer_add(&layer->sealed, layer->slots[index], length);
    memory_free(layer->slots[index]);
    layer->slots[index] = NULL;
}

static enum record_status piece_flush(struct record_layer *base)
{
    struct piece_layer *layer = piece_of(base);
    piece_return_slots(layer);
    while (piece_unsent(base) > 0) {
        ssize_t sent = send(
            base->descriptor, layer->sealed.data + layer->sealed_sent, piece_unsent(base), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            return errno == EAGAIN ? RECORD_AGAIN : RECORD_FAILED;
        }
        layer->sealed_sent += (size_t)sent;
        layer->sends++;
    }
    writer_clear(&layer->sealed);
    layer->sealed_sent = 0;
    return RECORD_OK;
}

static enum record_status piece_receive(
    struct record_layer *base, size_t budget, struct bytes *runs, int capacity, int *count)
{
    struct piece_layer *layer = piece_of(base);
    size_t wanted = budget < sizeof layer->input ? budget : sizeof layer->input;
    if (layer->run_maximum > 0 && wanted > layer->run_maximum * (size_t)capacity) {
        wanted = layer->run_maximum * (size_t)capacity;
    }
    ssize_t length = recv(base->descriptor, layer->input, wanted, MSG_DONTWAIT);
    layer->has_buffered = false;
    if (length < 0) {
        return errno == EAGAIN ? RECORD_AGAIN : RECORD_TRUNCATED;
    }
    if (length == 0) {
        return RECORD_CLOSED;
    }
    *count = 0;
    for (size_t at = 0; at < (size_t)length;) {
        size_t piece = layer->run_maximum == 0 ? (size_t)length : layer->run_maximum;
        piece = piece < (size_t)length - at ? piece : (size_t)length - at;
        runs[(*count)++] = bytes_of(layer->input + at, piece);
        at += piece;
    }
    return RECORD_OK;
}

static bool piece_has_buffered(const struct record_layer *base)
{
    return CONTAINER_OF(base, const struct piece_layer, base)->has_buffered;
}

static void piece_close(struct record_layer *base)
{
    piece_of(base)->is_closed = true;
}

static const char *piece_failure(const struct record_layer *base)
{
    (void)base;
    return "the socket failed";
}

static const struct record_engine piece_engine = {
    .name = "pieces",
    .free = piece_free,
    .reserve = piece_reserve,
    .commit = piece_commit,
    .flush = piece_flush,
    .unsent_bytes = piece_unsent,
    .receive = piece_receive,
    .has_buffered_input = piece_has_buffered,
    .close = piece_close,
    .failure = piece_failure,
};

static UNUSED_HELPER struct record_layer *piece_layer_new(int descriptor, size_t unsent_maximum, size_t run_maximum)
{
    struct piece_layer *layer = NEW(struct piece_layer);
    layer->base.engine = &piece_engine;
    layer->base.descriptor = descriptor;
    layer->sealed = writer_growing();
    layer->unsent_maximum = unsent_maximum;
    layer->run_maximum = run_maximum;
    layer->has_buffered = piece_begins_with_input;
    return &layer->base;
}

/* The consumer of one stream. */

struct consumer {
    struct hbone_stream *stream;
    struct writer received;
    size_t received_bytes;
    bool keeps_bytes;
    bool withholds_credit;
    int data_calls, status, ends, resets, writables;
    int last_data_call; /* in the order of all consumers' */
    struct hbone_reset reset;
    char header_text[256]; /* of the response or request: name=value; */
};

static UNUSED_HELPER void text_of_headers(const struct hbone_headers *headers, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < headers->count; i++) {
        size_t used = strlen(text);
        (void)snprintf(text + used, size - used, "%.*s=%.*s;", (int)headers->fields[i].name.length,
            (const char *)headers->fields[i].name.data, (int)headers->fields[i].value.length,
            (const char *)headers->fields[i].value.data);
    }
}

static void consumer_on_response(struct hbone_stream *stream, int status, const struct hbone_headers *headers)
{
    struct consumer *consumer = hbone_stream_context(stream);
    consumer->status = status;
    text_of_headers(headers, consumer->header_text, sizeof consumer->header_text);
}

static int all_data_calls;

static void consumer_on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct consumer *consumer = hbone_stream_context(stream);
    consumer->data_calls++;
    consumer->last_data_call = ++all_data_calls;
    for (int i = 0; i < count; i++) {
        if (consumer->keeps_bytes) {
            writer_add_bytes(&consumer->received, slices[i]);
        }
        consumer->received_bytes += slices[i].length;
        if (!consumer->withholds_credit) {
            hbone_stream_credit(stream, slices[i].length);
        }
    }
}

static void consumer_on_end(struct hbone_stream *stream)
{
    ((struct consumer *)hbone_stream_context(stream))->ends++;
}

static void consumer_on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    struct consumer *consumer = hbone_stream_context(stream);
    consumer->resets++;
    consumer->reset = *reset;
}

static void consumer_on_writable(struct hbone_stream *stream)
{
    ((struct consumer *)hbone_stream_context(stream))->writables++;
}

static const struct hbone_stream_events consumer_events = { consumer_on_response, consumer_on_data, consumer_on_end,
    consumer_on_reset, consumer_on_writable };

/* One session of ours and the descriptor of its peer. */

#define CONSUMERS 256

struct tunnel {
    struct loop *loop;
    struct hbone_session *session;
    int peer;
    struct consumer consumers[CONSUMERS]; /* server: one for each request, in order */
    int requests;
    char method[32], authority[128];
    int status; /* server: what is answered at once; 0: nothing; -1: the request is neither answered nor taken */
    bool withholds_credit;
    bool frees_in_request;
    int capacity_events;
    bool has_ended, was_clean;
    char end_reason[256];
    struct writer from_session; /* read by the peer, not parsed yet */
    struct writer log;          /* of frames read by the peer: one line each */
    uint8_t last_payload[16384];
};

static void copy_text(char *to, size_t size, struct bytes from)
{
    (void)snprintf(to, size, "%.*s", (int)from.length, (const char *)from.data);
}

static void tunnel_on_request(
    struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    struct tunnel *tunnel = hbone_session_context(session);
    struct consumer *consumer = &tunnel->consumers[tunnel->requests++ % CONSUMERS];
    copy_text(tunnel->method, sizeof tunnel->method, request->method);
    copy_text(tunnel->authority, sizeof tunnel->authority, request->authority);
    text_of_headers(&request->headers, consumer->header_text, sizeof consumer->header_text);
    if (tunnel->frees_in_request) {
        hbone_session_free(session);
        tunnel->session = NULL;
        return;
    }
    if (tunnel->status < 0) {
        return;
    }
    if (tunnel->status >= 300) {
        hbone_stream_respond(stream, tunnel->status, NULL, 0, true);
        return;
    }
    consumer->stream = stream;
    consumer->withholds_credit = tunnel->withholds_credit;
    consumer->keeps_bytes = true;
    hbone_stream_attach(stream, &consumer_events, consumer);
    if (tunnel->status > 0) {
        hbone_stream_respond(stream, tunnel->status, NULL, 0, false);
    }
}

static void tunnel_on_capacity(struct hbone_session *session)
{
    ((struct tunnel *)hbone_session_context(session))->capacity_events++;
}

static void tunnel_on_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    struct tunnel *tunnel = hbone_session_context(session);
    assert_false(tunnel->has_ended);
    tunnel->has_ended = true;
    tunnel->was_clean = was_clean;
    (void)snprintf(tunnel->end_reason, sizeof tunnel->end_reason, "%s", reason);
}

static const struct hbone_session_events tunnel_events = { tunnel_on_request, tunnel_on_capacity, tunnel_on_ended };

static UNUSED_HELPER struct tunnel *tunnel_new_with(
    enum hbone_role role, const struct hbone_settings *settings, size_t unsent_maximum, size_t run_maximum)
{
    struct tunnel *tunnel = NEW(struct tunnel);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    tunnel->loop = loop_new();
    tunnel->peer = pair[1];
    tunnel->status = 200;
    tunnel->from_session = writer_growing();
    tunnel->log = writer_growing();
    for (int i = 0; i < CONSUMERS; i++) {
        tunnel->consumers[i].received = writer_growing();
    }
    struct record_layer *layer = piece_layer_new(pair[0], unsent_maximum, run_maximum);
    tunnel->session = hbone_session_new(tunnel->loop, layer, pair[0], role, settings, &tunnel_events, tunnel);
    return tunnel;
}

static UNUSED_HELPER struct tunnel *tunnel_new(enum hbone_role role)
{
    struct hbone_settings settings = hbone_settings_default(role);
    return tunnel_new_with(role, &settings, 512 * 1024, 0);
}

static UNUSED_HELPER void tunnel_free(struct tunnel *tunnel)
{
    for (int i = 0; i < CONSUMERS; i++) {
        if (tunnel->consumers[i].stream != NULL) {
            hbone_stream_release(tunnel->consumers[i].stream);
        }
        writer_free(&tunnel->consumers[i].received);
    }
    hbone_session_free(tunnel->session);
    if (tunnel->peer >= 0) {
        close(tunnel->peer);
    }
    loop_free(tunnel->loop);
    writer_free(&tunnel->from_session);
    writer_free(&tunnel->log);
    memory_free(tunnel);
}

static UNUSED_HELPER struct consumer *tunnel_connect(struct tunnel *tunnel, const char *authority)
{
    struct consumer *consumer = &tunnel->consumers[tunnel->requests++ % CONSUMERS];
    consumer->keeps_bytes = true;
    consumer->stream =
        hbone_session_connect(tunnel->session, bytes_of_string(authority), NULL, 0, &consumer_events, consumer);
    return consumer;
}

static UNUSED_HELPER void tunnel_release(struct consumer *consumer)
{
    hbone_stream_release(consumer->stream);
    consumer->stream = NULL;
}

/* Turns until nothing happens for a while. */
static UNUSED_HELPER void tunnel_turn(struct tunnel *tunnel)
{
    for (int i = 0; i < 8; i++) {
        loop_run_once(tunnel->loop, 0);
    }
}

/* The raw peer. */

static UNUSED_HELPER void peer_send(struct tunnel *tunnel, const void *data, size_t length)
{
    const uint8_t *at = data;
    for (int tries = 0; length > 0 && tries < 10000; tries++) {
        ssize_t sent = send(tunnel->peer, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            length -= (size_t)sent;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return;
        }
        loop_run_once(tunnel->loop, 0);
    }
}

static UNUSED_HELPER void peer_frame(
    struct tunnel *tunnel, uint8_t type, uint8_t flags, uint32_t stream_id, const void *payload, size_t length)
{
    uint8_t header[HBONE_FRAME_HEADER_BYTES];
    hbone_frame_put(header, (struct hbone_frame){ (uint32_t)length, type, flags, stream_id });
    peer_send(tunnel, header, sizeof header);
    peer_send(tunnel, payload, length);
}

static UNUSED_HELPER void peer_settings(struct tunnel *tunnel)
{
    if (tunnel->session != NULL) {
        peer_frame(tunnel, HBONE_FRAME_SETTINGS, 0, 0, NULL, 0);
    }
}

static UNUSED_HELPER void peer_preface(struct tunnel *tunnel)
{
    peer_send(tunnel, HBONE_PREFACE, HBONE_PREFACE_BYTES);
    peer_settings(tunnel);
}

static void log_frame(struct tunnel *tunnel, struct hbone_frame frame, const uint8_t *payload)
{
    static const char *const names[] = { "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE",
        "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION" };
    writer_print(&tunnel->log, "%s stream=%u flags=%u", names[frame.type], frame.stream_id, frame.flags);
    if (frame.type == HBONE_FRAME_DATA) {
        writer_print(&tunnel->log, " length=%u", frame.length);
    } else if (frame.type == HBONE_FRAME_GOAWAY) {
        writer_print(&tunnel->log, " last=%02x%02x%02x%02x code=%u text=%.*s", payload[0], payload[1], payload[2],
            payload[3], payload[7], (int)frame.length - 8, (const char *)payload + 8);
    } else {
        writer_print(&tunnel->log, " ");
        writer_add_hexadecimal(&tunnel->log, bytes_of(payload, frame.length));
    }
    writer_print(&tunnel->log, "\n");
}

/* Reads what the session has sent; frames become lines of the log. DATA bytes are only counted. */
static UNUSED_HELPER const char *peer_read(struct tunnel *tunnel)
{
    for (int turn = 0; turn < 32; turn++) {
        loop_run_once(tunnel->loop, 0);
        uint8_t *room = writer_reserve(&tunnel->from_session, 65536);
        ssize_t length = recv(tunnel->peer, room, 65536, MSG_DONTWAIT);
        if (length > 0) {
            tunnel->from_session.length += (size_t)length;
        }
    }
    size_t at = 0;
    struct writer *raw = &tunnel->from_session;
    if (raw->length >= HBONE_PREFACE_BYTES && memcmp(raw->data, HBONE_PREFACE, HBONE_PREFACE_BYTES) == 0) {
        at = HBONE_PREFACE_BYTES;
    }
    while (raw->length - at >= HBONE_FRAME_HEADER_BYTES) {
        struct hbone_frame frame = hbone_frame_parse(raw->data + at);
        if (raw->length - at < HBONE_FRAME_HEADER_BYTES + frame.length) {
            break;
        }
        log_frame(tunnel, frame, raw->data + at + HBONE_FRAME_HEADER_BYTES);
        at += HBONE_FRAME_HEADER_BYTES + frame.length;
    }
    memmove(raw->data, raw->data + at, raw->length - at);
    raw->length -= at;
    return writer_string(&tunnel->log);
}

static UNUSED_HELPER void peer_forget(struct tunnel *tunnel)
{
    writer_clear(&tunnel->log);
}

/* Literal fields without indexing, names and values under 127 bytes: ":method", "CONNECT", ..., NULL. */
static UNUSED_HELPER struct writer encode_fields(const char *const *fields)
{
    struct writer block = writer_growing();
    for (int i = 0; fields[i] != NULL; i++) {
        if (i % 2 == 0) {
            writer_add_u8(&block, 0);
        }
        writer_add_u8(&block, (uint8_t)strlen(fields[i]));
        writer_add_string(&block, fields[i]);
    }
    return block;
}

static UNUSED_HELPER void peer_headers(
    struct tunnel *tunnel, uint32_t stream_id, uint8_t flags, const char *const *fields)
{
    struct writer block = encode_fields(fields);
    peer_frame(tunnel, HBONE_FRAME_HEADERS, flags | HBONE_FLAG_END_HEADERS, stream_id, block.data, block.length);
    writer_free(&block);
}

static UNUSED_HELPER void peer_connect(struct tunnel *tunnel, uint32_t stream_id)
{
    static const char *const fields[] = { ":method", "CONNECT", ":authority", "10.0.0.6:8080", NULL };
    peer_headers(tunnel, stream_id, 0, fields);
}

static UNUSED_HELPER void peer_respond(struct tunnel *tunnel, uint32_t stream_id)
{
    static const char *const fields[] = { ":status", "200", NULL };
    peer_headers(tunnel, stream_id, 0, fields);
}

static UNUSED_HELPER void peer_u32_frame(struct tunnel *tunnel, uint8_t type, uint32_t stream_id, uint32_t value)
{
    uint8_t payload[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value };
    peer_frame(tunnel, type, 0, stream_id, payload, sizeof payload);
}

#define assert_logged(tunnel_, text_) assert_contains(peer_read(tunnel_), text_)
#define assert_contains(haystack_, needle_)                                                                            \
    do {                                                                                                               \
        const char *haystack_text_ = (haystack_);                                                                      \
        if (strstr(haystack_text_, needle_) == NULL) {                                                                 \
            fail_msg("\"%s\" is not in \"%s\"", needle_, haystack_text_);                                              \
        }                                                                                                              \
    } while (0)
#define assert_lacks(haystack_, needle_) assert_null(strstr(haystack_, needle_))

#endif
