/* The authorization decision with its log lines and counters (ztunnel-dataplane §13). */
#ifndef AMBAR_ZTUNNEL_POLICY_LOG_H
#define AMBAR_ZTUNNEL_POLICY_LOG_H

#include "mesh/authorization.h"

struct worker;

struct authorization_verdict policy_log_authorize(struct worker *worker, const struct mesh_version *version,
    const struct workload *destination, const struct authorization_request *request);

#endif
