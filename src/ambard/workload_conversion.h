/* Pods, WorkloadEntries, endpoints of ServiceEntries and of EndpointSlices to istio.workload.Workload (control-plane §2).
 * Services, waypoints and policies must be known before. */
#ifndef AMBAR_AMBARD_WORKLOAD_CONVERSION_H
#define AMBAR_AMBARD_WORKLOAD_CONVERSION_H

#include "ambard/membership.h"

/* Emits every workload, and adds the conditions of WorkloadEntries. */
void workloads_convert(struct conversion *conversion);

/* The halves of it. */
void pods_convert(struct conversion *conversion, const struct slice_memberships *memberships);
void workload_entries_convert(struct conversion *conversion);
void service_entry_endpoints_convert(struct conversion *conversion);
void endpoint_slices_convert(struct conversion *conversion);

/* HBONE by the annotation of redirection, or by a label that says that the workload itself speaks it. */
void workload_read_tunnel(
    struct workload_parts *parts, const struct kube_labels *labels, const struct kube_labels *annotations);
/* What the workload lists: selector policies, then those of PeerAuthentication. */
void workload_read_policies(
    struct conversion *conversion, struct workload_parts *parts, const struct kube_labels *labels);

/* The annotation that binds a WorkloadEntry to a node, so that a plain host can be in the mesh. */
#define ANNOTATION_NODE "ambar.io/node"

#endif
