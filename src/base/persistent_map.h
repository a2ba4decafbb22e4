/* An immutable map from bytes to reference-counted values: a hash trie whose changes copy the path, not the table.
 *
 * A map is a pointer to a counted root. Reading takes no lock and no reference as long as somebody holds the map.
 * Building a new version costs O(log n) and shares everything else with the old one. Counts are atomic, so versions may be
 * dropped on any thread. Keys are stored once, in their leaf; with `key_of` in the type they are borrowed from the value. */
#ifndef AMBAR_BASE_PERSISTENT_MAP_H
#define AMBAR_BASE_PERSISTENT_MAP_H

#include "base/bytes.h"

struct persistent_map; /* NULL is the empty map */

struct persistent_map_type {
    void (*reference)(void *value);
    void (*release)(void *value);
    /* When set, the key lives in the value and is not copied; values are then at even addresses. */
    struct bytes (*key_of)(const void *value);
};

struct persistent_map *persistent_map_reference(struct persistent_map *map);
void persistent_map_release(const struct persistent_map_type *type, struct persistent_map *map);

size_t persistent_map_count(const struct persistent_map *map);
/* Borrowed from the map; NULL when absent. */
void *persistent_map_get(const struct persistent_map_type *type, const struct persistent_map *map, struct bytes key);

/* A new version with the key bound to `value` (whose reference the map takes over from the caller). Consumes the caller's
 * reference to `map`, and works in place where that was the only one: bulk building does not copy. */
struct persistent_map *persistent_map_put(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value);
/* The same, and says what was bound before: `*replaced` is its value, whose reference is now the caller's, or NULL. */
struct persistent_map *persistent_map_exchange(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value, void **replaced);
/* Only where the key is not bound yet: else `*present` is its value, borrowed from the map, and `value` stays the caller's. */
struct persistent_map *persistent_map_put_new(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value, void **present);
struct persistent_map *persistent_map_remove(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key);

/* Depth-first, in hash order. The map must outlive the iteration. */
#define PERSISTENT_MAP_DEPTH_MAXIMUM 14 /* 64 bits of hash, 5 a level, and one level of equal hashes */
struct persistent_map_node;
struct persistent_map_iterator {
    struct persistent_map_node *nodes[PERSISTENT_MAP_DEPTH_MAXIMUM + 1];
    uint32_t positions[PERSISTENT_MAP_DEPTH_MAXIMUM + 1];
    int depth;
};
void persistent_map_begin(const struct persistent_map *map, struct persistent_map_iterator *iterator);
/* The next value, or NULL at the end. */
void *persistent_map_next(struct persistent_map_iterator *iterator);

#endif
