/* Services and ServiceEntries to istio.workload.Service (control-plane §3). */
#ifndef AMBAR_AMBARD_SERVICE_CONVERSION_H
#define AMBAR_AMBARD_SERVICE_CONVERSION_H

#include "ambard/conversion.h"
#include "kube/service.h"
#include "kube/service_entry.h"

/* One hostname in one namespace: what workloads can be endpoints of. In the conversion's arena. */
struct mesh_service {
    const char *name; /* namespace/hostname */
    const char *namespace_;
    const char *hostname;
    const struct kube_object *object;
    const struct kube_service *service; /* one of these two */
    const struct kube_service_entry *entry;
    int visibility; /* enum kube_visibility: PUBLIC or NAMESPACE */
};

struct mesh_service_list {
    const struct mesh_service **items;
    size_t count;
};

/* Emits every service, and adds the conditions of services and service entries. */
struct service_table *service_table_new(struct conversion *conversion);
void service_table_free(struct service_table *table);

/* The Kubernetes Service of that name; NULL when there is none. */
const struct mesh_service *service_find(const struct conversion *conversion, const char *namespace_, const char *name);
/* The hosts of an entry that were not lost to another object; in the order of the entry. */
struct mesh_service_list services_of_entry(const struct conversion *conversion, const struct kube_service_entry *entry);
/* Every service of the namespace whose non-empty selector matches. */
void services_selecting(const struct conversion *conversion, const char *namespace_, const struct kube_labels *labels,
    void (*visit)(void *context, const void *service), void *context);

/* istio.workload.AppProtocol of a Service's port, and of a ServiceEntry's protocol. */
uint32_t service_app_protocol(const struct kube_service_port *port);
uint32_t service_entry_app_protocol(const char *protocol);

#endif
