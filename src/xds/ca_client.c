#include "xds/ca_client.h"

#include "base/clock.h"
#include "base/file_stamp.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/loop.h"
#include "tls/identity.h"
#include "tls/signing_request.h"
#include "xds/protobuf.h"

#define METHOD_PATH "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define LOG_TARGET "ztunnel::identity::caclient"
#define SECRET_TTL_DEFAULT_S 86400
#define ANSWER_MAXIMUM_BYTES (4u * 1024 * 1024)
#define CHAIN_ELEMENTS_MAXIMUM 64

enum { REQUEST_CSR = 1, REQUEST_VALIDITY = 3, REQUEST_METADATA = 4 };
enum { RESPONSE_CHAIN = 1 };

struct ca_client {
    struct certificate_source source;
    struct loop *loop;
    struct buffer_pool *pool;
    struct ca_client_settings settings;
    struct grpc_channel *channel; /* NULL before the first call */
    struct file_stamp root;       /* of the file the channel was made with */
};

/* One CreateCertificate on its way. */
struct ca_call {
    struct ca_client *client;
    struct certificate_fetch *fetch;
    struct grpc_call *call; /* NULL: never started, or over */
    struct grpc_channel *channel;
    struct evp_pkey_st *key;
    struct deferred report;
    struct result failure; /* to report later, when the call could not start */
    struct writer answer;  /* the first message, a copy */
    bool has_answer;
};

static void ca_call_free(struct ca_call *call)
{
    deferred_cancel(&call->report);
    private_key_free(call->key);
    writer_free(&call->answer);
    memory_free(call);
}

static void finish(struct ca_call *call, struct tls_identity *certificate, const struct result *failure)
{
    struct certificate_fetch *fetch = call->fetch;
    ca_call_free(call);
    fetch->source_data = NULL;
    fetch->on_done(fetch, certificate, failure);
}

static bool parse_chain(struct bytes message, struct bytes *elements, size_t *count)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    *count = 0;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number != RESPONSE_CHAIN || field.wire != PROTOBUF_BYTES) {
            continue;
        }
        if (*count == CHAIN_ELEMENTS_MAXIMUM) {
            return false;
        }
        elements[(*count)++] = field.bytes;
    }
    return !cursor.has_failed;
}

static struct result accept_answer(struct ca_call *call, struct tls_identity **certificate)
{
    const char *identity = call->fetch->identity;
    struct bytes elements[CHAIN_ELEMENTS_MAXIMUM];
    size_t count = 0;
    if (call->answer.length > 0 && !parse_chain(writer_bytes(&call->answer), elements, &count)) {
        return result_fail(RESULT_INVALID, "the CA's answer for %s does not decode", identity);
    }
    if (count == 0) {
        return result_fail(RESULT_INVALID, "chain returned from CA is empty for: %s", identity);
    }
    if (count == 1) {
        log_print(LOG_WARN, LOG_TARGET, "no chain certs for: %s", identity);
        return result_fail(
            RESULT_INVALID, "failed to create CSR: invalid root certificate: no root certificate present");
    }
    const struct certificate_request_answer answer = {
        .elements = elements,
        .element_count = count,
        .key = call->key,
        .identity = identity,
        .requires_identity = call->client->settings.is_shared,
        .now_s = clock_wall_s(),
    };
    struct certificate_bundle *bundle;
    RESULT_TRY(certificate_bundle_from_answer(&answer, &bundle));
    struct result made = tls_identity_new(bundle, certificate);
    certificate_bundle_release(bundle);
    return made;
}

static void on_message(struct grpc_call *grpc, struct bytes message, void *context)
{
    (void)grpc;
    struct ca_call *call = context;
    if (!call->has_answer) {
        call->has_answer = true;
        writer_add_bytes(&call->answer, message);
    }
}

/* Nobody answered: perhaps it is the connection that hangs, and the next request need not find out by waiting as long. */
static void leave_channel(struct ca_call *call)
{
    struct ca_client *client = call->client;
    if (client->channel == call->channel) {
        client->channel = NULL;
        grpc_channel_retire(call->channel);
    }
}

static void on_end(struct grpc_call *grpc, const struct grpc_end *end, void *context)
{
    (void)grpc;
    struct ca_call *call = context;
    struct result failure;
    call->call = NULL;
    if (end->status == GRPC_DEADLINE_EXCEEDED) {
        leave_channel(call);
    }
    if (end->status != GRPC_OK) {
        const char *description = grpc_status_description((int)end->status);
        failure = end->source != NULL
                      ? result_fail(RESULT_UNAVAILABLE, "signing gRPC error (%s): %s: %s", description, end->message,
                            end->source)
                      : result_fail(RESULT_UNAVAILABLE, "signing gRPC error (%s): %s", description, end->message);
        finish(call, NULL, &failure);
        return;
    }
    struct tls_identity *certificate = NULL;
    failure = accept_answer(call, &certificate);
    finish(call, certificate, result_is_ok(&failure) ? NULL : &failure);
}

