/* What the environment must not say (ztunnel-management §1). */
#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/configuration_internal.h"
#include "ztunnel/control_target.h"

#include <errno.h>
#include <unistd.h>

/* The three files belong together, and each must be there: its variable is named, not only the path. */
static struct result refuse_missing_files(const struct configuration *configuration)
{
    const struct {
        const char *variable, *path;
    } files[] = {
        { "TLS_CERTIFICATE_FILE", configuration->certificate_file },
        { "TLS_KEY_FILE", configuration->certificate_key_file },
        { "TLS_ROOT_FILE", configuration->certificate_root_file },
    };
    size_t given = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        given += files[i].path != NULL ? 1 : 0;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(files) && given > 0; i++) {
        if (files[i].path == NULL) {
            return result_fail(RESULT_INVALID,
                "%s is missing (TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_ROOT_FILE belong together: set all three or "
                "none)",
                files[i].variable);
        }
        if (access(files[i].path, R_OK) != 0) {
            return result_system(errno, "invalid env var %s=%s (cannot be read)", files[i].variable, files[i].path);
        }
    }
    return result_ok();
}

/* Three parts, none of them empty. */
static bool is_workload_information(const char *text)
{
    struct bytes rest = bytes_of_string(text);
    struct bytes part;
    size_t count = 0;
    while (bytes_split(&rest, '/', &part)) {
        if (part.length == 0) {
            return false;
        }
        count++;
    }
    return count == 3;
}

static struct result refuse_contradictions(const struct configuration *configuration)
{
    if (configuration->proxy_mode == PROXY_MODE_DEDICATED && text_is_empty(configuration->proxy_workload_information)) {
        return result_fail(RESULT_INVALID,
            "invalid env var PROXY_WORKLOAD_INFO= (dedicated mode needs namespace/name/service-account)");
    }
    if (configuration->proxy_mode == PROXY_MODE_DEDICATED &&
        !is_workload_information(configuration->proxy_workload_information)) {
        return result_fail(RESULT_INVALID,
            "invalid env var PROXY_WORKLOAD_INFO=%.128s (expected namespace/name/service-account)",
            configuration->proxy_workload_information);
    }
    if (!text_is_empty(configuration->local_xds_path) && !text_is_empty(configuration->local_xds)) {
        return result_fail(RESULT_INVALID, "only one of LOCAL_XDS_PATH or LOCAL_XDS may be set");
    }
    if (!configuration->proxy_enabled && !configuration->dns_proxy_enabled) {
        return result_fail(RESULT_INVALID, "ztunnel run without any servers enabled");
    }
    if (configuration->xds_on_demand && configuration->dns_proxy_enabled) {
        return result_fail(RESULT_INVALID, "DNS proxy does not currently support on-demand mode");
    }
    if (configuration->fake_ca) {
        return result_fail(RESULT_UNSUPPORTED, "invalid env var FAKE_CA=true (not available; give "
                                               "TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_ROOT_FILE instead)");
    }
    RESULT_TRY(refuse_missing_files(configuration));
    bool has_files = configuration->certificate_file != NULL;
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
    return result_ok();
}

static struct result refuse_unusable_windows(const struct configuration *configuration)
{
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

struct result configuration_check(const struct configuration *configuration)
{
    RESULT_TRY(refuse_contradictions(configuration));
    RESULT_TRY(control_target_check_headers());
    return refuse_unusable_windows(configuration);
}
