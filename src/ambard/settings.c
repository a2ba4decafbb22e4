#include "ambard/settings.h"

#include "base/memory.h"

static const char *const LOG_FORMATS[] = { "plain", "json", NULL };

#define AT(field) offsetof(struct ambard_settings, field)
#define SOURCE "Source of objects"
#define MESH "Mesh"
#define CA "Certificates and callers"
#define PORTS "Ports"
#define LOGS "Logs"

static const struct option OPTIONS[] = {
    { NULL, "config-dir", OPTION_STRING, AT(config_directory), NULL, "directory", NULL, NULL, SOURCE,
        "Folder of Kubernetes objects in YAML or JSON, read and watched. Required." },
    { NULL, "overlay-dir", OPTION_STRING, AT(overlay_directory), NULL, "directory", NULL, NULL, SOURCE,
        "Folder of partial objects laid over it; ambar-cni writes what it enrolled there." },
    { NULL, "state-dir", OPTION_STRING, AT(state_directory), "/var/lib/ambard", "directory", NULL, NULL, SOURCE,
        "Root key and certificate, token key, allocated addresses. Made if it does not exist." },

    { "CLUSTER_ID", "cluster-id", OPTION_STRING, AT(cluster_id), "Kubernetes", NULL, NULL, NULL, MESH,
        "Name of this cluster." },
    { NULL, "domain", OPTION_STRING, AT(domain), "cluster.local", NULL, NULL, NULL, MESH, "DNS domain of services." },
    { NULL, "root-namespace", OPTION_STRING, AT(root_namespace), "istio-system", NULL, NULL, NULL, MESH,
        "Namespace of mesh-wide policies, unless the mesh configuration names one." },
    { NULL, "trust-domain", OPTION_STRING, AT(trust_domain), "cluster.local", NULL, NULL, NULL, MESH,
        "Trust domain, unless the mesh configuration names one." },
    { "REVISION", "revision", OPTION_STRING, AT(revision), "default", NULL, NULL, NULL, MESH,
        "Our revision: objects labelled istio.io/rev with another one are left alone." },

    { "ROOT_CA_DIR", "ca-dir", OPTION_STRING, AT(ca_directory), NULL, "directory", NULL, NULL, CA,
        "A CA of your own: ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem, or tls.crt, tls.key, ca.crt. "
        "Default: one made in the state "
        "directory." },
    { NULL, "serving-name", OPTION_STRING_LIST, AT(serving_names), NULL, "DNS name or address", NULL, NULL, CA,
        "A name in port 15012's certificate; may be repeated. Default: localhost, 127.0.0.1, ::1 and istiod's names." },
    { "CA_TRUSTED_NODE_ACCOUNTS", "trusted-node-account", OPTION_STRING_LIST, AT(trusted_accounts),
        "istio-system/ztunnel", "namespace/account", NULL, NULL, CA,
        "Accounts that may ask for the identities of the workloads on their node." },
    { "DEFAULT_WORKLOAD_CERT_TTL", NULL, OPTION_DURATION, AT(default_certificate_ttl_ns), "24h", "duration", NULL, NULL,
        CA, "Lifetime of a certificate when the request names none." },
    { "MAX_WORKLOAD_CERT_TTL", NULL, OPTION_DURATION, AT(maximum_certificate_ttl_ns), "2160h", "duration", NULL, NULL,
        CA, "Longest lifetime that is granted." },

    { NULL, "listen", OPTION_STRING, AT(listen_address), "::", "address", NULL, NULL, PORTS,
        "Where the encrypted port and the metrics port listen." },
    { NULL, "secure-port", OPTION_U16, AT(secure_port), "15012", "port", NULL, NULL, PORTS,
        "Workload API and CA over TLS." },
    { NULL, "plain-port", OPTION_U16, AT(plain_port), "15010", "port", NULL, NULL, PORTS,
        "Workload API without TLS, on loopback only; 0 switches it off." },
    { NULL, "metrics-port", OPTION_U16, AT(metrics_port), "15014", "port", NULL, NULL, PORTS,
        "/metrics and /version." },
    { NULL, "http-port", OPTION_U16, AT(http_port), "8080", "port", NULL, NULL, PORTS,
        "/ready for everybody, /debug/ for loopback." },

    { "AMBARD_LOG", "log", OPTION_STRING, AT(log_filter), "info", "filter", NULL, NULL, LOGS,
        "Comma list of `level` or `target=level`." },
    { NULL, "log-format", OPTION_CHOICE, AT(log_format), "plain", NULL, NULL, LOG_FORMATS, LOGS, "plain or json." },
};

struct result ambard_settings_read(struct ambard_settings *settings, int argument_count, char **arguments, int *rest)
{
    *settings = (struct ambard_settings){ 0 };
    RESULT_TRY(options_from_environment(OPTIONS, ARRAY_LENGTH(OPTIONS), settings));
    return options_from_arguments(OPTIONS, ARRAY_LENGTH(OPTIONS), settings, argument_count, arguments, rest);
}

void ambard_settings_free(struct ambard_settings *settings)
{
    options_free(OPTIONS, ARRAY_LENGTH(OPTIONS), settings);
}

void ambard_settings_write_help(struct writer *out)
{
    options_write_help(OPTIONS, ARRAY_LENGTH(OPTIONS), out);
}

struct ambient_index_settings ambard_settings_index(const struct ambard_settings *settings)
{
    return (struct ambient_index_settings){
        .cluster_id = settings->cluster_id,
        .domain = settings->domain,
        .root_namespace = settings->root_namespace,
        .trust_domain = settings->trust_domain,
        .revision = settings->revision,
        .state_directory = settings->state_directory,
    };
}
