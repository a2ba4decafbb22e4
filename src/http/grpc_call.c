#include "http/grpc_call.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>

#define HEADER_BLOCK_MAXIMUM_BYTES 16384
#define REQUEST_HEADERS_FIXED 6

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static void on_deadline(struct timer *timer)
{
    struct grpc_call *call = CONTAINER_OF(timer, struct grpc_call, deadline);
    grpc_call_end_here(call, GRPC_DEADLINE_EXCEEDED, "Timeout expired", NULL);
}

static void copy_metadata(struct grpc_call *call, const struct grpc_metadata *metadata, size_t count)
{
    call->metadata = memory_allocate_zeroed(count + 1, sizeof *call->metadata);
    for (size_t i = 0; i < count; i++) {
        call->metadata[i].name = string_duplicate(metadata[i].name);
        call->metadata[i].value = string_duplicate(metadata[i].value);
    }
}

struct grpc_call *grpc_call_new(struct grpc_channel *channel, const struct grpc_call_settings *settings)
{
    struct grpc_call *call = NEW(struct grpc_call);
    call->channel = channel;
    call->settings = *settings;
    call->path = string_duplicate(settings->path);
    copy_metadata(call, settings->metadata, settings->metadata_count);
    grpc_queue_initialise(&call->queue);
    call->reader.maximum_bytes = settings->message_maximum_bytes;
    call->message = writer_growing();
    call->status_text = writer_growing();
    call->deadline.on_expire = on_deadline;
    list_initialise(&call->link);
    if (settings->deadline_ms > 0) {
        timer_arm_after_ms(channel->loop, &call->deadline, settings->deadline_ms);
    }
    return call;
}

void grpc_call_free(struct grpc_call *call)
{
    timer_disarm(&call->deadline);
    list_remove(&call->link);
    grpc_queue_clear(&call->queue);
    writer_free(&call->message);
    writer_free(&call->status_text);
    for (size_t i = 0; i < call->settings.metadata_count; i++) {
        /* Tokens are secrets. */
        char *value;
        memcpy(&value, &call->metadata[i].value, sizeof value);
        memory_wipe(value, strlen(value));
        memory_free_at(&call->metadata[i].value);
        memory_free_at(&call->metadata[i].name);
    }
    memory_free(call->metadata);
    memory_free(call->end_source);
    memory_free(call->path);
    memory_free(call);
}

static void decide_end(struct grpc_call *call, enum grpc_status status, const char *message)
{
    if (!call->has_status) {
        call->has_status = true;
        call->end.status = status;
        writer_clear(&call->status_text);
        writer_add_string(&call->status_text, message);
    }
}

/* The call has no stream any more; its user is told outside of nghttp2. */
static void move_to_ended(struct grpc_call *call)
{
    timer_disarm(&call->deadline);
    call->wants_notice = false;
    list_remove(&call->link);
    list_append(&call->channel->ended, &call->link);
    loop_defer(call->channel->loop, &call->channel->tell_ended);
}

static void drop_stream(struct grpc_call *call)
{
    struct http2_connection *connection = &call->channel->connection;
    if (call->stream_id > 0 && connection->session != NULL) {
        (void)nghttp2_session_set_stream_user_data(connection->session, call->stream_id, NULL);
        (void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL);
        http2_connection_wake(connection);
    }
    call->stream_id = 0;
}

void grpc_call_end_here(struct grpc_call *call, enum grpc_status status, const char *message, const char *source)
{
    drop_stream(call);
    decide_end(call, status, message);
    if (source != NULL && call->end_source == NULL) {
        call->end_source = string_duplicate(source);
    }
    move_to_ended(call);
}

void grpc_call_cancel(struct grpc_call *call)
{
    struct grpc_channel *channel = call->channel;
    drop_stream(call);
    grpc_call_free(call);
    if (channel->is_retired) {
        grpc_channel_retire(channel);
    }
}

