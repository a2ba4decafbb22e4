/* A native layer in bytes, for the process that takes the connection over. One version, one layout, both ends in this file. */
#include "tls/native_layer.h"

#include "base/cursor.h"
#include "base/memory.h"
#include "base/writer.h"
#include "net/buffer_pool.h"

#include <errno.h>

#define STATE_MAGIC 0x414d5253 /* "AMRS" */
#define STATE_VERSION 1
#define STATE_FIXED_MAXIMUM_BYTES 256
#define UNSENT_MAXIMUM_BYTES ((size_t)SEND_QUEUE_BLOCKS * BUFFER_BLOCK_BYTES)

#define FLAG_SERVER 1u
#define FLAG_CLOSING 2u
#define FLAG_OWES_KEY_UPDATE 4u
#define FLAG_INPUT_CLOSED 8u
#define FLAGS_KNOWN 15u

static uint8_t flags_of(const struct native_layer *layer)
{
    unsigned flags = (layer->post_handshake.is_server ? FLAG_SERVER : 0) | (layer->is_closing ? FLAG_CLOSING : 0) |
                     (layer->owes_key_update ? FLAG_OWES_KEY_UPDATE : 0) |
                     (layer->input_end == RECORD_CLOSED ? FLAG_INPUT_CLOSED : 0);
    return (uint8_t)flags;
}

static void write_direction(const struct record_protection *protection, struct writer *state)
{
    writer_add(
        state, record_protection_secret(protection), record_suite_secret_bytes(record_protection_suite(protection)));
    writer_add_u64(state, record_protection_sequence(protection));
}

static void write_unsent(const struct send_queue *queue, struct writer *state)
{
    writer_add_u32(state, (uint32_t)queue->unsent_bytes);
    for (size_t i = 0; i < queue->block_count; i++) {
        const struct send_block *block = &queue->contents->blocks[i];
        writer_add(state, block->memory + block->start, block->end - block->start);
    }
}

struct result native_layer_export(struct native_layer *layer, struct writer *state)
{
    bool can_go_on =
        layer->output_end == RECORD_OK && (layer->input_end == RECORD_OK || layer->input_end == RECORD_CLOSED);
    if (!can_go_on) {
        return result_fail(RESULT_UNAVAILABLE, "a connection that has failed cannot be handed over");
    }
    send_queue_return_slots(&layer->queue);
    /* At once: growing would leave copies of the secrets behind. */
    (void)writer_reserve(state, STATE_FIXED_MAXIMUM_BYTES + layer->queue.unsent_bytes + layer->input.kept_length);
    writer_add_u32(state, STATE_MAGIC);
    writer_add_u8(state, STATE_VERSION);
    writer_add_u8(state, flags_of(layer));
    writer_add_u16(state, (uint16_t)record_protection_suite(layer->sealing));
    writer_add_u16(state, layer->slot_bytes);
    writer_add_u32(state, layer->records_before_key_update);
    writer_add_u8(state, layer->records_in_vain);
    writer_add_u8(state, layer->post_handshake.header_length);
    writer_add(state, layer->post_handshake.header, HANDSHAKE_HEADER_BYTES);
    writer_add_u32(state, layer->post_handshake.left);
    write_direction(layer->sealing, state);
    write_direction(layer->opening, state);
    write_unsent(&layer->queue, state);
    writer_add_u32(state, (uint32_t)layer->input.kept_length);
    writer_add(state, layer->input.kept, layer->input.kept_length);
    record_protection_free(layer->sealing);
    record_protection_free(layer->opening);
    layer->sealing = layer->opening = NULL;
    send_queue_clear(&layer->queue);
    record_input_clear(&layer->input);
    layer->failure = string_duplicate("the connection was handed over to another process");
    layer->input_end = layer->output_end = RECORD_FAILED;
    return result_ok();
}

static struct record_protection *read_direction(
    struct cursor *cursor, const struct record_cipher *cipher, enum record_suite suite)
{
    struct bytes secret = cursor_take(cursor, record_suite_secret_bytes(suite));
    uint64_t sequence = cursor_u64(cursor);
    return cursor->has_failed ? NULL : record_protection_new(cipher, suite, secret.data, sequence);
}

