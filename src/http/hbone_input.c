#include "http/hbone_internal.h"

#include "base/cursor.h"

/* What RFC 9113 §6 demands of a frame's header before its payload is looked at. */
struct frame_rule {
    const char *name;
    uint32_t length_minimum, length_maximum;
    bool is_for_connection, is_for_stream;
};

#define ANY_LENGTH 0xffffff

static const struct frame_rule rules[] = {
    [HBONE_FRAME_DATA] = { "DATA", 0, ANY_LENGTH, false, true },
    [HBONE_FRAME_HEADERS] = { "HEADERS", 0, ANY_LENGTH, false, true },
    [HBONE_FRAME_PRIORITY] = { "PRIORITY", 5, 5, false, true },
    [HBONE_FRAME_RST_STREAM] = { "RST_STREAM", 4, 4, false, true },
    [HBONE_FRAME_SETTINGS] = { "SETTINGS", 0, ANY_LENGTH, true, false },
    [HBONE_FRAME_PUSH_PROMISE] = { "PUSH_PROMISE", 0, ANY_LENGTH, false, false },
    [HBONE_FRAME_PING] = { "PING", 8, 8, true, false },
    [HBONE_FRAME_GOAWAY] = { "GOAWAY", 8, ANY_LENGTH, true, false },
    [HBONE_FRAME_WINDOW_UPDATE] = { "WINDOW_UPDATE", 4, 4, true, true },
    [HBONE_FRAME_CONTINUATION] = { "CONTINUATION", 0, ANY_LENGTH, false, true },
};

static bool is_known(uint8_t type)
{
    return type < ARRAY_LENGTH(rules);
}

/* RFC 9113 §5.1: nobody has opened it. */
static bool is_idle(const struct hbone_session *session, uint32_t id)
{
    if (id % 2 == 0) {
        return true;
    }
    return session->role == HBONE_SERVER ? id > session->last_stream_id : id >= session->next_stream_id;
}

static bool check_order(struct hbone_session *session, const struct hbone_frame *frame)
{
    bool is_settings = frame->type == HBONE_FRAME_SETTINGS && (frame->flags & HBONE_FLAG_ACK) == 0;
    if (!session->input.has_settings && !is_settings) {
        hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer's first frame is not SETTINGS");
        return false;
    }
    bool is_continuation = frame->type == HBONE_FRAME_CONTINUATION;
    bool is_in_block = session->block.block != NULL;
    if (is_continuation != is_in_block || (is_in_block && frame->stream_id != session->block.stream_id)) {
        hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer broke the order of HEADERS and CONTINUATION");
        return false;
    }
    return true;
}

static bool check_rule(struct hbone_session *session, const struct hbone_frame *frame, const struct frame_rule *rule)
{
    if (frame->stream_id == 0 ? !rule->is_for_connection : !rule->is_for_stream) {
        hbone_session_fail(
            session, HBONE_PROTOCOL_ERROR, "the peer sent %s on stream %u", rule->name, frame->stream_id);
        return false;
    }
    if (frame->length < rule->length_minimum || frame->length > rule->length_maximum) {
        hbone_session_fail(session, HBONE_FRAME_SIZE_ERROR, "the peer sent %s of %u bytes", rule->name, frame->length);
        return false;
    }
    bool may_be_idle = frame->type == HBONE_FRAME_HEADERS || frame->type == HBONE_FRAME_PRIORITY;
    if (frame->stream_id != 0 && !may_be_idle && is_idle(session, frame->stream_id)) {
        hbone_session_fail(
            session, HBONE_PROTOCOL_ERROR, "the peer sent %s on idle stream %u", rule->name, frame->stream_id);
        return false;
    }
    return true;
}

/* Padding and the priority fields in front of the content (RFC 9113 §6.1, §6.2). */
static bool begin_padded(struct hbone_session *session, const struct hbone_frame *frame)
{
    struct hbone_input *input = &session->input;
    input->needs_pad_length = (frame->flags & HBONE_FLAG_PADDED) != 0;
    bool has_priority = frame->type == HBONE_FRAME_HEADERS && (frame->flags & HBONE_FLAG_PRIORITY) != 0;
    input->skip = has_priority ? 5 : 0;
    if (frame->length < input->skip + (input->needs_pad_length ? 1U : 0U)) {
        hbone_session_fail(session, HBONE_FRAME_SIZE_ERROR, "the peer sent %s of %u bytes, too short for its flags",
            rules[frame->type].name, frame->length);
        return false;
    }
    return true;
}

