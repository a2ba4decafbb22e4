#include "ztunnel/configuration.h"

#include "base/memory.h"
#include "ztunnel/configuration_internal.h"

#include <netinet/in.h>
#include <stddef.h>

static const char *const PROXY_MODES[] = { "dedicated", "shared", NULL };
static const char *const LOG_FORMATS[] = { "plain", "json", NULL };
static const char *const TLS_CIPHER_PREFERENCES[] = { "aes-256", "aes-128", NULL };
static const char *const TLS_ENGINES[] = { "auto", "native", "openssl", NULL };
static const char *const COMPLIANCE_POLICIES[] = { "", "pqc", NULL };

#define DEFAULT_ROOT_PATH "./var/run/secrets/istio/root-cert.pem"

#define AT(field) offsetof(struct configuration, field)

#define WHO "Who and where this proxy is"
#define CONTROL "Control plane, certificates, node agent"
#define SOCKETS "Sockets"
#define HBONE "HBONE"
#define DNS "DNS proxy and SOCKS5"
#define PROCESS "Process"

const struct option CONFIGURATION_OPTIONS[] = {
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
    { "PROXY_CONFIG", NULL, OPTION_DOCUMENTED, 0, NULL, "YAML", NULL, NULL, WHO,
        "The mesh's proxy configuration: discoveryAddress, proxyAdminPort, statsPort, concurrency, proxyMetadata "
        "(which must "
        "be there). Wins over `defaultConfig` in the file " MESH_FILE_PATH ", with which its metadata is joined." },
    { "ISTIO_META_<K>", NULL, OPTION_DOCUMENTED, 0, NULL, NULL, NULL, NULL, WHO,
        "Metadata K of this proxy, told to the control plane; wins over proxyMetadata." },
    { "ISTIO_METAJSON_<K>", NULL, OPTION_DOCUMENTED, 0, NULL, "JSON", NULL, NULL, WHO,
        "The same with a JSON value; wins over both." },

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
    { "XDS_HEADER_<K>", NULL, OPTION_DOCUMENTED, 0, NULL, NULL, NULL, NULL, CONTROL,
        "A header K, in lower case, of every request to the workload API." },
    { "CA_HEADER_<K>", NULL, OPTION_DOCUMENTED, 0, NULL, NULL, NULL, NULL, CONTROL,
        "The same for the certificate authority." },
    { "LOCAL_XDS_PATH", NULL, OPTION_STRING, AT(local_xds_path), NULL, "path", NULL, NULL, CONTROL,
        "A YAML file of workloads, services and policies, loaded once at start." },
    { "LOCAL_XDS", NULL, OPTION_STRING, AT(local_xds), NULL, "YAML", NULL, NULL, CONTROL, "The same, inline." },
    { "XDS_ON_DEMAND", NULL, OPTION_BOOL, AT(xds_on_demand), "false", NULL, "xdsOnDemand", NULL, CONTROL,
        "Ask for addresses when they are first used instead of subscribing to all. Needs the DNS proxy off." },
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
    { "BIG_TCP_ENABLED", NULL, OPTION_BOOL, AT(big_tcp_enabled), "true", NULL, "bigTcpEnabled", NULL, SOCKETS,
        "Segments of up to 400,000 bytes on the `lo` of pods in shared mode, where the kernel has them (IPv4: 6.3, "
        "IPv6: 5.19); undone when a pod leaves and at an orderly end." },
    { "PACKET_MARK", NULL, OPTION_U32, AT(packet_mark), NULL, NULL, "packetMark", NULL, SOCKETS,
        "SO_MARK of our sockets. Default 1337 in shared mode, none in dedicated mode." },
    { "ENABLE_ORIG_SRC", NULL, OPTION_BOOL, AT(original_source), NULL, NULL, "requireOriginalSource", NULL, SOCKETS,
        "Keep the client's address towards the application. Unset: where possible; true: or fail; false: never." },
    { "KEEPALIVE_ENABLED", NULL, OPTION_BOOL, AT(keepalive_enabled), "true", NULL, NULL, NULL, SOCKETS,
        "TCP keepalive on application sockets." },
    { "KEEPALIVE_TIME", NULL, OPTION_DURATION, AT(keepalive_time_ns), "180s", "duration", NULL, NULL, SOCKETS,
        "Idle time before the first probe." },
    { "KEEPALIVE_INTERVAL", NULL, OPTION_DURATION, AT(keepalive_interval_ns), "180s", "duration", NULL, NULL, SOCKETS,
        "Time between probes." },
    { "KEEPALIVE_RETRIES", NULL, OPTION_U32, AT(keepalive_retries), "9", "probes", NULL, NULL, SOCKETS,
        "Unanswered probes before the connection counts as dead." },
    { "USER_TIMEOUT_ENABLED", NULL, OPTION_BOOL, AT(user_timeout_enabled), "false", NULL, NULL, NULL, SOCKETS,
        "TCP_USER_TIMEOUT of time + retries x interval on application sockets." },

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
    { "CRL_PATH", NULL, OPTION_STRING, AT(crl_path), "", "path", "crlPath", NULL, HBONE,
        "Certificate revocation lists, PEM or one DER; watched. Empty: off." },
    { "TLS12_ENABLED", NULL, OPTION_SWITCH, AT(tls12_enabled), "false", NULL, NULL, NULL, HBONE,
        "Also accept TLS 1.2." },
    { "COMPLIANCE_POLICY", NULL, OPTION_WORD, AT(compliance_policy), "", NULL, NULL, COMPLIANCE_POLICIES, HBONE,
        "pqc: only the hybrid post-quantum key exchange X25519MLKEM768; refused where OpenSSL does not know it." },
    { "TLS_CIPHER_PREFERENCE", NULL, OPTION_CHOICE, AT(tls_cipher_preference), "aes-256", NULL, NULL,
        TLS_CIPHER_PREFERENCES, HBONE,
        "Which of the two TLS 1.3 suites our side offers first and, as a server, takes when the peer has both." },
    { "TLS_ENGINE", NULL, OPTION_CHOICE, AT(tls_engine), "auto", NULL, "tlsEngine", TLS_ENGINES, HBONE,
        "Who encrypts the tunnels behind the handshake. native: records of our own, with ipsec-mb where the processor "
        "has "
        "it; openssl: libssl, as always with TLS 1.2 and in FIPS mode." },

    { "ISTIO_META_DNS_CAPTURE", NULL, OPTION_DOCUMENTED, 0, "true", "true|false", NULL, NULL, DNS,
        "Run the DNS proxy; also as DNS_CAPTURE in proxyMetadata. Any value but true is off." },
    { "ISTIO_META_DNS_PROXY_ADDR", NULL, OPTION_DOCUMENTED, 0, "localhost:15053", "localhost:PORT or IP:PORT", NULL,
        NULL, DNS, "Where the DNS proxy listens; also as DNS_PROXY_ADDR in proxyMetadata." },
    { "PREFERED_SERVICE_NAMESPACE", NULL, OPTION_STRING, AT(preferred_service_namespace), NULL, NULL,
        "preferedServiceNamespace", NULL, DNS,
        "Whose service answers when several namespaces have one of the same name (the spelling is the contract's)." },
    { "UNSTABLE_ENABLE_SOCKS5", NULL, OPTION_BOOL, AT(socks5_enabled), "false", NULL, NULL, NULL, DNS,
        "SOCKS5 on 127.0.0.1:15080." },

    { "ENABLE_PROXY", NULL, OPTION_BOOL, AT(proxy_enabled), "true", NULL, "proxy", NULL, PROCESS, "Run the proxy." },
    { "CONNECTION_TERMINATION_DEADLINE", NULL, OPTION_DURATION, AT(termination_deadline_ns), NULL, "duration",
        "selfTerminationDeadline", NULL, PROCESS, "How long connections may go on after SIGTERM. Default 5s." },
    { "TERMINATION_GRACE_PERIOD_SECONDS", NULL, OPTION_STRING, AT(termination_grace_text), NULL, "seconds", NULL, NULL,
        PROCESS, "The pod's grace period n; the deadline becomes n-5 s (n over 10) or n-1 s." },
    { "ZTUNNEL_WORKER_THREADS", NULL, OPTION_STRING, AT(worker_threads_text), NULL, "threads or percent",
        "numWorkerThreads", NULL, PROCESS, "Worker threads: a number, N% of the processors, or 0 for all." },
    { "WORKER_SATURATED_PERCENT", NULL, OPTION_U32, AT(worker_saturated_percent), "90", "percent",
        "workerSaturatedPercent", NULL, PROCESS,
        "A pod whose worker has been busy for so much of the last tenth of a second has its new connections served by "
        "a less busy one too. 0: never; shared mode." },
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
    { "LOG_FORMAT", NULL, OPTION_WORD, AT(log_format), "plain", NULL, NULL, LOG_FORMATS, PROCESS, "plain or json." },
    { "AUTHZ_POLICY_INFO_LOGGING", NULL, OPTION_SWITCH, AT(policy_information_logging), "false", NULL, NULL, NULL,
        PROCESS, "Log policy decisions at info instead of debug." },
};

