#include "ambard/metrics.h"

static const char *const VERSION_LABELS[] = { "version", NULL };
static const char *const TYPE_LABELS[] = { "type", NULL };
static const char *const REASON_LABELS[] = { "reason", NULL };
static const char *const ERROR_LABELS[] = { "error", NULL };

const struct metric_family AMBARD_METRICS[AMBARD_METRIC_COUNT] = {
    [METRIC_INFO] = { "pilot_info", METRIC_GAUGE, "Version of this control plane", NULL, VERSION_LABELS, NULL, 0,
        false },
    [METRIC_UPTIME] = { "istiod_uptime_seconds", METRIC_GAUGE, "Seconds since the start", "seconds", NULL, NULL, 0,
        false },
    [METRIC_CONNECTED] = { "pilot_xds", METRIC_GAUGE, "Workload API streams open now", NULL, NULL, NULL, 0, false },
    [METRIC_PUSHES] = { "pilot_xds_pushes", METRIC_COUNTER, "Responses sent", NULL, TYPE_LABELS, NULL, 0, false },
    [METRIC_REJECTS] = { "pilot_total_xds_rejects", METRIC_COUNTER, "Responses that a client refused (NACK)", NULL,
        TYPE_LABELS, NULL, 0, false },
    [METRIC_EXPIRED_NONCES] = { "pilot_xds_expired_nonce", METRIC_COUNTER, "Requests that answered an older response",
        NULL, TYPE_LABELS, NULL, 0, false },
    [METRIC_STREAMS_REFUSED] = { "ambard_streams_refused", METRIC_COUNTER, "Workload API streams refused", NULL,
        REASON_LABELS, NULL, 0, false },
    [METRIC_SERVICES] = { "pilot_services", METRIC_GAUGE, "Services known", NULL, NULL, NULL, 0, false },
    [METRIC_WORKLOADS] = { "ambard_workloads", METRIC_GAUGE, "Workloads known", NULL, NULL, NULL, 0, false },
    [METRIC_POLICIES] = { "ambard_policies", METRIC_GAUGE, "Policies in force", NULL, NULL, NULL, 0, false },
    [METRIC_CONFIG_ERRORS] = { "ambard_configuration_errors", METRIC_GAUGE, "Errors in the configuration folder now",
        NULL, NULL, NULL, 0, false },
    [METRIC_CONFIG_CHANGES] = { "pilot_inbound_updates", METRIC_COUNTER, "Changes of the configuration folder applied",
        NULL, NULL, NULL, 0, false },
    [METRIC_CSRS] = { "citadel_server_csr_count", METRIC_COUNTER, "Certificate requests received", NULL, NULL, NULL, 0,
        false },
    [METRIC_AUTHENTICATION_FAILURES] = { "citadel_server_authentication_failure_count", METRIC_COUNTER,
        "Certificate requests whose caller was refused", NULL, NULL, NULL, 0, false },
    [METRIC_CSR_PARSING_ERRORS] = { "citadel_server_csr_parsing_err_count", METRIC_COUNTER,
        "Certificate requests that could not be read", NULL, NULL, NULL, 0, false },
    [METRIC_IDENTITY_ERRORS] = { "citadel_server_id_extraction_err_count", METRIC_COUNTER,
        "Certificate requests for an identity the caller may not have", NULL, NULL, NULL, 0, false },
    [METRIC_CSR_SIGNING_ERRORS] = { "citadel_server_csr_sign_err_count", METRIC_COUNTER,
        "Certificates that could not be signed", NULL, ERROR_LABELS, NULL, 0, false },
    [METRIC_CERTIFICATES_ISSUED] = { "citadel_server_success_cert_issuance_count", METRIC_COUNTER,
        "Certificates issued", NULL, NULL, NULL, 0, false },
    [METRIC_ROOT_EXPIRY] = { "citadel_server_root_cert_expiry_timestamp", METRIC_GAUGE,
        "When the root certificate expires, Unix time", NULL, NULL, NULL, 0, false },
};

void ambard_count(struct metric_shard *shard, enum ambard_metric family, const char *label)
{
    metric_count_labelled(shard, family, &label, 1);
}

void ambard_set(struct metric_shard *shard, enum ambard_metric family, int64_t value)
{
    metric_set_labelled(shard, family, NULL, value);
}
