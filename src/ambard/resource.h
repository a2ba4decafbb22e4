/* One resource of the workload API, as it goes over the wire: immutable, counted, for one thread. */
#ifndef AMBAR_AMBARD_RESOURCE_H
#define AMBAR_AMBARD_RESOURCE_H

#include "base/bytes.h"

enum ambient_resource_type {
    AMBIENT_WORKLOAD,      /* istio.workload.Address{workload}, named by its uid */
    AMBIENT_SERVICE,       /* istio.workload.Address{service}, named namespace/hostname */
    AMBIENT_AUTHORIZATION, /* istio.security.Authorization, named namespace/name */
};

struct ambient_resource {
    unsigned references;
    enum ambient_resource_type type;
    const char *name;
    struct bytes body;    /* the serialized Address or Authorization */
    char version[17];     /* hexadecimal XXH64 of body; "" for an Authorization */
    const char **aliases; /* "network/ip" or "network/ip/length"; on the wire for on-demand subscribers only */
    size_t alias_count;
    const char *node;      /* of a workload; "" otherwise */
    const char **services; /* the names of the services a workload lists, sorted */
    size_t service_count;
};

struct ambient_resource *ambient_resource_reference(const struct ambient_resource *resource);
void ambient_resource_release(struct ambient_resource *resource); /* NULL is allowed */

/* The bare istio.workload.Workload inside an AMBIENT_WORKLOAD, borrowed; its name and version are those of the Address. */
struct bytes ambient_resource_workload_bytes(const struct ambient_resource *resource);

#endif
