/* The objects in force: by key, and by kind in the order of namespace and name. Holds a reference to each. For one thread. */
#ifndef AMBAR_KUBE_STORE_H
#define AMBAR_KUBE_STORE_H

#include "kube/object.h"

struct kube_store;

struct kube_store *kube_store_new(void);
void kube_store_free(struct kube_store *store);

/* Replaces an object with the same key. Takes a reference of its own. */
void kube_store_put(struct kube_store *store, const struct kube_object *object);
void kube_store_clear(struct kube_store *store);
size_t kube_store_count(const struct kube_store *store);

/* NULL when there is none. `namespace_` is "" for kinds of the cluster. */
const struct kube_object *kube_store_get(
    const struct kube_store *store, enum kube_kind kind, const char *namespace_, const char *name);

struct kube_object_list {
    const struct kube_object *const *items; /* borrowed until the store changes */
    size_t count;
};
/* By kube_object.key. */
const struct kube_object *kube_store_find(const struct kube_store *store, const char *key);

/* After the last put and before the first list: lists are in the order of namespace and name then. */
void kube_store_sort(struct kube_store *store);
struct kube_object_list kube_store_list(const struct kube_store *store, enum kube_kind kind);

#endif
