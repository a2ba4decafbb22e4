/* What this ztunnel was told: the environment of ztunnel-management §1, read once at start and never changed.
 *
 * Every setting is one row of the table in configuration.c, from which parsing, `ztunnel help`, the `config` part of
 * /config_dump and docs/configuration.md are made. Later code only reads the struct. */
#ifndef AMBAR_ZTUNNEL_CONFIGURATION_H
#define AMBAR_ZTUNNEL_CONFIGURATION_H

#include "base/address.h"
#include "base/option.h"
#include "base/writer.h"
#include "ztunnel/proxy_configuration.h"

#define INBOUND_HBONE_PORT 15008
#define INBOUND_PLAINTEXT_PORT 15006
#define OUTBOUND_PORT 15001
#define SOCKS5_PORT 15080
#define DNS_PROXY_PORT 15053

enum proxy_mode { PROXY_MODE_DEDICATED, PROXY_MODE_SHARED };

/* ENABLE_ORIG_SRC: unset tries, true must, false never. */
enum original_source { ORIGINAL_SOURCE_TRY, ORIGINAL_SOURCE_MUST, ORIGINAL_SOURCE_NEVER };

enum tls_engine_setting { TLS_ENGINE_SETTING_AUTO, TLS_ENGINE_SETTING_NATIVE, TLS_ENGINE_SETTING_OPENSSL };

/* Where a server that is not for the network listens. */
struct local_address {
    bool is_localhost; /* 127.0.0.1, and ::1 where has_loopback_ipv6; only the port of `address` counts */
    struct socket_address address;
};

struct configuration {
    struct proxy_configuration proxy; /* the mesh's own settings and all ISTIO_META_* */

    /* who and where we are */
    int proxy_mode;                   /* enum proxy_mode */
    char *proxy_workload_information; /* "namespace/name/service-account", dedicated mode */
    char *network;
    char *node_name;
    char *cluster_id;
    char *cluster_domain;
    char *pod_name, *pod_namespace, *service_account, *trust_domain;
    char *instance_ip;
    char *istio_version;
    bool ipv6_enabled;
    bool has_loopback_ipv6; /* ipv6_enabled, and lo has it: local servers bind ::1 too */

    /* control plane, certificates, node agent */
    char *xds_address, *ca_address; /* "" is off; never NULL after configuration_read */
    char *xds_root_certificate, *ca_root_certificate;
    char *alternative_xds_hostname, *alternative_ca_hostname;
    char *authentication_token; /* a path or the token itself */
    char *local_xds_path, *local_xds;
    bool xds_on_demand;
    bool fake_ca;
    char *certificate_file, *certificate_key_file, *certificate_root_file; /* dedicated mode without a CA */
    uint64_t secret_ttl_ns;
    char *inpod_socket_path;

    /* sockets */
    bool inpod_port_reuse;
    bool big_tcp_enabled;
    uint32_t packet_mark; /* 0: none */
    int original_source;  /* enum original_source */
    bool keepalive_enabled;
    uint64_t keepalive_time_ns, keepalive_interval_ns;
    uint32_t keepalive_retries;
    bool user_timeout_enabled;

    /* HBONE */
    uint32_t stream_window_bytes, connection_window_bytes, frame_bytes;
    uint16_t pool_maximum_streams;
    uint64_t pool_unused_release_timeout_ns;
    bool response_baggage_enabled;
    bool localhost_application_tunnel;
    bool tls12_enabled;
    int compliance_policy;     /* 0 none, 1 pqc */
    int tls_cipher_preference; /* 1: AES-128-GCM before AES-256-GCM */
    int tls_engine;            /* enum tls_engine_setting */
    char *crl_path;            /* "": no revocation lists */

    /* DNS proxy and SOCKS5 */
    bool dns_proxy_enabled;
    struct local_address dns_proxy_address;
    char *preferred_service_namespace; /* NULL: none */
    bool socks5_enabled;               /* on 127.0.0.1:SOCKS5_PORT */

    /* process */
    char *arguments;    /* of the command line, joined by blanks; set by main */
    bool proxy_enabled; /* false: only the DNS proxy */
    uint64_t termination_deadline_ns;
    uint32_t worker_count;
    uint32_t worker_saturated_percent; /* 0: pods stay on their home worker */
    char *worker_threads_text, *cpu_limit_text, *cpu_resource_limit_text, *cpu_resource_request_text;
    char *termination_grace_text;
    uint16_t admin_port, metrics_port, readiness_port;
    char *log_filter;
    int log_format; /* 0 plain, 1 json */
    bool policy_information_logging;
};

/* Reads the environment. A refused value is one sentence that names it and what would be valid. */
struct result configuration_read(struct configuration *configuration);
void configuration_free(struct configuration *configuration);

/* Whether `port` is one of our own (dataplane §1, `illegal_ports`). */
bool configuration_is_own_port(const struct configuration *configuration, uint16_t port);

/* Whether a port to listen on in the own namespace is below 1024. */
bool configuration_has_privileged_ports(const struct configuration *configuration);

/* Worker threads from the texts of management §1.4 and the number of processors. */
struct result configuration_worker_count(
    const struct configuration *configuration, uint32_t processors, uint32_t *workers);

struct json_writer;
/* The `config` object of /config_dump: keys sorted. */
void configuration_dump(const struct configuration *configuration, struct json_writer *json);
/* The same as YAML, without its secrets, for people. */
void configuration_write_yaml(const struct configuration *configuration, struct writer *out);
void configuration_write_help(struct writer *out);
/* docs/configuration.md. */
void configuration_write_reference(struct writer *out);

#endif
