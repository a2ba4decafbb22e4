/* Kubernetes objects of the kinds the mesh reads: what is common to them, and how a file becomes a list of them.
 *
 * An object is immutable once made, lives in one arena of its own and is counted: kube_object_release by the last holder
 * frees it. The kinds' own structs (kube/pod.h, ...) begin with a struct kube_object; `kube_as_...` casts check the kind.
 * Absent strings are "", absent messages NULL, absent lists empty. For one thread. */
#ifndef AMBAR_KUBE_OBJECT_H
#define AMBAR_KUBE_OBJECT_H

#include "base/arena.h"
#include "kube/labels.h"

struct kube_problems;

enum kube_kind {
    KUBE_NAMESPACE,
    KUBE_NODE,
    KUBE_SERVICE_ACCOUNT,
    KUBE_POD,
    KUBE_SERVICE,
    KUBE_ENDPOINT_SLICE,
    KUBE_MESH_CONFIG, /* the ConfigMap `istio` */
    KUBE_PEER_AUTHENTICATION,
    KUBE_AUTHORIZATION_POLICY,
    KUBE_SERVICE_ENTRY,
    KUBE_WORKLOAD_ENTRY,
    KUBE_GATEWAY,
    KUBE_GATEWAY_CLASS,
    KUBE_KIND_COUNT,
};

struct kube_owner_reference {
    const char *kind;
    const char *name;
    bool is_controller;
};

struct kube_metadata {
    const char *name;
    const char *namespace_; /* "" for kinds of the cluster; "default" where a namespaced object names none */
    const char *generate_name;
    const char *uid;
    int64_t creation_ns; /* nanoseconds since the epoch; 0 when absent */
    int64_t deletion_ns; /* 0: not being deleted */
    struct kube_labels labels;
    struct kube_labels annotations;
    struct {
        struct kube_owner_reference *items;
        size_t count;
    } owner_references;
};

struct kube_object {
    enum kube_kind kind;
    struct kube_metadata metadata;
    const char *key;  /* "Kind/namespace/name": unique in a store */
    const char *file; /* where it was read */
    uint32_t line;
    uint64_t content_hash; /* equal objects of equal files have equal hashes */
    unsigned references;
    struct kube_object *base; /* what an overlay was laid over; held */
    struct arena arena;
};

const char *kube_kind_name(enum kube_kind kind);
bool kube_kind_is_namespaced(enum kube_kind kind);
size_t kube_kind_size(enum kube_kind kind); /* of the kind's struct */

struct kube_object *kube_object_reference(const struct kube_object *object);
void kube_object_release(struct kube_object *object); /* NULL is allowed */

/* The same object with the labels and annotations of `overlay` laid over its own. Holds `base`. */
struct kube_object *kube_object_overlay(const struct kube_object *base, const struct kube_object *overlay);

/* Which of two objects of a kind is older: by creation time, then by namespace and name. Like memcmp. */
int kube_object_compare_age(const struct kube_object *left, const struct kube_object *right);

/* One document of a file that was meant to be an object. */
struct kube_read_object {
    char *key;                  /* NULL when the document does not say what it is */
    struct kube_object *object; /* NULL when it is invalid; the problems say why */
};

/* All objects of a file, `List`s unfolded, kinds the mesh does not read left out (with a notice). */
struct kube_read_file {
    struct kube_read_object *items;
    size_t count;
    size_t capacity;
    bool is_unreadable; /* not YAML at all: nothing can be said about its objects */
};

/* `name` is for messages. JSON is read as such when the name ends in .json. */
void kube_read_file_parse(
    const char *name, struct bytes text, struct kube_read_file *file, struct kube_problems *problems);
void kube_read_file_free(struct kube_read_file *file);

#endif
