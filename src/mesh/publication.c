#include "mesh/publication.h"

#include "base/memory.h"

#include <stdatomic.h>

struct mesh_publication {
    struct qsbr *domain;
    _Atomic(struct mesh_version *) current;
};

static void release_version(void *version)
{
    mesh_version_release(version);
}

struct mesh_publication *mesh_publication_new(struct qsbr *domain, struct mesh_version *first)
{
    struct mesh_publication *publication = NEW(struct mesh_publication);
    publication->domain = domain;
    atomic_init(&publication->current, first);
    return publication;
}

void mesh_publication_free(struct mesh_publication *publication)
{
    mesh_version_release(atomic_load_explicit(&publication->current, memory_order_relaxed));
    memory_free(publication);
}

void mesh_publication_publish(struct mesh_publication *publication, struct mesh_version *version)
{
    struct mesh_version *old = atomic_exchange_explicit(&publication->current, version, memory_order_acq_rel);
    qsbr_retire_later(publication->domain, old, release_version);
}

const struct mesh_version *mesh_publication_read(const struct mesh_publication *publication)
{
    return atomic_load_explicit(&publication->current, memory_order_acquire);
}

struct mesh_version *mesh_publication_reference(const struct mesh_publication *publication)
{
    return mesh_version_reference(mesh_publication_read(publication));
}
