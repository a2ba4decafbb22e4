#include "ztunnel/configuration.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const PROXY_MODES[] = { "dedicated", "shared", NULL };
static const char *const LOG_FORMATS[] = { "plain", "json", NULL };
static const char *const COMPLIANCE_POLICIES[] = { "", "pqc", NULL };

#define DEFAULT_TOKEN_PATH "./var/run/secrets/tokens/istio-token"
#define DEFAULT_ROOT_PATH "./var/run/secrets/istio/root-cert.pem"
#define SHARED_PACKET_MARK 1337

#define AT(field) offsetof(struct configuration, field)

#define WHO "Who and where this proxy is"
#define CONTROL "Control plane, certificates, node agent"
#define SOCKETS "Sockets"
#define HBONE "HBONE"
#define PROCESS "Process"

static const struct option OPTIONS[] = {
    { "PROXY_MODE", NULL, OPTION_CHOICE, AT(proxy_mode), "shared", NULL, "proxyMode", PROXY_MODES, WHO,
        "shared: one process for the pods of a node, which a node agent hands over. dedicated: one workload, in this "
        "network namespace." },
    { "PROXY_WORKLOAD_INFO", NULL, OPTION_STRING, AT(proxy_workload_information), NULL, NULL,
        "proxyWorkloadInformation", NULL, WHO,
        "namespace/name/service-account of the one workload. Required in dedicated mode." },
    { "NETWORK", NULL, OPTION_STRING, AT(network), "", NULL, "network", NULL, WHO, "Network of this node." },
    { "NODE_NAME", NULL, OPTION_STRING, AT(node_name), NULL, NULL, "localNode", NULL, WHO,
        "Name of this node. Unset: every workload counts as local." },
    { "CLUSTER_ID", NULL, OPTION_STRING, AT(cluster_id), "Kubernetes", NULL, "clusterId", NULL, WHO,
        "Cluster of this node; ISTIO_META_CLUSTER_ID wins over it." },
    { "CLUSTER_DOMAIN", NULL, OPTION_STRING, AT(cluster_domain), "cluster.local", NULL, "clusterDomain", NULL, WHO,
        "DNS domain of the cluster." },
    { "POD_NAME", NULL, OPTION_STRING, AT(pod_name), NULL, NULL, NULL, NULL, WHO, "Our own pod's name." },
    { "POD_NAMESPACE", NULL, OPTION_STRING, AT(pod_namespace), NULL, NULL, NULL, NULL, WHO,
        "Our own pod's namespace." },
    { "SERVICE_ACCOUNT", NULL, OPTION_STRING, AT(service_account), NULL, NULL, NULL, NULL, WHO,
        "Our own pod's service account." },
    { "TRUST_DOMAIN", NULL, OPTION_STRING, AT(trust_domain), "cluster.local", NULL, NULL, NULL, WHO,
        "Trust domain of our own pod's identity." },
    { "INSTANCE_IP", NULL, OPTION_STRING, AT(instance_ip), "1.1.1.1", NULL, NULL, NULL, WHO,
        "Our own address, part of the xDS node id." },
    { "ISTIO_META_ISTIO_VERSION", NULL, OPTION_STRING, AT(istio_version), "unknown", NULL, NULL, NULL, WHO,
        "The mesh version this proxy belongs to; the tag of istio_build." },
    { "IPV6_ENABLED", NULL, OPTION_BOOL, AT(ipv6_enabled), "true", NULL, "ipv6Enabled", NULL, WHO,
        "false: listen on 0.0.0.0 instead of [::]." },

    { "XDS_ADDRESS", NULL, OPTION_STRING, AT(xds_address), NULL, "URI", "xdsAddress", NULL, CONTROL,
        "Workload API. Default https://istiod.istio-system.svc:15012 in Kubernetes, else https://localhost:15012. "
        "Empty: off." },
    { "CA_ADDRESS", NULL, OPTION_STRING, AT(ca_address), NULL, "URI", "caAddress", NULL, CONTROL,
        "Certificate authority. Default as XDS_ADDRESS." },
    { "XDS_ROOT_CA", NULL, OPTION_STRING, AT(xds_root_certificate), DEFAULT_ROOT_PATH, "path, PEM or SYSTEM",
        "xdsRootCert", NULL, CONTROL, "Root certificates that the workload API's server certificate must lead to." },
    { "CA_ROOT_CA", NULL, OPTION_STRING, AT(ca_root_certificate), DEFAULT_ROOT_PATH, "path, PEM or SYSTEM",
        "caRootCert", NULL, CONTROL, "The same for the certificate authority." },
    { "ALT_XDS_HOSTNAME", NULL, OPTION_STRING, AT(alternative_xds_hostname), NULL, NULL, "altXdsHostname", NULL,
        CONTROL, "A second name the workload API's certificate may bear." },
    { "ALT_CA_HOSTNAME", NULL, OPTION_STRING, AT(alternative_ca_hostname), NULL, NULL, "altCaHostname", NULL, CONTROL,
        "A second name the certificate authority's certificate may bear." },
    { "AUTH_TOKEN", NULL, OPTION_STRING, AT(authentication_token), NULL, "path or token", NULL, NULL, CONTROL,
        "Bearer token for both, read again at each use. Default " DEFAULT_TOKEN_PATH " if that file exists." },
    { "LOCAL_XDS_PATH", NULL, OPTION_STRING, AT(local_xds_path), NULL, "path", NULL, NULL, CONTROL,
        "A YAML file of workloads, services and policies, loaded once at start." },
    { "LOCAL_XDS", NULL, OPTION_STRING, AT(local_xds), NULL, "YAML", NULL, NULL, CONTROL, "The same, inline." },
    { "XDS_ON_DEMAND", NULL, OPTION_BOOL, AT(xds_on_demand), "false", NULL, "xdsOnDemand", NULL, CONTROL,
        "Ask for addresses when they are first used instead of subscribing to all. Not available in this version." },
    { "FAKE_CA", NULL, OPTION_BOOL, AT(fake_ca), "false", NULL, "fakeCa", NULL, CONTROL,
        "Not available: use TLS_CERTIFICATE_FILE and its companions for a mesh without a CA." },
    { "TLS_CERTIFICATE_FILE", NULL, OPTION_STRING, AT(certificate_file), NULL, "path", "certificateFile", NULL, CONTROL,
        "Dedicated mode without a CA: PEM file with the workload's certificate and its intermediates." },
    { "TLS_KEY_FILE", NULL, OPTION_STRING, AT(certificate_key_file), NULL, "path", "certificateKeyFile", NULL, CONTROL,
        "Its private key." },
    { "TLS_ROOT_FILE", NULL, OPTION_STRING, AT(certificate_root_file), NULL, "path", "certificateRootFile", NULL,
        CONTROL, "The roots that peers' certificates must lead to." },
    { "SECRET_TTL", NULL, OPTION_DURATION, AT(secret_ttl_ns), "24h", "duration", "secretTtl", NULL, CONTROL,
        "Lifetime asked for when a certificate is requested." },
    { "INPOD_UDS", NULL, OPTION_STRING, AT(inpod_socket_path), "/var/run/ztunnel/ztunnel.sock", "path", "inpodUds",
        NULL, CONTROL, "The node agent's socket." },

    { "INPOD_PORT_REUSE", NULL, OPTION_BOOL, AT(inpod_port_reuse), "true", NULL, "inpodPortReuse", NULL, SOCKETS,
        "SO_REUSEPORT on listeners in pods, so that a successor may bind while we drain." },
    { "PACKET_MARK", NULL, OPTION_U32, AT(packet_mark), NULL, NULL, "packetMark", NULL, SOCKETS,
        "SO_MARK of our sockets. Default 1337 in shared mode, none in dedicated mode." },
    { "ENABLE_ORIG_SRC", NULL, OPTION_BOOL, AT(original_source), NULL, NULL, "requireOriginalSource", NULL, SOCKETS,
        "Keep the client's address towards the application. Unset: where possible; true: or fail; false: never." },
    { "KEEPALIVE_ENABLED", NULL, OPTION_BOOL, AT(keepalive_enabled), "true", NULL, "keepaliveEnabled", NULL, SOCKETS,
        "TCP keepalive on application sockets." },
    { "KEEPALIVE_TIME", NULL, OPTION_DURATION, AT(keepalive_time_ns), "180s", "duration", "keepaliveTime", NULL,
        SOCKETS, "Idle time before the first probe." },
    { "KEEPALIVE_INTERVAL", NULL, OPTION_DURATION, AT(keepalive_interval_ns), "180s", "duration", "keepaliveInterval",
        NULL, SOCKETS, "Time between probes." },
    { "KEEPALIVE_RETRIES", NULL, OPTION_U32, AT(keepalive_retries), "9", "probes", "keepaliveRetries", NULL, SOCKETS,
        "Unanswered probes before the connection counts as dead." },
    { "USER_TIMEOUT_ENABLED", NULL, OPTION_BOOL, AT(user_timeout_enabled), "false", NULL, "userTimeoutEnabled", NULL,
        SOCKETS, "TCP_USER_TIMEOUT of time + retries x interval on application sockets." },

    { "HTTP2_STREAM_WINDOW_SIZE", NULL, OPTION_U32, AT(stream_window_bytes), "4194304", "bytes", "windowSize", NULL,
        HBONE, "Largest receive window of one stream; it starts at 256 KiB and grows with use." },
    { "HTTP2_CONNECTION_WINDOW_SIZE", NULL, OPTION_U32, AT(connection_window_bytes), "16777216", "bytes",
        "connectionWindowSize", NULL, HBONE, "Receive window of one tunnel." },
    { "HTTP2_FRAME_SIZE", NULL, OPTION_U32, AT(frame_bytes), "1048576", "bytes", "frameSize", NULL, HBONE,
        "Largest frame we accept." },
    { "POOL_MAX_STREAMS_PER_CONNECTION", NULL, OPTION_U16, AT(pool_maximum_streams), "100", "streams",
        "poolMaxStreamsPerConn", NULL, HBONE, "Streams we put on one tunnel." },
    { "POOL_UNUSED_RELEASE_TIMEOUT", NULL, OPTION_DURATION, AT(pool_unused_release_timeout_ns), "5m", "duration",
        "poolUnusedReleaseTimeout", NULL, HBONE, "Idle time after which a tunnel is closed." },
    { "ENABLE_RESPONSE_BAGGAGE", NULL, OPTION_BOOL, AT(response_baggage_enabled), "true", NULL, "enableEnhancedBaggage",
        NULL, HBONE, "Describe the destination workload in answers, and read the source's description in requests." },
    { "LOCALHOST_APP_TUNNEL", NULL, OPTION_BOOL, AT(localhost_application_tunnel), "true", NULL, "localhostAppTunnel",
        NULL, HBONE, "Reach a workload's application tunnel over loopback." },
    { "TLS12_ENABLED", NULL, OPTION_BOOL, AT(tls12_enabled), "false", NULL, NULL, NULL, HBONE, "Also accept TLS 1.2." },
    { "COMPLIANCE_POLICY", NULL, OPTION_CHOICE, AT(compliance_policy), "", NULL, NULL, COMPLIANCE_POLICIES, HBONE,
        "pqc: only the hybrid post-quantum key exchange X25519MLKEM768; refused where OpenSSL does not know it." },

    { "ENABLE_PROXY", NULL, OPTION_BOOL, AT(proxy_enabled), "true", NULL, "proxy", NULL, PROCESS, "Run the proxy." },
    { "UNSTABLE_ENABLE_SOCKS5", NULL, OPTION_BOOL, AT(socks5_enabled), "false", NULL, NULL, NULL, PROCESS,
        "SOCKS5 on 127.0.0.1:15080. Not available in this version." },
    { "CONNECTION_TERMINATION_DEADLINE", NULL, OPTION_DURATION, AT(termination_deadline_ns), NULL, "duration",
        "selfTerminationDeadline", NULL, PROCESS, "How long connections may go on after SIGTERM. Default 5s." },
    { "TERMINATION_GRACE_PERIOD_SECONDS", NULL, OPTION_STRING, AT(termination_grace_text), NULL, "seconds", NULL, NULL,
        PROCESS, "The pod's grace period n; the deadline becomes n-5 s (n over 10) or n-1 s." },
    { "ZTUNNEL_WORKER_THREADS", NULL, OPTION_STRING, AT(worker_threads_text), NULL, "threads or percent",
        "numWorkerThreads", NULL, PROCESS, "Worker threads: a number, N% of the processors, or 0 for all." },
    { "ZTUNNEL_CPU_LIMIT", NULL, OPTION_STRING, AT(cpu_limit_text), NULL, "processors", NULL, NULL, PROCESS,
        "Processors of this container." },
    { "ZTUNNEL_RESOURCE_CPU_LIMIT", NULL, OPTION_STRING, AT(cpu_resource_limit_text), NULL, "quantity", NULL, NULL,
        PROCESS, "The same as a Kubernetes quantity; wins over ZTUNNEL_CPU_LIMIT." },
    { "ZTUNNEL_RESOURCE_CPU_REQUEST", NULL, OPTION_STRING, AT(cpu_resource_request_text), NULL, "quantity", NULL, NULL,
        PROCESS, "Processors this container asks for." },
    { "ADMIN_PORT", NULL, OPTION_U16, AT(admin_port), "15000", "port", NULL, NULL, PROCESS,
        "Admin page, loopback only." },
    { "STATS_PORT", NULL, OPTION_U16, AT(metrics_port), "15020", "port", NULL, NULL, PROCESS, "Metrics." },
    { "READINESS_PORT", NULL, OPTION_U16, AT(readiness_port), "15021", "port", NULL, NULL, PROCESS, "Readiness." },
    { "RUST_LOG", NULL, OPTION_STRING, AT(log_filter), "info", "filter", NULL, NULL, PROCESS,
        "Comma list of `level` or `target=level`; the longest matching target wins." },
    { "LOG_FORMAT", NULL, OPTION_CHOICE, AT(log_format), "plain", NULL, NULL, LOG_FORMATS, PROCESS, "plain or json." },
    { "AUTHZ_POLICY_INFO_LOGGING", NULL, OPTION_BOOL, AT(policy_information_logging), "false", NULL, NULL, NULL,
        PROCESS, "Log policy decisions at info instead of debug." },
};