static bool read_post_handshake(struct cursor *cursor, struct post_handshake *messages)
{
    messages->header_length = cursor_u8(cursor);
    struct bytes header = cursor_take(cursor, HANDSHAKE_HEADER_BYTES);
    messages->left = cursor_u32(cursor);
    if (cursor->has_failed || header.data == NULL || messages->header_length > HANDSHAKE_HEADER_BYTES) {
        return false;
    }
    memcpy(messages->header, header.data, HANDSHAKE_HEADER_BYTES);
    return true;
}

/* No more than the queue holds, which is said before anything is taken. */
static bool read_unsent(struct cursor *cursor, struct native_layer *layer)
{
    struct send_queue *queue = &layer->queue;
    size_t announced = cursor_u32(cursor);
    if (announced > UNSENT_MAXIMUM_BYTES) {
        layer->failure = string_format("%zu bytes unsent, at most %zu may wait", announced, UNSENT_MAXIMUM_BYTES);
        return false;
    }
    struct bytes unsent = cursor_take(cursor, announced);
    while (unsent.length > 0) {
        size_t length = unsent.length < BUFFER_BLOCK_BYTES ? unsent.length : BUFFER_BLOCK_BYTES;
        if (!send_queue_add(queue, bytes_of(unsent.data, length))) {
            return false;
        }
        unsent = bytes_of(unsent.data + length, unsent.length - length);
    }
    return !cursor->has_failed;
}

static bool read_kept(struct cursor *cursor, struct record_input *input)
{
    struct bytes kept = cursor_take(cursor, cursor_u32(cursor));
    if (cursor->has_failed || kept.length > BUFFER_BLOCK_BYTES) {
        return false;
    }
    if (kept.length > 0) {
        input->kept = buffer_pool_take(input->pool);
        memcpy(input->kept, kept.data, kept.length);
        input->kept_length = kept.length;
    }
    return true;
}

/* Where it fails, the layer's failure may say why. */
static bool read_rest(
    struct cursor *cursor, struct native_layer *layer, const struct record_cipher *cipher, enum record_suite suite)
{
    layer->slot_bytes = cursor_u16(cursor);
    layer->records_before_key_update = cursor_u32(cursor);
    layer->records_in_vain = cursor_u8(cursor);
    if (!read_post_handshake(cursor, &layer->post_handshake)) {
        return false;
    }
    layer->sealing = read_direction(cursor, cipher, suite);
    layer->opening = read_direction(cursor, cipher, suite);
    return read_unsent(cursor, layer) && read_kept(cursor, &layer->input) && cursor_is_at_end(cursor) &&
           layer->slot_bytes > 0 && layer->slot_bytes <= RECORD_PLAINTEXT_MAXIMUM &&
           layer->records_before_key_update > 0;
}

struct result native_layer_import(struct bytes state, const struct record_cipher *cipher, struct buffer_pool *pool,
    int descriptor, struct record_layer **layer)
{
    *layer = NULL;
    struct cursor cursor = cursor_of(state);
    uint32_t magic = cursor_u32(&cursor);
    uint8_t version = cursor_u8(&cursor);
    uint8_t flags = cursor_u8(&cursor);
    uint16_t suite = cursor_u16(&cursor);
    if (magic != STATE_MAGIC || version != STATE_VERSION) {
        return result_fail(
            RESULT_UNSUPPORTED, "the state of a connection: version %u, known is %d", version, STATE_VERSION);
    }
    if (!record_suite_is_known(suite) || (flags & ~FLAGS_KNOWN) != 0) {
        return result_fail(RESULT_UNSUPPORTED, "the state of a connection: suite 0x%04x, flags %u", suite, flags);
    }
    struct native_layer *made = native_layer_bare(pool, descriptor);
    made->post_handshake.is_server = (flags & FLAG_SERVER) != 0;
    made->is_closing = (flags & FLAG_CLOSING) != 0;
    made->owes_key_update = (flags & FLAG_OWES_KEY_UPDATE) != 0;
    made->input_end = (flags & FLAG_INPUT_CLOSED) != 0 ? RECORD_CLOSED : RECORD_OK;
    if (!read_rest(&cursor, made, cipher, (enum record_suite)suite)) {
        struct result refused = made->failure != NULL
                                    ? result_fail(RESULT_INVALID, "the state of a connection: %s", made->failure)
                                    : result_fail(RESULT_INVALID,
                                          "the state of a connection: its %zu bytes do not fit together", state.length);
        record_free(&made->base);
        return refused;
    }
    *layer = &made->base;
    return result_ok();
}
