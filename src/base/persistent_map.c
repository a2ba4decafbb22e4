#include "base/persistent_map.h"

#include "base/hash_map.h"
#include "base/memory.h"

#include <assert.h>
#include <stdatomic.h>

/* The trie: a branch holds only the children it has, found by counting the bits of its bitmap below theirs; a leaf is one
 * key and its value; leaves of different keys with equal hashes stand in a collision. Below a branch there are always at least
 * two leaves, so that a map's form follows from its contents alone.
 *
 * Where the type knows the key of a value, a leaf is no object but the value's address with its lowest bit set: the model has
 * three maps of 100,000 values each, and an allocation for every leaf would be a fifth of its memory.
 *
 * Every change first makes the node its own (a copy where others hold it too) and then edits it. Functions that take a
 * node consume the caller's reference to it and return one. */
#define BITS_PER_LEVEL 5
#define LEVEL_MASK 31U

enum node_kind { NODE_BRANCH, NODE_LEAF, NODE_COLLISION };

struct persistent_map_node {
    _Atomic uint32_t references;
    enum node_kind kind;
};

struct branch {
    struct persistent_map_node node;
    uint32_t bitmap;
    struct persistent_map_node *children[];
};

struct leaf {
    struct persistent_map_node node;
    uint64_t hash;
    void *value;
    size_t key_length;
    uint8_t key[];
};

struct collision {
    struct persistent_map_node node;
    uint64_t hash;
    uint32_t count;
    struct persistent_map_node *leaves[];
};

struct persistent_map {
    _Atomic uint32_t references;
    size_t count;
    struct persistent_map_node *root;
};

struct entry {
    const struct persistent_map_type *type;
    struct bytes key;
    uint64_t hash;
    void *value;
    bool is_new;    /* found out by put: the key was not there before */
    bool keeps_old; /* asked of put: a value that is there stays */
    void **old;     /* where put tells it; NULL: nobody asks, and it is released */
};

static struct branch *as_branch(struct persistent_map_node *node)
{
    return CONTAINER_OF(node, struct branch, node);
}

static struct leaf *as_leaf(struct persistent_map_node *node)
{
    return CONTAINER_OF(node, struct leaf, node);
}

static struct collision *as_collision(struct persistent_map_node *node)
{
    return CONTAINER_OF(node, struct collision, node);
}

static bool is_bare_value(const struct persistent_map_node *node)
{
    return ((uintptr_t)node & 1) != 0;
}

static struct persistent_map_node *bare_value(void *value)
{
    assert(((uintptr_t)value & 1) == 0 && "values of a type with key_of are aligned");
    return (struct persistent_map_node *)((char *)value + 1);
}

static enum node_kind kind_of(const struct persistent_map_node *node)
{
    return is_bare_value(node) ? NODE_LEAF : node->kind;
}

static void *value_of(struct persistent_map_node *leaf)
{
    return is_bare_value(leaf) ? (char *)leaf - 1 : as_leaf(leaf)->value;
}

static struct persistent_map_node *node_reference(
    const struct persistent_map_type *type, struct persistent_map_node *node)
{
    if (is_bare_value(node)) {
        type->reference(value_of(node));
    } else {
        atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
    }
    return node;
}

/* Acquire: what the last other holder did with the node is over before we change it. */
static bool is_only_reference(_Atomic uint32_t *references)
{
    return atomic_load_explicit(references, memory_order_acquire) == 1;
}

static bool drops_last_reference(_Atomic uint32_t *references)
{
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

static uint32_t child_count(const struct branch *branch)
{
    return (uint32_t)__builtin_popcount(branch->bitmap);
}

/* The children of a branch or the leaves of a collision. */
static struct persistent_map_node *const *members_of(struct persistent_map_node *node, uint32_t *count)
{
    if (node->kind == NODE_BRANCH) {
        *count = child_count(as_branch(node));
        return as_branch(node)->children;
    }
    assert(node->kind == NODE_COLLISION);
    *count = as_collision(node)->count;
    return as_collision(node)->leaves;
}

/* Each count is in a place of its own, far from the cache with 100,000 values: fetched all at once they cost one wait instead of
 * thirty. */
static void fetch_counts(struct persistent_map_node *const *members, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        __builtin_prefetch(members[i], 1);
    }
}

