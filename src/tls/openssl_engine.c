#include "tls/openssl_layer.h"

#include "base/memory.h"
#include "net/buffer_pool.h"
#include "tls/openssl_error.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static struct openssl_layer *layer_of(struct record_layer *layer)
{
    return CONTAINER_OF(layer, struct openssl_layer, base);
}

/* The base is the first member. */
static const struct openssl_layer *layer_of_const(const struct record_layer *layer)
{
    return (const void *)layer;
}

static void engine_free(struct record_layer *base)
{
    openssl_layer_free(layer_of(base));
}

/* The connection is dead; the alert for it, if libssl queued one, leaves if it can. */
static enum record_status fail(struct openssl_layer *layer)
{
    openssl_layer_set_failure(layer);
    (void)send_queue_flush(&layer->queue, layer->base.descriptor);
    layer->input_end = layer->output_end = RECORD_FAILED;
    return RECORD_FAILED;
}

/* Key updates of ours leave before the next record, in a record of their own: the sealing of a slot must write that slot and
 * nothing else, because its block is overwritten with the result. */
static bool send_pending_key_update(struct openssl_layer *layer)
{
    int pending = SSL_get_key_update_type(layer->ssl);
    if (pending == SSL_KEY_UPDATE_NONE && !SSL_in_init(layer->ssl)) {
        return true;
    }
    if (!SSL_in_init(layer->ssl) && !SSL_key_update(layer->ssl, pending)) {
        return false;
    }
    if (SSL_do_handshake(layer->ssl) != 1) {
        openssl_layer_set_sentence(layer, "the peer left a handshake message unfinished while data had to be sent");
        return false;
    }
    layer->records_sealed = 0;
    record_note_key_update(&layer->base);
    return true;
}

static bool prepare_key(struct openssl_layer *layer)
{
    bool is_due = layer->records_before_key_update != 0 && layer->records_sealed >= layer->records_before_key_update;
    if (is_due && SSL_get_key_update_type(layer->ssl) == SSL_KEY_UPDATE_NONE &&
        !SSL_key_update(layer->ssl, SSL_KEY_UPDATE_NOT_REQUESTED)) {
        return false;
    }
    return send_pending_key_update(layer);
}

static int engine_reserve(struct record_layer *base, struct iovec *slots, int count)
{
    struct openssl_layer *layer = layer_of(base);
    if (layer->is_closing || layer->output_end != RECORD_OK) {
        return 0;
    }
    return send_queue_reserve(&layer->queue, slots, count, layer->slot_bytes);
}

/* libssl seals from the slot into its own buffer; the record then goes behind the last one queued if there is room, else into
 * the slot's block itself. A slot is one record (openssl_layer_established), so nothing of it is still needed by then. */
static bool seal(struct openssl_layer *layer, uint8_t *block, size_t length)
{
    ERR_clear_error();
    if (!prepare_key(layer)) {
        buffer_pool_give(layer->base.pool, block);
        return false;
    }
    size_t written = 0;
    layer->queue.spare = block;
    bool is_sealed = SSL_write_ex(layer->ssl, block, length, &written) == 1;
    buffer_pool_give(layer->base.pool, layer->queue.spare);
    layer->queue.spare = NULL;
    layer->records_sealed++;
    return is_sealed;
}

static void engine_commit(struct record_layer *base, int index, size_t length)
{
    struct openssl_layer *layer = layer_of(base);
    uint8_t *block = send_queue_take_slot(&layer->queue, index);
    if (length == 0 || layer->output_end != RECORD_OK) {
        buffer_pool_give(base->pool, block);
    } else if (!seal(layer, block, length)) {
        (void)fail(layer);
    }
}

static enum record_status engine_flush(struct record_layer *base)
{
    struct openssl_layer *layer = layer_of(base);
    if (layer->output_end != RECORD_OK) {
        return layer->output_end;
    }
    int error = send_queue_flush(&layer->queue, base->descriptor);
    if (error == -EAGAIN) {
        return RECORD_AGAIN;
    }
    if (error != 0) {
        openssl_layer_set_lost(layer, -error);
        return layer->output_end = RECORD_TRUNCATED;
    }
    (void)SSL_free_buffers(layer->ssl);
    return RECORD_OK;
}

static size_t engine_unsent_bytes(const struct record_layer *base)
{
    return layer_of_const(base)->queue.unsent_bytes;
}

static void engine_close(struct record_layer *base)
{
    struct openssl_layer *layer = layer_of(base);
    send_queue_return_slots(&layer->queue);
    if (layer->is_closing || layer->output_end != RECORD_OK) {
        return;
    }
    layer->is_closing = true;
    if (SSL_shutdown(layer->ssl) < 0) {
        ERR_clear_error();
    }
}