static void replace(char **field, const char *text)
{
    memory_free(*field);
    *field = string_duplicate(text);
}

static void set_control_plane_defaults(struct configuration *configuration)
{
    const char *fallback =
        getenv("KUBERNETES_SERVICE_HOST") != NULL ? "https://istiod.istio-system.svc:15012" : "https://localhost:15012";
    if (getenv("XDS_ADDRESS") == NULL) {
        replace(&configuration->xds_address, fallback);
    }
    if (getenv("CA_ADDRESS") == NULL) {
        replace(&configuration->ca_address, fallback);
    }
    const char *cluster = getenv("ISTIO_META_CLUSTER_ID");
    if (cluster != NULL) {
        replace(&configuration->cluster_id, cluster);
    }
    if (configuration->authentication_token == NULL && access(DEFAULT_TOKEN_PATH, F_OK) == 0) {
        replace(&configuration->authentication_token, DEFAULT_TOKEN_PATH);
    }
}

static struct result set_termination_deadline(struct configuration *configuration)
{
    if (getenv("CONNECTION_TERMINATION_DEADLINE") != NULL) {
        return result_ok();
    }
    uint64_t seconds = 5;
    if (configuration->termination_grace_text != NULL) {
        uint64_t grace;
        if (!text_to_u64(configuration->termination_grace_text, UINT32_MAX, &grace)) {
            return result_fail(RESULT_INVALID,
                "invalid env var TERMINATION_GRACE_PERIOD_SECONDS=%s (expected a whole number of seconds)",
                configuration->termination_grace_text);
        }
        seconds = grace > 10 ? grace - 5 : grace > 2 ? grace - 1 : 1;
    }
    configuration->termination_deadline_ns = seconds * NANOSECONDS_PER_SECOND;
    return result_ok();
}