static void node_release(const struct persistent_map_type *type, struct persistent_map_node *node)
{
    if (is_bare_value(node)) {
        type->release(value_of(node));
        return;
    }
    if (!drops_last_reference(&node->references)) {
        return;
    }
    if (node->kind == NODE_LEAF) {
        type->release(as_leaf(node)->value);
    } else {
        uint32_t count;
        struct persistent_map_node *const *members = members_of(node, &count);
        fetch_counts(members, count);
        for (uint32_t i = 0; i < count; i++) {
            node_release(type, members[i]);
        }
    }
    memory_free(node);
}

static struct persistent_map_node *new_leaf(const struct entry *entry)
{
    if (entry->type->key_of != NULL) {
        return bare_value(entry->value);
    }
    struct leaf *leaf = memory_allocate(sizeof *leaf + entry->key.length);
    atomic_init(&leaf->node.references, 1);
    leaf->node.kind = NODE_LEAF;
    leaf->hash = entry->hash;
    leaf->value = entry->value;
    leaf->key_length = entry->key.length;
    if (entry->key.length > 0) {
        memcpy(leaf->key, entry->key.data, entry->key.length);
    }
    return &leaf->node;
}

static struct bytes leaf_key(const struct persistent_map_type *type, struct persistent_map_node *leaf)
{
    return is_bare_value(leaf) ? type->key_of(value_of(leaf)) : bytes_of(as_leaf(leaf)->key, as_leaf(leaf)->key_length);
}

static bool leaf_has_key(const struct persistent_map_type *type, struct persistent_map_node *leaf, struct bytes key)
{
    return bytes_equal(leaf_key(type, leaf), key);
}

static struct branch *allocate_branch(uint32_t bitmap)
{
    struct branch *branch =
        memory_allocate(sizeof *branch + (size_t)__builtin_popcount(bitmap) * sizeof branch->children[0]);
    atomic_init(&branch->node.references, 1);
    branch->node.kind = NODE_BRANCH;
    branch->bitmap = bitmap;
    return branch;
}

static struct collision *allocate_collision(uint64_t hash, uint32_t count)
{
    struct collision *collision = memory_allocate(sizeof *collision + count * sizeof collision->leaves[0]);
    atomic_init(&collision->node.references, 1);
    collision->node.kind = NODE_COLLISION;
    collision->hash = hash;
    collision->count = count;
    return collision;
}

static uint32_t bit_of(uint64_t hash, unsigned shift)
{
    return 1U << (hash >> shift & LEVEL_MASK);
}

static uint32_t index_of(const struct branch *branch, uint32_t bit)
{
    return (uint32_t)__builtin_popcount(branch->bitmap & (bit - 1));
}

/* A branch or collision of ours alone, with the same members. */
static struct persistent_map_node *make_own(const struct persistent_map_type *type, struct persistent_map_node *node)
{
    if (is_only_reference(&node->references)) {
        return node;
    }
    uint32_t count;
    struct persistent_map_node *const *members = members_of(node, &count);
    struct persistent_map_node *copy, **copied_members;
    if (node->kind == NODE_BRANCH) {
        struct branch *branch = allocate_branch(as_branch(node)->bitmap);
        copy = &branch->node;
        copied_members = branch->children;
    } else {
        struct collision *collision = allocate_collision(as_collision(node)->hash, count);
        copy = &collision->node;
        copied_members = collision->leaves;
    }
    fetch_counts(members, count);
    for (uint32_t i = 0; i < count; i++) {
        copied_members[i] = node_reference(type, members[i]);
    }
    node_release(type, node);
    return copy;
}

