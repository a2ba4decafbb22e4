#include "xds/control_plane.h"

#include "base/memory.h"
#include "tls/context.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TOKEN_MAXIMUM_BYTES (64 * 1024)
#define BEARER "Bearer "

struct result control_plane_channel(struct loop *loop, struct buffer_pool *pool,
    const struct control_plane_settings *settings, struct grpc_channel **channel)
{
    struct tls_context *tls = NULL;
    *channel = NULL;
    if (!settings->is_plaintext) {
        const struct tls_client_trust trust = { settings->root_file, settings->root_pem, settings->allows_tls12 };
        RESULT_TRY(tls_context_new_client(&trust, &tls));
    }
    const struct grpc_channel_settings dialled = {
        .host = settings->host, .port = settings->port, .alternative_name = settings->alternative_name, .tls = tls
    };
    *channel = grpc_channel_new(loop, pool, &dialled);
    tls_context_release(tls);
    return result_ok();
}

static struct result read_token(const char *path, char *token, size_t *length)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return result_system(errno, "failed to load token from file %s", path);
    }
    *length = 0;
    ssize_t got;
    while (*length < TOKEN_MAXIMUM_BYTES &&
           (got = read(descriptor, token + *length, TOKEN_MAXIMUM_BYTES - *length)) != 0) {
        if (got < 0 && errno != EINTR) {
            int error = errno;
            close(descriptor);
            return result_system(error, "failed to load token from file %s", path);
        }
        *length += got > 0 ? (size_t)got : 0;
    }
    close(descriptor);
    if (*length == TOKEN_MAXIMUM_BYTES) {
        return result_fail(RESULT_LIMIT, "token file %s is larger than %d bytes", path, TOKEN_MAXIMUM_BYTES - 1);
    }
    if (*length > 0 && token[*length - 1] == '\n') {
        (*length)--;
    }
    if (*length == 0) {
        return result_fail(RESULT_INVALID, "token file exists, but was empty");
    }
    /* As a header it must be visible ASCII; a stray byte would end the stream with a message nobody understands. */
    for (size_t i = 0; i < *length; i++) {
        if (token[i] <= ' ' || token[i] > '~') {
            return result_fail(RESULT_INVALID, "token file %s: byte %zu cannot be in a token", path, i);
        }
    }
    return result_ok();
}

static struct result bearer_of(const char *path, struct arena *arena, const char **bearer)
{
    size_t prefix = sizeof BEARER - 1;
    char *text = memory_allocate(prefix + TOKEN_MAXIMUM_BYTES);
    size_t length = 0;
    memcpy(text, BEARER, prefix);
    struct result outcome = read_token(path, text + prefix, &length);
    if (result_is_ok(&outcome)) {
        *bearer = arena_string_bytes(arena, bytes_of(text, prefix + length));
    }
    memory_wipe(text, prefix + length);
    memory_free(text);
    return outcome;
}

struct result control_plane_metadata(
    const struct control_plane_settings *settings, struct arena *arena, struct grpc_metadata **metadata, size_t *count)
{
    *count = 0;
    *metadata = arena_allocate(arena, (settings->header_count + 2) * sizeof **metadata);
    if (settings->token_file != NULL) {
        struct grpc_metadata *line = &(*metadata)[(*count)++];
        line->name = "authorization";
        RESULT_TRY(bearer_of(settings->token_file, arena, &line->value));
    }
    if (settings->cluster_id != NULL) {
        (*metadata)[(*count)++] = (struct grpc_metadata){ "clusterid", settings->cluster_id };
    }
    for (size_t i = 0; i < settings->header_count; i++) {
        (*metadata)[(*count)++] = settings->headers[i];
    }
    return result_ok();
}

void control_plane_metadata_wipe(const struct control_plane_settings *settings, const struct grpc_metadata *metadata)
{
    if (settings->token_file != NULL) {
        char *token;
        memcpy(&token, &metadata[0].value, sizeof token);
        memory_wipe(token, strlen(token));
    }
}
