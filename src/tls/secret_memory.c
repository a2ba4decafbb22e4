#include "tls/secret_memory.h"

#include "base/list.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)64 * 1024)
#define CHUNK_SLOTS ((CHUNK_BYTES - SECRET_SLOT_ALIGNMENT) / SECRET_SLOT_BYTES)

/* Pages at a multiple of their size, so that a slot's address leads to them. */
struct secret_chunk {
    struct list link;    /* in `chunks` while a slot is free */
    uint64_t free_slots; /* one bit a slot */
};

_Static_assert(sizeof(struct secret_chunk) <= SECRET_SLOT_ALIGNMENT, "slots begin behind the chunk's head");
_Static_assert(CHUNK_SLOTS < 64, "one bit a slot");
_Static_assert(SECRET_SLOT_BYTES % SECRET_SLOT_ALIGNMENT == 0, "no two slots share a cache line");

#define ALL_FREE ((UINT64_C(1) << CHUNK_SLOTS) - 1)

static struct {
    pthread_mutex_t mutex;
    struct list with_free_slots;
    size_t lent_count;
    bool is_refused_lock;
    bool is_watching_forks;
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER, .with_free_slots = { &pool.with_free_slots, &pool.with_free_slots } };

static uint8_t *map_aligned(void)
{
    uint8_t *pages =
        mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) {
        (void)fprintf(stderr, "out of memory: %zu bytes for keys\n", CHUNK_BYTES);
        abort();
    }
    size_t before = (CHUNK_BYTES - (uintptr_t)pages % CHUNK_BYTES) % CHUNK_BYTES;
    if (before > 0) {
        (void)munmap(pages, before);
    }
    (void)munmap(pages + before + CHUNK_BYTES, CHUNK_BYTES - before);
    return pages + before;
}

/* The pages are empty in a forked child (MADV_WIPEONFORK): it begins with none. */
static void forget_chunks(void)
{
    list_initialise(&pool.with_free_slots);
}

static struct secret_chunk *chunk_new(void)
{
    if (!pool.is_watching_forks) {
        pool.is_watching_forks = true;
        (void)pthread_atfork(NULL, NULL, forget_chunks);
    }
    uint8_t *pages = map_aligned();
    (void)madvise(pages, CHUNK_BYTES, MADV_DONTDUMP);
    (void)madvise(pages, CHUNK_BYTES, MADV_WIPEONFORK);
    /* A process without CAP_IPC_LOCK may lock little: then keys can be swapped, which is worth knowing and no reason to stop. */
    pool.is_refused_lock |= mlock2(pages, CHUNK_BYTES, MLOCK_ONFAULT) != 0;
    struct secret_chunk *chunk = (struct secret_chunk *)(void *)pages;
    chunk->free_slots = ALL_FREE;
    list_prepend(&pool.with_free_slots, &chunk->link);
    return chunk;
}

static uint8_t *slots_of(struct secret_chunk *chunk)
{
    return (uint8_t *)chunk + SECRET_SLOT_ALIGNMENT;
}

void *secret_memory_take(void)
{
    (void)pthread_mutex_lock(&pool.mutex);
    struct secret_chunk *chunk = list_is_empty(&pool.with_free_slots)
                                     ? chunk_new()
                                     : LIST_ENTRY(pool.with_free_slots.next, struct secret_chunk, link);
    int index = __builtin_ctzll(chunk->free_slots);
    chunk->free_slots &= ~(UINT64_C(1) << index);
    if (chunk->free_slots == 0) {
        list_remove(&chunk->link);
    }
    pool.lent_count++;
    (void)pthread_mutex_unlock(&pool.mutex);
    return slots_of(chunk) + (size_t)index * SECRET_SLOT_BYTES;
}

static bool is_only_chunk(const struct secret_chunk *chunk)
{
    return pool.with_free_slots.next == &chunk->link && pool.with_free_slots.previous == &chunk->link;
}

void secret_memory_give(void *slot)
{
    if (slot == NULL) {
        return;
    }
    memory_wipe(slot, SECRET_SLOT_BYTES);
    size_t offset = (uintptr_t)slot % CHUNK_BYTES;
    struct secret_chunk *chunk = (struct secret_chunk *)(void *)((uint8_t *)slot - offset);
    size_t index = (offset - SECRET_SLOT_ALIGNMENT) / SECRET_SLOT_BYTES;
    (void)pthread_mutex_lock(&pool.mutex);
    pool.lent_count--;
    if (chunk->free_slots == 0) {
        list_prepend(&pool.with_free_slots, &chunk->link);
    }
    chunk->free_slots |= UINT64_C(1) << index;
    if (chunk->free_slots == ALL_FREE && !is_only_chunk(chunk)) {
        list_remove(&chunk->link);
        (void)munmap(chunk, CHUNK_BYTES);
    }
    (void)pthread_mutex_unlock(&pool.mutex);
}

size_t secret_memory_lent_bytes(void)
{
    (void)pthread_mutex_lock(&pool.mutex);
    size_t lent = pool.lent_count * SECRET_SLOT_BYTES;
    (void)pthread_mutex_unlock(&pool.mutex);
    return lent;
}

bool secret_memory_is_locked(void)
{
    (void)pthread_mutex_lock(&pool.mutex);
    bool is_locked = !pool.is_refused_lock;
    (void)pthread_mutex_unlock(&pool.mutex);
    return is_locked;
}