/* Of a leaf or a collision. */
static uint64_t node_hash(const struct persistent_map_type *type, struct persistent_map_node *node)
{
    if (is_bare_value(node)) {
        return hash_bytes(leaf_key(type, node));
    }
    return node->kind == NODE_LEAF ? as_leaf(node)->hash : as_collision(node)->hash;
}

/* Branches down to where the two hashes, which differ, part. */
static struct persistent_map_node *join(struct persistent_map_node *left, uint64_t left_hash,
    struct persistent_map_node *right, uint64_t right_hash, unsigned shift)
{
    uint32_t left_bit = bit_of(left_hash, shift), right_bit = bit_of(right_hash, shift);
    struct branch *branch = allocate_branch(left_bit | right_bit);
    if (left_bit == right_bit) {
        branch->children[0] = join(left, left_hash, right, right_hash, shift + BITS_PER_LEVEL);
    } else {
        branch->children[left_bit > right_bit] = left;
        branch->children[left_bit < right_bit] = right;
    }
    return &branch->node;
}

static struct persistent_map_node *replace_leaf(struct persistent_map_node *node, const struct entry *entry)
{
    if (entry->old != NULL) {
        *entry->old = value_of(node);
        if (entry->keeps_old) {
            return node;
        }
        entry->type->reference(*entry->old);
    }
    if (is_bare_value(node) || !is_only_reference(&node->references)) {
        node_release(entry->type, node);
        return new_leaf(entry);
    }
    struct leaf *leaf = as_leaf(node);
    void *replaced = leaf->value;
    leaf->value = entry->value;
    entry->type->release(replaced);
    return node;
}

static struct persistent_map_node *put_at_leaf(struct persistent_map_node *node, unsigned shift, struct entry *entry)
{
    if (leaf_has_key(entry->type, node, entry->key)) {
        return replace_leaf(node, entry);
    }
    entry->is_new = true;
    uint64_t hash = node_hash(entry->type, node);
    if (hash != entry->hash) {
        return join(node, hash, new_leaf(entry), entry->hash, shift);
    }
    struct collision *collision = allocate_collision(entry->hash, 2);
    collision->leaves[0] = node;
    collision->leaves[1] = new_leaf(entry);
    return &collision->node;
}

/* The place of the key among the leaves, or their count. */
static uint32_t find_in_collision(
    const struct collision *collision, const struct persistent_map_type *type, struct bytes key)
{
    uint32_t i = 0;
    while (i < collision->count && !leaf_has_key(type, collision->leaves[i], key)) {
        i++;
    }
    return i;
}

static struct persistent_map_node *put_at_collision(
    struct persistent_map_node *node, unsigned shift, struct entry *entry)
{
    if (as_collision(node)->hash != entry->hash) {
        entry->is_new = true;
        return join(node, as_collision(node)->hash, new_leaf(entry), entry->hash, shift);
    }
    struct collision *collision = as_collision(make_own(entry->type, node));
    uint32_t i = find_in_collision(collision, entry->type, entry->key);
    if (i < collision->count) {
        collision->leaves[i] = replace_leaf(collision->leaves[i], entry);
        return &collision->node;
    }
    entry->is_new = true;
    size_t size = sizeof *collision + ((size_t)collision->count + 1) * sizeof collision->leaves[0];
    collision = memory_resize(collision, 1, size);
    collision->leaves[collision->count++] = new_leaf(entry);
    return &collision->node;
}

static struct branch *add_child(struct branch *branch, uint32_t bit, struct persistent_map_node *child)
{
    uint32_t index = index_of(branch, bit), count = child_count(branch);
    branch = memory_resize(branch, 1, sizeof *branch + ((size_t)count + 1) * sizeof branch->children[0]);
    memmove(&branch->children[index + 1], &branch->children[index], (count - index) * sizeof branch->children[0]);
    branch->children[index] = child;
    branch->bitmap |= bit;
    return branch;
}

