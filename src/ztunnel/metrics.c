#include "ztunnel/metrics.h"

static const char *const TRAFFIC_LABELS[] = {
    [TRAFFIC_REPORTER] = "reporter",
    [TRAFFIC_SOURCE_WORKLOAD] = "source_workload",
    [TRAFFIC_SOURCE_CANONICAL_SERVICE] = "source_canonical_service",
    [TRAFFIC_SOURCE_CANONICAL_REVISION] = "source_canonical_revision",
    [TRAFFIC_SOURCE_WORKLOAD_NAMESPACE] = "source_workload_namespace",
    [TRAFFIC_SOURCE_PRINCIPAL] = "source_principal",
    [TRAFFIC_SOURCE_APP] = "source_app",
    [TRAFFIC_SOURCE_VERSION] = "source_version",
    [TRAFFIC_SOURCE_CLUSTER] = "source_cluster",
    [TRAFFIC_DESTINATION_SERVICE] = "destination_service",
    [TRAFFIC_DESTINATION_SERVICE_NAMESPACE] = "destination_service_namespace",
    [TRAFFIC_DESTINATION_SERVICE_NAME] = "destination_service_name",
    [TRAFFIC_DESTINATION_WORKLOAD] = "destination_workload",
    [TRAFFIC_DESTINATION_CANONICAL_SERVICE] = "destination_canonical_service",
    [TRAFFIC_DESTINATION_CANONICAL_REVISION] = "destination_canonical_revision",
    [TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE] = "destination_workload_namespace",
    [TRAFFIC_DESTINATION_PRINCIPAL] = "destination_principal",
    [TRAFFIC_DESTINATION_APP] = "destination_app",
    [TRAFFIC_DESTINATION_VERSION] = "destination_version",
    [TRAFFIC_DESTINATION_CLUSTER] = "destination_cluster",
    [TRAFFIC_REQUEST_PROTOCOL] = "request_protocol",
    [TRAFFIC_RESPONSE_FLAGS] = "response_flags",
    [TRAFFIC_SECURITY_POLICY] = "connection_security_policy",
    [TRAFFIC_SOURCE_REGION] = "source_region",
    [TRAFFIC_SOURCE_ZONE] = "source_zone",
    [TRAFFIC_DESTINATION_REGION] = "destination_region",
    [TRAFFIC_DESTINATION_ZONE] = "destination_zone",
    [TRAFFIC_LABEL_COUNT] = NULL,
};

static const char *const BUILD_LABELS[] = { "component", "tag", NULL };
static const char *const REASON_LABELS[] = { "reason", NULL };
static const char *const URL_LABELS[] = { "url", NULL };
static const char *const REPORTER_LABELS[] = { "reporter", NULL };
static const char *const ON_DEMAND_LABELS[] = {
    [ON_DEMAND_SOURCE_WORKLOAD] = "source_workload",
    [ON_DEMAND_SOURCE_CANONICAL_SERVICE] = "source_canonical_service",
    [ON_DEMAND_SOURCE_CANONICAL_REVISION] = "source_canonical_revision",
    [ON_DEMAND_SOURCE_WORKLOAD_NAMESPACE] = "source_workload_namespace",
    [ON_DEMAND_SOURCE_PRINCIPAL] = "source_principal",
    [ON_DEMAND_SOURCE_APP] = "source_app",
    [ON_DEMAND_SOURCE_VERSION] = "source_version",
    [ON_DEMAND_SOURCE_CLUSTER] = "source_cluster",
    [ON_DEMAND_HOSTNAME] = "hostname",
    [ON_DEMAND_LABEL_COUNT] = NULL,
};
static const char *const DNS_LABELS[] = {
    [DNS_QUERY_TYPE] = "request_query_type",
    [DNS_PROTOCOL] = "request_protocol",
    [DNS_SOURCE_CANONICAL_SERVICE] = "source_canonical_service",
    [DNS_SOURCE_CANONICAL_REVISION] = "source_canonical_revision",
    [DNS_LABEL_COUNT] = NULL,
};
static const double DNS_BUCKETS[] = { 0.0005, 0.001, 0.01, 0.1, 1.0, 5.0, -1 };