static void set_mode_defaults(struct configuration *configuration)
{
    if (getenv("PACKET_MARK") == NULL && configuration->proxy_mode == PROXY_MODE_SHARED) {
        configuration->packet_mark = SHARED_PACKET_MARK;
    }
    const char *original_source = getenv("ENABLE_ORIG_SRC");
    configuration->original_source = original_source == NULL                ? ORIGINAL_SOURCE_TRY
                                     : strcmp(original_source, "true") == 0 ? ORIGINAL_SOURCE_MUST
                                                                            : ORIGINAL_SOURCE_NEVER;
}

/* A Kubernetes quantity of processors, "2", "1.5" or "500m", rounded up. */
static struct result processors_from_quantity(const char *name, const char *text, uint32_t *processors)
{
    char *end;
    double value = strtod(text, &end);
    bool is_milli = strcmp(end, "m") == 0;
    if (end == text || (*end != '\0' && !is_milli) || !(value >= 0) || value > 1e6) {
        return result_fail(
            RESULT_INVALID, "invalid env var %s=%s (expected processors such as 2, 1.5 or 500m)", name, text);
    }
    *processors = (uint32_t)ceil(is_milli ? value / 1000 : value);
    return result_ok();
}

static struct result workers_from_text(const char *text, uint32_t processors, uint32_t *workers)
{
    uint64_t number;
    size_t length = strlen(text);
    if (length > 1 && text[length - 1] == '%') {
        if (bytes_to_u64(bytes_of(text, length - 1), 100, &number) && number > 0) {
            *workers = (uint32_t)((processors * number + 99) / 100);
            return result_ok();
        }
    } else if (text_to_u64(text, 1024, &number)) {
        *workers = number == 0 ? processors : (uint32_t)number;
        return result_ok();
    }
    return result_fail(RESULT_INVALID,
        "invalid env var ZTUNNEL_WORKER_THREADS=%s (expected threads, 0 for all, or 1%% to 100%%)", text);
}

