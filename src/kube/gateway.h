/* Gateway and GatewayClass of the Gateway API: what binding to a waypoint needs of them. */
#ifndef AMBAR_KUBE_GATEWAY_H
#define AMBAR_KUBE_GATEWAY_H

#include "kube/object.h"

#include <assert.h>

enum kube_route_namespaces { KUBE_ROUTES_SAME, KUBE_ROUTES_ALL, KUBE_ROUTES_SELECTOR, KUBE_ROUTES_NONE };

struct kube_listener {
    const char *name;
    const char *protocol;
    uint32_t port;
    int route_namespaces;                 /* enum kube_route_namespaces */
    struct kube_selector *route_selector; /* NULL when absent */
};

struct kube_gateway_address {
    const char *type; /* "" is IPAddress; Hostname */
    const char *value;
};

struct kube_gateway {
    struct kube_object object;
    const char *class_name;
    struct {
        struct kube_listener *items;
        size_t count;
    } listeners;
    struct {
        struct kube_gateway_address *items;
        size_t count;
    } status_addresses;
};

struct kube_gateway_class {
    struct kube_object object;
    const char *controller_name;
};

static inline const struct kube_gateway *kube_as_gateway(const struct kube_object *object)
{
    assert(object->kind == KUBE_GATEWAY);
    return (const struct kube_gateway *)object;
}

static inline const struct kube_gateway_class *kube_as_gateway_class(const struct kube_object *object)
{
    assert(object->kind == KUBE_GATEWAY_CLASS);
    return (const struct kube_gateway_class *)object;
}

#endif