static ssize_t read_request_data(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
    uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    (void)source;
    (void)user_data;
    struct grpc_call *call = call_of(session, stream_id);
    if (call == NULL) {
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t written = grpc_queue_read(&call->queue, buffer, length);
    bool is_drained = call->queue.bytes == 0;
    if (is_drained && call->is_complete) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (written == 0) {
        call->is_paused = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    call->wants_notice = is_drained && call->settings.on_writable != NULL;
    return (ssize_t)written;
}

static nghttp2_nv header(const char *name, const char *value)
{
    nghttp2_nv line = { 0 };
    memcpy(&line.name, &name, sizeof name);
    memcpy(&line.value, &value, sizeof value);
    line.namelen = strlen(name);
    line.valuelen = strlen(value);
    if (text_equal(name, "authorization")) {
        line.flags = NGHTTP2_NV_FLAG_NO_INDEX;
    }
    return line;
}

void grpc_call_submit(struct grpc_call *call)
{
    struct grpc_channel *channel = call->channel;
    size_t count = REQUEST_HEADERS_FIXED + call->settings.metadata_count;
    nghttp2_nv *lines = memory_allocate_zeroed(count, sizeof *lines);
    lines[0] = header(":method", "POST");
    lines[1] = header(":scheme", channel->tls != NULL ? "https" : "http");
    lines[2] = header(":authority", channel->authority);
    lines[3] = header(":path", call->path);
    lines[4] = header("te", "trailers");
    lines[5] = header("content-type", "application/grpc");
    for (size_t i = 0; i < call->settings.metadata_count; i++) {
        lines[REQUEST_HEADERS_FIXED + i] = header(call->metadata[i].name, call->metadata[i].value);
    }
    nghttp2_data_provider body = { .read_callback = read_request_data };
    int32_t stream_id = nghttp2_submit_request(channel->connection.session, NULL, lines, count, &body, call);
    memory_free(lines);
    if (stream_id < 0) {
        grpc_call_end_here(call, GRPC_UNAVAILABLE, "cannot open a stream", nghttp2_strerror(stream_id));
        return;
    }
    call->stream_id = stream_id;
    http2_connection_wake(&channel->connection);
}

static void resume(struct grpc_call *call)
{
    if (call->stream_id > 0 && call->is_paused) {
        call->is_paused = false;
        (void)nghttp2_session_resume_data(call->channel->connection.session, call->stream_id);
        http2_connection_wake(&call->channel->connection);
    }
}

void grpc_call_send(struct grpc_call *call, struct bytes message)
{
    grpc_queue_add(&call->queue, message);
    resume(call);
}

void grpc_call_send_end(struct grpc_call *call)
{
    call->is_complete = true;
    resume(call);
}

size_t grpc_call_queued_bytes(const struct grpc_call *call)
{
    return call->queue.bytes;
}

void grpc_call_notify_writable(struct grpc_channel *channel)
{
    LIST_FOR_EACH(link, &channel->calls) {
        struct grpc_call *call = LIST_ENTRY(link, struct grpc_call, link);
        if (call->wants_notice) {
            call->wants_notice = false;
            call->settings.on_writable(call, call->settings.context);
            /* The callback may have changed the list: further notices follow after the next flush. */
            http2_connection_wake(&channel->connection);
            return;
        }
    }
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call != NULL) {
        call->header_bytes = 0;
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
    const uint8_t *value, size_t value_length, uint8_t flags, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL) {
        return 0;
    }
    call->header_bytes += name_length + value_length + 32;
    if (call->header_bytes > HEADER_BLOCK_MAXIMUM_BYTES) {
        grpc_call_end_here(call, GRPC_INTERNAL, "response headers are too large", NULL);
        return 0;
    }
    struct bytes text = bytes_of(value, value_length);
    struct bytes key = bytes_of(name, name_length);
    uint64_t number;
    if (bytes_equal_string(key, ":status")) {
        call->http_status = bytes_to_u64(text, 999, &number) ? (int)number : 0;
    } else if (bytes_equal_string(key, "grpc-status")) {
        call->end.status = grpc_status_parse(text);
        call->has_status = true;
    } else if (bytes_equal_string(key, "grpc-message")) {
        writer_clear(&call->status_text);
        grpc_message_decode(&call->status_text, text);
    }
    return 0;
}

static int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct grpc_channel *channel = user_data;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        channel->is_going_away = true;
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (call == NULL || is_end || call->end.was_opened || call->http_status / 100 == 1) {
        return 0;
    }
    if (call->http_status != 200) {
        char text[96];
        snprintf(text, sizeof text, "grpc-status header missing, mapped from HTTP status code %d", call->http_status);
        grpc_call_end_here(call, grpc_status_of_http(call->http_status), text, NULL);
        return 0;
    }
    call->end.was_opened = true;
    if (call->settings.on_opened != NULL) {
        call->settings.on_opened(call, call->settings.context);
    }
    return 0;
}