struct result configuration_worker_count(
    const struct configuration *configuration, uint32_t processors, uint32_t *workers)
{
    uint32_t limit = 0;
    uint32_t request = 0;
    if (configuration->cpu_resource_limit_text != NULL) {
        RESULT_TRY(
            processors_from_quantity("ZTUNNEL_RESOURCE_CPU_LIMIT", configuration->cpu_resource_limit_text, &limit));
    } else if (configuration->cpu_limit_text != NULL) {
        RESULT_TRY(processors_from_quantity("ZTUNNEL_CPU_LIMIT", configuration->cpu_limit_text, &limit));
    }
    if (configuration->cpu_resource_request_text != NULL) {
        RESULT_TRY(processors_from_quantity(
            "ZTUNNEL_RESOURCE_CPU_REQUEST", configuration->cpu_resource_request_text, &request));
    }
    uint32_t available = limit > 0 ? limit : processors;
    if (configuration->worker_threads_text != NULL) {
        RESULT_TRY(workers_from_text(configuration->worker_threads_text, available, workers));
    } else if (limit > 0) {
        *workers = limit > request ? limit : request;
    } else {
        uint32_t quarter = (available + 3) / 4;
        *workers = quarter > request ? quarter : request;
        *workers = *workers > 2 ? *workers : 2;
    }
    *workers = *workers > 0 ? *workers : 1;
    return result_ok();
}

