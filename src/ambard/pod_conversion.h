/* Pods to istio.workload.Workload (control-plane §2.1). */
#ifndef AMBAR_AMBARD_POD_CONVERSION_H
#define AMBAR_AMBARD_POD_CONVERSION_H

#include "ambard/membership.h"

/* Emits the workload of every pod that has an address and has not finished. */
void pods_convert(struct conversion *conversion, const struct slice_memberships *memberships);

#endif
