/* What is common to all objects: counting, age, overlays. Reading them is read_file.c. */
#include "kube/object.h"

#include "base/memory.h"
#include "kube/kinds.h"

const char *kube_kind_name(enum kube_kind kind)
{
    return kube_kind_describe(kind)->name;
}

bool kube_kind_is_namespaced(enum kube_kind kind)
{
    return kube_kind_describe(kind)->is_namespaced;
}

size_t kube_kind_size(enum kube_kind kind)
{
    return kube_kind_describe(kind)->schema->size;
}

struct kube_object *kube_object_reference(const struct kube_object *object)
{
    /* The count is the one thing that changes in an object that is const to everyone else. */
    struct kube_object *counted;
    memcpy(&counted, &object, sizeof counted);
    counted->references++;
    return counted;
}

void kube_object_release(struct kube_object *object)
{
    if (object == NULL || --object->references > 0) {
        return;
    }
    kube_object_release(object->base);
    arena_free(&object->arena);
    memory_free(object);
}

struct kube_object *kube_object_overlay(const struct kube_object *base, const struct kube_object *overlay)
{
    size_t size = kube_kind_size(base->kind);
    struct kube_object *object = memory_allocate(size);
    memcpy(object, base, size);
    object->references = 1;
    object->base = kube_object_reference(base);
    object->arena = (struct arena){ 0 };
    /* The overlay may go before its result does, so what is taken from it is copied. */
    struct kube_labels labels = kube_labels_overlay(&object->arena, &base->metadata.labels, &overlay->metadata.labels);
    struct kube_labels annotations =
        kube_labels_overlay(&object->arena, &base->metadata.annotations, &overlay->metadata.annotations);
    for (size_t i = 0; i < labels.count + annotations.count; i++) {
        struct kube_label *label = i < labels.count ? &labels.items[i] : &annotations.items[i - labels.count];
        label->key = arena_string(&object->arena, label->key);
        label->value = arena_string(&object->arena, label->value);
    }
    object->metadata.labels = labels;
    object->metadata.annotations = annotations;
    object->content_hash = base->content_hash * 31 + overlay->content_hash;
    return object;
}

int kube_object_compare_age(const struct kube_object *left, const struct kube_object *right)
{
    if (left->metadata.creation_ns != right->metadata.creation_ns) {
        return left->metadata.creation_ns < right->metadata.creation_ns ? -1 : 1;
    }
    int order = strcmp(left->metadata.namespace_, right->metadata.namespace_);
    return order != 0 ? order : strcmp(left->metadata.name, right->metadata.name);
}
