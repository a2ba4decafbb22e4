#include "http/hbone_internal.h"

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
        list_append(&batch->touched, &stream->batch_link);
    } else {
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

void hbone_batch_deliver(struct hbone_session *session)
{
    struct hbone_batch *batch = session->batch;
    while (!list_is_empty(&batch->touched)) {
        hbone_batch_deliver_stream(session, LIST_ENTRY(batch->touched.next, struct hbone_stream, batch_link));
    }
    batch->count = 0;
}