const size_t CONFIGURATION_OPTION_COUNT = ARRAY_LENGTH(CONFIGURATION_OPTIONS);

struct result configuration_read(struct configuration *configuration)
{
    memset(configuration, 0, sizeof *configuration);
    configuration_forget_service_links();
    RESULT_TRY(proxy_configuration_read(MESH_FILE_PATH, &configuration->proxy));
    RESULT_TRY(options_from_environment(CONFIGURATION_OPTIONS, CONFIGURATION_OPTION_COUNT, configuration));
    RESULT_TRY(configuration_derive(configuration));
    return configuration_check(configuration);
}

void configuration_free(struct configuration *configuration)
{
    options_free(CONFIGURATION_OPTIONS, CONFIGURATION_OPTION_COUNT, configuration);
    proxy_configuration_free(&configuration->proxy);
    memory_free(configuration->arguments);
    configuration->arguments = NULL;
}

bool configuration_is_own_port(const struct configuration *configuration, uint16_t port)
{
    return port == OUTBOUND_PORT || port == INBOUND_PLAINTEXT_PORT || port == INBOUND_HBONE_PORT ||
           (configuration->socks5_enabled && port == SOCKS5_PORT);
}

bool configuration_has_privileged_ports(const struct configuration *configuration)
{
    const uint16_t ports[] = { configuration->admin_port, configuration->metrics_port, configuration->readiness_port,
        configuration->dns_proxy_address.address.port };
    for (size_t i = 0; i < ARRAY_LENGTH(ports); i++) {
        if (ports[i] != 0 && ports[i] < IPPORT_RESERVED) {
            return true;
        }
    }
    return false;
}

void configuration_write_help(struct writer *out)
{
    options_write_help(CONFIGURATION_OPTIONS, CONFIGURATION_OPTION_COUNT, out);
}

void configuration_write_reference(struct writer *out)
{
    options_write_reference(CONFIGURATION_OPTIONS, CONFIGURATION_OPTION_COUNT, out);
}
