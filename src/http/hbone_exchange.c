#include "http/hbone_internal.h"

#include <stdio.h>

/* What Huffman coding and size updates may add to a list that is within the limit, generously. */
#define ENCODED_LIMIT_FACTOR 4

void hbone_exchange_forget(struct hbone_session *session)
{
    hbone_header_block_free(session->block.block);
    session->block = (struct hbone_block_state){ 0 };
}

void hbone_exchange_begin(struct hbone_session *session)
{
    const struct hbone_frame *frame = &session->input.frame;
    bool is_server = session->role == HBONE_SERVER;
    bool is_new = is_server && frame->stream_id > session->last_stream_id;
    bool is_idle = !is_server && frame->stream_id >= session->next_stream_id;
    if (frame->stream_id % 2 == 0 || is_idle) {
        hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer sent HEADERS on stream %u, which it may not open",
            frame->stream_id);
        return;
    }
    if (is_new) {
        session->last_stream_id = frame->stream_id;
    }
    session->block = (struct hbone_block_state){
        .block = hbone_header_block_new(session->settings.header_list_bytes_maximum),
        .stream_id = frame->stream_id,
        .end_stream = (frame->flags & HBONE_FLAG_END_STREAM) != 0,
        .is_request = is_new,
    };
}

static bool decode(struct hbone_session *session, struct bytes fragment, bool is_last)
{
    if (hbone_header_decoder_feed(&session->decoder, session->block.block, fragment, is_last)) {
        return true;
    }
    hbone_session_fail(session, HBONE_COMPRESSION_ERROR, "the peer's field block does not decode");
    return false;
}

void hbone_exchange_fragment(struct hbone_session *session, struct bytes fragment)
{
    struct hbone_block_state *state = &session->block;
    state->bytes += fragment.length;
    if (state->bytes / ENCODED_LIMIT_FACTOR > session->settings.header_list_bytes_maximum) {
        hbone_session_fail(session, HBONE_ENHANCE_YOUR_CALM, "the peer's field block is over %zu bytes", state->bytes);
        return;
    }
    if (state->is_skipped || !decode(session, fragment, false)) {
        return;
    }
    if (state->block->is_oversize && session->decoder.is_table_zero) {
        state->is_skipped = true;
        hbone_header_decoder_free(&session->decoder);
    }
}

static void refuse(struct hbone_session *session, uint32_t id, uint32_t code)
{
    if (hbone_session_spend(session, 1, "refused request")) {
        hbone_frame_write_reset(hbone_output_control(session), id, code);
    }
}

/* RFC 9113 §10.5.1. */
static void answer_oversize(struct hbone_session *session, uint32_t id, bool end_stream)
{
    struct hbone_field status = { bytes_of_string(":status"), bytes_of_string("431") };
    struct writer block = writer_growing();
    hbone_header_encode(&session->encoder, &status, 1, &block);
    hbone_frame_write_headers(hbone_output_control(session), id, writer_bytes(&block), true);
    writer_free(&block);
    if (!end_stream) {
        refuse(session, id, HBONE_NO_ERROR);
    }
}

static void raise_request(
    struct hbone_session *session, uint32_t id, bool end_stream, const struct hbone_request *request)
{
    struct hbone_stream *stream = hbone_stream_new(session, id);
    stream->has_remote_end = end_stream; /* so that an answer need not reset what has ended */
    session->requested = stream;
    session->events->on_request(session, stream, request);
    if (session->is_freed || session->requested == NULL) {
        return;
    }
    session->requested = NULL;
    if (!stream->is_attached) {
        hbone_stream_release(stream);
        return;
    }
    stream = hbone_stream_find(session, id);
    if (stream != NULL && end_stream) {
        hbone_stream_raise_end(session, stream);
    }
}

static void handle_request(struct hbone_session *session, const struct hbone_block_state *state)
{
    struct hbone_request request;
    const char *reason;
    if (session->drain == HBONE_DRAIN_FINAL || session->stream_count >= session->settings.concurrent_streams_maximum) {
        refuse(session, state->stream_id, HBONE_REFUSED_STREAM);
    } else if (state->block->is_oversize) {
        answer_oversize(session, state->stream_id, state->end_stream);
    } else if (!hbone_header_block_request(state->block, &request, &reason)) {
        refuse(session, state->stream_id, HBONE_PROTOCOL_ERROR);
    } else {
        raise_request(session, state->stream_id, state->end_stream, &request);
    }
}

static void violate(struct hbone_session *session, uint32_t id, const char *reason)
{
    hbone_stream_violation(session, id, HBONE_PROTOCOL_ERROR, reason);
}

static void handle_final_response(struct hbone_session *session, struct hbone_stream *stream, int status,
    const struct hbone_headers *headers, bool end_stream)
{
    uint32_t id = stream->id;
    stream->has_response = true;
    session->unanswered_count--;
    if (stream->events != NULL) {
        stream->events->on_response(stream, status, headers);
    }
    stream = session->is_freed ? NULL : hbone_stream_find(session, id);
    if (stream != NULL && end_stream) {
        hbone_stream_raise_end(session, stream);
    }
}

static void handle_response(
    struct hbone_session *session, struct hbone_stream *stream, const struct hbone_block_state *state)
{
    struct hbone_headers headers;
    const char *reason;
    int status;
    if (state->block->is_oversize) {
        violate(session, stream->id, "the response's fields are over the limit");
    } else if (!hbone_header_block_response(state->block, &status, &headers, &reason)) {
        violate(session, stream->id, reason);
    } else if (status == 101 || (status < 200 && state->end_stream)) {
        violate(session, stream->id, "the informational response is none that RFC 9113 allows");
    } else if (status < 200) {
        (void)hbone_session_spend(session, 1, "informational response");
    } else {
        handle_final_response(session, stream, status, &headers, state->end_stream);
    }
}

static void handle_block(struct hbone_session *session, const struct hbone_block_state *state)
{
    if (state->is_request) {
        handle_request(session, state);
        return;
    }
    struct hbone_stream *stream = hbone_stream_find(session, state->stream_id);
    if (stream == NULL) {
        (void)hbone_session_spend(session, 1, "HEADERS on a closed stream");
    } else if (stream->has_remote_end) {
        hbone_stream_violation(session, stream->id, HBONE_STREAM_CLOSED, "the peer sent HEADERS after END_STREAM");
    } else if (session->role == HBONE_SERVER || stream->has_response) {
        /* RFC 9113 §8.5: only DATA and stream management on a connected stream. */
        violate(session, stream->id, "the peer sent HEADERS on a connected stream");
    } else {
        handle_response(session, stream, state);
    }
}

void hbone_exchange_end(struct hbone_session *session)
{
    static const struct bytes nothing = { NULL, 0 };
    if (!session->block.is_skipped && !decode(session, nothing, true)) {
        return;
    }
    /* The block is done before its events come: they may end the session. */
    struct hbone_block_state state = session->block;
    session->block = (struct hbone_block_state){ 0 };
    handle_block(session, &state);
    hbone_header_block_free(state.block);
}
