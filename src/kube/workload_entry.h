/* WorkloadEntry, alone and as an endpoint of a ServiceEntry. */
#ifndef AMBAR_KUBE_WORKLOAD_ENTRY_H
#define AMBAR_KUBE_WORKLOAD_ENTRY_H

#include "kube/object.h"
#include "kube/schema.h"

#include <assert.h>

struct kube_workload_entry_spec {
    const char *address; /* an IP address or a hostname; "" behind a network gateway */
    const char *network;
    const char *locality; /* region/zone/subzone */
    const char *service_account;
    struct kube_number_map ports;
    struct kube_labels labels;
    uint32_t weight;
};

struct kube_workload_entry {
    struct kube_object object;
    struct kube_workload_entry_spec spec;
    struct kube_labels labels; /* spec.labels overlaid by metadata.labels: what selectors see */
};

static inline const struct kube_workload_entry *kube_as_workload_entry(const struct kube_object *object)
{
    assert(object->kind == KUBE_WORKLOAD_ENTRY);
    return (const struct kube_workload_entry *)object;
}

/* The port of that name; `fallback` when the entry has none. */
uint32_t kube_workload_entry_port(const struct kube_workload_entry_spec *spec, const char *name, uint32_t fallback);

extern const struct kube_schema kube_workload_entry_spec_schema; /* struct kube_workload_entry_spec */

#endif
