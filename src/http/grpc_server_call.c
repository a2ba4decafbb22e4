#include "http/grpc_server_call.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>

#define HEADER_BLOCK_MAXIMUM_BYTES 16384
#define HEADERS_MAXIMUM 100
#define STREAM_WINDOW_BYTES (256 * 1024)
#define CONNECTION_WINDOW_BYTES (1024 * 1024)
#define CONTENT_TYPE "application/grpc"

static struct grpc_server_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static nghttp2_session *session_of(const struct grpc_server_call *call)
{
    return call->connection->connection.session;
}

static struct grpc_server_call *call_new(struct grpc_server_connection *connection, int32_t stream_id)
{
    struct grpc_server_call *call = NEW(struct grpc_server_call);
    call->connection = connection;
    call->stream_id = stream_id;
    call->reader.maximum_bytes = connection->server->settings.message_maximum_bytes;
    call->message = writer_growing();
    grpc_queue_initialise(&call->queue);
    list_initialise(&call->link);
    list_append(&connection->calls, &call->link);
    return call;
}

static void call_free(struct grpc_server_call *call)
{
    list_remove(&call->link);
    grpc_queue_clear(&call->queue);
    call->connection->part_bytes -= call->message.length;
    writer_free(&call->message);
    for (size_t i = 0; i < call->header_count; i++) {
        memory_free(call->headers[i].name);
    }
    memory_free(call->headers);
    memory_free(call->status_text);
    memory_free(call);
}

static void move_to_closing(struct grpc_server_call *call)
{
    call->stream_id = 0;
    list_remove(&call->link);
    list_append(&call->connection->closing, &call->link);
}

void grpc_server_tell_closed(struct grpc_server_connection *connection)
{
    struct list *link;
    while ((link = connection->closing.next) != &connection->closing) {
        struct grpc_server_call *call = LIST_ENTRY(link, struct grpc_server_call, link);
        if (call->method != NULL && call->method->on_closed != NULL) {
            call->method->on_closed(call);
        }
        call_free(call);
    }
}

void grpc_server_close_calls(struct grpc_server_connection *connection)
{
    LIST_FOR_EACH(link, &connection->calls) {
        move_to_closing(LIST_ENTRY(link, struct grpc_server_call, link));
    }
    grpc_server_tell_closed(connection);
}

static nghttp2_nv header(const char *name, const char *value)
{
    nghttp2_nv line = { 0 };
    memcpy(&line.name, &name, sizeof name);
    memcpy(&line.value, &value, sizeof value);
    line.namelen = strlen(name);
    line.valuelen = strlen(value);
    return line;
}

/* grpc-status and grpc-message, as trailers or at the end of a response without data. */
struct status_lines {
    char code[12];
    struct writer message;
};

static size_t make_status_lines(const struct grpc_server_call *call, struct status_lines *lines, nghttp2_nv *out)
{
    snprintf(lines->code, sizeof lines->code, "%d", (int)call->status);
    out[0] = header("grpc-status", lines->code);
    lines->message = writer_growing();
    if (text_is_empty(call->status_text)) {
        return 1;
    }
    grpc_message_encode(&lines->message, call->status_text);
    out[1] = header("grpc-message", writer_string(&lines->message));
    return 2;
}

static void submit_trailers(struct grpc_server_call *call)
{
    struct status_lines lines;
    nghttp2_nv trailers[2];
    size_t count = make_status_lines(call, &lines, trailers);
    (void)nghttp2_submit_trailer(session_of(call), call->stream_id, trailers, count);
    writer_free(&lines.message);
}

static ssize_t read_response_data(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
    uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    (void)source;
    (void)user_data;
    struct grpc_server_call *call = call_of(session, stream_id);
    if (call == NULL) {
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t written = grpc_queue_read(&call->queue, buffer, length);
    if (call->queue.bytes == 0 && call->is_finished) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailers(call);
    } else if (written == 0) {
        call->is_paused = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)written;
}

static void wake(struct grpc_server_call *call)
{
    http2_connection_wake(&call->connection->connection);
}

