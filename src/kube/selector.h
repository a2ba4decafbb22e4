/* The two selectors objects are written with, as schemas: Istio's `selector: {matchLabels}` and Kubernetes' LabelSelector. */
#ifndef AMBAR_KUBE_SELECTOR_H
#define AMBAR_KUBE_SELECTOR_H

#include "kube/labels.h"
#include "kube/schema.h"

/* spec.selector of a policy. An empty one selects every workload of its namespace. */
struct kube_workload_selector {
    struct kube_labels match_labels;
};

extern const struct kube_schema kube_workload_selector_schema; /* strict; struct kube_workload_selector */
extern const struct kube_schema kube_label_selector_schema;    /* lenient; struct kube_selector */
extern const struct kube_schema
    kube_service_entry_selector_schema; /* strict, key `labels`; struct kube_workload_selector */

#endif