static bool begin_data(struct hbone_session *session, const struct hbone_frame *frame)
{
    struct hbone_stream *stream = hbone_stream_find(session, frame->stream_id);
    if (stream != NULL && stream->has_remote_end) {
        hbone_stream_violation(session, stream->id, HBONE_STREAM_CLOSED, "the peer sent DATA after END_STREAM");
        stream = NULL;
    } else if (stream != NULL && session->role == HBONE_CLIENT && !stream->has_response) {
        hbone_stream_violation(session, stream->id, HBONE_PROTOCOL_ERROR, "the peer sent DATA before its response");
        stream = NULL;
    }
    if (!hbone_flow_charge(session, &stream, frame->length)) {
        hbone_session_fail(session, HBONE_FLOW_CONTROL_ERROR, "the peer sent more than the connection's window");
        return false;
    }
    session->input.stream = stream;
    bool is_empty = frame->length == 0 && (frame->flags & HBONE_FLAG_END_STREAM) == 0;
    return begin_padded(session, frame) && (!is_empty || hbone_session_spend(session, 1, "empty DATA"));
}

static bool begin_settings(struct hbone_session *session, const struct hbone_frame *frame)
{
    bool is_ack = (frame->flags & HBONE_FLAG_ACK) != 0;
    if (frame->length % 6 != 0 || (is_ack && frame->length > 0)) {
        hbone_session_fail(session, HBONE_FRAME_SIZE_ERROR, "the peer sent SETTINGS of %u bytes", frame->length);
        return false;
    }
    return hbone_session_spend(session, 1 + (int)(frame->length / 60), "SETTINGS");
}

static bool begin_frame(struct hbone_session *session)
{
    struct hbone_input *input = &session->input;
    const struct hbone_frame *frame = &input->frame;
    input->left = frame->length;
    input->padding = 0;
    input->gathered_count = 0;
    if (frame->length > session->settings.frame_bytes_maximum) {
        hbone_session_fail(session, HBONE_FRAME_SIZE_ERROR, "the peer sent a frame of %u bytes", frame->length);
        return false;
    }
    if (!check_order(session, frame)) {
        return false;
    }
    if (!is_known(frame->type)) {
        return hbone_session_spend(session, 1, "unknown"); /* ignored: RFC 9113 §4.1 */
    }
    if (!check_rule(session, frame, &rules[frame->type])) {
        return false;
    }
    switch (frame->type) {
    case HBONE_FRAME_DATA:
        return begin_data(session, frame);
    case HBONE_FRAME_HEADERS:
        hbone_exchange_begin(session);
        return hbone_session_is_live(session) && begin_padded(session, frame);
    case HBONE_FRAME_CONTINUATION:
        return hbone_session_spend(session, 1, "CONTINUATION");
    case HBONE_FRAME_SETTINGS:
        return begin_settings(session, frame);
    case HBONE_FRAME_PRIORITY:
    case HBONE_FRAME_PING:
        return hbone_session_spend(session, 1, rules[frame->type].name);
    default:
        return true;
    }
}

static void apply_setting(struct hbone_session *session, uint16_t identifier, uint32_t value)
{
    switch (identifier) {
    case HBONE_SETTING_HEADER_TABLE_SIZE:
        /* Ours is 0 whatever the peer allows; it must hear so again (RFC 7541 §4.2). */
        session->encoder.has_told_table_size = false;
        break;
    case HBONE_SETTING_ENABLE_PUSH:
        if (value > 1 || (value == 1 && session->role == HBONE_CLIENT)) {
            hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer sent ENABLE_PUSH=%u", value);
        }
        break;
    case HBONE_SETTING_MAX_CONCURRENT_STREAMS:
        session->peer_streams_maximum = value;
        break;
    case HBONE_SETTING_INITIAL_WINDOW_SIZE:
        if (value > HBONE_WINDOW_MAXIMUM || !hbone_flow_set_peer_initial_window(session, value)) {
            hbone_session_fail(session, HBONE_FLOW_CONTROL_ERROR, "the peer sent INITIAL_WINDOW_SIZE=%u", value);
        }
        break;
    case HBONE_SETTING_MAX_FRAME_SIZE:
        if (value < HBONE_FRAME_PAYLOAD_DEFAULT || value > ANY_LENGTH) {
            hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer sent MAX_FRAME_SIZE=%u", value);
        }
        break;
    case HBONE_SETTING_EARLY_BYTES:
        hbone_early_set_peer_bytes(session, value);
        break;
    default:
        break; /* ignored: RFC 9113 §6.5.2 */
    }
}

static void gather_settings(struct hbone_session *session, struct bytes content)
{
    struct hbone_input *input = &session->input;
    for (size_t i = 0; i < content.length && hbone_session_is_live(session); i++) {
        input->gathered[input->gathered_count++] = content.data[i];
        if (input->gathered_count == 6) {
            struct cursor cursor = cursor_of(bytes_of(input->gathered, 6));
            uint16_t identifier = cursor_u16(&cursor);
            apply_setting(session, identifier, cursor_u32(&cursor));
            input->gathered_count = 0;
        }
    }
}

