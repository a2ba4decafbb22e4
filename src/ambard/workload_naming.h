/* What a workload is called in telemetry (control-plane §2.1: canonical_name, canonical_revision, workload_name). */
#ifndef AMBAR_AMBARD_WORKLOAD_NAMING_H
#define AMBAR_AMBARD_WORKLOAD_NAMING_H

#include "kube/pod.h"

/* Borrowed from the labels, or `fallback`. */
const char *workload_canonical_name(const struct kube_labels *labels, const char *fallback);
const char *workload_canonical_revision(const struct kube_labels *labels);

/* The label, else what the pod's controller is called without its generated ending, else the pod's name. In the arena or borrowed. */
const char *workload_name_of_pod(const struct kube_pod *pod, struct arena *arena);

#endif
