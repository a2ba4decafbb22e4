#include "net/buffer_pool.h"

#include "base/memory.h"
#include "net/pipe_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#define STOCK_BLOCKS_MAXIMUM 256

/* A block in the stock; the link lives in the block itself. */
struct stock_block {
    struct stock_block *next;
};

struct buffer_pool {
    struct stock_block *stock; /* last given first: the one still in the cache */
    size_t stock_count;
    size_t least_stock_count; /* since the last buffer_pool_release_unused */
    size_t lent_count;
    uint8_t *shared;
    uint8_t *shared_second;
    struct pipe_pool *pipes;
};

/* Pages straight from the kernel: what is given back leaves the process at once, however fragmented the heap is. */
static void *map_pages(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        (void)fprintf(stderr, "out of memory: %zu bytes for a buffer\n", size);
        abort();
    }
    return pages;
}

static void unmap_pages(void *pages, size_t size)
{
    if (pages != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(pages, size);
        (void)munmap(pages, size);
    }
}

/* The address stays, the pages go. */
static void empty_shared_buffer(uint8_t *buffer)
{
    if (buffer != NULL) {
        (void)madvise(buffer, BUFFER_SHARED_BYTES, MADV_DONTNEED);
    }
}

struct buffer_pool *buffer_pool_new(void)
{
    return NEW_LINES(struct buffer_pool);
}

void buffer_pool_free(struct buffer_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    buffer_pool_trim(pool);
    pipe_pool_free(pool->pipes);
    unmap_pages(pool->shared, BUFFER_SHARED_BYTES);
    unmap_pages(pool->shared_second, BUFFER_SHARED_BYTES);
    memory_free(pool);
}

static uint8_t *shared_buffer(uint8_t **buffer)
{
    if (*buffer == NULL) {
        *buffer = map_pages(BUFFER_SHARED_BYTES);
    }
    return *buffer;
}

uint8_t *buffer_pool_shared(struct buffer_pool *pool)
{
    return shared_buffer(&pool->shared);
}

uint8_t *buffer_pool_shared_second(struct buffer_pool *pool)
{
    return shared_buffer(&pool->shared_second);
}

struct pipe_pool *buffer_pool_pipes(struct buffer_pool *pool)
{
    if (pool->pipes == NULL) {
        pool->pipes = pipe_pool_new();
    }
    return pool->pipes;
}

static struct stock_block *take_from_stock(struct buffer_pool *pool)
{
    struct stock_block *block = pool->stock;
    ASAN_UNPOISON_MEMORY_REGION(block, BUFFER_BLOCK_BYTES);
    pool->stock = block->next;
    pool->stock_count--;
    if (pool->stock_count < pool->least_stock_count) {
        pool->least_stock_count = pool->stock_count;
    }
    return block;
}

void *buffer_pool_take(struct buffer_pool *pool)
{
    pool->lent_count++;
    return pool->stock != NULL ? (void *)take_from_stock(pool) : map_pages(BUFFER_BLOCK_BYTES);
}

void buffer_pool_give(struct buffer_pool *pool, void *block)
{
    if (block == NULL) {
        return;
    }
    pool->lent_count--;
    if (pool->stock_count == STOCK_BLOCKS_MAXIMUM) {
        unmap_pages(block, BUFFER_BLOCK_BYTES);
        return;
    }
    struct stock_block *given = block;
    given->next = pool->stock;
    pool->stock = given;
    pool->stock_count++;
    ASAN_POISON_MEMORY_REGION(given, BUFFER_BLOCK_BYTES);
}

size_t buffer_pool_lent_bytes(const struct buffer_pool *pool)
{
    return pool->lent_count * BUFFER_BLOCK_BYTES;
}

size_t buffer_pool_stock_bytes(const struct buffer_pool *pool)
{
    return pool->stock_count * BUFFER_BLOCK_BYTES;
}

void buffer_pool_trim(struct buffer_pool *pool)
{
    while (pool->stock != NULL) {
        unmap_pages(take_from_stock(pool), BUFFER_BLOCK_BYTES);
    }
    pool->least_stock_count = 0;
    empty_shared_buffer(pool->shared);
    empty_shared_buffer(pool->shared_second);
}

void buffer_pool_release_unused(struct buffer_pool *pool)
{
    for (size_t unused = pool->least_stock_count; unused > 0; unused--) {
        unmap_pages(take_from_stock(pool), BUFFER_BLOCK_BYTES);
    }
    pool->least_stock_count = pool->stock_count;
    if (pool->pipes != NULL) {
        pipe_pool_release_unused(pool->pipes);
    }
}
