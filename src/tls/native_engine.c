#include "tls/native_layer.h"

#include "base/memory.h"
#include "net/buffer_pool.h"
#include "tls/alert.h"

#include <errno.h>

#define ALERT_LEVEL_WARNING 1

_Static_assert(RECORD_SLOT_BYTES + RECORD_OVERHEAD_BYTES == 16 * 1024, "a record fills whole pages");
_Static_assert(RECORD_PLAINTEXT_MAXIMUM + RECORD_OVERHEAD_BYTES <= BUFFER_BLOCK_BYTES, "a block holds a record");

static struct native_layer *layer_of(struct record_layer *layer)
{
    return CONTAINER_OF(layer, struct native_layer, base);
}

/* The base is the first member. */
static const struct native_layer *layer_of_const(const struct record_layer *layer)
{
    return (const void *)layer;
}

static void native_free(struct record_layer *base)
{
    struct native_layer *layer = layer_of(base);
    record_protection_free(layer->sealing);
    record_protection_free(layer->opening);
    send_queue_clear(&layer->queue);
    record_input_clear(&layer->input);
    memory_free(layer->failure);
    memory_free(layer);
}

/* Slots begin behind the room for the record's header; type and tag have theirs behind them. */
static int native_reserve(struct record_layer *base, struct iovec *slots, int count)
{
    struct native_layer *layer = layer_of(base);
    if (layer->is_closing || layer->output_end != RECORD_OK) {
        return 0;
    }
    int lent = send_queue_reserve(&layer->queue, slots, count, layer->slot_bytes);
    for (int i = 0; i < lent; i++) {
        slots[i].iov_base = (uint8_t *)slots[i].iov_base + RECORD_HEADER_BYTES;
    }
    return lent;
}

/* Before the next record, where one is owed or due. */
static bool prepare_key(struct native_layer *layer)
{
    bool is_due = record_protection_sequence(layer->sealing) >= layer->records_before_key_update;
    return !(layer->owes_key_update || is_due) || native_layer_send_key_update(layer, false);
}

/* Behind the last record queued when there is room, else where it lies. */
static bool seal(struct native_layer *layer, uint8_t *block, size_t length)
{
    if (!prepare_key(layer)) {
        buffer_pool_give(layer->base.pool, block);
        return false;
    }
    uint8_t *plaintext = block + RECORD_HEADER_BYTES;
    uint8_t *behind = send_queue_tail(&layer->queue, length + RECORD_OVERHEAD_BYTES);
    size_t sealed = record_protection_seal(
        layer->sealing, RECORD_APPLICATION_DATA, plaintext, length, behind == NULL ? block : behind);
    if (behind == NULL && sealed > 0) {
        send_queue_append(&layer->queue, block, sealed);
        return true;
    }
    send_queue_extend(&layer->queue, sealed);
    buffer_pool_give(layer->base.pool, block);
    return sealed > 0;
}

static void native_commit(struct record_layer *base, int index, size_t length)
{
    struct native_layer *layer = layer_of(base);
    uint8_t *block = send_queue_take_slot(&layer->queue, index);
    if (length == 0 || layer->output_end != RECORD_OK) {
        buffer_pool_give(base->pool, block);
    } else if (!seal(layer, block, length)) {
        native_layer_fail(layer, RECORD_PROBLEM_INTERNAL, "a record could not be sealed");
    }
}

static void lose(struct native_layer *layer, int error_number)
{
    if (layer->failure == NULL) {
        record_note_problem(&layer->base, RECORD_PROBLEM_LOST);
        layer->failure = string_format("connection lost: %s (os error %d)", strerror(error_number), error_number);
    }
}

static enum record_status native_flush(struct record_layer *base)
{
    struct native_layer *layer = layer_of(base);
    if (layer->output_end != RECORD_OK) {
        return layer->output_end;
    }
    int error = send_queue_flush(&layer->queue, base->descriptor);
    if (error == 0 && layer->owes_key_update && !layer->is_closing) {
        /* Answered when the answers before it are gone: a peer that asks and does not read gets one (RFC 8446 §4.6.3). */
        (void)native_layer_send_key_update(layer, false);
        error = send_queue_flush(&layer->queue, base->descriptor);
    }
    if (error == 0) {
        return RECORD_OK;
    }
    if (error == -EAGAIN) {
        return RECORD_AGAIN;
    }
    lose(layer, -error);
    return layer->output_end = RECORD_TRUNCATED;
}

static size_t native_unsent_bytes(const struct record_layer *base)
{
    return layer_of_const(base)->queue.unsent_bytes;
}

