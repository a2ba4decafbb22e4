/* The mesh's own settings: the ConfigMap `istio`, whose data.mesh is YAML in a string. */
#ifndef AMBAR_KUBE_MESH_CONFIG_H
#define AMBAR_KUBE_MESH_CONFIG_H

#include "kube/object.h"

#include <assert.h>

enum kube_visibility { KUBE_VISIBILITY_PUBLIC, KUBE_VISIBILITY_NAMESPACE, KUBE_VISIBILITY_NONE };

struct kube_visibility_rule {
    struct kube_selector *namespace_selector; /* NULL: matches every namespace */
};

struct kube_visibility_policy {
    int visibility; /* enum kube_visibility */
    struct {
        struct kube_visibility_rule *items; /* all must match */
        size_t count;
    } rules;
};

struct kube_service_entry_visibility {
    int default_visibility; /* enum kube_visibility */
    struct {
        struct kube_visibility_policy *items; /* the first that matches wins */
        size_t count;
    } policies;
};

struct kube_mesh_settings {
    const char *trust_domain;   /* "": not set */
    const char *root_namespace; /* "": not set */
    struct {
        struct kube_selector *items;
        size_t count;
    } discovery_selectors;
    struct kube_service_entry_visibility *service_entry_visibility; /* NULL when absent */
};

struct kube_mesh_config {
    struct kube_object object;
    const char *text; /* data.mesh */
    struct kube_mesh_settings settings;
};

static inline const struct kube_mesh_config *kube_as_mesh_config(const struct kube_object *object)
{
    assert(object->kind == KUBE_MESH_CONFIG);
    return (const struct kube_mesh_config *)object;
}

#endif