static const char *const RECORD_PROBLEM_LABELS[] = { "role", "reason", NULL };
static const char *const TLS_ENGINE_LABELS[] = { "engine", "cipher", NULL };
static const char *const ROLE_LABELS[] = { "role", NULL };
static const char *const LIMIT_LABELS[] = { "limit", NULL };
static const char *const KIND_LABELS[] = { "kind", NULL };
static const char *const RESULT_LABELS[] = { "result", NULL };
static const char *const KIND_RESULT_LABELS[] = { "kind", "result", NULL };
static const char *const STATE_LABELS[] = { "state", NULL };
static const char *const FAMILY_LABELS[] = { "family", NULL };
static const double HANDSHAKE_BUCKETS[] = { 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, -1 };
static const double TURN_BUCKETS[] = { 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.01, 0.1, -1 };

/* One row: its rank in enum ztunnel_metric, sample name without `_total`, type, labels, help. */
#define FAMILY(rank_, name_, type_, labels_, help_)                                                                    \
    [rank_] = { .name = (name_), .type = (type_), .labels = (labels_), .help = (help_) }
#define BYTES(rank_, name_, type_, labels_, help_)                                                                     \
    [rank_] = { .name = (name_), .type = (type_), .labels = (labels_), .help = (help_), .unit = "bytes" }
#define SECONDS(rank_, name_, labels_, buckets_, help_)                                                                \
    [rank_] = { .name = (name_),                                                                                       \
        .type = METRIC_HISTOGRAM,                                                                                      \
        .labels = (labels_),                                                                                           \
        .buckets = (buckets_),                                                                                         \
        .help = (help_),                                                                                               \
        .unit = "seconds" }
#define PROCESS(rank_, name_, help_)                                                                                   \
    [rank_] = { .name = (name_), .type = METRIC_GAUGE, .help = (help_), .is_help_verbatim = true }