static struct result refuse_contradictions(const struct configuration *configuration)
{
    if (configuration->proxy_mode == PROXY_MODE_DEDICATED && text_is_empty(configuration->proxy_workload_information)) {
        return result_fail(RESULT_INVALID,
            "invalid env var PROXY_WORKLOAD_INFO= (dedicated mode needs namespace/name/service-account)");
    }
    if (!text_is_empty(configuration->local_xds_path) && !text_is_empty(configuration->local_xds)) {
        return result_fail(RESULT_INVALID, "only one of LOCAL_XDS_PATH or LOCAL_XDS may be set");
    }
    if (!configuration->proxy_enabled) {
        return result_fail(RESULT_INVALID, "ztunnel run without any servers enabled");
    }
    if (configuration->fake_ca) {
        return result_fail(RESULT_UNSUPPORTED, "invalid env var FAKE_CA=true (not available; give "
                                               "TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_ROOT_FILE instead)");
    }
    bool has_files = configuration->certificate_file != NULL && configuration->certificate_key_file != NULL &&
                     configuration->certificate_root_file != NULL;
    bool has_some_file = configuration->certificate_file != NULL || configuration->certificate_key_file != NULL ||
                         configuration->certificate_root_file != NULL;
    if (has_some_file && !has_files) {
        return result_fail(RESULT_INVALID,
            "TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_ROOT_FILE belong together: set all three or none");
    }
    if (has_files && configuration->proxy_mode == PROXY_MODE_SHARED) {
        return result_fail(RESULT_INVALID,
            "invalid env var TLS_CERTIFICATE_FILE=%s (certificate files are for PROXY_MODE=dedicated; shared mode "
            "needs CA_ADDRESS)",
            configuration->certificate_file);
    }
    if (configuration->ca_address[0] == '\0' && !has_files) {
        return result_fail(RESULT_INVALID, "invalid env var CA_ADDRESS= (expected a URI, or TLS_CERTIFICATE_FILE, "
                                           "TLS_KEY_FILE and TLS_ROOT_FILE in dedicated mode)");
    }
    if (configuration->stream_window_bytes > INT32_MAX || configuration->stream_window_bytes < 65535) {
        return result_fail(RESULT_INVALID,
            "invalid env var HTTP2_STREAM_WINDOW_SIZE=%u (expected 65535 to 2147483647 bytes)",
            configuration->stream_window_bytes);
    }
    if (configuration->connection_window_bytes > INT32_MAX || configuration->connection_window_bytes < 65535) {
        return result_fail(RESULT_INVALID,
            "invalid env var HTTP2_CONNECTION_WINDOW_SIZE=%u (expected 65535 to 2147483647 bytes)",
            configuration->connection_window_bytes);
    }
    if (configuration->frame_bytes > 16777215 || configuration->frame_bytes < 16384) {
        return result_fail(RESULT_INVALID, "invalid env var HTTP2_FRAME_SIZE=%u (expected 16384 to 16777215 bytes)",
            configuration->frame_bytes);
    }
    return result_ok();
}

