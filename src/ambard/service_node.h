/* Who a client of the workload API says it is: the id of its node, `type~ip~pod.namespace~namespace.svc.domain` (wire-protocols §6). */
#ifndef AMBAR_AMBARD_SERVICE_NODE_H
#define AMBAR_AMBARD_SERVICE_NODE_H

#include "base/result.h"

/* An id of four parts with a known type, a workload, and an address, either in `instance_ips` (a comma list in which every one is
 * sound) or as its second part. RESULT_INVALID with the sentence the client is told. */
struct result service_node_check(const char *id, const char *instance_ips);

#endif
