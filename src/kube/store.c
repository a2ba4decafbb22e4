/* The set of objects in force. */
#include "kube/store.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "base/writer.h"

#include <stdlib.h>

struct kind_list {
    const struct kube_object **items;
    size_t count;
    size_t capacity;
    bool is_sorted;
};

struct kube_store {
    struct hash_map *by_key;
    struct kind_list kinds[KUBE_KIND_COUNT];
};

struct kube_store *kube_store_new(void)
{
    struct kube_store *store = NEW(struct kube_store);
    store->by_key = hash_map_new();
    return store;
}

static void release_object(void *object)
{
    kube_object_release(object);
}

void kube_store_free(struct kube_store *store)
{
    if (store == NULL) {
        return;
    }
    hash_map_free(store->by_key, release_object);
    for (int i = 0; i < KUBE_KIND_COUNT; i++) {
        memory_free(store->kinds[i].items);
    }
    memory_free(store);
}

void kube_store_clear(struct kube_store *store)
{
    hash_map_free(store->by_key, release_object);
    store->by_key = hash_map_new();
    for (int i = 0; i < KUBE_KIND_COUNT; i++) {
        store->kinds[i].count = 0;
    }
}

static void list_replace(struct kind_list *list, const struct kube_object *replaced, const struct kube_object *object)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == replaced) {
            list->items[i] = object;
            return;
        }
    }
}

void kube_store_put(struct kube_store *store, const struct kube_object *object)
{
    struct kind_list *list = &store->kinds[object->kind];
    struct kube_object *replaced =
        hash_map_put(store->by_key, bytes_of_string(object->key), kube_object_reference(object));
    if (replaced != NULL) {
        list_replace(list, replaced, object);
        kube_object_release(replaced);
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        list->items = memory_resize(list->items, list->capacity, sizeof *list->items);
    }
    list->items[list->count++] = object;
    list->is_sorted = false;
}

size_t kube_store_count(const struct kube_store *store)
{
    return hash_map_count(store->by_key);
}

const struct kube_object *kube_store_get(
    const struct kube_store *store, enum kube_kind kind, const char *namespace_, const char *name)
{
    char memory[512];
    struct writer key = writer_fixed(memory, sizeof memory);
    writer_print(&key, "%s/%s/%s", kube_kind_name(kind), namespace_, name);
    return key.has_overflowed ? NULL : hash_map_get(store->by_key, writer_bytes(&key));
}

const struct kube_object *kube_store_find(const struct kube_store *store, const char *key)
{
    return hash_map_get(store->by_key, bytes_of_string(key));
}

static int compare_names(const void *left, const void *right)
{
    const struct kube_metadata *left_metadata = &(*(const struct kube_object *const *)left)->metadata;
    const struct kube_metadata *right_metadata = &(*(const struct kube_object *const *)right)->metadata;
    int order = strcmp(left_metadata->namespace_, right_metadata->namespace_);
    return order != 0 ? order : strcmp(left_metadata->name, right_metadata->name);
}

void kube_store_sort(struct kube_store *store)
{
    for (int i = 0; i < KUBE_KIND_COUNT; i++) {
        struct kind_list *list = &store->kinds[i];
        if (!list->is_sorted && list->count > 1) {
            qsort(list->items, list->count, sizeof *list->items, compare_names);
        }
        list->is_sorted = true;
    }
}

struct kube_object_list kube_store_list(const struct kube_store *store, enum kube_kind kind)
{
    return (struct kube_object_list){ store->kinds[kind].items, store->kinds[kind].count };
}
