#include "base/persistent_map.h"

#include "base/hash_map.h"
#include "base/memory.h"

#include <assert.h>
#include <stdatomic.h>

/* The trie: a branch holds only the children it has, found by counting the bits of its bitmap below theirs; a leaf is one
 * key and its value; leaves of different keys with equal hashes stand in a collision. Below a branch there are always at least
 * two leaves, so that a map's form follows from its contents alone.
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
    /* Without key_of: the length of the key and the key. */
    size_t key_length[];
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
    bool is_new; /* found out by put: the key was not there before */
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

static struct persistent_map_node *node_reference(struct persistent_map_node *node)
{
    atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
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

static void node_release(const struct persistent_map_type *type, struct persistent_map_node *node)
{
    if (!drops_last_reference(&node->references)) {
        return;
    }
    if (node->kind == NODE_LEAF) {
        type->release(as_leaf(node)->value);
    } else {
        uint32_t count;
        struct persistent_map_node *const *members = members_of(node, &count);
        for (uint32_t i = 0; i < count; i++) {
            node_release(type, members[i]);
        }
    }
    memory_free(node);
}

static struct persistent_map_node *new_leaf(const struct entry *entry)
{
    bool has_own_key = entry->type->key_of == NULL;
    size_t key_size = has_own_key ? sizeof(size_t) + entry->key.length : 0;
    struct leaf *leaf = memory_allocate(sizeof *leaf + key_size);
    atomic_init(&leaf->node.references, 1);
    leaf->node.kind = NODE_LEAF;
    leaf->hash = entry->hash;
    leaf->value = entry->value;
    if (has_own_key) {
        leaf->key_length[0] = entry->key.length;
        if (entry->key.length > 0) {
            memcpy(leaf->key_length + 1, entry->key.data, entry->key.length);
        }
    }
    return &leaf->node;
}

static bool leaf_has_key(const struct leaf *leaf, const struct persistent_map_type *type, struct bytes key)
{
    struct bytes own =
        type->key_of != NULL ? type->key_of(leaf->value) : bytes_of(leaf->key_length + 1, leaf->key_length[0]);
    return bytes_equal(own, key);
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
    for (uint32_t i = 0; i < count; i++) {
        copied_members[i] = node_reference(members[i]);
    }
    node_release(type, node);
    return copy;
}

static uint64_t node_hash(struct persistent_map_node *node)
{
    return node->kind == NODE_LEAF ? as_leaf(node)->hash : as_collision(node)->hash;
}

/* Branches down to where the two hashes, which differ, part. */
static struct persistent_map_node *join(
    struct persistent_map_node *left, struct persistent_map_node *right, unsigned shift)
{
    uint32_t left_bit = bit_of(node_hash(left), shift), right_bit = bit_of(node_hash(right), shift);
    struct branch *branch = allocate_branch(left_bit | right_bit);
    if (left_bit == right_bit) {
        branch->children[0] = join(left, right, shift + BITS_PER_LEVEL);
    } else {
        branch->children[left_bit > right_bit] = left;
        branch->children[left_bit < right_bit] = right;
    }
    return &branch->node;
}

static struct persistent_map_node *replace_leaf(struct persistent_map_node *node, const struct entry *entry)
{
    if (!is_only_reference(&node->references)) {
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
    if (as_leaf(node)->hash != entry->hash) {
        entry->is_new = true;
        return join(node, new_leaf(entry), shift);
    }
    if (leaf_has_key(as_leaf(node), entry->type, entry->key)) {
        return replace_leaf(node, entry);
    }
    entry->is_new = true;
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
    while (i < collision->count && !leaf_has_key(as_leaf(collision->leaves[i]), type, key)) {
        i++;
    }
    return i;
}

static struct persistent_map_node *put_at_collision(
    struct persistent_map_node *node, unsigned shift, struct entry *entry)
{
    if (as_collision(node)->hash != entry->hash) {
        entry->is_new = true;
        return join(node, new_leaf(entry), shift);
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
    if (node->kind == NODE_LEAF) {
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
    if (child_count(branch) != 1 || branch->children[0]->kind == NODE_BRANCH) {
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
    if (node->kind == NODE_LEAF) {
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
    for (unsigned shift = 0; node->kind == NODE_BRANCH; shift += BITS_PER_LEVEL) {
        const struct branch *branch = as_branch(node);
        uint32_t bit = bit_of(hash, shift);
        if ((branch->bitmap & bit) == 0) {
            return NULL;
        }
        node = branch->children[index_of(branch, bit)];
    }
    if (node_hash(node) != hash) {
        return NULL;
    }
    if (node->kind == NODE_COLLISION) {
        const struct collision *collision = as_collision(node);
        uint32_t i = find_in_collision(collision, type, key);
        return i < collision->count ? as_leaf(collision->leaves[i])->value : NULL;
    }
    return leaf_has_key(as_leaf(node), type, key) ? as_leaf(node)->value : NULL;
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
    struct persistent_map *copy = new_map(node_reference(map->root), map->count);
    persistent_map_release(type, map);
    return copy;
}

struct persistent_map *persistent_map_put(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key, void *value)
{
    struct entry entry = { type, key, hash_bytes(key), value, false };
    if (map == NULL) {
        return new_map(new_leaf(&entry), 1);
    }
    map = make_own_map(type, map);
    map->root = put_at(map->root, 0, &entry);
    map->count += entry.is_new ? 1 : 0;
    return map;
}

struct persistent_map *persistent_map_remove(
    const struct persistent_map_type *type, struct persistent_map *map, struct bytes key)
{
    struct entry entry = { type, key, hash_bytes(key), NULL, false };
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
        if (node->kind == NODE_LEAF) {
            iterator->depth--;
            return as_leaf(node)->value;
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
