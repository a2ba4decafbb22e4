#include "http/hbone_internal.h"

#include <stdio.h>

#define TABLE_SIZE_MINIMUM 8

/* Identifiers of one session come in steps of two, so their middle bits spread them evenly. */
static struct hbone_stream **bucket_of(const struct hbone_session *session, uint32_t id)
{
    return &session->table[(id >> 1) & (session->table_size - 1)];
}

static void put_into_table(struct hbone_session *session, struct hbone_stream *stream)
{
    struct hbone_stream **bucket = bucket_of(session, stream->id);
    stream->next_in_bucket = *bucket;
    *bucket = stream;
}

static void grow_table(struct hbone_session *session)
{
    struct hbone_stream **old = session->table;
    uint32_t old_size = session->table_size;
    session->table_size = old_size == 0 ? TABLE_SIZE_MINIMUM : old_size * 2;
    session->table = memory_allocate_zeroed(session->table_size, sizeof(struct hbone_stream *));
    for (uint32_t i = 0; i < old_size; i++) {
        while (old[i] != NULL) {
            struct hbone_stream *stream = old[i];
            old[i] = stream->next_in_bucket;
            put_into_table(session, stream);
        }
    }
    memory_free(old);
}

static void remove_from_table(struct hbone_session *session, struct hbone_stream *stream)
{
    struct hbone_stream **place = bucket_of(session, stream->id);
    while (*place != stream) {
        place = &(*place)->next_in_bucket;
    }
    *place = stream->next_in_bucket;
    if (--session->stream_count == 0) {
        memory_free(session->table);
        session->table = NULL;
        session->table_size = 0;
    }
}

struct hbone_stream *hbone_stream_find(const struct hbone_session *session, uint32_t id)
{
    if (session->table_size == 0) {
        return NULL;
    }
    struct hbone_stream *stream = *bucket_of(session, id);
    while (stream != NULL && stream->id != id) {
        stream = stream->next_in_bucket;
    }
    return stream;
}

struct hbone_stream *hbone_stream_new(struct hbone_session *session, uint32_t id)
{
    if (session->stream_count == session->table_size) {
        grow_table(session);
    }
    struct hbone_stream *stream = NEW(struct hbone_stream);
    stream->session = session;
    stream->id = id;
    stream->send_window = session->peer_initial_window;
    stream->receive_window = session->initial_window;
    stream->window_bytes = (uint32_t)session->initial_window;
    stream->opened_ns = stream->measured_since_ns = loop_now_ns(session->loop);
    stream->batch_first = stream->batch_last = -1;
    list_append(&session->streams, &stream->link);
    list_initialise(&stream->waiting_link);
    list_initialise(&stream->credit_link);
    list_initialise(&stream->batch_link);
    put_into_table(session, stream);
    session->stream_count++;
    session->streams_total++;
    return stream;
}

static void mark_answered(struct hbone_stream *stream)
{
    if (stream->session->role == HBONE_CLIENT && !stream->has_response) {
        stream->session->unanswered_count--;
    }
}

void hbone_stream_finish(struct hbone_stream *stream)
{
    struct hbone_session *session = stream->session;
    if (stream->is_over) {
        return;
    }
    mark_answered(stream);
    stream->is_over = true;
    list_remove(&stream->waiting_link);
    list_remove(&stream->credit_link);
    list_remove(&stream->batch_link);
    stream->batch_first = stream->batch_last = -1;
    if (session->input.stream == stream) {
        session->input.stream = NULL;
    }
    remove_from_table(session, stream);
    session->is_capacity_changed = true;
    hbone_output_schedule(session);
}

void hbone_stream_finish_if_both_ended(struct hbone_stream *stream)
{
    if (stream->has_local_end && stream->has_remote_end) {
        hbone_stream_finish(stream);
    }
}

static void free_stream(struct hbone_stream *stream)
{
    if (stream->session != NULL) {
        hbone_flow_unpin(stream, stream->uncredited_bytes);
        if (stream->session->requested == stream) {
            stream->session->requested = NULL;
        }
    }
    list_remove(&stream->link);
    memory_free(stream);
}

/* No tunnel any more: whatever the peer has done with the stream, it did not say so. */
static bool is_end_of_tunnel(enum hbone_reset_cause cause)
{
    return cause == HBONE_RESET_TUNNEL_LOST || cause == HBONE_RESET_TUNNEL_CLOSED;
}