static void resume(struct grpc_server_call *call)
{
    if (!call->has_response) {
        const nghttp2_nv lines[] = { header(":status", "200"), header("content-type", CONTENT_TYPE) };
        nghttp2_data_provider body = { .read_callback = read_response_data };
        call->has_response = true;
        (void)nghttp2_submit_response(session_of(call), call->stream_id, lines, ARRAY_LENGTH(lines), &body);
    } else if (call->is_paused) {
        call->is_paused = false;
        (void)nghttp2_session_resume_data(session_of(call), call->stream_id);
    }
    wake(call);
}

bool grpc_server_call_is_writable(const struct grpc_server_call *call)
{
    return call->stream_id != 0 && !call->is_finished && call->queue.bytes < GRPC_SERVER_QUEUE_BYTES;
}

static bool takes_message(struct grpc_server_call *call)
{
    if (!grpc_server_call_is_writable(call)) {
        call->was_refused_a_send = true;
        return false;
    }
    return true;
}

bool grpc_server_call_send(struct grpc_server_call *call, struct bytes message)
{
    if (!takes_message(call)) {
        return false;
    }
    grpc_queue_add(&call->queue, message);
    resume(call);
    return true;
}

bool grpc_server_call_send_taking(struct grpc_server_call *call, struct writer *message)
{
    if (!takes_message(call)) {
        return false;
    }
    grpc_queue_add_taking(&call->queue, message);
    resume(call);
    return true;
}

/* Headers and status in one block with END_STREAM. */
static void respond_without_data(struct grpc_server_call *call, const char *http_status)
{
    struct status_lines status;
    nghttp2_nv lines[4] = { header(":status", http_status), header("content-type", CONTENT_TYPE) };
    size_t count = 2 + make_status_lines(call, &status, lines + 2);
    call->has_response = true;
    (void)nghttp2_submit_response(session_of(call), call->stream_id, lines, count, NULL);
    writer_free(&status.message);
    wake(call);
}

static bool decide_status(struct grpc_server_call *call, enum grpc_status status, const char *message)
{
    if (call->stream_id == 0 || call->is_finished) {
        return false;
    }
    call->is_finished = true;
    call->status = status;
    call->status_text = message != NULL ? string_duplicate(message) : NULL;
    return true;
}

void grpc_server_call_finish(struct grpc_server_call *call, enum grpc_status status, const char *message)
{
    if (!decide_status(call, status, message)) {
        return;
    }
    if (call->has_response) {
        resume(call);
    } else {
        respond_without_data(call, "200");
    }
}

void grpc_server_call_respond(struct grpc_server_call *call, struct bytes message)
{
    if (grpc_server_call_send(call, message)) {
        grpc_server_call_finish(call, GRPC_OK, NULL);
    }
}

static void refuse(struct grpc_server_call *call, const char *http_status, enum grpc_status status, const char *message)
{
    if (decide_status(call, status, message)) {
        respond_without_data(call, http_status);
    }
}

