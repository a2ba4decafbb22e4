/* The `config` object of /config_dump and of the start's log line (ztunnel-management §§1.3, 7.3): one item per key, most of them
 * straight from the table of options, sorted by key. */
#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/policy.h"
#include "ztunnel/configuration_internal.h"
#include "ztunnel/control_target.h"
#include "ztunnel/resolver_dump.h"

#include <stdio.h>
#include <stdlib.h>

#define REDACTED "<redacted>"

typedef void write_item(const struct configuration *configuration, struct json_writer *json);

/* serde's form of a duration, which readers of the dump expect. */
static void write_duration(struct json_writer *json, uint64_t duration_ns)
{
    json_write_object_begin(json);
    json_write_member_unsigned(json, "nanos", duration_ns % NANOSECONDS_PER_SECOND);
    json_write_member_unsigned(json, "secs", duration_ns / NANOSECONDS_PER_SECOND);
    json_write_object_end(json);
}

/* "" counts as unset. */
static void write_optional(struct json_writer *json, const char *text)
{
    json_write_string(json, text_is_empty(text) ? NULL : text);
}

static void write_local_address(
    const struct configuration *configuration, const struct local_address *address, struct json_writer *json)
{
    json_write_object_begin(json);
    if (address->is_localhost) {
        json_write_key(json, "Localhost");
        json_write_array_begin(json);
        json_write_bool(json, configuration->has_loopback_ipv6);
        json_write_unsigned(json, address->address.port);
        json_write_array_end(json);
    } else {
        char text[SOCKET_ADDRESS_TEXT_SIZE];
        json_write_member_string(json, "SocketAddr", socket_address_format(&address->address, text));
    }
    json_write_object_end(json);
}

static void write_wildcard(const struct configuration *configuration, uint16_t port, struct json_writer *json)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    snprintf(text, sizeof text, "%s:%u", configuration->ipv6_enabled ? "[::]" : "0.0.0.0", port);
    json_write_string(json, text);
}

static void write_wildcard_server(const struct configuration *configuration, uint16_t port, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_key(json, "SocketAddr");
    write_wildcard(configuration, port, json);
    json_write_object_end(json);
}

static void write_admin_address(const struct configuration *configuration, struct json_writer *json)
{
    const struct local_address address = { true, { .port = configuration->admin_port } };
    write_local_address(configuration, &address, json);
}

static void write_dns_address(const struct configuration *configuration, struct json_writer *json)
{
    write_local_address(configuration, &configuration->dns_proxy_address, json);
}

static void write_stats_address(const struct configuration *configuration, struct json_writer *json)
{
    write_wildcard_server(configuration, configuration->metrics_port, json);
}

static void write_readiness_address(const struct configuration *configuration, struct json_writer *json)
{
    write_wildcard_server(configuration, configuration->readiness_port, json);
}

static void write_inbound_address(const struct configuration *configuration, struct json_writer *json)
{
    write_wildcard(configuration, INBOUND_HBONE_PORT, json);
}

static void write_plaintext_address(const struct configuration *configuration, struct json_writer *json)
{
    write_wildcard(configuration, INBOUND_PLAINTEXT_PORT, json);
}

static void write_outbound_address(const struct configuration *configuration, struct json_writer *json)
{
    write_wildcard(configuration, OUTBOUND_PORT, json);
}

static void write_socks5_address(const struct configuration *configuration, struct json_writer *json)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    snprintf(text, sizeof text, "127.0.0.1:%u", SOCKS5_PORT);
    json_write_string(json, configuration->socks5_enabled ? text : NULL);
}

static void write_illegal_ports(const struct configuration *configuration, struct json_writer *json)
{
    static const uint16_t PORTS[] = { OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, INBOUND_HBONE_PORT, SOCKS5_PORT };
    json_write_array_begin(json);
    for (size_t i = 0; i < ARRAY_LENGTH(PORTS); i++) {
        if (configuration_is_own_port(configuration, PORTS[i])) {
            json_write_unsigned(json, PORTS[i]);
        }
    }
    json_write_array_end(json);
}

/* What a header says may be a credential, and readers of logs and dumps have no use for it: the names alone are shown. */
static void write_headers(const char *prefix, struct json_writer *json)
{
    extern char **environ;
    json_write_array_begin(json);
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL || !text_starts_with(*entry, prefix)) {
            continue;
        }
        char *AUTO_FREE key = string_duplicate_n(*entry + strlen(prefix), (size_t)(equals - *entry) - strlen(prefix));
        for (char *at = key; *at != '\0'; at++) {
            *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
        }
        json_write_array_begin(json);
        json_write_string(json, key);
        json_write_string(json, REDACTED);
        json_write_array_end(json);
    }
    json_write_array_end(json);
}

static void write_ca_headers(const struct configuration *configuration, struct json_writer *json)
{
    (void)configuration;
    write_headers("CA_HEADER_", json);
}

static void write_xds_headers(const struct configuration *configuration, struct json_writer *json)
{
    (void)configuration;
    write_headers("XDS_HEADER_", json);
}