static void native_close(struct record_layer *base)
{
    struct native_layer *layer = layer_of(base);
    send_queue_return_slots(&layer->queue);
    if (!layer->is_closing && layer->output_end == RECORD_OK) {
        (void)native_layer_send_alert(layer, ALERT_LEVEL_WARNING, TLS_ALERT_CLOSE_NOTIFY);
        layer->is_closing = true;
    }
}

static struct result native_key_update(struct record_layer *base, bool request_peer)
{
    struct native_layer *layer = layer_of(base);
    if (layer->is_closing || layer->output_end != RECORD_OK) {
        return result_fail(RESULT_UNAVAILABLE, "no key update on a closed connection");
    }
    if (!native_layer_send_key_update(layer, request_peer)) {
        return result_fail(RESULT_LIMIT, "no key update while so much waits to be sent");
    }
    return result_ok();
}

/* What the socket said, once its bytes are opened. */
static void note_end(struct native_layer *layer, ssize_t got)
{
    if (layer->input_end != RECORD_OK || got > 0 || got == -EAGAIN) {
        return;
    }
    layer->input_end = RECORD_TRUNCATED;
    if (got < 0) {
        lose(layer, (int)-got);
    } else if (layer->failure == NULL) {
        record_note_problem(&layer->base, RECORD_PROBLEM_TRUNCATED);
        layer->failure = string_duplicate(RECORD_TRUNCATED_SENTENCE);
    }
}

static enum record_status end_of_input(struct native_layer *layer)
{
    if (layer->input_end == RECORD_OK) {
        return RECORD_AGAIN;
    }
    layer->is_end_told = true;
    return layer->input_end;
}

static enum record_status native_receive(
    struct record_layer *base, size_t budget, struct bytes *runs, int capacity, int *count)
{
    struct native_layer *layer = layer_of(base);
    *count = 0;
    if (layer->input_end != RECORD_OK || capacity < 1) {
        return end_of_input(layer);
    }
    ssize_t got = record_input_fill(&layer->input, base->descriptor, budget);
    *count = native_layer_open_records(layer, runs, capacity);
    (void)record_input_close(&layer->input); /* more than a block is left only behind an end */
    note_end(layer, got);
    if (layer->owes_key_update && layer->queue.unsent_bytes == 0 && layer->output_end == RECORD_OK &&
        !layer->is_closing) {
        (void)native_layer_send_key_update(layer, false);
    }
    return *count > 0 ? RECORD_OK : end_of_input(layer);
}

static bool native_has_buffered_input(const struct record_layer *base)
{
    const struct native_layer *layer = layer_of_const(base);
    if (layer->input_end != RECORD_OK) {
        return !layer->is_end_told;
    }
    return record_input_has_record(&layer->input);
}

static struct result native_export_state(struct record_layer *base, struct writer *state)
{
    return native_layer_export(layer_of(base), state);
}

static const char *native_failure(const struct record_layer *base)
{
    const struct native_layer *layer = layer_of_const(base);
    return layer->failure == NULL ? "no failure" : layer->failure;
}

static const struct record_engine native_engine = {
    .name = "native",
    .free = native_free,
    .reserve = native_reserve,
    .commit = native_commit,
    .flush = native_flush,
    .unsent_bytes = native_unsent_bytes,
    .receive = native_receive,
    .has_buffered_input = native_has_buffered_input,
    .close = native_close,
    .key_update = native_key_update,
    .export_state = native_export_state,
    .failure = native_failure,
};

struct native_layer *native_layer_bare(struct buffer_pool *pool, int descriptor)
{
    struct native_layer *layer = NEW(struct native_layer);
    layer->base = (struct record_layer){ .engine = &native_engine, .pool = pool, .descriptor = descriptor };
    layer->slot_bytes = RECORD_SLOT_BYTES;
    layer->records_before_key_update = RECORDS_BEFORE_KEY_UPDATE;
    send_queue_initialise(&layer->queue, pool);
    record_input_initialise(&layer->input, pool);
    layer->input.is_opened_in_place = true;
    return layer;
}

struct native_layer *native_layer_new(const struct native_start *start, struct buffer_pool *pool, int descriptor)
{
    struct native_layer *layer = native_layer_bare(pool, descriptor);
    layer->sealing = record_protection_new(start->cipher, start->suite, start->sealing_secret, 0);
    layer->opening = record_protection_new(start->cipher, start->suite, start->opening_secret, 0);
    layer->post_handshake.is_server = start->is_server;
    layer->slot_bytes = start->slot_bytes;
    return layer;
}
