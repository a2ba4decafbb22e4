/* Selectors filed by namespace and pair. */
#include "ambard/selector_index.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "base/writer.h"

struct bucket {
    struct {
        const struct kube_labels *selector;
        const void *item;
    } * entries;
    size_t count;
    size_t capacity;
};

struct selector_index {
    struct hash_map *buckets; /* namespace NUL key NUL value -> struct bucket */
    struct writer key;        /* scratch */
};

struct selector_index *selector_index_new(void)
{
    struct selector_index *index = NEW(struct selector_index);
    index->buckets = hash_map_new();
    index->key = writer_growing();
    return index;
}

static void bucket_free(void *value)
{
    struct bucket *bucket = value;
    memory_free(bucket->entries);
    memory_free(bucket);
}

void selector_index_free(struct selector_index *index)
{
    hash_map_free(index->buckets, bucket_free);
    writer_free(&index->key);
    memory_free(index);
}

/* `label` NULL: where selectors without a pair are. */
static struct bytes make_key(struct writer *key, const char *namespace_, const struct kube_label *label)
{
    writer_clear(key);
    writer_add(key, namespace_, strlen(namespace_) + 1);
    if (label != NULL) {
        writer_add(key, label->key, strlen(label->key) + 1);
        writer_add_string(key, label->value);
    }
    return writer_bytes(key);
}

void selector_index_add(
    struct selector_index *index, const char *namespace_, const struct kube_labels *selector, const void *item)
{
    struct bytes key = make_key(&index->key, namespace_, selector->count == 0 ? NULL : &selector->items[0]);
    struct bucket *bucket = hash_map_get(index->buckets, key);
    if (bucket == NULL) {
        bucket = NEW(struct bucket);
        hash_map_put(index->buckets, key, bucket);
    }
    if (bucket->count == bucket->capacity) {
        bucket->capacity = bucket->capacity == 0 ? 4 : bucket->capacity * 2;
        bucket->entries = memory_resize(bucket->entries, bucket->capacity, sizeof *bucket->entries);
    }
    bucket->entries[bucket->count].selector = selector;
    bucket->entries[bucket->count].item = item;
    bucket->count++;
}

void selector_index_visit(const struct selector_index *index, const char *namespace_, const struct kube_labels *labels,
    void (*visit)(void *context, const void *item), void *context)
{
    struct writer key = writer_growing();
    for (size_t i = 0; i <= labels->count; i++) {
        const struct kube_label *label = i == labels->count ? NULL : &labels->items[i];
        const struct bucket *bucket = hash_map_get(index->buckets, make_key(&key, namespace_, label));
        for (size_t j = 0; bucket != NULL && j < bucket->count; j++) {
            if (kube_labels_match(bucket->entries[j].selector, labels)) {
                visit(context, bucket->entries[j].item);
            }
        }
    }
    writer_free(&key);
}
