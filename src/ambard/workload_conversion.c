#include "ambard/workload_conversion.h"

#include "ambard/endpoint_conversion.h"
#include "ambard/membership.h"
#include "ambard/network_gateway.h"
#include "ambard/pod_conversion.h"

void workloads_convert(struct conversion *conversion)
{
    struct slice_memberships *memberships = slice_memberships_new(conversion);
    pods_convert(conversion, memberships);
    slice_memberships_free(memberships);
    workload_entries_convert(conversion);
    service_entry_endpoints_convert(conversion);
    endpoint_slices_convert(conversion);
    network_gateways_convert(conversion);
}
