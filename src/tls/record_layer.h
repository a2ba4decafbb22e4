/* The record layer: plaintext slots in, ciphertext out of the socket, and back. One small interface with engines behind it:
 * libssl always (reference and oracle), our own TLS 1.3 records (native_layer.h), and none for plain HTTP/2.
 *
 * A record layer exists after the handshake and owns the protected direction keys, not the socket. It never blocks. Memory for records
 * in flight comes from the worker's buffer_pool and is given back as soon as it is sent or delivered: an idle layer holds none.
 * Everything is called on the thread of its worker.
 *
 * Sending: record_reserve lends slots of plaintext memory in order; record_commit seals the first committed bytes of them;
 * record_flush writes what is sealed with as few system calls as the socket takes. Receiving: record_receive reads once
 * and lends runs of opened plaintext, valid until the next call on the same worker's pool.
 *
 * Reserved slots that were not committed go back with the next reserve, flush or close. The runs of receive live in the pool's
 * second shared buffer; the first one is free for the callee's own reads meanwhile. Receiving may leave bytes of the layer's own
 * to send (a key update): after it, flush when record_unsent_bytes is not 0. Once receive has ended in CLOSED, TRUNCATED or
 * FAILED it says so again. */
#ifndef AMBAR_TLS_RECORD_LAYER_H
#define AMBAR_TLS_RECORD_LAYER_H

#include "base/bytes.h"
#include "base/result.h"
#include "tls/record_problem.h"

#include <sys/uio.h>

#define RECORD_PLAINTEXT_MAXIMUM 16384 /* RFC 8446 §5.1 */
/* What engines put into a record of theirs: with header, type and tag 16 KiB, so that a read of so many KiB ends where a record does. */
#define RECORD_SLOT_BYTES (RECORD_PLAINTEXT_MAXIMUM - 22)

/* Far below the 2^24.5 records after which AES-GCM keys must be changed (RFC 8446 §5.5), also for peers that count to 2^24. */
#define RECORDS_BEFORE_KEY_UPDATE (1u << 23)

#define RECORD_TRUNCATED_SENTENCE "peer closed connection without sending TLS close_notify"

struct buffer_pool;
struct certificate_list;
struct record_layer;
struct writer;

enum record_status {
    RECORD_OK,        /* done; for receive: at least one run was delivered */
    RECORD_AGAIN,     /* the socket would block */
    RECORD_CLOSED,    /* the peer sent close_notify: an orderly end of its direction */
    RECORD_TRUNCATED, /* end of file without close_notify, or a reset: never a clean end */
    RECORD_FAILED,    /* a bad record or another TLS error; record_failure says which; the connection is dead */
};

/* What one engine provides. One const table per engine; tests run every case over each. */
struct record_engine {
    const char *name; /* "openssl", "native" */
    void (*free)(struct record_layer *layer);
    /* Up to `count` slots, each of at least 1 and at most RECORD_PLAINTEXT_MAXIMUM bytes, into `slots`; returns how many.
     * 0 when the bound on unsent bytes is reached: flush, and come back when the socket is writable. */
    int (*reserve)(struct record_layer *layer, struct iovec *slots, int count);
    /* Seals the first `length` bytes of slot number `index` of the last reserve; slots are committed in order, each at most
     * once; those left out are returned. A slot of length 0 is skipped. */
    void (*commit)(struct record_layer *layer, int index, size_t length);
    enum record_status (*flush)(struct record_layer *layer);
    size_t (*unsent_bytes)(const struct record_layer *layer);
    /* Reads at most `budget` bytes of ciphertext and lends up to `capacity` runs of plaintext (application data only; the
     * layer handles every other record itself). The runs stay valid until the next receive on this layer's pool. */
    enum record_status (*receive)(
        struct record_layer *layer, size_t budget, struct bytes *runs, int capacity, int *count);
    /* True when opened or buffered input is left although the socket may have nothing to read: call receive again. */
    bool (*has_buffered_input)(const struct record_layer *layer);
    /* Queues close_notify; flush sends it. Nothing may be committed afterwards. */
    void (*close)(struct record_layer *layer);
    /* Asks for a KeyUpdate of our sending direction, and of the peer's when `request_peer`. */
    struct result (*key_update)(struct record_layer *layer, bool request_peer);
    /* The state needed to go on in another process, appended to a growing writer; RESULT_UNSUPPORTED where an engine cannot. It holds
     * keys: free it with secret_writer_free. The layer's own keys are gone then; all that is left is to free it. */
    struct result (*export_state)(struct record_layer *layer, struct writer *state);
    /* The sentence behind RECORD_FAILED or RECORD_TRUNCATED; borrowed. */
    const char *(*failure)(const struct record_layer *layer);
};