static struct persistent_map_node *put_at(struct persistent_map_node *node, unsigned shift, struct entry *entry)
{
    if (kind_of(node) == NODE_LEAF) {
        return put_at_leaf(node, shift, entry);
    }
    if (node->kind == NODE_COLLISION) {
        return put_at_collision(node, shift, entry);
    }
    struct branch *branch = as_branch(make_own(entry->type, node));
    uint32_t bit = bit_of(entry->hash, shift);
    if ((branch->bitmap & bit) == 0) {
        entry->is_new = true;
        return &add_child(branch, bit, new_leaf(entry))->node;
    }
    struct persistent_map_node **child = &branch->children[index_of(branch, bit)];
    *child = put_at(*child, shift + BITS_PER_LEVEL, entry);
    return &branch->node;
}

/* Removing: the key is known to be there. */
static struct persistent_map_node *remove_at_collision(struct persistent_map_node *node, const struct entry *entry)
{
    struct collision *collision = as_collision(make_own(entry->type, node));
    uint32_t i = find_in_collision(collision, entry->type, entry->key);
    node_release(entry->type, collision->leaves[i]);
    collision->leaves[i] = collision->leaves[--collision->count];
    if (collision->count > 1) {
        return &collision->node;
    }
    struct persistent_map_node *last = collision->leaves[0];
    memory_free(collision);
    return last;
}

static struct persistent_map_node *take_child_out(struct branch *branch, uint32_t bit)
{
    uint32_t index = index_of(branch, bit), count = child_count(branch);
    memmove(&branch->children[index], &branch->children[index + 1], (count - index - 1) * sizeof branch->children[0]);
    branch->bitmap &= ~bit;
    size_t size = sizeof *branch + ((size_t)count - 1) * sizeof branch->children[0];
    branch = memory_resize(branch, 1, size);
    return &branch->node;
}

/* A branch whose only child is no branch gives way to it. */
static struct persistent_map_node *collapse(struct persistent_map_node *node)
{
    struct branch *branch = as_branch(node);
    if (child_count(branch) != 1 || kind_of(branch->children[0]) == NODE_BRANCH) {
        return node;
    }
    struct persistent_map_node *child = branch->children[0];
    memory_free(branch);
    return child;
}

/* NULL when nothing is left. */
static struct persistent_map_node *remove_at(
    struct persistent_map_node *node, unsigned shift, const struct entry *entry)
{
    if (kind_of(node) == NODE_LEAF) {
        node_release(entry->type, node);
        return NULL;
    }
    if (node->kind == NODE_COLLISION) {
        return remove_at_collision(node, entry);
    }
    struct branch *branch = as_branch(make_own(entry->type, node));
    uint32_t bit = bit_of(entry->hash, shift);
    uint32_t index = index_of(branch, bit);
    struct persistent_map_node *child = remove_at(branch->children[index], shift + BITS_PER_LEVEL, entry);
    if (child == NULL) {
        return collapse(take_child_out(branch, bit));
    }
    branch->children[index] = child;
    return collapse(&branch->node);
}

struct persistent_map *persistent_map_reference(struct persistent_map *map)
{
    if (map != NULL) {
        atomic_fetch_add_explicit(&map->references, 1, memory_order_relaxed);
    }
    return map;
}

void persistent_map_release(const struct persistent_map_type *type, struct persistent_map *map)
{
    if (map == NULL || !drops_last_reference(&map->references)) {
        return;
    }
    node_release(type, map->root);
    memory_free(map);
}

size_t persistent_map_count(const struct persistent_map *map)
{
    return map == NULL ? 0 : map->count;
}

