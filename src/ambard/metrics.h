/* The metrics of ambard, in the order in which they are printed (control-plane §§6.5, 7.6). */
#ifndef AMBAR_AMBARD_METRICS_H
#define AMBAR_AMBARD_METRICS_H

#include "telemetry/metric.h"

enum ambard_metric {
    METRIC_INFO,
    METRIC_UPTIME,
    METRIC_CONNECTED,
    METRIC_PUSHES,
    METRIC_REJECTS,
    METRIC_EXPIRED_NONCES,
    METRIC_STREAMS_REFUSED,
    METRIC_SERVICES,
    METRIC_WORKLOADS,
    METRIC_POLICIES,
    METRIC_CONFIG_ERRORS,
    METRIC_CONFIG_CHANGES,
    METRIC_CSRS,
    METRIC_AUTHENTICATION_FAILURES,
    METRIC_CSR_PARSING_ERRORS,
    METRIC_IDENTITY_ERRORS,
    METRIC_CSR_SIGNING_ERRORS,
    METRIC_CERTIFICATES_ISSUED,
    METRIC_ROOT_EXPIRY,
    AMBARD_METRIC_COUNT,
};

extern const struct metric_family AMBARD_METRICS[AMBARD_METRIC_COUNT];

/* One more in a family with one label; sets a gauge without labels. */
void ambard_count(struct metric_shard *shard, enum ambard_metric family, const char *label);
void ambard_set(struct metric_shard *shard, enum ambard_metric family, int64_t value);

#endif
