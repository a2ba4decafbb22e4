#include "http/hbone_internal.h"

#define SMALL_SLICE_BYTES (8 * 1024)

static void take_out(struct hbone_stream *stream)
{
    list_remove(&stream->batch_link);
    stream->batch_first = stream->batch_last = -1;
}

void hbone_batch_add(struct hbone_session *session, struct hbone_stream *stream, struct bytes slice)
{
    struct hbone_batch *batch = session->batch;
    if (batch->count == HBONE_BATCH_ENTRIES) {
        uint32_t id = stream->id;
        hbone_batch_deliver(session);
        if (hbone_stream_find(session, id) != stream) {
            return; /* released or reset meanwhile: nobody wants the rest */
        }
    }
    int16_t index = (int16_t)batch->count++;
    batch->entries[index] = (struct hbone_batch_entry){ slice, -1 };
    if (stream->batch_first < 0) {
        stream->batch_first = index;
        list_append(slice.length <= SMALL_SLICE_BYTES ? &batch->small : &batch->large, &stream->batch_link);
    } else {
        if (stream->batch_first == stream->batch_last) { /* more than one slice is not small */
            list_remove(&stream->batch_link);
            list_append(&batch->large, &stream->batch_link);
        }
        batch->entries[stream->batch_last].next = index;
    }
    stream->batch_last = index;
}

void hbone_batch_deliver_stream(struct hbone_session *session, struct hbone_stream *stream)
{
    struct bytes slices[HBONE_BATCH_ENTRIES] HBONE_UNINITIALISED;
    int count = 0;
    for (int index = stream->batch_first; index >= 0; index = session->batch->entries[index].next) {
        slices[count++] = session->batch->entries[index].slice;
    }
    take_out(stream);
    if (count > 0 && stream->events != NULL && !session->is_freed) {
        stream->events->on_data(stream, slices, count);
    }
}

static void deliver_list(struct hbone_session *session, struct list *streams)
{
    while (!list_is_empty(streams)) {
        hbone_batch_deliver_stream(session, LIST_ENTRY(streams->next, struct hbone_stream, batch_link));
    }
}

/* Small messages do not wait for the bulk they came with. */
void hbone_batch_deliver(struct hbone_session *session)
{
    deliver_list(session, &session->batch->small);
    deliver_list(session, &session->batch->large);
    session->batch->count = 0;
}
