/* Names for telemetry. */
#include "ambard/workload_naming.h"

#include "base/memory.h"
#include "base/text.h"

static const char *first_label(
    const struct kube_labels *labels, const char *const *keys, size_t count, const char *fallback)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = kube_labels_text(labels, keys[i]);
        if (value[0] != '\0') {
            return value;
        }
    }
    return fallback;
}

const char *workload_canonical_name(const struct kube_labels *labels, const char *fallback)
{
    static const char *const keys[] = { "service.istio.io/canonical-name", "app.kubernetes.io/name", "app" };
    return first_label(labels, keys, ARRAY_LENGTH(keys), fallback);
}

const char *workload_canonical_revision(const struct kube_labels *labels)
{
    static const char *const keys[] = { "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version" };
    return first_label(labels, keys, ARRAY_LENGTH(keys), "latest");
}

static const struct kube_owner_reference *controller_of(const struct kube_pod *pod)
{
    for (size_t i = 0; i < pod->object.metadata.owner_references.count; i++) {
        if (pod->object.metadata.owner_references.items[i].is_controller) {
            return &pod->object.metadata.owner_references.items[i];
        }
    }
    return NULL;
}

/* A Deployment's ReplicaSet is called <deployment>-<hash>. */
static const char *without_hash(const struct kube_labels *labels, const char *name, struct arena *arena)
{
    static const char *const keys[] = { "pod-template-hash", "rollouts-pod-template-hash" };
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        const char *hash = kube_labels_text(labels, keys[i]);
        size_t ending = strlen(hash) + 1;
        size_t length = strlen(name);
        if (hash[0] != '\0' && length > ending && text_ends_with(name, hash) && name[length - ending] == '-') {
            return arena_string_bytes(arena, bytes_of(name, length - ending));
        }
    }
    return name;
}

/* A CronJob's Job is called <cronjob>-<8 to 10 digits>. */
static const char *without_schedule(const char *name, struct arena *arena)
{
    const char *hyphen = strrchr(name, '-');
    size_t digits = hyphen == NULL ? 0 : strspn(hyphen + 1, "0123456789");
    bool is_generated = hyphen != NULL && hyphen != name && digits >= 8 && digits <= 10 && hyphen[1 + digits] == '\0';
    return is_generated ? arena_string_bytes(arena, bytes_of(name, (size_t)(hyphen - name))) : name;
}

const char *workload_name_of_pod(const struct kube_pod *pod, struct arena *arena)
{
    const struct kube_metadata *metadata = &pod->object.metadata;
    const char *label = kube_labels_text(&metadata->labels, "service.istio.io/workload-name");
    const struct kube_owner_reference *owner = controller_of(pod);
    if (label[0] != '\0') {
        return label;
    }
    if (metadata->generate_name[0] == '\0' || owner == NULL) {
        return metadata->name;
    }
    if (strcmp(owner->kind, "ReplicaSet") == 0) {
        return without_hash(&metadata->labels, owner->name, arena);
    }
    if (strcmp(owner->kind, "Job") == 0) {
        return without_schedule(owner->name, arena);
    }
    const char *deployment_config = kube_labels_text(&metadata->labels, "deploymentconfig");
    bool is_openshift = strcmp(owner->kind, "ReplicationController") == 0 && deployment_config[0] != '\0';
    return is_openshift ? deployment_config : owner->name;
}
