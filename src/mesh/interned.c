#include "mesh/interned.h"

#include "base/hash_map.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLOTS_LEAST 64

/* Open addressing. The upper half of a part's hash stands beside its address: only the part that is meant is looked at. */
struct slot {
    struct interned *part; /* NULL: free */
    uint32_t tag;
};

static struct {
    pthread_mutex_t mutex;
    struct slot *slots;
    size_t slot_count; /* a power of two, at least a quarter of it free */
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

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

static void insert(struct slot *slots, size_t slot_count, struct interned *part)
{
    size_t i = part->hash & (slot_count - 1);
    while (slots[i].part != NULL) {
        i = (i + 1) & (slot_count - 1);
    }
    slots[i] = (struct slot){ part, tag_of(part->hash) };
}

static void make_room(void)
{
    if ((table.count + 1) * 4 <= table.slot_count * 3) {
        return;
    }
    size_t slot_count = table.slot_count == 0 ? SLOTS_LEAST : 2 * table.slot_count;
    struct slot *slots = memory_allocate_zeroed(slot_count, sizeof *slots);
    for (size_t i = 0; i < table.slot_count; i++) {
        if (table.slots[i].part != NULL) {
            insert(slots, slot_count, table.slots[i].part);
        }
    }
    memory_free(table.slots);
    table.slots = slots;
    table.slot_count = slot_count;
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
    for (size_t i = hash & (table.slot_count - 1); table.slots[i].part != NULL; i = (i + 1) & (table.slot_count - 1)) {
        struct interned *part = table.slots[i].part;
        if (table.slots[i].tag == tag_of(hash) && part->key_length == key.length &&
            part->derived_bytes == derived_bytes && memcmp(key_of(part), key.data, key.length) == 0 &&
            take_reference(part)) {
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
    insert(table.slots, table.slot_count, part);
    table.count++;
    return part;
}

const struct interned *interned_get(struct bytes key, size_t derived_bytes,
    void (*derive)(void *derived, const uint8_t *key, const void *context), const void *context)
{
    uint64_t hash = hash_bytes(key);
    pthread_mutex_lock(&table.mutex);
    make_room();
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

/* What follows moves up, so that no search ends too early. */
static void take_out(const struct interned *part)
{
    size_t mask = table.slot_count - 1, hole = part->hash & mask;
    while (table.slots[hole].part != part) {
        hole = (hole + 1) & mask;
    }
    for (size_t i = (hole + 1) & mask; table.slots[i].part != NULL; i = (i + 1) & mask) {
        size_t home = table.slots[i].part->hash & mask;
        /* It may move where its home is not between the hole and its place. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table.slots[hole] = table.slots[i];
            hole = i;
        }
    }
    table.slots[hole] = (struct slot){ NULL, 0 };
    table.count--;
}

static void free_empty_table(void)
{
    if (table.count == 0) {
        memory_free(table.slots);
        table.slots = NULL;
        table.slot_count = 0;
    }
}

void interned_release(const struct interned *part)
{
    if (atomic_fetch_sub_explicit(&counted(part)->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    pthread_mutex_lock(&table.mutex);
    take_out(part);
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