void hbone_stream_raise_reset(
    struct hbone_stream *stream, enum hbone_reset_cause cause, uint32_t code, const char *reason)
{
    struct hbone_session *session = stream->session;
    struct hbone_reset reset = {
        .cause = cause,
        .code = code,
        .is_orderly = cause == HBONE_RESET_BY_PEER && code == HBONE_NO_ERROR && stream->has_remote_end,
        .is_retryable = session->role == HBONE_CLIENT && !stream->has_response &&
                        (cause == HBONE_RESET_REFUSED || (is_end_of_tunnel(cause) && !stream->has_early_data)),
        .is_before_settings = cause == HBONE_RESET_TUNNEL_LOST && session->liveness.settings_deadline_ns != 0,
        .reason = reason,
    };
    hbone_stream_finish(stream);
    if (!stream->is_attached) {
        free_stream(stream);
    } else if (stream->events != NULL && !session->is_freed) {
        stream->events->on_reset(stream, &reset);
    }
}

void hbone_stream_raise_end(struct hbone_session *session, struct hbone_stream *stream)
{
    uint32_t id = stream->id;
    stream->has_remote_end = true;
    list_remove(&stream->credit_link);
    if (stream->batch_first >= 0) {
        hbone_batch_deliver_stream(session, stream);
        if (hbone_stream_find(session, id) != stream) {
            return; /* released or reset by its owner */
        }
    }
    hbone_stream_finish_if_both_ended(stream);
    if (stream->events != NULL && !session->is_freed) {
        stream->events->on_end(stream);
    }
}

void hbone_stream_violation(struct hbone_session *session, uint32_t id, uint32_t code, const char *reason)
{
    hbone_frame_write_reset(hbone_output_control(session), id, code);
    struct hbone_stream *stream = hbone_stream_find(session, id);
    if (stream != NULL) {
        hbone_stream_raise_reset(stream, HBONE_RESET_BY_VIOLATION, code, reason);
    }
}

/* Events may release any stream: start over from the first that is not over until there is none. */
static struct hbone_stream *first_above(const struct hbone_session *session, uint32_t last_stream_id)
{
    LIST_FOR_EACH(link, &session->streams) {
        struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, link);
        if (!stream->is_over && stream->id > last_stream_id) {
            return stream;
        }
    }
    return NULL;
}

void hbone_streams_raise_lost(struct hbone_session *session, const char *reason)
{
    struct hbone_stream *stream;
    while (!session->is_freed && (stream = first_above(session, 0)) != NULL) {
        hbone_stream_raise_reset(stream, session->end_cause, HBONE_CANCEL, reason);
    }
}

void hbone_streams_refuse_above(struct hbone_session *session, uint32_t last_stream_id)
{
    struct hbone_stream *stream;
    while (!session->is_freed && (stream = first_above(session, last_stream_id)) != NULL) {
        hbone_stream_raise_reset(stream, HBONE_RESET_REFUSED, HBONE_REFUSED_STREAM,
            "the peer is going away and has not processed the stream");
    }
}

/* Each waiting stream at most once; those that cannot send yet keep their place. */
void hbone_streams_notify_writable(struct hbone_session *session)
{
    struct list candidates;
    list_initialise(&candidates);
    struct list *link;
    while ((link = list_take_first(&session->waiting)) != NULL) {
        list_append(&candidates, link);
    }
    while ((link = list_take_first(&candidates)) != NULL) {
        struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, waiting_link);
        bool can_send = !session->output.is_full && hbone_flow_sendable(stream) > 0;
        if (!can_send || session->is_freed) {
            list_append(&session->waiting, link);
        } else if (stream->events != NULL) {
            stream->events->on_writable(stream);
        }
    }
}

void hbone_streams_detach_all(struct hbone_session *session)
{
    struct list *link;
    while ((link = list_take_first(&session->streams)) != NULL) {
        struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, link);
        hbone_stream_finish(stream);
        hbone_flow_unpin(stream, stream->uncredited_bytes);
        stream->session = NULL;
        if (!stream->is_attached) {
            memory_free(stream);
        }
    }
}

uint64_t hbone_streams_oldest_unanswered_ns(const struct hbone_session *session)
{
    if (session->unanswered_count == 0) {
        return 0;
    }
    LIST_FOR_EACH(link, &session->streams) /* in order of birth */
    {
        const struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, link);
        if (!stream->is_over && !stream->has_response) {
            return stream->opened_ns;
        }
    }
    return 0;
}

