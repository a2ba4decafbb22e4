/* The table of kinds: how each is called, and the schema of a whole object of it. For src/kube's own use. */
#ifndef AMBAR_KUBE_KINDS_H
#define AMBAR_KUBE_KINDS_H

#include "kube/object.h"
#include "kube/schema.h"

#include <assert.h>

struct kube_kind_description {
    const char *name;
    const char *group;           /* "" is the core group */
    const char *const *versions; /* NULL-terminated */
    bool is_namespaced;
    const struct kube_schema *schema;
};

const struct kube_kind_description *kube_kind_describe(enum kube_kind kind);

/* The fields every object has, for the head of a kind's table. */
extern const struct kube_schema kube_metadata_schema;
#define KUBE_OBJECT_FIELDS                                                                                             \
    KUBE_IGNORED("apiVersion"), KUBE_IGNORED("kind"),                                                                  \
        KUBE_FIELD(struct kube_object, metadata, "metadata", KUBE_FIELD_EMBEDDED, .schema = &kube_metadata_schema)

extern const struct kube_schema kube_plain_object_schema; /* Namespace, Node, ServiceAccount: metadata is all we read */
extern const struct kube_schema kube_pod_schema;
extern const struct kube_schema kube_service_schema;
extern const struct kube_schema kube_endpoint_slice_schema;
extern const struct kube_schema kube_mesh_config_schema;
extern const struct kube_schema kube_peer_authentication_schema;
extern const struct kube_schema kube_authorization_policy_schema;
extern const struct kube_schema kube_service_entry_schema;
extern const struct kube_schema kube_workload_entry_schema;
extern const struct kube_schema kube_gateway_schema;
extern const struct kube_schema kube_gateway_class_schema;

#endif
