/* Everything that becomes an istio.workload.Workload, in the order in which it is emitted (control-plane §2).
 * Services, waypoints and policies must be known before. */
#ifndef AMBAR_AMBARD_WORKLOAD_CONVERSION_H
#define AMBAR_AMBARD_WORKLOAD_CONVERSION_H

#include "ambard/conversion.h"

/* Emits every workload, and adds the conditions of WorkloadEntries. */
void workloads_convert(struct conversion *conversion);

#endif