void hbone_stream_attach(struct hbone_stream *stream, const struct hbone_stream_events *events, void *context)
{
    stream->events = events;
    stream->context = context;
    stream->is_attached = true;
}

void *hbone_stream_context(const struct hbone_stream *stream)
{
    return stream->context;
}

uint32_t hbone_stream_id(const struct hbone_stream *stream)
{
    return stream->id;
}

struct hbone_session *hbone_stream_session(const struct hbone_stream *stream)
{
    return stream->session;
}

bool hbone_stream_has_remote_end(const struct hbone_stream *stream)
{
    return stream->has_remote_end;
}

size_t hbone_stream_pinned_bytes(const struct hbone_stream *stream)
{
    return stream->uncredited_bytes;
}

bool hbone_stream_is_over(const struct hbone_stream *stream)
{
    return stream->is_over;
}

struct hbone_stream *hbone_session_connect(struct hbone_session *session, struct bytes authority,
    const struct hbone_field *fields, size_t count, const struct hbone_stream_events *events, void *context)
{
    if (hbone_session_capacity(session) == 0) {
        return NULL;
    }
    struct hbone_stream *stream = hbone_stream_new(session, session->next_stream_id);
    session->next_stream_id += 2;
    session->unanswered_count++;
    hbone_stream_attach(stream, events, context);
    struct hbone_field *all = memory_allocate_zeroed(count + 2, sizeof *all);
    all[0] = (struct hbone_field){ bytes_of_string(":method"), bytes_of_string("CONNECT") };
    all[1] = (struct hbone_field){ bytes_of_string(":authority"), authority };
    for (size_t i = 0; i < count; i++) {
        all[2 + i] = fields[i];
    }
    struct writer block = writer_growing();
    hbone_header_encode(&session->encoder, all, count + 2, &block);
    hbone_frame_write_headers(hbone_output_control(session), stream->id, writer_bytes(&block), false);
    writer_free(&block);
    memory_free(all);
    return stream;
}

void hbone_stream_respond(
    struct hbone_stream *stream, int status, const struct hbone_field *fields, size_t count, bool end)
{
    struct hbone_session *session = stream->session;
    if (stream->is_over || stream->has_response || session->role != HBONE_SERVER) {
        return;
    }
    char status_text[12];
    (void)snprintf(status_text, sizeof status_text, "%03d", status);
    struct hbone_field *all = memory_allocate_zeroed(count + 1, sizeof *all);
    all[0] = (struct hbone_field){ bytes_of_string(":status"), bytes_of_string(status_text) };
    for (size_t i = 0; i < count; i++) {
        all[1 + i] = fields[i];
    }
    struct writer block = writer_growing();
    hbone_header_encode(&session->encoder, all, count + 1, &block);
    struct writer *out = end ? hbone_output_control(session) : hbone_early_response_control(stream);
    hbone_frame_write_headers(out, stream->id, writer_bytes(&block), end);
    writer_free(&block);
    memory_free(all);
    stream->has_response = true;
    if (!end) {
        return;
    }
    stream->has_local_end = true;
    if (!stream->has_remote_end) {
        /* RFC 9113 §8.1: the request is not needed any further, and that is no error. */
        hbone_frame_write_reset(hbone_output_control(session), stream->id, HBONE_NO_ERROR);
    }
    hbone_stream_finish(stream);
}

static bool may_send(const struct hbone_stream *stream)
{
    return !stream->is_over && !stream->has_local_end && hbone_session_is_live(stream->session) &&
           (stream->session->role == HBONE_CLIENT || stream->has_response);
}

static int owe_writable(struct hbone_stream *stream)
{
    if (list_is_empty(&stream->waiting_link)) {
        list_append(&stream->session->waiting, &stream->waiting_link);
    }
    hbone_output_schedule(stream->session); /* it asks for EPOLLOUT, or finds that the socket has failed */
    return 0;
}

/* The first hole lies behind what the turn's open record already holds, the others in records of their own. */
static int make_holes(struct hbone_session *session, struct iovec *holes, int count, size_t bytes_maximum)
{
    struct hbone_output *output = &session->output;
    size_t bytes = 0;
    int made = 0;
    while (made < count && bytes < bytes_maximum) {
        const struct iovec *slot = &output->slots[output->slot_index + made];
        size_t offset = (made == 0 ? output->slot_used : 0) + HBONE_FRAME_HEADER_BYTES;
        if (slot->iov_len <= offset) {
            break; /* an engine's short slot: what is behind it waits for the next reserve */
        }
        size_t length = slot->iov_len - offset;
        length = length < bytes_maximum - bytes ? length : bytes_maximum - bytes;
        holes[made++] = (struct iovec){ (uint8_t *)slot->iov_base + offset, length };
        bytes += length;
    }
    output->reserved_count = made;
    output->reserved_bytes_maximum = bytes;
    return made;
}