static struct result engine_key_update(struct record_layer *base, bool request_peer)
{
    struct openssl_layer *layer = layer_of(base);
    if (SSL_version(layer->ssl) != TLS1_3_VERSION) {
        return result_fail(RESULT_UNSUPPORTED, "TLS 1.2 has no key update");
    }
    if (layer->is_closing || layer->output_end != RECORD_OK) {
        return result_fail(RESULT_UNAVAILABLE, "no key update on a closed connection");
    }
    ERR_clear_error();
    int type = request_peer ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
    if (!SSL_key_update(layer->ssl, type) || !send_pending_key_update(layer)) {
        (void)fail(layer);
        return result_fail(RESULT_SYSTEM, "key update: %s", layer->failure);
    }
    return result_ok();
}

/* Asking libssl once more only to hear that there is nothing costs as much as opening a small record. */
static bool is_all_opened(const struct openssl_layer *layer)
{
    return record_input_is_at_end(&layer->input) && !SSL_has_pending(layer->ssl);
}

/* Opens what is complete, one record behind the other. Returns the plaintext bytes; sets input_end when it is the last. */
static size_t open_records(struct openssl_layer *layer, uint8_t *plaintext)
{
    size_t opened = 0;
    ERR_clear_error();
    for (;;) {
        size_t length = 0;
        if (SSL_read_ex(layer->ssl, plaintext + opened, BUFFER_SHARED_BYTES - opened, &length) == 1) {
            opened += length;
            if (is_all_opened(layer)) {
                return opened;
            }
            continue;
        }
        int error = SSL_get_error(layer->ssl, 0);
        if (error == SSL_ERROR_ZERO_RETURN) {
            layer->input_end = RECORD_CLOSED;
        } else if (error != SSL_ERROR_WANT_READ) {
            (void)fail(layer);
        }
        return opened;
    }
}

/* What the socket said, once its bytes are opened. */
static void note_end(struct openssl_layer *layer, ssize_t got)
{
    if (layer->input_end != RECORD_OK || got > 0 || got == -EAGAIN) {
        return;
    }
    layer->input_end = RECORD_TRUNCATED;
    if (got == 0) {
        record_note_problem(&layer->base, RECORD_PROBLEM_TRUNCATED);
        openssl_layer_set_sentence(layer, RECORD_TRUNCATED_SENTENCE);
    } else {
        openssl_layer_set_lost(layer, (int)-got);
    }
}

static enum record_status end_of_input(struct openssl_layer *layer)
{
    if (layer->input_end == RECORD_OK) {
        return RECORD_AGAIN;
    }
    layer->is_end_told = true;
    return layer->input_end;
}

static enum record_status engine_receive(
    struct record_layer *base, size_t budget, struct bytes *runs, int capacity, int *count)
{
    struct openssl_layer *layer = layer_of(base);
    *count = 0;
    if (layer->input_end != RECORD_OK || capacity < 1) {
        return end_of_input(layer);
    }
    ssize_t got = record_input_fill(&layer->input, base->descriptor, budget);
    uint8_t *plaintext = buffer_pool_shared_second(base->pool);
    size_t opened = open_records(layer, plaintext);
    (void)record_input_close(&layer->input); /* more than a block is left only behind an end */
    (void)SSL_free_buffers(layer->ssl);
    note_end(layer, got);
    if (opened > 0) {
        runs[0] = bytes_of(plaintext, opened);
        *count = 1;
        return RECORD_OK;
    }
    return end_of_input(layer);
}

static bool engine_has_buffered_input(const struct record_layer *base)
{
    const struct openssl_layer *layer = layer_of_const(base);
    if (layer->input_end != RECORD_OK) {
        return !layer->is_end_told;
    }
    return record_input_has_record(&layer->input);
}

static struct result engine_export_state(struct record_layer *base, struct writer *state)
{
    (void)base, (void)state;
    return result_fail(RESULT_UNSUPPORTED, "a connection of libssl cannot be handed to another process");
}

static const char *engine_failure(const struct record_layer *base)
{
    const struct openssl_layer *layer = layer_of_const(base);
    return layer->failure == NULL ? "no failure" : layer->failure;
}

static const struct record_engine openssl_engine = {
    .name = "openssl",
    .free = engine_free,
    .reserve = engine_reserve,
    .commit = engine_commit,
    .flush = engine_flush,
    .unsent_bytes = engine_unsent_bytes,
    .receive = engine_receive,
    .has_buffered_input = engine_has_buffered_input,
    .close = engine_close,
    .key_update = engine_key_update,
    .export_state = engine_export_state,
    .failure = engine_failure,
};

void openssl_layer_established(struct openssl_layer *layer)
{
    layer->base.engine = &openssl_engine;
    layer->verification = NULL;
    layer->records_before_key_update = SSL_version(layer->ssl) == TLS1_3_VERSION ? RECORDS_BEFORE_KEY_UPDATE : 0;
    /* A client may have asked for smaller records (RFC 6066 §4): a slot is one record in any case. */
    uint8_t smaller = SSL_SESSION_get_max_fragment_length(SSL_get0_session(layer->ssl));
    bool is_smaller = smaller >= TLSEXT_max_fragment_length_512 && smaller <= TLSEXT_max_fragment_length_4096;
    layer->slot_bytes = is_smaller ? (uint16_t)(512u << (smaller - 1)) : RECORD_SLOT_BYTES;
    (void)SSL_free_buffers(layer->ssl);
}