static void deliver_part(struct grpc_call *call, struct bytes part, bool is_last)
{
    const struct grpc_call_settings *settings = &call->settings;
    if (settings->on_message_part != NULL) {
        settings->on_message_part(call, part, call->reader.message_bytes, is_last, settings->context);
        return;
    }
    if (is_last && call->message.length == 0) {
        settings->on_message(call, part, settings->context);
        return;
    }
    writer_add_bytes(&call->message, part);
    if (is_last) {
        struct writer whole = call->message;
        call->message = writer_growing();
        settings->on_message(call, writer_bytes(&whole), settings->context);
        writer_free(&whole);
    }
}

static void refuse_message(struct grpc_call *call, enum grpc_frame_event event)
{
    char text[160];
    switch (event) {
    case GRPC_FRAME_TOO_LARGE:
        snprintf(text, sizeof text, "Error, decoded message length too large: found %zu bytes, the limit is: %zu bytes",
            call->reader.message_bytes, call->reader.maximum_bytes);
        grpc_call_end_here(call, GRPC_OUT_OF_RANGE, text, NULL);
        break;
    case GRPC_FRAME_COMPRESSED:
        grpc_call_end_here(call, GRPC_INTERNAL,
            "protocol error: received message with compressed-flag but no grpc-encoding was specified", NULL);
        break;
    default:
        grpc_call_end_here(call, GRPC_INTERNAL, "protocol error: received message with invalid compression flag", NULL);
    }
}

static int on_data(
    nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct bytes input = bytes_of(data, length);
    struct grpc_call *call;
    /* Each callback may end the call: it is looked up again. */
    while ((call = call_of(session, stream_id)) != NULL) {
        struct bytes part;
        bool is_last;
        enum grpc_frame_event event = grpc_frame_next(&call->reader, &input, &part, &is_last);
        if (event == GRPC_FRAME_MORE) {
            break;
        }
        if (event != GRPC_FRAME_PART) {
            refuse_message(call, event);
            break;
        }
        deliver_part(call, part, is_last);
    }
    return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data)
{
    (void)user_data;
    struct grpc_call *call = call_of(session, stream_id);
    if (call == NULL) {
        return 0;
    }
    call->stream_id = 0;
    if (!call->has_status && error_code != NGHTTP2_NO_ERROR) {
        char text[96];
        snprintf(text, sizeof text, "h2 protocol error: stream closed: %s", nghttp2_http2_strerror(error_code));
        decide_end(call, grpc_status_of_reset(error_code), text);
    } else if (!call->has_status) {
        decide_end(call, call->http_status == 200 ? GRPC_UNKNOWN : grpc_status_of_http(call->http_status), "");
    } else if (call->end.status == GRPC_OK && !grpc_frame_is_between(&call->reader)) {
        call->has_status = false;
        decide_end(call, GRPC_INTERNAL, "Unexpected EOF decoding stream.");
    }
    move_to_ended(call);
    return 0;
}

void grpc_call_set_session_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
}
