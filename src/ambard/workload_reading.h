/* What every kind of object that becomes a workload says in the same labels and annotations (control-plane §2). */
#ifndef AMBAR_AMBARD_WORKLOAD_READING_H
#define AMBAR_AMBARD_WORKLOAD_READING_H

#include "ambard/conversion.h"
#include "ambard/workload_encoding.h"

/* The annotation that binds a WorkloadEntry to a node, so that a plain host can be in the mesh. */
#define ANNOTATION_NODE "ambar.io/node"

/* HBONE by the annotation of redirection, or by a label that says that the workload itself speaks it. */
void workload_read_tunnel(
    struct workload_parts *parts, const struct kube_labels *labels, const struct kube_labels *annotations);

/* What the workload lists: selector policies, then those of PeerAuthentication. */
void workload_read_policies(
    struct conversion *conversion, struct workload_parts *parts, const struct kube_labels *labels);

#endif