static void gather(struct hbone_session *session, struct bytes content)
{
    struct hbone_input *input = &session->input;
    size_t room = sizeof input->gathered - input->gathered_count;
    size_t length = content.length < room ? content.length : room; /* the rest of a long GOAWAY is dropped */
    memcpy(input->gathered + input->gathered_count, content.data, length);
    input->gathered_count = (uint8_t)(input->gathered_count + length);
}

static void receive_data(struct hbone_session *session, struct bytes content)
{
    struct hbone_stream *stream = session->input.stream;
    if (stream == NULL) {
        return; /* after our reset: only counted */
    }
    hbone_flow_deliver(stream, (uint32_t)content.length);
    session->bytes_received += content.length;
    hbone_early_received(stream);
    hbone_batch_add(session, stream, content);
}

static void receive_content(struct hbone_session *session, struct bytes content)
{
    switch (session->input.frame.type) {
    case HBONE_FRAME_DATA:
        receive_data(session, content);
        break;
    case HBONE_FRAME_HEADERS:
    case HBONE_FRAME_CONTINUATION:
        hbone_exchange_fragment(session, content);
        break;
    case HBONE_FRAME_SETTINGS:
        gather_settings(session, content);
        break;
    case HBONE_FRAME_PING:
    case HBONE_FRAME_RST_STREAM:
    case HBONE_FRAME_WINDOW_UPDATE:
    case HBONE_FRAME_GOAWAY:
        gather(session, content);
        break;
    default:
        break;
    }
}

static void finish_settings(struct hbone_session *session)
{
    if ((session->input.frame.flags & HBONE_FLAG_ACK) != 0) {
        if (!session->is_settings_acknowledged) {
            session->is_settings_acknowledged = true;
            hbone_header_decoder_settings_acknowledged(&session->decoder);
            hbone_flow_settings_acknowledged(session);
            hbone_liveness_settings_acknowledged(session);
        }
        return;
    }
    hbone_frame_write_settings_ack(hbone_output_control(session));
    session->is_capacity_changed = true;
    hbone_liveness_settings_received(session);
}

static void finish_reset(struct hbone_session *session, uint32_t code)
{
    struct hbone_stream *stream = hbone_stream_find(session, session->input.frame.stream_id);
    if (stream == NULL) {
        return;
    }
    bool is_unanswered_request = session->role == HBONE_SERVER && !stream->has_response;
    if (is_unanswered_request && !hbone_session_spend(session, 1, "RST_STREAM of an unanswered request")) {
        return;
    }
    if (stream->batch_first >= 0) { /* bytes accepted before a close are delivered */
        hbone_batch_deliver_stream(session, stream);
        if (session->is_freed || hbone_stream_find(session, session->input.frame.stream_id) != stream) {
            return;
        }
    }
    if (code == HBONE_REFUSED_STREAM && session->role == HBONE_CLIENT) {
        /* It has less room than it announced: the next streams, and the retry of this one, go elsewhere. */
        hbone_session_begin_draining(session, "the peer refuses streams");
        hbone_stream_raise_reset(stream, HBONE_RESET_REFUSED, code, hbone_error_name(code));
    } else {
        hbone_stream_raise_reset(stream, HBONE_RESET_BY_PEER, code, hbone_error_name(code));
    }
}

static void finish_goaway(struct hbone_session *session)
{
    struct hbone_input *input = &session->input;
    struct cursor cursor = cursor_of(bytes_of(input->gathered, input->gathered_count));
    uint32_t last_stream_id = cursor_u32(&cursor) & HBONE_STREAM_ID_MAXIMUM;
    uint32_t code = cursor_u32(&cursor);
    char text[sizeof input->gathered];
    size_t length = 0;
    while (!cursor_is_at_end(&cursor)) {
        uint8_t character = cursor_u8(&cursor);
        text[length++] = (char)(character >= 0x20 && character < 0x7f ? character : '?');
    }
    text[length] = '\0';
    session->has_clean_goaway = code == HBONE_NO_ERROR;
    if (session->role == HBONE_SERVER) {
        return; /* a client that goes away closes when it is done */
    }
    hbone_session_begin_draining(
        session, "the peer is going away: %s%s%s", hbone_error_name(code), length > 0 ? ", " : "", text);
    hbone_streams_refuse_above(session, last_stream_id);
}

static void finish_ping(struct hbone_session *session)
{
    struct cursor cursor = cursor_of(bytes_of(session->input.gathered, 8));
    hbone_liveness_ping(session, cursor_u64(&cursor), (session->input.frame.flags & HBONE_FLAG_ACK) != 0);
}

