/* Which services a workload belongs to, and at which of its ports (control-plane §2.2, §2.3). */
#ifndef AMBAR_AMBARD_MEMBERSHIP_H
#define AMBAR_AMBARD_MEMBERSHIP_H

#include "ambard/service_conversion.h"
#include "ambard/workload_encoding.h"

/* "namespace/name/uid" of a pod -> the services whose EndpointSlices name it. */
struct slice_memberships;
struct slice_memberships *slice_memberships_new(struct conversion *conversion);
void slice_memberships_free(struct slice_memberships *memberships);

void membership_of_pod(struct conversion *conversion, const struct slice_memberships *memberships,
    const struct kube_pod *pod, struct workload_parts *parts);
void membership_of_workload_entry(
    struct conversion *conversion, const struct kube_workload_entry *entry, struct workload_parts *parts);
/* An inline endpoint of a ServiceEntry belongs to the entry's own hosts. */
void membership_of_endpoint(struct conversion *conversion, const struct kube_workload_entry_spec *endpoint,
    const struct mesh_service_list *services, struct workload_parts *parts);

#endif