static void *get_hashed(
    const struct persistent_map_type *type, const struct persistent_map *map, struct bytes key, uint64_t hash)
{
    struct persistent_map_node *node = map->root;
    for (unsigned shift = 0; kind_of(node) == NODE_BRANCH; shift += BITS_PER_LEVEL) {
        const struct branch *branch = as_branch(node);
        uint32_t bit = bit_of(hash, shift);
        if ((branch->bitmap & bit) == 0) {
            return NULL;
        }
        node = branch->children[index_of(branch, bit)];
    }
    if (kind_of(node) == NODE_COLLISION) {
        const struct collision *collision = as_collision(node);
        uint32_t i = find_in_collision(collision, type, key);
        return i < collision->count ? value_of(collision->leaves[i]) : NULL;
    }
    return leaf_has_key(type, node, key) ? value_of(node) : NULL;
}

void *persistent_map_get(const struct persistent_map_type *type, const struct persistent_map *map, struct bytes key)
{
    return map == NULL ? NULL : get_hashed(type, map, key, hash_bytes(key));
}

static struct persistent_map *new_map(struct persistent_map_node *root, size_t count)
{
    struct persistent_map *map = NEW(struct persistent_map);
    atomic_init(&map->references, 1);
    map->root = root;
    map->count = count;
    return map;
}

/* A map of ours alone with the same root. */
static struct persistent_map *make_own_map(const struct persistent_map_type *type, struct persistent_map *map)
{
    if (is_only_reference(&map->references)) {
        return map;
    }
    struct persistent_map *copy = new_map(node_reference(type, map->root), map->count);
    persistent_map_release(type, map);
    return copy;
}

static struct persistent_map *put_entry(struct persistent_map *map, struct entry *entry)
{
    entry->hash = hash_bytes(entry->key);
    if (entry->old != NULL) {
        *entry->old = NULL;
    }
    if (map == NULL) {
        return new_map(new_leaf(entry), 1);
    }
    map = make_own_map(entry->type, map);
    map->root = put_at(map->root, 0, entry);
    map->count += entry->is_new ? 1 : 0;
    return map;
}

struct persistent_map *persistent_map_put(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value)
{
    return put_entry(map, &(struct entry){ .type = type, .key = key, .value = value });
}

struct persistent_map *persistent_map_exchange(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value, void **replaced)
{
    return put_entry(map, &(struct entry){ .type = type, .key = key, .value = value, .old = replaced });
}

struct persistent_map *persistent_map_put_new(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value, void **present)
{
    return put_entry(
        map, &(struct entry){ .type = type, .key = key, .value = value, .keeps_old = true, .old = present });
}

struct persistent_map *persistent_map_remove(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key)
{
    struct entry entry = { .type = type, .key = key, .hash = hash_bytes(key) };
    if (map == NULL || get_hashed(type, map, key, entry.hash) == NULL) {
        return map;
    }
    if (map->count == 1) {
        persistent_map_release(type, map);
        return NULL;
    }
    map = make_own_map(type, map);
    map->root = remove_at(map->root, 0, &entry);
    map->count--;
    return map;
}

void persistent_map_begin(const struct persistent_map *map, struct persistent_map_iterator *iterator)
{
    iterator->depth = map == NULL ? -1 : 0;
    if (map != NULL) {
        iterator->nodes[0] = map->root;
        iterator->positions[0] = 0;
    }
}

void *persistent_map_next(struct persistent_map_iterator *iterator)
{
    while (iterator->depth >= 0) {
        struct persistent_map_node *node = iterator->nodes[iterator->depth];
        if (kind_of(node) == NODE_LEAF) {
            iterator->depth--;
            return value_of(node);
        }
        uint32_t count;
        struct persistent_map_node *const *members = members_of(node, &count);
        uint32_t position = iterator->positions[iterator->depth]++;
        if (position == count) {
            iterator->depth--;
            continue;
        }
        iterator->depth++;
        iterator->nodes[iterator->depth] = members[position];
        iterator->positions[iterator->depth] = 0;
    }
    return NULL;
}