/* Value { 3 string_value } in Struct { 1 fields { 1 key, 2 value } }. */
static void write_impersonation(struct writer *out, const char *identity)
{
    struct writer value = writer_growing();
    struct writer entry = writer_growing();
    struct writer fields = writer_growing();
    protobuf_add_message(&value, 3, bytes_of_string(identity));
    protobuf_add_string(&entry, 1, bytes_of_string("ImpersonatedIdentity"));
    protobuf_add_message(&entry, 2, writer_bytes(&value));
    protobuf_add_message(&fields, 1, writer_bytes(&entry));
    protobuf_add_message(out, REQUEST_METADATA, writer_bytes(&fields));
    writer_free(&value);
    writer_free(&entry);
    writer_free(&fields);
}

static void write_request(const struct ca_call *call, struct writer *out)
{
    const struct ca_client_settings *settings = &call->client->settings;
    struct writer csr = writer_growing();
    signing_request_write(call->key, call->fetch->identity, &csr);
    protobuf_add_string(out, REQUEST_CSR, writer_bytes(&csr));
    protobuf_add_varint(out, REQUEST_VALIDITY, settings->secret_ttl_s);
    if (settings->is_shared) {
        write_impersonation(out, call->fetch->identity);
    }
    writer_free(&csr);
}

/* The long-lived channel; a new one when the root file changed, while calls on the old one end there. A root that cannot be read leaves the old channel in use. */
static struct result ensure_channel(struct ca_client *client)
{
    struct file_stamp stamp = { 0 };
    const char *root_file = client->settings.control_plane.root_file;
    bool has_root = root_file != NULL && file_stamp_take(root_file, &stamp);
    bool has_changed = has_root && !file_stamp_equal(&stamp, &client->root);
    if (client->channel != NULL && !has_changed) {
        return result_ok();
    }
    struct grpc_channel *channel;
    struct result made = control_plane_channel(client->loop, client->pool, &client->settings.control_plane, &channel);
    if (!result_is_ok(&made)) {
        if (client->channel == NULL) {
            return made;
        }
        log_print(LOG_WARN, LOG_TARGET,
            "failed to rebuild TLS channel after root cert rotation, keeping the old one: %s", made.message);
        return result_ok();
    }
    grpc_channel_retire(client->channel);
    client->channel = channel;
    client->root = stamp;
    return result_ok();
}

static struct result start_call(struct ca_call *call)
{
    struct ca_client *client = call->client;
    struct arena arena = { 0 };
    struct grpc_metadata *metadata;
    size_t count;
    RESULT_TRY(ensure_channel(client));
    struct result authorised = control_plane_metadata(&client->settings.control_plane, &arena, &metadata, &count);
    if (!result_is_ok(&authorised)) {
        arena_free(&arena); /* a token that failed was not kept */
        return authorised;
    }
    const struct grpc_call_settings settings = {
        .path = METHOD_PATH,
        .metadata = metadata,
        .metadata_count = count,
        .message_maximum_bytes = ANSWER_MAXIMUM_BYTES,
        .deadline_ms = client->settings.call_deadline_ms,
        .context = call,
        .on_message = on_message,
        .on_end = on_end,
    };
    call->channel = client->channel;
    call->call = grpc_call_start(client->channel, &settings);
    control_plane_metadata_wipe(&client->settings.control_plane, metadata);
    arena_free(&arena);
    struct writer message = writer_growing();
    write_request(call, &message);
    grpc_call_send(call->call, writer_bytes(&message));
    grpc_call_send_end(call->call);
    writer_free(&message);
    return result_ok();
}

static void report_failure(struct deferred *deferred)
{
    struct ca_call *call = CONTAINER_OF(deferred, struct ca_call, report);
    struct result failure = call->failure;
    finish(call, NULL, &failure);
}

static void fetch(struct certificate_source *source, struct certificate_fetch *fetch)
{
    struct ca_call *call = NEW(struct ca_call);
    call->client = CONTAINER_OF(source, struct ca_client, source);
    call->fetch = fetch;
    call->key = private_key_new();
    call->answer = writer_growing();
    call->report.run = report_failure;
    list_initialise(&call->report.link);
    fetch->source_data = call;
    call->failure = start_call(call);
    if (!result_is_ok(&call->failure)) {
        loop_defer(call->client->loop, &call->report);
    }
}

static void cancel(struct certificate_source *source, struct certificate_fetch *fetch)
{
    (void)source;
    struct ca_call *call = fetch->source_data;
    if (call == NULL) {
        return;
    }
    fetch->source_data = NULL;
    if (call->call != NULL) {
        grpc_call_cancel(call->call);
    }
    ca_call_free(call);
}

static void client_free(struct certificate_source *source)
{
    struct ca_client *client = CONTAINER_OF(source, struct ca_client, source);
    grpc_channel_free(client->channel);
    memory_free(client);
}

struct certificate_source *ca_client_new(
    struct loop *loop, struct buffer_pool *pool, const struct ca_client_settings *settings)
{
    struct ca_client *client = NEW(struct ca_client);
    client->source = (struct certificate_source){ fetch, cancel, client_free };
    client->loop = loop;
    client->pool = pool;
    client->settings = *settings;
    if (client->settings.secret_ttl_s == 0) {
        client->settings.secret_ttl_s = SECRET_TTL_DEFAULT_S;
    }
    if (client->settings.call_deadline_ms == 0) {
        client->settings.call_deadline_ms = CA_CALL_DEADLINE_MS;
    }
    return &client->source;
}
