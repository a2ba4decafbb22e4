/* The making of the next version: upserts and removals on top of a base, committed at once.
 *
 * For one thread at a time. A change among 100,000 workloads costs the paths it touches, not the tables. Within one xDS
 * response updates come before removals (ztunnel-management §3.5). */
#ifndef AMBAR_MESH_CHANGE_H
#define AMBAR_MESH_CHANGE_H

#include "mesh/version.h"

struct mesh_change;

/* The base stays the caller's; the change holds a reference of its own. */
struct mesh_change *mesh_change_begin(const struct mesh_version *base);

/* Each takes over the caller's reference and replaces what had the same uid, "namespace/hostname" or resource name. */
void mesh_change_upsert_workload(struct mesh_change *change, struct workload *workload);
void mesh_change_upsert_service(struct mesh_change *change, struct service *service);
void mesh_change_upsert_policy(struct mesh_change *change, struct policy *policy);

enum mesh_removal {
    MESH_REMOVED_WORKLOAD,
    MESH_REMOVED_SERVICE,
    MESH_REMOVAL_UNKNOWN,   /* nothing of that name; worth a warning */
    MESH_REMOVAL_MALFORMED, /* neither a known uid nor "namespace/hostname" */
    MESH_REMOVAL_IGNORED,   /* a uid that is not known */
};
/* A uid first, else "namespace/hostname" (§3.5). */
enum mesh_removal mesh_change_remove_address(struct mesh_change *change, struct bytes name);
/* False when there was none. */
bool mesh_change_remove_policy(struct mesh_change *change, struct bytes key);

bool mesh_change_is_empty(const struct mesh_change *change);

/* The new version, owned by the caller; the change is gone. */
struct mesh_version *mesh_change_commit(struct mesh_change *change);
void mesh_change_discard(struct mesh_change *change);

#endif
