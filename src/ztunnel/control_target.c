#include "ztunnel/control_target.h"

#include "base/text.h"
#include "tls/context.h"

#include <stdlib.h>
#include <unistd.h>

#define HEADERS_MAXIMUM 32
#define HTTPS "https://"
#define HTTP "http://"

static const char *const ADDRESS_VARIABLES[] = { "XDS_ADDRESS", "CA_ADDRESS" };
static const char *const HEADER_PREFIXES[] = { "XDS_HEADER_", "CA_HEADER_" };

enum root_kind root_kind_of(const char *root)
{
    if (strcmp(root, "SYSTEM") == 0) {
        return ROOT_SYSTEM;
    }
    return access(root, F_OK) != 0 && strstr(root, "-----BEGIN") != NULL ? ROOT_INLINE : ROOT_FILE;
}

/* Tokens go over these without TLS; nobody else hears them. */
static bool is_loopback(const char *host)
{
    return text_equal(host, "localhost") || text_equal(host, "127.0.0.1") || text_equal(host, "::1");
}

/* A scheme may be missing; then it is https (§1.2). Without TLS only a control plane on this very host is spoken to. */
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
    if (settings->is_plaintext && !is_loopback(settings->host)) {
        return result_fail(
            RESULT_INVALID, "invalid env var %s=%s (only https://, but to this host's loopback)", variable, address);
    }
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

/* RFC 9110 §5.1; names that end in -bin would need binary values (gRPC over HTTP/2). */
static bool is_header_name(const char *name)
{
    static const char TOKEN[] = "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    return name[0] != '\0' && name[strspn(name, TOKEN)] == '\0' && !text_ends_with(name, "-bin");
}

static bool is_header_value(const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value < ' ' || *value > '~') {
            return false;
        }
    }
    return true;
}

/* What the protocol itself says in a request is not for users to replace; other clients leave it out as silently. */
static bool is_reserved(const char *name)
{
    return text_equal(name, "te") || text_equal(name, "content-type") || text_starts_with(name, "grpc-") ||
           text_equal(name, "host") || text_equal(name, "connection");
}

static struct result add_header(
    const char *prefix, const char *entry, struct arena *arena, struct grpc_metadata *headers, size_t *count)
{
    const char *equals = strchr(entry, '=');
    if (equals == NULL || !text_starts_with(entry, prefix)) {
        return result_ok();
    }
    const char *key = entry + strlen(prefix);
    const char *name = lower_case(arena, bytes_of(key, (size_t)(equals - key)));
    if (!is_header_name(name)) {
        return result_fail(
            RESULT_INVALID, "invalid env var %.96s (`%.64s` cannot be the name of a header)", entry, name);
    }
    if (!is_header_value(equals + 1)) {
        return result_fail(RESULT_INVALID, "invalid env var %.96s (the value of a header is visible ASCII)", entry);
    }
    if (is_reserved(name)) {
        return result_ok();
    }
    if (*count == HEADERS_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "invalid env var %.96s (at most %d variables may begin with %s)", entry,
            HEADERS_MAXIMUM, prefix);
    }
    headers[(*count)++] = (struct grpc_metadata){ name, equals + 1 };
    return result_ok();
}

static struct result add_headers(const char *prefix, struct arena *arena, struct grpc_metadata *headers, size_t *count)
{
    extern char **environ;
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        RESULT_TRY(add_header(prefix, *entry, arena, headers, count));
    }
    return result_ok();
}

struct result control_target_check_headers(void)
{
    struct result result = result_ok();
    for (size_t i = 0; i < sizeof HEADER_PREFIXES / sizeof HEADER_PREFIXES[0] && result_is_ok(&result); i++) {
        struct arena arena = { 0 };
        struct grpc_metadata headers[HEADERS_MAXIMUM];
        size_t count = 0;
        result = add_headers(HEADER_PREFIXES[i], &arena, headers, &count);
        arena_free(&arena);
    }
    return result;
}

/* A path that exists, SYSTEM, or the certificates themselves (§1.3). */
static struct result choose_root(
    const struct configuration *configuration, enum control_target target, struct control_plane_settings *settings)
{
    const char *variable = target == CONTROL_TARGET_XDS ? "XDS_ROOT_CA" : "CA_ROOT_CA";
    const char *root =
        target == CONTROL_TARGET_XDS ? configuration->xds_root_certificate : configuration->ca_root_certificate;
    switch (root_kind_of(root)) {
    case ROOT_SYSTEM:
        return result_ok();
    case ROOT_INLINE:
        settings->root_pem = bytes_of_string(root);
        break;
    case ROOT_FILE:
        settings->root_file = root;
        if (!settings->is_plaintext && access(root, R_OK) != 0) {
            return result_fail(RESULT_INVALID,
                "invalid env var %s=%.128s (no readable file of root certificates there)", variable, root);
        }
        return result_ok();
    }
    struct tls_context *context;
    const struct tls_client_trust trust = { .root_pem = settings->root_pem };
    struct result parsed = tls_context_new_client(&trust, &context);
    if (!result_is_ok(&parsed)) {
        return result_fail(RESULT_INVALID, "invalid env var %s (inline PEM: %s)", variable, parsed.message);
    }
    tls_context_release(context);
    return result_ok();
}

struct result control_target_settings(const struct configuration *configuration, enum control_target target,
    struct arena *arena, struct control_plane_settings *settings)
{
    bool is_xds = target == CONTROL_TARGET_XDS;
    *settings = (struct control_plane_settings){ 0 };
    RESULT_TRY(parse_address(
        ADDRESS_VARIABLES[target], is_xds ? configuration->xds_address : configuration->ca_address, arena, settings));
    RESULT_TRY(choose_root(configuration, target, settings));
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
    RESULT_TRY(add_headers(HEADER_PREFIXES[target], arena, headers, &settings->header_count));
    settings->headers = headers;
    return result_ok();
}
