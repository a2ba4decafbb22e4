/* From objects to what the workload API serves: workloads, services and policies, kept and compared by their bytes.
 *
 * An update converts everything anew (10,000 pods in well under a second) and reports only resources whose bytes, aliases
 * or node changed. Contract: control-plane §§1-5, 6.2, 6.4; wire-protocols §10. Owned by one thread. */
#ifndef AMBAR_AMBARD_INDEX_H
#define AMBAR_AMBARD_INDEX_H

#include "ambard/condition.h"
#include "ambard/resource.h"
#include "base/result.h"

struct kube_store;
struct ambient_index;

struct ambient_index_settings {
    const char *cluster_id;      /* "Kubernetes" when NULL */
    const char *domain;          /* of services, "cluster.local" when NULL */
    const char *root_namespace;  /* when MeshConfig names none; "istio-system" when NULL */
    const char *trust_domain;    /* when MeshConfig names none; "cluster.local" when NULL */
    const char *revision;        /* for the label istio.io/rev; "default" when NULL */
    const char *state_directory; /* where auto-allocated addresses live; NULL: in memory only */
    bool is_read_only;           /* the state directory is read, never written */
};

/* Fails when the allocations in the state directory cannot be read. The settings are copied. */
struct result ambient_index_new(const struct ambient_index_settings *settings, struct ambient_index **index);
void ambient_index_free(struct ambient_index *index);

/* What an update changed, valid until the next one. A resource that changed its type (it never does) would be both. */
struct ambient_change {
    enum ambient_resource_type type;
    const char *name;
    const struct ambient_resource *resource; /* NULL: removed */
};
struct ambient_changes {
    const struct ambient_change *items; /* sorted by type and name */
    size_t count;
};

/* Fails, with the new state in force all the same, when newly allocated addresses could not be written down. */
struct result ambient_index_update(
    struct ambient_index *index, const struct kube_store *store, struct ambient_changes *changes);

/* ---- what is in force; everything borrowed until the next update unless referenced ---- */

struct ambient_resource_list {
    const struct ambient_resource *const *items;
    size_t count;
};

/* NULL when there is none. `type` AMBIENT_WORKLOAD or AMBIENT_SERVICE look into the same name space. */
const struct ambient_resource *ambient_index_get(
    const struct ambient_index *index, enum ambient_resource_type type, const char *name);
/* All of a type, sorted by name. */
struct ambient_resource_list ambient_index_list(const struct ambient_index *index, enum ambient_resource_type type);
/* All workloads at "network/ip"; else the service there (also "network/ip/length"). */
struct ambient_resource_list ambient_index_at_alias(const struct ambient_index *index, const char *alias);
/* A changed service re-sends these as well (wire-protocols §10.3 rule 8). */
struct ambient_resource_list ambient_index_workloads_of_service(
    const struct ambient_index *index, const char *service_name);
struct ambient_resource_list ambient_index_workloads_on_node(const struct ambient_index *index, const char *node);

/* For the CA: whether the Node object exists, and whether a pod (of any phase but Failed, with or without an IP) or a WorkloadEntry
 * annotated ambar.io/node runs there under this service account. */
bool ambient_index_has_node(const struct ambient_index *index, const char *node);
bool ambient_index_identity_is_on_node(
    const struct ambient_index *index, const char *namespace_, const char *service_account, const char *node);

const char *ambient_index_trust_domain(const struct ambient_index *index);
const char *ambient_index_root_namespace(const struct ambient_index *index);

/* The conditions istiod would write to `status`, sorted by object. */
struct ambient_condition_list ambient_index_conditions(const struct ambient_index *index);

#endif
