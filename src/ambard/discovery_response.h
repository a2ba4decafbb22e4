/* One DeltaDiscoveryResponse being written (wire-protocols §6): resources first, names removed, nonce. */
#ifndef AMBAR_AMBARD_DISCOVERY_RESPONSE_H
#define AMBAR_AMBARD_DISCOVERY_RESPONSE_H

#include "ambard/resource.h"
#include "base/writer.h"

struct discovery_response {
    struct writer body;
    struct writer removed;
    const char *type_url;
    bool is_bare_workload; /* the Workload type: the message inside the Address */
    bool has_aliases;      /* on-demand subscribers get them */
    size_t resource_count;
    size_t removed_count;
};

/* `counter` is part of the version, which is opaque to clients. */
void discovery_response_begin(struct discovery_response *response, const char *type_url, uint64_t counter);
void discovery_response_add(struct discovery_response *response, const struct ambient_resource *resource);
void discovery_response_remove(struct discovery_response *response, const char *name);
/* The message, in a growing writer of the caller's, and its nonce, which the caller frees. */
struct writer discovery_response_finish(struct discovery_response *response, uint64_t counter, char **nonce);
void discovery_response_discard(struct discovery_response *response);

#endif