void grpc_server_notify_writable(struct grpc_server_connection *connection)
{
    LIST_FOR_EACH(link, &connection->calls) {
        struct grpc_server_call *call = LIST_ENTRY(link, struct grpc_server_call, link);
        if (call->was_refused_a_send && grpc_server_call_is_writable(call)) {
            call->was_refused_a_send = false;
            if (call->method->on_writable != NULL) {
                call->method->on_writable(call);
            }
        }
    }
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct grpc_server_call *call = call_new(user_data, frame->hd.stream_id);
        (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
    const uint8_t *value, size_t value_length, uint8_t flags, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct grpc_server_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    call->header_bytes += name_length + value_length + 32;
    if (call->header_bytes > HEADER_BLOCK_MAXIMUM_BYTES || call->header_count >= HEADERS_MAXIMUM) {
        call->has_too_many_headers = true;
        return 0;
    }
    char *memory = memory_allocate(name_length + value_length + 2);
    memcpy(memory, name, name_length);
    memory[name_length] = '\0';
    memcpy(memory + name_length + 1, value, value_length);
    memory[name_length + 1 + value_length] = '\0';
    call->headers = memory_resize(call->headers, call->header_count + 1, sizeof *call->headers);
    call->headers[call->header_count++] = (struct received_header){ memory, memory + name_length + 1 };
    return 0;
}

const char *grpc_server_call_metadata(const struct grpc_server_call *call, const char *name, size_t *count)
{
    const char *value = NULL;
    size_t found = 0;
    for (size_t i = 0; i < call->header_count; i++) {
        if (text_equal(call->headers[i].name, name)) {
            value = call->headers[i].value;
            found++;
        }
    }
    if (count != NULL) {
        *count = found;
    }
    return found == 1 ? value : NULL;
}

static bool is_grpc_content_type(const char *content_type)
{
    size_t length = strlen(CONTENT_TYPE);
    return content_type != NULL && strncmp(content_type, CONTENT_TYPE, length) == 0 &&
           (content_type[length] == '\0' || content_type[length] == '+' || content_type[length] == ';');
}

static const struct grpc_method *find_method(const struct grpc_server *server, const char *path)
{
    for (size_t i = 0; i < server->settings.method_count; i++) {
        if (text_equal(server->settings.methods[i].path, path)) {
            return &server->settings.methods[i];
        }
    }
    return NULL;
}

/* The words of grpc-go: which part of "/service/method" is unknown. */
static void refuse_path(struct grpc_server_call *call, const char *path)
{
    const struct grpc_server_settings *settings = &call->connection->server->settings;
    const char *method = strrchr(path, '/');
    char text[256];
    if (path[0] != '/' || method == path) {
        snprintf(text, sizeof text, "malformed method name: \"%.150s\"", path);
        refuse(call, "200", GRPC_UNIMPLEMENTED, text);
        return;
    }
    size_t service_length = (size_t)(method - path);
    bool has_service = false;
    for (size_t i = 0; i < settings->method_count; i++) {
        const char *known = settings->methods[i].path;
        has_service = has_service || (strncmp(known, path, service_length) == 0 && known[service_length] == '/');
    }
    int shown = service_length > 101 ? 100 : (int)service_length - 1;
    if (has_service) {
        snprintf(text, sizeof text, "unknown method %.100s for service %.*s", method + 1, shown, path + 1);
    } else {
        snprintf(text, sizeof text, "unknown service %.*s", shown, path + 1);
    }
    refuse(call, "200", GRPC_UNIMPLEMENTED, text);
}

static void start_call(struct grpc_server_call *call)
{
    struct grpc_server *server = call->connection->server;
    const char *http_method = grpc_server_call_metadata(call, ":method", NULL);
    const char *path = grpc_server_call_metadata(call, ":path", NULL);
    const char *content_type = grpc_server_call_metadata(call, "content-type", NULL);
    char text[160];
    if (call->has_too_many_headers || http_method == NULL || path == NULL) {
        refuse(call, "431", GRPC_RESOURCE_EXHAUSTED, "request headers are too large");
        return;
    }
    if (!text_equal(http_method, "POST")) {
        snprintf(
            text, sizeof text, "Received a HEADERS frame with :method \"%.60s\" which should be POST", http_method);
        refuse(call, "405", GRPC_INTERNAL, text);
        return;
    }
    if (!is_grpc_content_type(content_type)) {
        snprintf(text, sizeof text, "invalid gRPC request content-type \"%.100s\"",
            content_type != NULL ? content_type : "");
        refuse(call, "415", GRPC_INVALID_ARGUMENT, text);
        return;
    }
    const struct grpc_method *method = find_method(server, path);
    if (method == NULL) {
        refuse_path(call, path);
        return;
    }
    call->method = method;
    if (method->on_start != NULL) {
        method->on_start(call, server->settings.context);
    }
}

static void end_receiving(struct grpc_server_call *call)
{
    call->is_receiving_over = true;
    if (call->is_finished || call->method == NULL) {
        return;
    }
    if (!grpc_frame_is_between(&call->reader)) {
        grpc_server_call_finish(call, GRPC_INTERNAL, "unexpected EOF");
    } else if (call->method->on_end_of_messages != NULL) {
        call->method->on_end_of_messages(call);
    }
}

static int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    struct grpc_server_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL) {
        return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        timer_disarm(&call->connection->first_call);
        start_call(call);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        end_receiving(call);
    }
    return 0;
}

