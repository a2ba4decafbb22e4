#include "base/hash_map.h"

#include "base/memory.h"
#include "base/random.h"

#include <xxhash.h>

#define FIRST_CAPACITY 8 /* a power of two, as every capacity */

struct entry {
    void *value;
    size_t key_length;
    uint8_t key[];
};

/* Open addressing with linear probing. A removed slot keeps its place, marked by is_removed, so that probes and
 * iteration go on past it. */
struct slot {
    uint64_t hash;
    struct entry *entry;
};

struct hash_map {
    struct slot *slots;
    size_t capacity;
    size_t count;
    size_t taken; /* slots in use or removed */
};

static struct entry removed_entry;

static uint8_t hash_secret[XXH3_SECRET_SIZE_MIN + 56];

/* Before main, so that no reader needs to ask whether it is there. */
__attribute__((constructor)) static void make_hash_secret(void)
{
    random_bytes(hash_secret, sizeof hash_secret);
}

uint64_t hash_bytes(struct bytes bytes)
{
    return XXH3_64bits_withSecret(bytes.data, bytes.length, hash_secret, sizeof hash_secret);
}

struct hash_map *hash_map_new(void)
{
    return NEW(struct hash_map);
}

static bool is_live(const struct slot *slot)
{
    return slot->entry != NULL && slot->entry != &removed_entry;
}

void hash_map_free(struct hash_map *map, void (*free_value)(void *value))
{
    if (map == NULL) {
        return;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (is_live(&map->slots[i])) {
            if (free_value != NULL) {
                free_value(map->slots[i].entry->value);
            }
            memory_free(map->slots[i].entry);
        }
    }
    memory_free(map->slots);
    memory_free(map);
}

size_t hash_map_count(const struct hash_map *map)
{
    return map->count;
}

static bool holds(const struct slot *slot, uint64_t hash, struct bytes key)
{
    return slot->hash == hash && slot->entry != &removed_entry &&
           bytes_equal(bytes_of(slot->entry->key, slot->entry->key_length), key);
}

/* The slot that holds the key, or NULL. There is always an empty slot, where a probe ends. */
static struct slot *find(const struct hash_map *map, uint64_t hash, struct bytes key)
{
    if (map->capacity == 0) {
        return NULL;
    }
    size_t mask = map->capacity - 1;
    for (size_t i = hash & mask; map->slots[i].entry != NULL; i = (i + 1) & mask) {
        if (holds(&map->slots[i], hash, key)) {
            return &map->slots[i];
        }
    }
    return NULL;
}

static void place(struct slot *slots, size_t capacity, struct slot slot)
{
    size_t mask = capacity - 1;
    size_t i = slot.hash & mask;
    while (slots[i].entry != NULL) {
        i = (i + 1) & mask;
    }
    slots[i] = slot;
}

/* Makes a table that is at most half full after one more entry; drops the marks of removed ones. */
static void rebuild(struct hash_map *map)
{
    size_t capacity = FIRST_CAPACITY;
    while (capacity < 2 * (map->count + 1)) {
        capacity *= 2;
    }
    struct slot *slots = memory_allocate_zeroed(capacity, sizeof *slots);
    for (size_t i = 0; i < map->capacity; i++) {
        if (is_live(&map->slots[i])) {
            place(slots, capacity, map->slots[i]);
        }
    }
    memory_free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    map->taken = map->count;
}

void *hash_map_get(const struct hash_map *map, struct bytes key)
{
    const struct slot *slot = find(map, hash_bytes(key), key);
    return slot == NULL ? NULL : slot->entry->value;
}

void *hash_map_put(struct hash_map *map, struct bytes key, void *value)
{
    uint64_t hash = hash_bytes(key);
    struct slot *slot = find(map, hash, key);
    if (slot != NULL) {
        void *replaced = slot->entry->value;
        slot->entry->value = value;
        return replaced;
    }
    /* At most three quarters full: probes stay short. */
    if (4 * (map->taken + 1) > 3 * map->capacity) {
        rebuild(map);
    }
    struct entry *entry = memory_allocate(sizeof *entry + key.length);
    entry->value = value;
    entry->key_length = key.length;
    if (key.length > 0) {
        memcpy(entry->key, key.data, key.length);
    }
    place(map->slots, map->capacity, (struct slot){ hash, entry });
    map->count++;
    map->taken++;
    return NULL;
}

void *hash_map_remove(struct hash_map *map, struct bytes key)
{
    struct slot *slot = find(map, hash_bytes(key), key);
    if (slot == NULL) {
        return NULL;
    }
    void *value = slot->entry->value;
    memory_free(slot->entry);
    size_t next = ((size_t)(slot - map->slots) + 1) & (map->capacity - 1);
    if (map->slots[next].entry == NULL) {
        slot->entry = NULL; /* no probe goes past it */
        map->taken--;
    } else {
        slot->entry = &removed_entry;
    }
    map->count--;
    return value;
}

bool hash_map_next(const struct hash_map *map, size_t *position, struct bytes *key, void **value)
{
    while (*position < map->capacity) {
        const struct slot *slot = &map->slots[(*position)++];
        if (is_live(slot)) {
            *key = bytes_of(slot->entry->key, slot->entry->key_length);
            *value = slot->entry->value;
            return true;
        }
    }
    return false;
}
