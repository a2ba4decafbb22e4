/* WorkloadEntries, endpoints of ServiceEntries and of EndpointSlices to istio.workload.Workload (control-plane §§2.3-2.5). */
#ifndef AMBAR_AMBARD_ENDPOINT_CONVERSION_H
#define AMBAR_AMBARD_ENDPOINT_CONVERSION_H

#include "ambard/conversion.h"

/* Adds the conditions of WorkloadEntries too. */
void workload_entries_convert(struct conversion *conversion);
void service_entry_endpoints_convert(struct conversion *conversion);
void endpoint_slices_convert(struct conversion *conversion);

#endif
