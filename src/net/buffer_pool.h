/* A worker's buffers: fixed sizes, borrowed while bytes are in flight, given back when they are gone. For one thread.
 *
 * There is one large receive buffer per pool that is lent for the duration of a callback (worker-owned reads), and
 * blocks of BUFFER_BLOCK_BYTES for what must outlive it. Freed blocks are kept up to a small stock and returned to the
 * system beyond it. */
#ifndef AMBAR_NET_BUFFER_POOL_H
#define AMBAR_NET_BUFFER_POOL_H

#include <stddef.h>
#include <stdint.h>

#define BUFFER_BLOCK_BYTES (17 * 1024) /* one TLS record with header, inner type and tag, and its bookkeeping */
#define BUFFER_SHARED_BYTES (512 * 1024)

struct buffer_pool;
struct pipe_pool;

struct buffer_pool *buffer_pool_new(void);
void buffer_pool_free(struct buffer_pool *pool);

/* The shared buffer of BUFFER_SHARED_BYTES: contents last until control returns to the loop or somebody else uses it. */
uint8_t *buffer_pool_shared(struct buffer_pool *pool);
/* A second one, for the plaintext of an engine that cannot open in place. */
uint8_t *buffer_pool_shared_second(struct buffer_pool *pool);

/* The worker's pipes, made at first use. */
struct pipe_pool *buffer_pool_pipes(struct buffer_pool *pool);

void *buffer_pool_take(struct buffer_pool *pool); /* one block of BUFFER_BLOCK_BYTES, contents undefined */
void buffer_pool_give(struct buffer_pool *pool, void *block);

/* Bytes in blocks lent out now, and held in stock. */
size_t buffer_pool_lent_bytes(const struct buffer_pool *pool);
size_t buffer_pool_stock_bytes(const struct buffer_pool *pool);
/* Returns the stock and the shared buffers' pages to the system (end of a peak, memory pressure); their contents are lost. */
void buffer_pool_trim(struct buffer_pool *pool);
/* Returns the blocks and pipes that stayed in the stock ever since the last call. To be called once every few seconds. */
void buffer_pool_release_unused(struct buffer_pool *pool);

#endif
