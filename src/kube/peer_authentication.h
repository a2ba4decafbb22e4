/* PeerAuthentication. */
#ifndef AMBAR_KUBE_PEER_AUTHENTICATION_H
#define AMBAR_KUBE_PEER_AUTHENTICATION_H

#include "kube/object.h"
#include "kube/selector.h"

#include <assert.h>

enum kube_mtls_mode { KUBE_MTLS_UNSET, KUBE_MTLS_DISABLE, KUBE_MTLS_PERMISSIVE, KUBE_MTLS_STRICT };

struct kube_port_mtls {
    const char *key; /* the port as written */
    uint32_t port;
    int mode; /* enum kube_mtls_mode */
};

struct kube_peer_authentication {
    struct kube_object object;
    struct kube_workload_selector *selector; /* NULL when absent */
    int mode;                                /* enum kube_mtls_mode */
    struct {
        struct kube_port_mtls *items; /* ascending by port */
        size_t count;
    } ports;
};

static inline const struct kube_peer_authentication *kube_as_peer_authentication(const struct kube_object *object)
{
    assert(object->kind == KUBE_PEER_AUTHENTICATION);
    return (const struct kube_peer_authentication *)object;
}

/* Whether it is about single workloads: it has a selector that names labels. */
static inline bool kube_peer_authentication_has_selector(const struct kube_peer_authentication *policy)
{
    return policy->selector != NULL && policy->selector->match_labels.count > 0;
}

#endif
