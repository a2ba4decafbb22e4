/* ServiceEntry. */
#ifndef AMBAR_KUBE_SERVICE_ENTRY_H
#define AMBAR_KUBE_SERVICE_ENTRY_H

#include "kube/object.h"
#include "kube/selector.h"
#include "kube/workload_entry.h"

#include <assert.h>

struct kube_service_entry_port {
    const char *name;
    const char *protocol;
    uint32_t number;
    uint32_t target_port; /* 0: the number */
};

enum kube_resolution {
    KUBE_RESOLUTION_NONE,
    KUBE_RESOLUTION_STATIC,
    KUBE_RESOLUTION_DNS,
    KUBE_RESOLUTION_DNS_ROUND_ROBIN,
    KUBE_RESOLUTION_DYNAMIC_DNS,
};

struct kube_allocated_address {
    const char *value;
    const char *host;
};

struct kube_service_entry {
    struct kube_object object;
    struct kube_strings hosts;
    struct kube_strings addresses; /* IP addresses and CIDR blocks */
    struct {
        struct kube_service_entry_port *items;
        size_t count;
    } ports;
    int resolution; /* enum kube_resolution */
    int location;   /* 0: MESH_EXTERNAL, 1: MESH_INTERNAL */
    struct {
        struct kube_workload_entry_spec *items;
        size_t count;
    } endpoints;
    struct kube_workload_selector *workload_selector; /* NULL when absent */
    struct kube_strings subject_alt_names;
    struct {
        struct kube_allocated_address *items;
        size_t count;
    } status_addresses;
};

static inline const struct kube_service_entry *kube_as_service_entry(const struct kube_object *object)
{
    assert(object->kind == KUBE_SERVICE_ENTRY);
    return (const struct kube_service_entry *)object;
}

#endif
