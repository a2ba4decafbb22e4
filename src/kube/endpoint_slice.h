/* EndpointSlice. */
#ifndef AMBAR_KUBE_ENDPOINT_SLICE_H
#define AMBAR_KUBE_ENDPOINT_SLICE_H

#include "kube/object.h"
#include "kube/pod.h"

struct kube_object_reference {
    const char *kind;
    const char *namespace_;
    const char *name;
    const char *uid;
};

struct kube_endpoint {
    struct kube_strings addresses;
    int is_ready;                             /* enum kube_tristate; unset means ready */
    struct kube_object_reference *target_ref; /* NULL when absent */
};

struct kube_endpoint_port {
    const char *name;
    uint32_t port;
    int protocol; /* enum kube_protocol */
};

enum kube_address_type { KUBE_ADDRESS_IPV4, KUBE_ADDRESS_IPV6, KUBE_ADDRESS_FQDN };

struct kube_endpoint_slice {
    struct kube_object object;
    int address_type; /* enum kube_address_type */
    struct {
        struct kube_endpoint *items;
        size_t count;
    } endpoints;
    struct {
        struct kube_endpoint_port *items;
        size_t count;
    } ports;
};

static inline const struct kube_endpoint_slice *kube_as_endpoint_slice(const struct kube_object *object)
{
    assert(object->kind == KUBE_ENDPOINT_SLICE);
    return (const struct kube_endpoint_slice *)object;
}

#endif
