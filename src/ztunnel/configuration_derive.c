/* What follows from several settings together: addresses, defaults by mode, the drain deadline (ztunnel-management §1). */
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/configuration_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SHARED_PACKET_MARK 1337

static void replace(char **field, const char *text)
{
    memory_free(*field);
    *field = string_duplicate(text);
}

void configuration_forget_service_links(void)
{
    static const char *const VARIABLES[] = { "ADMIN_PORT", "STATS_PORT", "READINESS_PORT" };
    for (size_t i = 0; i < ARRAY_LENGTH(VARIABLES); i++) {
        const char *value = getenv(VARIABLES[i]);
        if (value != NULL && strstr(value, "://") != NULL) {
            unsetenv(VARIABLES[i]);
        }
    }
}

/* The environment wins over discoveryAddress, which wins over where Kubernetes or a developer has istiod. */
static void set_control_plane_defaults(struct configuration *configuration)
{
    const char *fallback =
        getenv("KUBERNETES_SERVICE_HOST") != NULL ? "https://istiod.istio-system.svc:15012" : "https://localhost:15012";
    if (getenv("XDS_ADDRESS") == NULL) {
        const char *discovery = configuration->proxy.discovery_address;
        replace(&configuration->xds_address, discovery != NULL ? discovery : fallback);
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

static void set_ports(struct configuration *configuration)
{
    if (getenv("ADMIN_PORT") == NULL && configuration->proxy.has_admin_port) {
        configuration->admin_port = configuration->proxy.admin_port;
    }
    if (getenv("STATS_PORT") == NULL && configuration->proxy.has_stats_port) {
        configuration->metrics_port = configuration->proxy.stats_port;
    }
}

/* Unreadable counts as enabled (§1.3). */
static bool loopback_has_ipv6(void)
{
    char digit = '0';
    int descriptor = open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)!read(descriptor, &digit, 1);
        close(descriptor);
    }
    return digit != '1';
}

/* `localhost:PORT` or `IP:PORT`. */
static bool parse_local_address(const char *text, struct local_address *address)
{
    static const char LOCALHOST[] = "localhost:";
    *address = (struct local_address){ 0 };
    if (!text_starts_with(text, LOCALHOST)) {
        return socket_address_parse(text, &address->address);
    }
    uint64_t port;
    if (!text_to_u64(text + strlen(LOCALHOST), UINT16_MAX, &port)) {
        return false;
    }
    address->is_localhost = true;
    address->address.port = (uint16_t)port;
    return true;
}

/* Both settings are metadata of the proxy, whichever source they come from (dataplane §1). */
static struct result set_dns_proxy(struct configuration *configuration)
{
    const char *capture = proxy_configuration_metadata(&configuration->proxy, "DNS_CAPTURE");
    configuration->dns_proxy_enabled = capture == NULL || text_equal_ignoring_case(capture, "true");
    const char *address = proxy_configuration_metadata(&configuration->proxy, "DNS_PROXY_ADDR");
    configuration->dns_proxy_address = (struct local_address){ true, { .port = DNS_PROXY_PORT } };
    if (address != NULL && !parse_local_address(address, &configuration->dns_proxy_address)) {
        return result_fail(
            RESULT_INVALID, "invalid env var DNS_PROXY_ADDR=%s (must be localhost:PORT or IP:PORT)", address);
    }
    return result_ok();
}

struct result configuration_derive(struct configuration *configuration)
{
    set_control_plane_defaults(configuration);
    set_mode_defaults(configuration);
    set_ports(configuration);
    configuration->has_loopback_ipv6 = configuration->ipv6_enabled && loopback_has_ipv6();
    RESULT_TRY(set_dns_proxy(configuration));
    RESULT_TRY(set_termination_deadline(configuration));
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return configuration_worker_count(
        configuration, processors > 0 ? (uint32_t)processors : 1, &configuration->worker_count);
}