static void write_root(struct json_writer *json, const char *root)
{
    switch (root_kind_of(root)) {
    case ROOT_SYSTEM:
        json_write_string(json, "Default");
        return;
    case ROOT_INLINE:
        json_write_string(json, "Static");
        return;
    case ROOT_FILE:
        json_write_object_begin(json);
        json_write_member_string(json, "File", root);
        json_write_object_end(json);
        return;
    }
}

static void write_ca_root(const struct configuration *configuration, struct json_writer *json)
{
    write_root(json, configuration->ca_root_certificate);
}

static void write_xds_root(const struct configuration *configuration, struct json_writer *json)
{
    write_root(json, configuration->xds_root_certificate);
}

static void write_ca_address(const struct configuration *configuration, struct json_writer *json)
{
    write_optional(json, configuration->ca_address);
}

static void write_xds_address(const struct configuration *configuration, struct json_writer *json)
{
    write_optional(json, configuration->xds_address);
}

static void write_crl_path(const struct configuration *configuration, struct json_writer *json)
{
    write_optional(json, configuration->crl_path);
}

static void write_dns_proxy(const struct configuration *configuration, struct json_writer *json)
{
    json_write_bool(json, configuration->dns_proxy_enabled);
}

static void write_no(const struct configuration *configuration, struct json_writer *json)
{
    (void)configuration;
    json_write_bool(json, false);
}

static void write_original_source(const struct configuration *configuration, struct json_writer *json)
{
    if (configuration->original_source == ORIGINAL_SOURCE_TRY) {
        json_write_null(json);
    } else {
        json_write_bool(json, configuration->original_source == ORIGINAL_SOURCE_MUST);
    }
}

static void write_packet_mark(const struct configuration *configuration, struct json_writer *json)
{
    if (configuration->packet_mark == 0) {
        json_write_null(json);
    } else {
        json_write_unsigned(json, configuration->packet_mark);
    }
}

static void write_proxy_arguments(const struct configuration *configuration, struct json_writer *json)
{
    json_write_string(json, configuration->arguments != NULL ? configuration->arguments : "");
}

static void write_proxy_metadata(const struct configuration *configuration, struct json_writer *json)
{
    json_write_object_begin(json);
    for (size_t i = 0; i < configuration->proxy.metadata_count; i++) {
        json_write_member_string(json, configuration->proxy.metadata[i].key, configuration->proxy.metadata[i].value);
    }
    json_write_object_end(json);
}

static void write_proxy_mode(const struct configuration *configuration, struct json_writer *json)
{
    json_write_string(json, configuration->proxy_mode == PROXY_MODE_SHARED ? "Shared" : "Dedicated");
}

static void write_workload(
    struct json_writer *json, struct bytes name, struct bytes namespace_, struct bytes service_account)
{
    json_write_object_begin(json);
    json_write_key(json, "name");
    json_write_string_bytes(json, name);
    json_write_key(json, "namespace");
    json_write_string_bytes(json, namespace_);
    json_write_key(json, "serviceAccount");
    json_write_string_bytes(json, service_account);
    json_write_object_end(json);
}

static void write_workload_information(const struct configuration *configuration, struct json_writer *json)
{
    const char *text = configuration->proxy_workload_information;
    struct bytes rest = bytes_of_string(text != NULL ? text : "");
    struct bytes namespace_;
    struct bytes name;
    if (bytes_split(&rest, '/', &namespace_) && bytes_split(&rest, '/', &name)) {
        write_workload(json, name, namespace_, rest);
    } else {
        json_write_null(json);
    }
}

static bool has_own_identity(const struct configuration *configuration)
{
    return !text_is_empty(configuration->pod_name) && !text_is_empty(configuration->pod_namespace) &&
           !text_is_empty(configuration->service_account);
}

static void write_own_identity(const struct configuration *configuration, struct json_writer *json)
{
    char *AUTO_FREE identity = has_own_identity(configuration)
                                   ? string_format("spiffe://%s/ns/%s/sa/%s", configuration->trust_domain,
                                         configuration->pod_namespace, configuration->service_account)
                                   : NULL;
    json_write_string(json, identity);
}

static void write_own_workload(const struct configuration *configuration, struct json_writer *json)
{
    if (has_own_identity(configuration)) {
        write_workload(json, bytes_of_string(configuration->pod_name), bytes_of_string(configuration->pod_namespace),
            bytes_of_string(configuration->service_account));
    } else {
        json_write_null(json);
    }
}

static void write_termination_deadline(const struct configuration *configuration, struct json_writer *json)
{
    write_duration(json, configuration->termination_deadline_ns);
}

static void write_worker_count(const struct configuration *configuration, struct json_writer *json)
{
    json_write_unsigned(json, configuration->worker_count);
}

static void write_socket_settings(const struct configuration *configuration, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_member_bool(json, "keepaliveEnabled", configuration->keepalive_enabled);
    json_write_key(json, "keepaliveInterval");
    write_duration(json, configuration->keepalive_interval_ns);
    json_write_member_unsigned(json, "keepaliveRetries", configuration->keepalive_retries);
    json_write_key(json, "keepaliveTime");
    write_duration(json, configuration->keepalive_time_ns);
    json_write_member_bool(json, "userTimeoutEnabled", configuration->user_timeout_enabled);
    json_write_object_end(json);
}