static void refuse_message(struct grpc_server_call *call, enum grpc_frame_event event)
{
    char text[120];
    switch (event) {
    case GRPC_FRAME_TOO_LARGE:
        snprintf(text, sizeof text, "grpc: received message larger than max (%zu vs. %zu)", call->reader.message_bytes,
            call->reader.maximum_bytes);
        grpc_server_call_finish(call, GRPC_RESOURCE_EXHAUSTED, text);
        break;
    case GRPC_FRAME_COMPRESSED:
        grpc_server_call_finish(call, GRPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
        break;
    default:
        snprintf(text, sizeof text, "grpc: received unexpected payload format %u", call->reader.header[0]);
        grpc_server_call_finish(call, GRPC_INTERNAL, text);
    }
}

static void collect_part(struct grpc_server_call *call, struct bytes part, bool is_last)
{
    struct grpc_server_connection *connection = call->connection;
    if (is_last && call->message.length == 0) {
        if (call->method->on_message != NULL) {
            call->method->on_message(call, part);
        }
        return;
    }
    if (connection->part_bytes + part.length > CONNECTION_PARTS_MAXIMUM_BYTES) {
        grpc_server_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "too many bytes in unfinished messages");
        return;
    }
    writer_add_bytes(&call->message, part);
    connection->part_bytes += part.length;
    if (is_last) {
        struct writer whole = call->message;
        call->message = writer_growing();
        connection->part_bytes -= whole.length;
        if (call->method->on_message != NULL) {
            call->method->on_message(call, writer_bytes(&whole));
        }
        writer_free(&whole);
    }
}

static int on_data(
    nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct grpc_server_call *call = call_of(session, stream_id);
    if (call == NULL || call->method == NULL) {
        return 0;
    }
    struct bytes input = bytes_of(data, length);
    while (!call->is_finished) {
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
        collect_part(call, part, is_last);
    }
    return 0;
}

/* A response that ends before its request: the client need not send the rest (RFC 9113 §8.1). */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        return 0;
    }
    struct grpc_server_call *call = call_of(session, frame->hd.stream_id);
    if (call != NULL && !call->is_receiving_over) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data)
{
    (void)error_code;
    struct grpc_server_connection *connection = user_data;
    struct grpc_server_call *call = call_of(session, stream_id);
    if (call != NULL) {
        move_to_closing(call);
        loop_defer(connection->server->loop, &connection->tell_closed);
    }
    return 0;
}

nghttp2_session *grpc_server_session_new(struct grpc_server_connection *connection)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return NULL;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_received);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
    int error = nghttp2_session_server_new(&session, callbacks, connection);
    nghttp2_session_callbacks_del(callbacks);
    if (error != 0) {
        return NULL;
    }
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, connection->server->settings.stream_maximum },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384 },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_BLOCK_MAXIMUM_BYTES },
    };
    (void)nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, ARRAY_LENGTH(settings));
    (void)nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES);
    return session;
}

void grpc_server_call_set_data(struct grpc_server_call *call, void *data)
{
    call->data = data;
}

void *grpc_server_call_data(const struct grpc_server_call *call)
{
    return call->data;
}

void *grpc_server_call_context(const struct grpc_server_call *call)
{
    return call->connection->server->settings.context;
}

const struct socket_address *grpc_server_call_peer(const struct grpc_server_call *call)
{
    return &call->connection->peer;
}

const struct socket_address *grpc_server_call_local(const struct grpc_server_call *call)
{
    return &call->connection->local;
}

bool grpc_server_call_is_encrypted(const struct grpc_server_call *call)
{
    return call->connection->tls != NULL;
}

const char *grpc_server_call_identity(const struct grpc_server_call *call)
{
    return call->connection->identity;
}
