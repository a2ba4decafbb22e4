/* A mutable hash map from bytes to pointers, for one thread. Keys are copied; values are the caller's.
 * The hash is keyed with a random seed, so that keys from outside cannot be chosen to collide. Iteration order is arbitrary. */
#ifndef AMBAR_BASE_HASH_MAP_H
#define AMBAR_BASE_HASH_MAP_H

#include "base/bytes.h"

struct hash_map;

struct hash_map *hash_map_new(void);
/* Calls `free_value` (may be NULL) for each value. NULL map is allowed. */
void hash_map_free(struct hash_map *map, void (*free_value)(void *value));

size_t hash_map_count(const struct hash_map *map);
void *hash_map_get(const struct hash_map *map, struct bytes key); /* NULL when absent */
/* Returns the value that was replaced, or NULL. Values must not be NULL. */
void *hash_map_put(struct hash_map *map, struct bytes key, void *value);
/* Returns the value that was removed, or NULL. */
void *hash_map_remove(struct hash_map *map, struct bytes key);

/* `position` starts at 0. False at the end. The current entry may be removed while iterating; nothing may be added. */
bool hash_map_next(const struct hash_map *map, size_t *position, struct bytes *key, void **value);

/* The process-wide keyed hash (XXH3 with a random seed). */
uint64_t hash_bytes(struct bytes bytes);

#endif
