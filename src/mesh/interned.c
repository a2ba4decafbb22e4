#include "mesh/interned.h"

#include "base/hash_map.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>

#define BUCKETS_LEAST 64

static struct {
    pthread_mutex_t mutex;
    struct interned **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
} table = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* The count is the one part of an immutable object that changes. */
static struct interned *counted(const struct interned *part)
{
    return (struct interned *)(uintptr_t)part;
}

static const uint8_t *key_of(const struct interned *part)
{
    return (const uint8_t *)part->derived + part->derived_bytes;
}

static void resize(size_t bucket_count)
{
    struct interned **buckets = memory_allocate_zeroed(bucket_count, sizeof *buckets);
    for (size_t i = 0; i < table.bucket_count; i++) {
        for (struct interned *part = table.buckets[i], *next; part != NULL; part = next) {
            next = part->next;
            struct interned **bucket = &buckets[part->hash & (bucket_count - 1)];
            part->next = *bucket;
            *bucket = part;
        }
    }
    memory_free(table.buckets);
    table.buckets = buckets;
    table.bucket_count = bucket_count;
}

/* False for one that its last holder is about to free. */
static bool take_reference(struct interned *part)
{
    uint32_t references = atomic_load_explicit(&part->references, memory_order_relaxed);
    while (references > 0) {
        if (atomic_compare_exchange_weak_explicit(
                &part->references, &references, references + 1, memory_order_acquire, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static struct interned *find(struct bytes key, size_t derived_bytes, uint64_t hash)
{
    struct interned *part = table.buckets[hash & (table.bucket_count - 1)];
    for (; part != NULL; part = part->next) {
        if (part->hash == hash && part->key_length == key.length && part->derived_bytes == derived_bytes &&
            memcmp(key_of(part), key.data, key.length) == 0 && take_reference(part)) {
            return part;
        }
    }
    return NULL;
}

static struct interned *add(struct bytes key, size_t derived_bytes, uint64_t hash)
{
    struct interned *part = memory_allocate_zeroed(1, sizeof *part + derived_bytes + key.length);
    atomic_init(&part->references, 1);
    part->key_length = (uint32_t)key.length;
    part->hash = hash;
    part->derived_bytes = (uint32_t)derived_bytes;
    memcpy((uint8_t *)part->derived + derived_bytes, key.data, key.length);
    struct interned **bucket = &table.buckets[hash & (table.bucket_count - 1)];
    part->next = *bucket;
    *bucket = part;
    table.count++;
    return part;
}

const struct interned *interned_get(struct bytes key, size_t derived_bytes,
    void (*derive)(void *derived, const uint8_t *key, const void *context), const void *context)
{
    uint64_t hash = hash_bytes(key);
    pthread_mutex_lock(&table.mutex);
    if (table.count >= table.bucket_count) {
        resize(table.bucket_count == 0 ? BUCKETS_LEAST : table.bucket_count * 2);
    }
    struct interned *part = find(key, derived_bytes, hash);
    if (part == NULL) {
        part = add(key, derived_bytes, hash);
        derive(part->derived, key_of(part), context);
    }
    pthread_mutex_unlock(&table.mutex);
    return part;
}

const struct interned *interned_reference(const struct interned *part)
{
    atomic_fetch_add_explicit(&counted(part)->references, 1, memory_order_relaxed);
    return part;
}

static void unlink_part(struct interned *part)
{
    struct interned **link = &table.buckets[part->hash & (table.bucket_count - 1)];
    while (*link != part) {
        link = &(*link)->next;
    }
    *link = part->next;
    table.count--;
}

static void free_empty_table(void)
{
    if (table.count == 0) {
        memory_free(table.buckets);
        table.buckets = NULL;
        table.bucket_count = 0;
    }
}

void interned_release(const struct interned *part)
{
    if (atomic_fetch_sub_explicit(&counted(part)->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    pthread_mutex_lock(&table.mutex);
    unlink_part(counted(part));
    free_empty_table();
    pthread_mutex_unlock(&table.mutex);
    memory_free(counted(part));
}

size_t interned_count(void)
{
    pthread_mutex_lock(&table.mutex);
    size_t count = table.count;
    pthread_mutex_unlock(&table.mutex);
    return count;
}
