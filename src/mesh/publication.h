/* The current version of the mesh: one atomic pointer.
 *
 * The writer (the control thread) publishes; workers read for one loop turn between their calls of qsbr_quiescent; what
 * was replaced is released after a grace period. Whoever needs a version for longer, as a dump does, takes a reference. */
#ifndef AMBAR_MESH_PUBLICATION_H
#define AMBAR_MESH_PUBLICATION_H

#include "base/qsbr.h"
#include "mesh/version.h"

struct mesh_publication;

/* Takes over the reference to the first version. The domain stays the caller's and outlives the publication. */
struct mesh_publication *mesh_publication_new(struct qsbr *domain, struct mesh_version *first);
/* All readers must be gone. Releases the current version. */
void mesh_publication_free(struct mesh_publication *publication);

/* Takes over the reference. One writer at a time. The version before is released by a later qsbr_reclaim of the domain. */
void mesh_publication_publish(struct mesh_publication *publication, struct mesh_version *version);

/* Borrowed until the calling reader's next qsbr_quiescent or qsbr_offline; the writer may call it too, and then holds it
 * until its next publish. */
const struct mesh_version *mesh_publication_read(const struct mesh_publication *publication);
/* A counted reference, for the same callers. */
struct mesh_version *mesh_publication_reference(const struct mesh_publication *publication);

#endif