/* What the owner of a connection counts. Called in the middle of the layer's work: it may not call the layer. */
struct record_observer {
    void (*on_problem)(void *context, enum record_problem problem); /* once */
    void (*on_key_update)(void *context);                           /* the keys of one direction were replaced */
};

struct record_layer {
    const struct record_engine *engine;
    struct buffer_pool *pool; /* the worker's */
    int descriptor;           /* borrowed: the owner of the connection closes it */
    /* The peer's verified chain, leaf first; NULL unless revocation is on (revocation.h). Owned; record_free releases it. */
    struct certificate_list *peer_chain;
    enum record_problem problem;            /* the first one; behind RECORD_FAILED and RECORD_TRUNCATED */
    const struct record_observer *observer; /* NULL: nobody counts */
    void *observer_context;
};

static inline int record_reserve(struct record_layer *layer, struct iovec *slots, int count)
{
    return layer->engine->reserve(layer, slots, count);
}
static inline void record_commit(struct record_layer *layer, int index, size_t length)
{
    layer->engine->commit(layer, index, length);
}
static inline enum record_status record_flush(struct record_layer *layer)
{
    return layer->engine->flush(layer);
}
static inline size_t record_unsent_bytes(const struct record_layer *layer)
{
    return layer->engine->unsent_bytes(layer);
}
static inline enum record_status record_receive(
    struct record_layer *layer, size_t budget, struct bytes *runs, int capacity, int *count)
{
    return layer->engine->receive(layer, budget, runs, capacity, count);
}
static inline bool record_has_buffered_input(const struct record_layer *layer)
{
    return layer->engine->has_buffered_input(layer);
}
static inline void record_close(struct record_layer *layer)
{
    layer->engine->close(layer);
}
static inline struct result record_key_update(struct record_layer *layer, bool request_peer)
{
    return layer->engine->key_update(layer, request_peer);
}
static inline struct result record_export_state(struct record_layer *layer, struct writer *state)
{
    return layer->engine->export_state(layer, state);
}
static inline const char *record_failure(const struct record_layer *layer)
{
    return layer->engine->failure(layer);
}
static inline void record_observe(struct record_layer *layer, const struct record_observer *observer, void *context)
{
    layer->observer = observer;
    layer->observer_context = context;
}
void record_layer_forget_peer(struct record_layer *layer); /* revocation.c */
static inline void record_free(struct record_layer *layer)
{
    if (layer != NULL) {
        record_layer_forget_peer(layer);
        layer->engine->free(layer);
    }
}

/* For engines. */
static inline void record_note_problem(struct record_layer *layer, enum record_problem problem)
{
    if (layer->problem != RECORD_PROBLEM_NONE) {
        return;
    }
    layer->problem = problem;
    if (layer->observer != NULL) {
        layer->observer->on_problem(layer->observer_context, problem);
    }
}
static inline void record_note_key_update(struct record_layer *layer)
{
    if (layer->observer != NULL) {
        layer->observer->on_key_update(layer->observer_context);
    }
}

#endif