/* What belongs to later versions is off, and refused when somebody asks for it by name. */
static struct result refuse_unavailable(const struct configuration *configuration)
{
    if (configuration->socks5_enabled) {
        return result_fail(RESULT_UNSUPPORTED,
            "invalid env var UNSTABLE_ENABLE_SOCKS5=true (SOCKS5 is not available in this version)");
    }
    if (configuration->xds_on_demand) {
        return result_fail(RESULT_UNSUPPORTED,
            "invalid env var XDS_ON_DEMAND=true (on-demand discovery is not available in this version)");
    }
    const char *dns_capture = getenv("ISTIO_META_DNS_CAPTURE");
    if (dns_capture != NULL && text_equal_ignoring_case(dns_capture, "true")) {
        return result_fail(RESULT_UNSUPPORTED,
            "invalid env var ISTIO_META_DNS_CAPTURE=%s (the DNS proxy is not available in this version)", dns_capture);
    }
    return result_ok();
}

struct result configuration_read(struct configuration *configuration)
{
    memset(configuration, 0, sizeof *configuration);
    RESULT_TRY(options_from_environment(OPTIONS, ARRAY_LENGTH(OPTIONS), configuration));
    set_control_plane_defaults(configuration);
    set_mode_defaults(configuration);
    RESULT_TRY(set_termination_deadline(configuration));
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    RESULT_TRY(configuration_worker_count(
        configuration, processors > 0 ? (uint32_t)processors : 1, &configuration->worker_count));
    RESULT_TRY(refuse_contradictions(configuration));
    return refuse_unavailable(configuration);
}

