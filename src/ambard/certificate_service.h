/* The CA's one call: IstioCertificateService/CreateCertificate (control-plane §7). Only a caller with a token of ours gets a
 * certificate; only trusted accounts may ask for others' identities, and only for those with a workload on their node. */
#ifndef AMBAR_AMBARD_CERTIFICATE_SERVICE_H
#define AMBAR_AMBARD_CERTIFICATE_SERVICE_H

#include "ambard/authority_keeper.h"
#include "ambard/caller.h"
#include "telemetry/metric.h"

struct certificate_service;

extern const char CERTIFICATE_SERVICE_PATH[];

struct certificate_service_settings {
    const struct authority_keeper *authority;
    const struct ambient_index *index;
    const struct caller_check *callers;
    struct metric_shard *metrics;
    char *const *trusted_accounts; /* "namespace/name" of those that may impersonate */
    size_t trusted_count;
    int64_t default_lifetime_s; /* for requests without one */
    int64_t maximum_lifetime_s;
};

struct certificate_service *certificate_service_new(const struct certificate_service_settings *settings);
void certificate_service_free(struct certificate_service *service);

/* The whole call: one request, one answer. */
void certificate_service_on_message(
    struct certificate_service *service, struct grpc_server_call *call, struct bytes message);

#endif
