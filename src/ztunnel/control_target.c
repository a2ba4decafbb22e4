#include "ztunnel/control_target.h"

#include "base/text.h"

#include <stdlib.h>
#include <unistd.h>

#define HEADERS_MAXIMUM 32
#define HTTPS "https://"
#define HTTP "http://"

static const char *const ADDRESS_VARIABLES[] = { "XDS_ADDRESS", "CA_ADDRESS" };
static const char *const HEADER_PREFIXES[] = { "XDS_HEADER_", "CA_HEADER_" };

/* A scheme may be missing; then it is https (§1.2). */
static struct result parse_address(
    const char *variable, const char *address, struct arena *arena, struct control_plane_settings *settings)
{
    const char *rest = address;
    if (text_starts_with(address, HTTPS)) {
        rest = address + strlen(HTTPS);
    } else if (text_starts_with(address, HTTP)) {
        settings->is_plaintext = true;
        rest = address + strlen(HTTP);
    }
    struct bytes authority = bytes_of_string(rest);
    if (authority.length > 0 && authority.data[authority.length - 1] == '/') {
        authority.length--;
    }
    struct bytes host;
    if (!host_port_split(authority, &host, &settings->port) || host.length == 0 || settings->port == 0) {
        return result_fail(RESULT_INVALID, "invalid env var %s=%s (expected https://HOST:PORT)", variable, address);
    }
    settings->host = arena_string_bytes(arena, host);
    return result_ok();
}

static char *lower_case(struct arena *arena, struct bytes text)
{
    char *copy = arena_string_bytes(arena, text);
    for (char *at = copy; *at != '\0'; at++) {
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
    }
    return copy;
}

static void add_headers(const char *prefix, struct arena *arena, struct grpc_metadata *headers, size_t *count)
{
    extern char **environ;
    for (char **entry = environ; *entry != NULL && *count < HEADERS_MAXIMUM; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals != NULL && text_starts_with(*entry, prefix)) {
            const char *key = *entry + strlen(prefix);
            headers[(*count)++] =
                (struct grpc_metadata){ lower_case(arena, bytes_of(key, (size_t)(equals - key))), equals + 1 };
        }
    }
}

static struct result check_root(
    const struct configuration *configuration, enum control_target target, struct control_plane_settings *settings)
{
    const char *variable = target == CONTROL_TARGET_XDS ? "XDS_ROOT_CA" : "CA_ROOT_CA";
    const char *root =
        target == CONTROL_TARGET_XDS ? configuration->xds_root_certificate : configuration->ca_root_certificate;
    if (settings->is_plaintext) {
        return result_ok();
    }
    if (strcmp(root, "SYSTEM") == 0 || strstr(root, "-----BEGIN") != NULL) {
        return result_fail(RESULT_UNSUPPORTED,
            "invalid env var %s (SYSTEM and inline PEM are not available in this version; give a path)", variable);
    }
    if (access(root, R_OK) != 0) {
        return result_fail(
            RESULT_INVALID, "invalid env var %s=%s (no readable file of root certificates there)", variable, root);
    }
    settings->root_file = root;
    return result_ok();
}

struct result control_target_settings(const struct configuration *configuration, enum control_target target,
    struct arena *arena, struct control_plane_settings *settings)
{
    bool is_xds = target == CONTROL_TARGET_XDS;
    *settings = (struct control_plane_settings){ 0 };
    RESULT_TRY(parse_address(
        ADDRESS_VARIABLES[target], is_xds ? configuration->xds_address : configuration->ca_address, arena, settings));
    RESULT_TRY(check_root(configuration, target, settings));
    settings->alternative_name =
        is_xds ? configuration->alternative_xds_hostname : configuration->alternative_ca_hostname;
    settings->allows_tls12 = configuration->tls12_enabled;
    settings->cluster_id = configuration->cluster_id;
    struct grpc_metadata *headers = arena_allocate(arena, (HEADERS_MAXIMUM + 1) * sizeof *headers);
    const char *token = configuration->authentication_token;
    if (token != NULL && access(token, F_OK) == 0) {
        settings->token_file = token;
    } else if (!text_is_empty(token)) {
        headers[settings->header_count++] =
            (struct grpc_metadata){ "authorization", arena_format(arena, "Bearer %s", token) };
    }
    add_headers(HEADER_PREFIXES[target], arena, headers, &settings->header_count);
    settings->headers = headers;
    return result_ok();
}