/* The engine in use, whatever was asked for. */
static void write_tls_engine(const struct configuration *configuration, struct json_writer *json)
{
    (void)configuration;
    json_write_string(json, tls_engine_name());
}

/* Either a function of its own, or a row of the table. */
struct dump_item {
    const char *key;
    write_item *write;
    const struct option *option;
};

static const struct dump_item OWN_ITEMS[] = {
    { "adminAddr", write_admin_address, NULL },
    { "caAddress", write_ca_address, NULL },
    { "caHeaders", write_ca_headers, NULL },
    { "caRootCert", write_ca_root, NULL },
    { "crlPath", write_crl_path, NULL },
    { "dnsProxy", write_dns_proxy, NULL },
    { "dnsProxyAddr", write_dns_address, NULL },
    { "dnsResolverCfg", resolver_dump_configuration, NULL },
    { "dnsResolverOpts", resolver_dump_options, NULL },
    { "fakeSelfInbound", write_no, NULL },
    { "illegalPorts", write_illegal_ports, NULL },
    { "inboundAddr", write_inbound_address, NULL },
    { "inboundPlaintextAddr", write_plaintext_address, NULL },
    { "numWorkerThreads", write_worker_count, NULL },
    { "outboundAddr", write_outbound_address, NULL },
    { "packetMark", write_packet_mark, NULL },
    { "proxyArgs", write_proxy_arguments, NULL },
    { "proxyMetadata", write_proxy_metadata, NULL },
    { "proxyMode", write_proxy_mode, NULL },
    { "proxyWorkloadInformation", write_workload_information, NULL },
    { "readinessAddr", write_readiness_address, NULL },
    { "requireOriginalSource", write_original_source, NULL },
    { "selfTerminationDeadline", write_termination_deadline, NULL },
    { "socketConfig", write_socket_settings, NULL },
    { "socks5Addr", write_socks5_address, NULL },
    { "statsAddr", write_stats_address, NULL },
    { "tlsEngine", write_tls_engine, NULL },
    { "xdsAddress", write_xds_address, NULL },
    { "xdsHeaders", write_xds_headers, NULL },
    { "xdsRootCert", write_xds_root, NULL },
    { "ztunnelIdentity", write_own_identity, NULL },
    { "ztunnelWorkload", write_own_workload, NULL },
};

static void write_option(
    const struct configuration *configuration, const struct option *option, struct json_writer *json)
{
    const void *field = (const char *)configuration + option->offset;
    switch (option->kind) {
    case OPTION_STRING:
        json_write_string(json, *(char *const *)field);
        break;
    case OPTION_BOOL:
    case OPTION_SWITCH:
        json_write_bool(json, *(const bool *)field);
        break;
    case OPTION_U16:
        json_write_unsigned(json, *(const uint16_t *)field);
        break;
    case OPTION_U32:
        json_write_unsigned(json, *(const uint32_t *)field);
        break;
    case OPTION_U64:
        json_write_unsigned(json, *(const uint64_t *)field);
        break;
    case OPTION_DURATION:
        write_duration(json, *(const uint64_t *)field);
        break;
    case OPTION_CHOICE:
    case OPTION_WORD:
        json_write_string(json, option->choices[*(const int *)field]);
        break;
    case OPTION_STRING_LIST:
    case OPTION_DOCUMENTED:
        json_write_null(json);
        break;
    }
}

static bool has_own_item(const char *key)
{
    for (size_t i = 0; i < ARRAY_LENGTH(OWN_ITEMS); i++) {
        if (strcmp(OWN_ITEMS[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

static int compare_items(const void *left, const void *right)
{
    return strcmp(((const struct dump_item *)left)->key, ((const struct dump_item *)right)->key);
}

static size_t collect_items(struct dump_item *items)
{
    size_t count = ARRAY_LENGTH(OWN_ITEMS);
    memcpy(items, OWN_ITEMS, sizeof OWN_ITEMS);
    for (size_t i = 0; i < CONFIGURATION_OPTION_COUNT; i++) {
        const char *key = CONFIGURATION_OPTIONS[i].dump_key;
        if (key != NULL && !has_own_item(key)) {
            items[count++] = (struct dump_item){ key, NULL, &CONFIGURATION_OPTIONS[i] };
        }
    }
    qsort(items, count, sizeof *items, compare_items);
    return count;
}

void configuration_dump(const struct configuration *configuration, struct json_writer *json)
{
    struct dump_item *AUTO_FREE items =
        memory_allocate((ARRAY_LENGTH(OWN_ITEMS) + CONFIGURATION_OPTION_COUNT) * sizeof *items);
    size_t count = collect_items(items);
    json_write_object_begin(json);
    for (size_t i = 0; i < count; i++) {
        json_write_key(json, items[i].key);
        if (items[i].write != NULL) {
            items[i].write(configuration, json);
        } else {
            write_option(configuration, items[i].option, json);
        }
    }
    json_write_object_end(json);
}
