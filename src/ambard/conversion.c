/* What all steps of a conversion share. */
#include "ambard/conversion.h"

#include "base/memory.h"

#include <stdarg.h>

static const struct kube_mesh_settings no_mesh_settings = { .trust_domain = "", .root_namespace = "" };
static const struct kube_labels no_labels;

/* The ConfigMap of our revision, in the namespace the control plane belongs to. */
static const struct kube_mesh_settings *find_mesh_settings(const struct conversion *conversion)
{
    const char *revision = conversion->settings->revision;
    const char *name =
        strcmp(revision, "default") == 0 ? "istio" : arena_format(conversion->arena, "istio-%s", revision);
    const struct kube_object *object =
        kube_store_get(conversion->store, KUBE_MESH_CONFIG, conversion->settings->root_namespace, name);
    return object == NULL ? &no_mesh_settings : &kube_as_mesh_config(object)->settings;
}

void conversion_read_mesh(struct conversion *conversion)
{
    const struct kube_mesh_settings *mesh = find_mesh_settings(conversion);
    conversion->mesh = mesh;
    conversion->trust_domain = mesh->trust_domain[0] != '\0' ? mesh->trust_domain : conversion->settings->trust_domain;
    conversion->root_namespace =
        mesh->root_namespace[0] != '\0' ? mesh->root_namespace : conversion->settings->root_namespace;
    /* The network is a label of the control plane's own namespace. */
    conversion->network = kube_labels_text(
        conversion_namespace_labels(conversion, conversion->settings->root_namespace), "topology.istio.io/network");
}

bool conversion_sees_namespace(const struct conversion *conversion, const char *namespace_)
{
    const struct kube_labels *labels = conversion_namespace_labels(conversion, namespace_);
    for (size_t i = 0; i < conversion->mesh->discovery_selectors.count; i++) {
        if (kube_selector_matches(&conversion->mesh->discovery_selectors.items[i], labels)) {
            return true;
        }
    }
    return conversion->mesh->discovery_selectors.count == 0;
}

bool conversion_takes(const struct conversion *conversion, const struct kube_object *object)
{
    const char *revision = kube_labels_get(&object->metadata.labels, "istio.io/rev");
    bool is_ours = revision == NULL || strcmp(revision, conversion->settings->revision) == 0;
    return is_ours && conversion_sees_namespace(conversion, object->metadata.namespace_);
}

const struct kube_labels *conversion_namespace_labels(const struct conversion *conversion, const char *namespace_)
{
    const struct kube_object *object = kube_store_get(conversion->store, KUBE_NAMESPACE, "", namespace_);
    return object == NULL ? &no_labels : &object->metadata.labels;
}

const struct kube_labels *conversion_namespace_annotations(const struct conversion *conversion, const char *namespace_)
{
    const struct kube_object *object = kube_store_get(conversion->store, KUBE_NAMESPACE, "", namespace_);
    return object == NULL ? &no_labels : &object->metadata.annotations;
}

const char *conversion_wire_trust_domain(const struct conversion *conversion)
{
    return strcmp(conversion->trust_domain, "cluster.local") == 0 ? "" : conversion->trust_domain;
}

void conversion_add_condition(struct conversion *conversion, const struct kube_object *object, const char *type,
    bool is_true, const char *reason, const char *format, ...)
{
    struct writer message = writer_growing();
    va_list arguments;
    va_start(arguments, format);
    writer_print_list(&message, format, arguments);
    va_end(arguments);
    if (conversion->condition_count == conversion->condition_capacity) {
        conversion->condition_capacity = conversion->condition_capacity == 0 ? 16 : conversion->condition_capacity * 2;
        conversion->conditions =
            memory_resize(conversion->conditions, conversion->condition_capacity, sizeof *conversion->conditions);
    }
    conversion->conditions[conversion->condition_count++] = (struct ambient_condition){
        .object = kube_object_reference(object),
        .type = type,
        .is_true = is_true,
        .reason = reason,
        .message = arena_string(conversion->arena, writer_string(&message)),
    };
    writer_free(&message);
}

int compare_texts(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}
