/* PeerAuthentication (control-plane §5.2): the policies made of them, and which a workload lists. */
#ifndef AMBAR_AMBARD_PEER_AUTHENTICATION_H
#define AMBAR_AMBARD_PEER_AUTHENTICATION_H

#include "ambard/authorization.h"
#include "ambard/conversion.h"
#include "kube/peer_authentication.h"

/* Emits the static strict policy, as soon as any PeerAuthentication exists, and the converted ones. */
struct peer_authentication_table *peer_authentication_table_new(struct conversion *conversion);
void peer_authentication_table_free(struct peer_authentication_table *table);

/* The names a workload lists on account of PeerAuthentication, sorted. In the conversion's arena. */
struct kube_strings peer_authentication_of_workload(
    struct conversion *conversion, const char *namespace_, const struct kube_labels *labels);

/* The policy made of the ports of `policy`, given the modes of its namespace and mesh (`namespace_policy` and `mesh_policy`
 * may be NULL). False when there is none to be made. In the arena. */
bool peer_authentication_convert(const struct kube_peer_authentication *policy,
    const struct kube_peer_authentication *namespace_policy, const struct kube_peer_authentication *mesh_policy,
    struct arena *arena, struct authorization *authorization);

#endif
