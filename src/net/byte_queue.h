/* Bytes that a socket did not take yet, kept in blocks of the worker's pool in the order they came.
 *
 * An empty queue holds no block. The bound on its length is its owner's: flow-control windows for a stream, the size of one
 * read for a plain relay. For one thread. */
#ifndef AMBAR_NET_BYTE_QUEUE_H
#define AMBAR_NET_BYTE_QUEUE_H

#include "base/bytes.h"
#include "net/buffer_pool.h"

#include <stdbool.h>

struct byte_queue_block;

struct byte_queue {
    struct buffer_pool *pool;
    struct byte_queue_block *first;
    struct byte_queue_block *last;
    size_t length;
};

enum byte_queue_status {
    BYTE_QUEUE_EMPTY,  /* everything was written */
    BYTE_QUEUE_AGAIN,  /* the socket would block */
    BYTE_QUEUE_FAILED, /* errno says why */
};

static inline struct byte_queue byte_queue_of(struct buffer_pool *pool)
{
    return (struct byte_queue){ pool, 0, 0, 0 };
}

/* Copies the bytes to the end. */
void byte_queue_append(struct byte_queue *queue, struct bytes bytes);

/* Writes from the front until the queue is empty or the socket refuses; `*written` is what it took. */
enum byte_queue_status byte_queue_write(struct byte_queue *queue, int descriptor, size_t *written);

/* Writes `slices` directly where nothing is queued before them, and queues what the socket refuses. `*written` is what
 * it took, of the queue and of the slices. `ends_soon`: a FIN follows at once, and may share the last packet. */
enum byte_queue_status byte_queue_pass(
    struct byte_queue *queue, int descriptor, const struct bytes *slices, int count, bool ends_soon, size_t *written);

/* Forgets the contents and gives the blocks back. */
void byte_queue_clear(struct byte_queue *queue);

#endif
