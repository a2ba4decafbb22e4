#include "tls/plain_engine.h"

#include "base/memory.h"
#include "net/buffer_pool.h"
#include "tls/send_queue.h"

#include <errno.h>
#include <sys/socket.h>

#define GATHERED_MAXIMUM_BYTES 2048

struct plain_layer {
    struct record_layer base;
    struct send_queue queue;
    enum record_status input_end; /* RECORD_OK while it may go on */
    enum record_status output_end;
    bool is_closing; /* FIN after what is queued */
    bool is_closed;
    char *failure;
};

static struct plain_layer *plain_of(struct record_layer *layer)
{
    return CONTAINER_OF(layer, struct plain_layer, base);
}

/* The base is the first member. */
static const struct plain_layer *plain_of_const(const struct record_layer *layer)
{
    return (const void *)layer;
}

static enum record_status plain_lost(struct plain_layer *plain, int error_number)
{
    if (plain->failure == NULL) {
        record_note_problem(&plain->base, RECORD_PROBLEM_LOST);
        plain->failure = string_format("connection lost: %s (os error %d)", strerror(error_number), error_number);
    }
    return RECORD_TRUNCATED;
}

static void plain_free(struct record_layer *layer)
{
    struct plain_layer *plain = plain_of(layer);
    send_queue_clear(&plain->queue);
    memory_free(plain->failure);
    memory_free(plain);
}

static int plain_reserve(struct record_layer *layer, struct iovec *slots, int count)
{
    struct plain_layer *plain = plain_of(layer);
    return plain->is_closing ? 0 : send_queue_reserve(&plain->queue, slots, count, RECORD_PLAINTEXT_MAXIMUM);
}

/* Small pieces are gathered, large ones go as they lie. */
static void plain_commit(struct record_layer *layer, int index, size_t length)
{
    struct plain_layer *plain = plain_of(layer);
    uint8_t *block = send_queue_take_slot(&plain->queue, index);
    bool is_used_up = length == 0 || (length <= GATHERED_MAXIMUM_BYTES &&
                                         send_queue_add_to_last(&plain->queue, bytes_of(block, length)));
    if (is_used_up) {
        buffer_pool_give(layer->pool, block);
    } else {
        send_queue_append(&plain->queue, block, length);
    }
}

static enum record_status plain_flush(struct record_layer *layer)
{
    struct plain_layer *plain = plain_of(layer);
    if (plain->output_end != RECORD_OK) {
        return plain->output_end;
    }
    int error = send_queue_flush(&plain->queue, layer->descriptor);
    if (error == -EAGAIN) {
        return RECORD_AGAIN;
    }
    if (error != 0) {
        return plain->output_end = plain_lost(plain, -error);
    }
    if (plain->is_closing && !plain->is_closed) {
        plain->is_closed = true;
        (void)shutdown(layer->descriptor, SHUT_WR);
    }
    return RECORD_OK;
}

static size_t plain_unsent_bytes(const struct record_layer *layer)
{
    return plain_of_const(layer)->queue.unsent_bytes;
}

static enum record_status plain_receive(
    struct record_layer *layer, size_t budget, struct bytes *runs, int capacity, int *count)
{
    struct plain_layer *plain = plain_of(layer);
    *count = 0;
    if (plain->input_end != RECORD_OK || capacity < 1) {
        return plain->input_end != RECORD_OK ? plain->input_end : RECORD_AGAIN;
    }
    uint8_t *memory = buffer_pool_shared_second(layer->pool);
    ssize_t got;
    do {
        got = recv(layer->descriptor, memory, budget < BUFFER_SHARED_BYTES ? budget : BUFFER_SHARED_BYTES, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return RECORD_AGAIN;
    }
    if (got <= 0) {
        return plain->input_end = got == 0 ? RECORD_CLOSED : plain_lost(plain, errno);
    }
    runs[0] = bytes_of(memory, (size_t)got);
    *count = 1;
    return RECORD_OK;
}

static bool plain_has_buffered_input(const struct record_layer *layer)
{
    (void)layer;
    return false;
}

static void plain_close(struct record_layer *layer)
{
    struct plain_layer *plain = plain_of(layer);
    send_queue_return_slots(&plain->queue);
    plain->is_closing = true;
}

static struct result plain_key_update(struct record_layer *layer, bool request_peer)
{
    (void)layer, (void)request_peer;
    return result_ok();
}

static struct result plain_export_state(struct record_layer *layer, struct writer *state)
{
    (void)layer, (void)state;
    return result_fail(RESULT_UNSUPPORTED, "a record layer without encryption has no state to export");
}

static const char *plain_failure(const struct record_layer *layer)
{
    const struct plain_layer *plain = plain_of_const(layer);
    return plain->failure == NULL ? "no failure" : plain->failure;
}

static const struct record_engine plain_engine = {
    .name = "plain",
    .free = plain_free,
    .reserve = plain_reserve,
    .commit = plain_commit,
    .flush = plain_flush,
    .unsent_bytes = plain_unsent_bytes,
    .receive = plain_receive,
    .has_buffered_input = plain_has_buffered_input,
    .close = plain_close,
    .key_update = plain_key_update,
    .export_state = plain_export_state,
    .failure = plain_failure,
};

struct record_layer *plain_record_layer_new(struct buffer_pool *pool, int descriptor)
{
    struct plain_layer *plain = NEW(struct plain_layer);
    plain->base = (struct record_layer){ .engine = &plain_engine, .pool = pool, .descriptor = descriptor };
    send_queue_initialise(&plain->queue, pool);
    return &plain->base;
}