int hbone_stream_reserve(struct hbone_stream *stream, struct iovec *holes, int count)
{
    struct hbone_session *session = stream->session;
    if (session == NULL || !may_send(stream) || count <= 0) {
        return 0;
    }
    size_t sendable = hbone_flow_sendable(stream);
    if (sendable == 0 || !hbone_output_move_control(session)) {
        return owe_writable(stream);
    }
    size_t useful = (sendable + HBONE_HOLE_BYTES - 1) / HBONE_HOLE_BYTES;
    count = count < HBONE_HOLES_MAXIMUM ? count : HBONE_HOLES_MAXIMUM;
    count = useful < (size_t)count ? (int)useful : count;
    int lent = hbone_output_lend(session, count);
    if (lent == 0) {
        return owe_writable(stream);
    }
    session->output.reserved_by = stream;
    return make_holes(session, holes, lent, sendable);
}

void hbone_stream_commit(struct hbone_stream *stream, size_t bytes)
{
    struct hbone_session *session = stream->session;
    if (session == NULL || session->output.reserved_by != stream) {
        return;
    }
    struct hbone_output *output = &session->output;
    output->reserved_by = NULL;
    size_t left = bytes < output->reserved_bytes_maximum ? bytes : output->reserved_bytes_maximum;
    hbone_flow_sent(stream, left);
    stream->has_early_data = stream->has_early_data || (left > 0 && !stream->has_response);
    while (left > 0) {
        struct iovec *slot = &output->slots[output->slot_index];
        size_t room = slot->iov_len - output->slot_used - HBONE_FRAME_HEADER_BYTES;
        size_t length = left < room ? left : room;
        hbone_frame_put((uint8_t *)slot->iov_base + output->slot_used,
            (struct hbone_frame){ .length = (uint32_t)length, .type = HBONE_FRAME_DATA, .stream_id = stream->id });
        output->slot_used += HBONE_FRAME_HEADER_BYTES + length;
        left -= length;
        if (length == room) {
            hbone_output_advance(session);
        }
    }
    hbone_output_schedule(session);
}

size_t hbone_stream_write(struct hbone_stream *stream, const void *data, size_t length)
{
    struct bytes left = bytes_of(data, length);
    while (left.length > 0) {
        struct iovec holes[HBONE_HOLES_MAXIMUM];
        int wanted = (int)(left.length / HBONE_HOLE_BYTES) + 1;
        int count = hbone_stream_reserve(stream, holes, wanted);
        if (count == 0) {
            break;
        }
        size_t copied = 0;
        for (int i = 0; i < count && copied < left.length; i++) {
            size_t piece = left.length - copied < holes[i].iov_len ? left.length - copied : holes[i].iov_len;
            memcpy(holes[i].iov_base, left.data + copied, piece);
            copied += piece;
        }
        hbone_stream_commit(stream, copied);
        left = bytes_of(left.data + copied, left.length - copied);
    }
    return length - left.length;
}

void hbone_stream_end(struct hbone_stream *stream)
{
    if (stream->session == NULL || !may_send(stream)) {
        return;
    }
    hbone_frame_write_end(hbone_output_control(stream->session), stream->id);
    stream->has_local_end = true;
    list_remove(&stream->waiting_link);
    hbone_stream_finish_if_both_ended(stream);
}

void hbone_stream_reset(struct hbone_stream *stream, uint32_t code)
{
    if (stream->session == NULL || stream->is_over) {
        return;
    }
    if (hbone_session_is_live(stream->session)) {
        hbone_frame_write_reset(hbone_output_control(stream->session), stream->id, code);
    }
    hbone_stream_finish(stream);
}

void hbone_stream_release(struct hbone_stream *stream)
{
    if (stream->session != NULL) {
        bool has_said_all = stream->session->role == HBONE_SERVER && stream->has_local_end;
        hbone_stream_reset(stream, has_said_all ? HBONE_NO_ERROR : HBONE_CANCEL);
    }
    free_stream(stream);
}
