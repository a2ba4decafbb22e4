#include "http/hbone_internal.h"

#include "base/memory.h"

#include <sys/epoll.h>

#define SMALL_HOLE_BYTES 4096 /* less is not worth a read of its own: the next record begins */

void hbone_output_schedule(struct hbone_session *session)
{
    loop_defer(session->loop, &session->turn_end);
}

void hbone_output_postpone(struct hbone_session *session)
{
    if (!list_is_empty(&session->turn_end.link)) {
        deferred_cancel(&session->turn_end);
        hbone_output_schedule(session);
    }
}

size_t hbone_output_unsent_bytes(const struct hbone_session *session)
{
    const struct hbone_output *output = &session->output;
    return record_unsent_bytes(session->layer) + output->control.length - output->control_moved + output->slot_used;
}

struct writer *hbone_output_control(struct hbone_session *session)
{
    hbone_output_schedule(session);
    return &session->output.control;
}

void hbone_output_advance(struct hbone_session *session)
{
    struct hbone_output *output = &session->output;
    if (output->slot_used > 0) {
        record_commit(session->layer, output->slot_index, output->slot_used);
    }
    output->slot_index++;
    output->slot_used = 0;
}

/* How much may wait to be sent goes by what a read may be. */
static int bounded_count(const struct hbone_session *session, int count)
{
    if (!loop_has_small_flows(session->loop)) {
        return count;
    }
    int waiting = (int)(record_unsent_bytes(session->layer) / RECORD_SLOT_BYTES);
    int room = waiting < HBONE_HOLES_MAXIMUM / 2 ? HBONE_HOLES_MAXIMUM / 2 - waiting : 0;
    return count < room ? count : room;
}

static int take_slots(struct hbone_session *session, int count)
{
    struct hbone_output *output = &session->output;
    if (output->slots == NULL) {
        output->slots = memory_allocate(HBONE_HOLES_MAXIMUM * sizeof *output->slots);
    }
    count = bounded_count(session, count);
    output->slot_count = record_reserve(session->layer, output->slots, count);
    output->slot_index = 0;
    output->slot_used = 0;
    return output->slot_count;
}

/* New slots; the bound on unsent bytes may be met by flushing early. */
static bool renew_slots(struct hbone_session *session, int count)
{
    struct hbone_output *output = &session->output;
    if (take_slots(session, count) > 0) {
        return true;
    }
    enum record_status status = record_flush(session->layer);
    output->has_failed = status != RECORD_OK && status != RECORD_AGAIN;
    if (!output->has_failed && take_slots(session, count) > 0) {
        return true;
    }
    output->is_full = true;
    output->unsent_when_full = record_unsent_bytes(session->layer);
    return false;
}

static size_t slot_room(const struct hbone_output *output)
{
    return output->slots[output->slot_index].iov_len - output->slot_used;
}

bool hbone_output_move_control(struct hbone_session *session)
{
    struct hbone_output *output = &session->output;
    size_t left;
    while ((left = output->control.length - output->control_moved) > 0) {
        if (output->slot_index == output->slot_count && !renew_slots(session, 1)) {
            return false;
        }
        struct iovec *slot = &output->slots[output->slot_index];
        size_t room = slot_room(output);
        size_t length = left < room ? left : room;
        memcpy((uint8_t *)slot->iov_base + output->slot_used, output->control.data + output->control_moved, length);
        output->control_moved += length;
        output->slot_used += length;
        if (length == room) {
            hbone_output_advance(session);
        }
    }
    writer_free(&output->control);
    output->control_moved = 0;
    return true;
}

int hbone_output_lend(struct hbone_session *session, int count)
{
    struct hbone_output *output = &session->output;
    if (output->slot_index < output->slot_count && output->slot_used > 0) {
        bool is_last = output->slot_index + 1 == output->slot_count;
        if (slot_room(output) < SMALL_HOLE_BYTES || (count > 1 && is_last)) {
            hbone_output_advance(session);
        }
    }
    while (output->slot_index < output->slot_count && slot_room(output) <= HBONE_FRAME_HEADER_BYTES) {
        hbone_output_advance(session);
    }
    if (output->slot_index == output->slot_count && !renew_slots(session, count)) {
        return 0;
    }
    int lent = output->slot_count - output->slot_index;
    return lent < count ? lent : count;
}

void hbone_output_seal(struct hbone_session *session)
{
    struct hbone_output *output = &session->output;
    if (output->slot_used > 0) {
        hbone_output_advance(session);
    }
    output->slot_count = output->slot_index = 0;
    memory_free(output->slots);
    output->slots = NULL;
}

static void flush_records(struct hbone_session *session)
{
    struct hbone_output *output = &session->output;
    size_t before = record_unsent_bytes(session->layer);
    enum record_status status = record_flush(session->layer);
    if (status != RECORD_OK && status != RECORD_AGAIN) {
        output->has_failed = true;
        return;
    }
    size_t after = record_unsent_bytes(session->layer);
    if (before > 0) {
        hbone_liveness_sent(session);
    }
    if (output->is_full && (after == 0 || after <= output->unsent_when_full / 2)) {
        output->is_full = false;
    }
}

static void compact_control(struct hbone_output *output)
{
    if (output->control_moved > 0) {
        output->control.length -= output->control_moved;
        memmove(output->control.data, output->control.data + output->control_moved, output->control.length);
        output->control_moved = 0;
    }
}

static bool has_waiting(const struct hbone_session *session)
{
    return !list_is_empty(&session->waiting);
}

/* Everything written in this turn, in as few records and writes as it takes. */
void hbone_output_flush(struct hbone_session *session)
{
    struct hbone_output *output = &session->output;
    bool was_full = output->is_full;
    bool is_all_moved = false;
    timer_disarm(&session->held);
    do {
        is_all_moved = hbone_output_move_control(session);
        hbone_output_seal(session);
        flush_records(session);
    } while (!is_all_moved && !output->has_failed && record_unsent_bytes(session->layer) == 0);
    compact_control(output);
    if (output->has_failed) {
        hbone_session_lose(session, "sending failed: %s", record_failure(session->layer));
        return;
    }
    bool has_unsent = record_unsent_bytes(session->layer) > 0;
    loop_watch_for(&session->watch, (session->is_input_over ? 0U : EPOLLIN) | (has_unsent ? EPOLLOUT : 0U));
    if (was_full && !output->is_full && has_waiting(session)) {
        /* Not from the end of the turn itself: a fast peer would hold the turn for ever. */
        loop_defer_bulk(session->loop, &session->bulk_notify);
    }
    if (output->control.length > HBONE_CONTROL_QUEUE_BYTES_MAXIMUM) {
        hbone_session_fail(session, HBONE_ENHANCE_YOUR_CALM, "the peer does not read the answers it asks for");
    }
}