static uint32_t gathered_u32(const struct hbone_session *session)
{
    struct cursor cursor = cursor_of(bytes_of(session->input.gathered, 4));
    return cursor_u32(&cursor);
}

static void finish_frame(struct hbone_session *session)
{
    struct hbone_input *input = &session->input;
    const struct hbone_frame *frame = &input->frame;
    struct hbone_stream *stream = input->stream;
    input->header_filled = 0;
    input->stream = NULL;
    switch (frame->type) {
    case HBONE_FRAME_DATA:
        if (stream != NULL && (frame->flags & HBONE_FLAG_END_STREAM) != 0) {
            hbone_stream_raise_end(session, stream);
        }
        break;
    case HBONE_FRAME_HEADERS:
    case HBONE_FRAME_CONTINUATION:
        if ((frame->flags & HBONE_FLAG_END_HEADERS) != 0) {
            hbone_exchange_end(session);
        }
        break;
    case HBONE_FRAME_SETTINGS:
        input->has_settings = true;
        finish_settings(session);
        break;
    case HBONE_FRAME_PING:
        finish_ping(session);
        break;
    case HBONE_FRAME_RST_STREAM:
        finish_reset(session, gathered_u32(session));
        break;
    case HBONE_FRAME_WINDOW_UPDATE:
        hbone_flow_window_update(session, frame->stream_id, gathered_u32(session) & HBONE_WINDOW_MAXIMUM);
        break;
    case HBONE_FRAME_GOAWAY:
        finish_goaway(session);
        break;
    default:
        break;
    }
}

static void take_pad_length(struct hbone_session *session, uint8_t pad_length)
{
    struct hbone_input *input = &session->input;
    input->needs_pad_length = false;
    input->left--;
    input->padding = pad_length;
    if (input->padding + input->skip > input->left) {
        hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer's padding is longer than its frame");
        return;
    }
    if (input->stream != NULL) {
        hbone_flow_return(input->stream, 1 + input->padding); /* nobody will ever consume these */
    }
}

/* A piece of the payload: pad length, priority fields, content, padding. Returns how many bytes were used. */
static size_t take_payload(struct hbone_session *session, struct bytes run)
{
    struct hbone_input *input = &session->input;
    if (input->needs_pad_length) {
        take_pad_length(session, run.data[0]);
        return 1;
    }
    size_t available = run.length < input->left ? run.length : input->left;
    if (input->skip > 0) {
        size_t skipped = available < input->skip ? available : input->skip;
        input->skip = (uint8_t)(input->skip - skipped);
        input->left -= (uint32_t)skipped;
        return skipped;
    }
    size_t content_left = input->left - input->padding;
    if (content_left == 0) {
        input->left -= (uint32_t)available;
        input->padding -= (uint32_t)available;
        return available;
    }
    size_t length = available < content_left ? available : content_left;
    input->left -= (uint32_t)length;
    receive_content(session, bytes_of(run.data, length));
    return length;
}

static size_t take_preface(struct hbone_session *session, struct bytes run)
{
    struct hbone_input *input = &session->input;
    size_t length = run.length < input->preface_left ? run.length : input->preface_left;
    const char *expected = &HBONE_PREFACE[HBONE_PREFACE_BYTES - input->preface_left];
    if (memcmp(run.data, expected, length) != 0) {
        hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer does not speak HTTP/2: bad connection preface");
    }
    input->preface_left = (uint8_t)(input->preface_left - length);
    return length;
}

static size_t take_header(struct hbone_session *session, struct bytes run)
{
    struct hbone_input *input = &session->input;
    size_t missing = HBONE_FRAME_HEADER_BYTES - (size_t)input->header_filled;
    size_t length = run.length < missing ? run.length : missing;
    memcpy(input->header + input->header_filled, run.data, length);
    input->header_filled = (uint8_t)(input->header_filled + length);
    if (length == missing) {
        input->frame = hbone_frame_parse(input->header);
        if (begin_frame(session) && input->left == 0) {
            finish_frame(session);
        }
    }
    return length;
}

void hbone_input_run(struct hbone_session *session, struct bytes run)
{
    struct hbone_input *input = &session->input;
    while (run.length > 0 && hbone_session_is_live(session)) {
        size_t used;
        if (input->preface_left > 0) {
            used = take_preface(session, run);
        } else if (input->header_filled < HBONE_FRAME_HEADER_BYTES) {
            used = take_header(session, run);
        } else {
            used = take_payload(session, run);
            if (input->left == 0 && hbone_session_is_live(session)) {
                finish_frame(session);
            }
        }
        run = bytes_of(run.data + used, run.length - used);
    }
}