void configuration_free(struct configuration *configuration)
{
    options_free(OPTIONS, ARRAY_LENGTH(OPTIONS), configuration);
}

bool configuration_is_own_port(const struct configuration *configuration, uint16_t port)
{
    (void)configuration;
    return port == OUTBOUND_PORT || port == INBOUND_PLAINTEXT_PORT || port == INBOUND_HBONE_PORT;
}

static int compare_dump_keys(const void *left, const void *right)
{
    const struct option *const *left_option = left;
    const struct option *const *right_option = right;
    return strcmp((*left_option)->dump_key, (*right_option)->dump_key);
}

/* serde's form of a duration, which readers of the dump expect. */
static void dump_duration(struct json_writer *json, uint64_t duration_ns)
{
    json_write_object_begin(json);
    json_write_member_unsigned(json, "nanos", duration_ns % NANOSECONDS_PER_SECOND);
    json_write_member_unsigned(json, "secs", duration_ns / NANOSECONDS_PER_SECOND);
    json_write_object_end(json);
}

static void dump_value(const struct configuration *configuration, const struct option *option, struct json_writer *json)
{
    const char *field = (const char *)configuration + option->offset;
    if (option->offset == AT(original_source)) {
        if (configuration->original_source == ORIGINAL_SOURCE_TRY) {
            json_write_null(json);
        } else {
            json_write_bool(json, configuration->original_source == ORIGINAL_SOURCE_MUST);
        }
        return;
    }
    if (option->offset == AT(worker_threads_text)) {
        json_write_unsigned(json, configuration->worker_count);
        return;
    }
    if (option->offset == AT(proxy_mode)) {
        json_write_string(json, configuration->proxy_mode == PROXY_MODE_SHARED ? "Shared" : "Dedicated");
        return;
    }
    switch (option->kind) {
    case OPTION_STRING:
        json_write_string(json, *(char *const *)(const void *)field);
        break;
    case OPTION_BOOL:
        json_write_bool(json, *(const bool *)(const void *)field);
        break;
    case OPTION_U16:
        json_write_unsigned(json, *(const uint16_t *)(const void *)field);
        break;
    case OPTION_U32:
        json_write_unsigned(json, *(const uint32_t *)(const void *)field);
        break;
    case OPTION_U64:
        json_write_unsigned(json, *(const uint64_t *)(const void *)field);
        break;
    case OPTION_DURATION:
        dump_duration(json, *(const uint64_t *)(const void *)field);
        break;
    case OPTION_CHOICE:
        json_write_string(json, option->choices[*(const int *)(const void *)field]);
        break;
    case OPTION_STRING_LIST:
        json_write_null(json);
        break;
    }
}

void configuration_dump(const struct configuration *configuration, struct json_writer *json)
{
    const struct option *sorted[ARRAY_LENGTH(OPTIONS)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(OPTIONS); i++) {
        if (OPTIONS[i].dump_key != NULL) {
            sorted[count++] = &OPTIONS[i];
        }
    }
    qsort(sorted, count, sizeof sorted[0], compare_dump_keys);
    json_write_object_begin(json);
    for (size_t i = 0; i < count; i++) {
        json_write_key(json, sorted[i]->dump_key);
        dump_value(configuration, sorted[i], json);
    }
    json_write_object_end(json);
}

void configuration_write_help(struct writer *out)
{
    options_write_help(OPTIONS, ARRAY_LENGTH(OPTIONS), out);
}

void configuration_write_reference(struct writer *out)
{
    options_write_reference(OPTIONS, ARRAY_LENGTH(OPTIONS), out);
}