const struct metric_family ZTUNNEL_METRICS[METRIC_COUNT] = {
    PROCESS(METRIC_PROCESS_OPEN_FDS, "process_open_fds", "Number of open file descriptors"),
    PROCESS(METRIC_PROCESS_MAX_FDS, "process_max_fds", "Maximum number of file descriptors"),
    FAMILY(METRIC_BUILD, "istio_build", METRIC_GAUGE, BUILD_LABELS, "Istio component build info"),
    FAMILY(METRIC_XDS_CONNECTION_TERMINATIONS, "istio_xds_connection_terminations", METRIC_COUNTER, REASON_LABELS,
        "The total number of completed connections to xds server (unstable)"),
    FAMILY(METRIC_XDS_MESSAGE, "istio_xds_message", METRIC_COUNTER, URL_LABELS,
        "Total number of messages received (unstable)"),
    BYTES(METRIC_XDS_MESSAGE_BYTES, "istio_xds_message_bytes", METRIC_COUNTER, URL_LABELS,
        "Total number of bytes received (unstable)"),
    FAMILY(METRIC_CONNECTIONS_OPENED, "istio_tcp_connections_opened", METRIC_COUNTER, TRAFFIC_LABELS,
        "The total number of TCP connections opened"),
    FAMILY(METRIC_CONNECTIONS_CLOSED, "istio_tcp_connections_closed", METRIC_COUNTER, TRAFFIC_LABELS,
        "The total number of TCP connections closed"),
    FAMILY(METRIC_RECEIVED_BYTES, "istio_tcp_received_bytes", METRIC_COUNTER, TRAFFIC_LABELS,
        "The size of total bytes received during request in case of a TCP connection"),
    FAMILY(METRIC_SENT_BYTES, "istio_tcp_sent_bytes", METRIC_COUNTER, TRAFFIC_LABELS,
        "The size of total bytes sent during response in case of a TCP connection"),
    FAMILY(METRIC_ON_DEMAND_DNS, "istio_on_demand_dns", METRIC_COUNTER, ON_DEMAND_LABELS,
        "The total number of requests that used on-demand DNS (unstable)"),
    FAMILY(METRIC_CONNECTIONS_FAILED, "istio_tcp_connections_failed", METRIC_COUNTER, TRAFFIC_LABELS,
        "The total number of TCP connections that failed to complete successfully (unstable)"),
    FAMILY(METRIC_SOCKETS_OPEN, "istio_tcp_sockets_open", METRIC_GAUGE, REPORTER_LABELS,
        "The current number of open TCP sockets (unstable)"),
    FAMILY(METRIC_CRL_REJECTIONS, "istio_crl_policy_rejections", METRIC_COUNTER, REPORTER_LABELS,
        "The total number of connections rejected by a certificate revocation list (unstable)"),
    FAMILY(METRIC_CRL_UNTRACKED, "istio_crl_untracked_connections", METRIC_COUNTER, REPORTER_LABELS,
        "The total number of connections that cannot be closed by a later certificate revocation (unstable)"),
    FAMILY(METRIC_DNS_REQUESTS, "istio_dns_requests", METRIC_COUNTER, DNS_LABELS,
        "Total number of DNS requests (unstable)"),
    FAMILY(METRIC_DNS_UPSTREAM_REQUESTS, "istio_dns_upstream_requests", METRIC_COUNTER, DNS_LABELS,
        "Total number of DNS requests forwarded to upstream (unstable)"),
    FAMILY(METRIC_DNS_UPSTREAM_FAILURES, "istio_dns_upstream_failures", METRIC_COUNTER, DNS_LABELS,
        "Total number of DNS requests forwarded to upstream (unstable)"),
    SECONDS(METRIC_DNS_UPSTREAM_DURATION, "istio_dns_upstream_request_duration_seconds", DNS_LABELS, DNS_BUCKETS,
        "Total time in seconds Istio takes to get DNS response from upstream (unstable)"),
    FAMILY(METRIC_ACTIVE_PROXIES, "workload_manager_active_proxy_count", METRIC_GAUGE, NULL,
        "The total number current workloads with active proxies (unstable)"),
    FAMILY(METRIC_PENDING_PROXIES, "workload_manager_pending_proxy_count", METRIC_GAUGE, NULL,
        "The total number current workloads with pending proxies (unstable)"),
    FAMILY(METRIC_PROXIES_STARTED, "workload_manager_proxies_started", METRIC_COUNTER, NULL,
        "The total number of proxies that were started (unstable)"),
    FAMILY(METRIC_PROXIES_STOPPED, "workload_manager_proxies_stopped", METRIC_COUNTER, NULL,
        "The total number of proxies that were stopped (unstable)"),

    FAMILY(METRIC_TUNNELS_OPENED, "ambar_tunnels_opened", METRIC_COUNTER, ROLE_LABELS,
        "HBONE tunnels whose handshake completed"),
    FAMILY(METRIC_TUNNELS_CLOSED, "ambar_tunnels_closed", METRIC_COUNTER, ROLE_LABELS, "HBONE tunnels that ended"),
    FAMILY(METRIC_TUNNELS_OPEN, "ambar_tunnels_open", METRIC_GAUGE, ROLE_LABELS, "HBONE tunnels open now"),
    FAMILY(METRIC_STREAMS_OPEN, "ambar_streams_open", METRIC_GAUGE, ROLE_LABELS, "Streams open in HBONE tunnels now"),
    FAMILY(METRIC_TUNNEL_WAITERS, "ambar_tunnel_waiters", METRIC_GAUGE, NULL,
        "Connections waiting for a tunnel to be opened"),
    FAMILY(METRIC_TUNNEL_RETRIES, "ambar_tunnel_retries", METRIC_COUNTER, NULL,
        "Requests sent again on another tunnel because the first had ended unprocessed"),
    FAMILY(METRIC_HANDSHAKES, "ambar_tls_handshakes", METRIC_COUNTER, ROLE_LABELS, "TLS handshakes started"),
    FAMILY(METRIC_HANDSHAKE_FAILURES, "ambar_tls_handshake_failures", METRIC_COUNTER, ROLE_LABELS,
        "TLS handshakes that failed"),
    FAMILY(METRIC_HANDSHAKES_PENDING, "ambar_tls_handshakes_pending", METRIC_GAUGE, ROLE_LABELS,
        "TLS handshakes under way or queued"),
    SECONDS(METRIC_HANDSHAKE_DURATION, "ambar_tls_handshake_duration_seconds", ROLE_LABELS, HANDSHAKE_BUCKETS,
        "Time from the start of a TLS handshake to its success"),
    FAMILY(METRIC_KEY_UPDATES, "ambar_tls_key_updates", METRIC_COUNTER, ROLE_LABELS,
        "Traffic keys replaced in live tunnels"),
    FAMILY(METRIC_RECORD_PROBLEMS, "ambar_tls_record_problems", METRIC_COUNTER, RECORD_PROBLEM_LABELS,
        "Tunnels whose TLS records ended badly, by reason"),
    FAMILY(METRIC_TLS_ENGINE, "ambar_tls_engine_info", METRIC_GAUGE, TLS_ENGINE_LABELS,
        "Who encrypts the records of tunnels, and with which code"),
    FAMILY(METRIC_EARLY_DENIALS, "ambar_early_denials", METRIC_COUNTER, REPORTER_LABELS,
        "Connections refused before routing"),
    FAMILY(METRIC_LIMIT_REFUSALS, "ambar_limit_refusals", METRIC_COUNTER, LIMIT_LABELS,
        "Connections, streams and requests refused because a limit was reached"),
    FAMILY(METRIC_LIMITS, "ambar_limit", METRIC_GAUGE, LIMIT_LABELS, "The limits in force"),
    FAMILY(METRIC_UNKNOWN_POLICIES, "ambar_unknown_policies", METRIC_COUNTER, NULL,
        "Policies that a workload listed and nobody had sent, skipped in a decision"),
    BYTES(METRIC_PINNED_BYTES, "ambar_pinned_bytes", METRIC_GAUGE, NULL, "Bytes held for readers that do not read"),
    BYTES(METRIC_PINNED_LARGEST_BYTES, "ambar_pinned_largest_bytes", METRIC_GAUGE, NULL,
        "The most that one stream has held for its reader since the start, summed over the workers"),
    BYTES(METRIC_BUFFER_LENT_BYTES, "ambar_buffer_lent_bytes", METRIC_GAUGE, NULL,
        "Bytes of buffers in use by connections"),
    BYTES(METRIC_BUFFER_STOCK_BYTES, "ambar_buffer_stock_bytes", METRIC_GAUGE, NULL,
        "Bytes of buffers kept for the next use"),
    FAMILY(METRIC_CONNECTIONS_LIVE, "ambar_connections_live", METRIC_GAUGE, REPORTER_LABELS,
        "Connections of applications open now"),
    FAMILY(METRIC_CONNECTIONS_HANDED_OVER, "ambar_connections_handed_over", METRIC_COUNTER, NULL,
        "Connections accepted for a pod whose home worker was saturated and given to another worker"),
    SECONDS(METRIC_VERSION_TURN, "ambar_version_turn_duration_seconds", NULL, TURN_BUCKETS,
        "Time a worker took to take over a new version of the mesh"),
    FAMILY(METRIC_MODEL_RESOURCES, "ambar_model_resources", METRIC_GAUGE, KIND_LABELS,
        "Workloads, services and policies known"),
    FAMILY(METRIC_XDS_CONNECTED, "ambar_xds_connected", METRIC_GAUGE, NULL,
        "Whether the stream to the control plane is up"),
    FAMILY(METRIC_XDS_REJECTIONS, "ambar_xds_rejections", METRIC_COUNTER, URL_LABELS,
        "Resources of the control plane that were refused"),
    SECONDS(METRIC_XDS_APPLY_DURATION, "ambar_xds_apply_duration_seconds", URL_LABELS, TURN_BUCKETS,
        "Time to decode and publish one response of the control plane"),
    FAMILY(METRIC_CERTIFICATE_REQUESTS, "ambar_certificate_requests", METRIC_COUNTER, RESULT_LABELS,
        "Certificate requests by how they ended"),
    FAMILY(METRIC_CERTIFICATES_HELD, "ambar_certificates", METRIC_GAUGE, STATE_LABELS, "Certificates by state"),
    FAMILY(METRIC_CERTIFICATE_EARLIEST_END, "ambar_certificate_earliest_end_timestamp_seconds", METRIC_GAUGE, NULL,
        "When the first of the certificates in use expires, Unix time"),
    FAMILY(METRIC_ROOT_RELOADS, "ambar_trust_reloads", METRIC_COUNTER, KIND_RESULT_LABELS,
        "Reloads of root certificates and revocation lists"),
    FAMILY(METRIC_DNS_PENDING, "ambar_dns_pending", METRIC_GAUGE, NULL, "DNS queries waiting for upstream"),
    FAMILY(METRIC_UNENROLLED_PODS, "ambar_unenrolled_pods", METRIC_GAUGE, REASON_LABELS,
        "Pods whose capture could not be proven"),
    FAMILY(METRIC_LOG_LINES_DROPPED, "ambar_log_lines_dropped", METRIC_COUNTER, REASON_LABELS,
        "Log lines left out because the queue was full or too many came at once"),
    BYTES(METRIC_LOG_QUEUED_BYTES, "ambar_log_queued_bytes", METRIC_GAUGE, NULL, "Bytes of log lines not yet written"),
    FAMILY(METRIC_LABEL_SETS, "ambar_metric_label_sets", METRIC_GAUGE, NULL,
        "Label sets of metrics held, of all families and threads"),
    FAMILY(METRIC_LABEL_SETS_OVER_CAP, "ambar_metric_label_sets_over_cap", METRIC_COUNTER, FAMILY_LABELS,
        "Times a label set was counted in the `other` series because its family was full"),
};
