/* Our records and libssl's on the same ciphertext. The input is a script of a peer that holds the keys: good records, padding, key updates,
 * handshake messages and alerts of its own invention, tampering, replays, bytes that are no record, cuts. Both engines must
 * deliver the same plaintext and come to the same end. */
#include "base/cursor.h"
#include "base/memory.h"
#include "net/buffer_pool.h"
#include "tls/context.h"
#include "tls/handshake.h"
#include "tls/handshake_secrets.h"
#include "tls/native_layer.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAXIMUM 64
#define PENDING_MAXIMUM_BYTES (48 * 1024)
#define RECORD_MAXIMUM_BYTES (RECORD_PLAINTEXT_MAXIMUM + 1024)
#define OUTPUT_MAXIMUM_BYTES (4 * 1024 * 1024)

static SSL_CTX *client_context, *server_context;
static struct buffer_pool *pools[3]; /* the peer, libssl, native */
static struct handshake_secrets *secrets;

/* A handshake without certificates or key exchange: what costs is the fuzzing, not the mathematics. */
static SSL_SESSION *shared_session(SSL *ssl)
{
    static const unsigned char key[48] = { 1, 2, 3 };
    static const unsigned char suite[] = { 0x13, 0x02 };
    SSL_SESSION *session = SSL_SESSION_new();
    if (session == NULL || !SSL_SESSION_set1_master_key(session, key, sizeof key) ||
        !SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, suite)) ||
        !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
        abort();
    }
    return session;
}

static int use_session(
    SSL *ssl, const EVP_MD *hash, const unsigned char **identity, size_t *length, SSL_SESSION **session)
{
    (void)hash;
    *identity = (const unsigned char *)"fuzz";
    *length = 4;
    *session = shared_session(ssl);
    return 1;
}

static int find_session(SSL *ssl, const unsigned char *identity, size_t length, SSL_SESSION **session)
{
    (void)identity, (void)length;
    *session = shared_session(ssl);
    return 1;
}

static void keep_secret(const SSL *ssl, const char *line)
{
    (void)ssl;
    handshake_secrets_read(secrets, line);
}

static SSL_CTX *context_new(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (context == NULL || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_num_tickets(context, 0)) {
        abort();
    }
    SSL_CTX_set_options(context, SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_NO_TICKET);
    SSL_CTX_set_psk_use_session_callback(context, use_session);
    SSL_CTX_set_psk_find_session_callback(context, find_session);
    return context;
}

static void set_up_once(void)
{
    if (client_context != NULL) {
        return;
    }
    client_context = context_new();
    server_context = context_new();
    SSL_CTX_set_keylog_callback(server_context, keep_secret);
    for (size_t i = 0; i < ARRAY_LENGTH(pools); i++) {
        pools[i] = buffer_pool_new();
    }
}

/* One of the two that are compared, with what it has delivered. */
struct receiver {
    struct record_layer *layer;
    int ends[2];
    uint8_t *output;
    size_t length;
    enum record_status end;
};

struct script {
    struct cursor input;
    struct receiver receivers[2]; /* libssl, native */
    struct record_protection *sealing;
    uint8_t pending[2 * PENDING_MAXIMUM_BYTES];
    size_t pending_length;
    uint8_t last[RECORD_MAXIMUM_BYTES];
    size_t last_length;
    bool has_garbage; /* something that is not cut into records */
    uint16_t flip_at;
    uint8_t flip_with;
};

static void make_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        abort();
    }
}

static struct record_layer *shake_hands(struct receiver *libssl)
{
    struct tls_context client = { .references = 2, .context = client_context };
    struct tls_context server = { .references = 2, .context = server_context };
    struct tls_handshake *near = tls_handshake_new_client(&client, pools[0], libssl->ends[0], "fuzz", NULL);
    struct tls_handshake *far = tls_handshake_new_server(&server, pools[1], libssl->ends[1]);
    for (int i = 0; i < 10; i++) {
        (void)tls_handshake_step(near);
        (void)tls_handshake_step(far);
    }
    if (tls_handshake_step(near) != TLS_HANDSHAKE_DONE || tls_handshake_step(far) != TLS_HANDSHAKE_DONE) {
        abort();
    }
    libssl->layer = tls_handshake_finish(far, NULL);
    struct record_layer *peer = tls_handshake_finish(near, NULL);
    tls_handshake_free(near);
    tls_handshake_free(far);
    return peer;
}

static void begin(struct script *script)
{
    secrets = handshake_secrets_new();
    for (int i = 0; i < 2; i++) {
        make_pair(script->receivers[i].ends);
        script->receivers[i].output = memory_allocate(OUTPUT_MAXIMUM_BYTES);
        script->receivers[i].end = RECORD_OK;
    }
    record_free(shake_hands(&script->receivers[0]));
    const struct native_start start = { record_cipher_best(), RECORD_AES_256_GCM, true, RECORD_PLAINTEXT_MAXIMUM,
        secrets->server, secrets->client };
    script->receivers[1].layer = &native_layer_new(&start, pools[2], script->receivers[1].ends[1])->base;
    script->sealing = record_protection_new(&record_cipher_evp, RECORD_AES_256_GCM, secrets->client, 0);
}

static void end(struct script *script)
{
    for (int i = 0; i < 2; i++) {
        struct receiver *receiver = &script->receivers[i];
        record_free(receiver->layer);
        close(receiver->ends[0]);
        close(receiver->ends[1]);
        memory_free(receiver->output);
    }
    record_protection_free(script->sealing);
    handshake_secrets_free(secrets);
}

static void receive(struct receiver *receiver, size_t budget)
{
    while (receiver->end == RECORD_OK) {
        struct bytes runs[3];
        int count = 0;
        enum record_status status = record_receive(receiver->layer, budget, runs, 3, &count);
        for (int i = 0; i < count; i++) {
            if (receiver->length + runs[i].length > OUTPUT_MAXIMUM_BYTES) {
                abort();
            }
            memcpy(receiver->output + receiver->length, runs[i].data, runs[i].length);
            receiver->length += runs[i].length;
        }
        if (status == RECORD_AGAIN && !record_has_buffered_input(receiver->layer)) {
            return;
        }
        if (status != RECORD_OK && status != RECORD_AGAIN) {
            receiver->end = status;
        }
    }
}

/* One byte, read away by nobody: so that what the layer owes leaves. */
static void answer(struct receiver *receiver)
{
    struct iovec slot;
    uint8_t waste[4096];
    if (receiver->end == RECORD_OK && record_reserve(receiver->layer, &slot, 1) == 1) {
        *(uint8_t *)slot.iov_base = 'a';
        record_commit(receiver->layer, 0, 1);
    }
    (void)record_flush(receiver->layer);
    while (recv(receiver->ends[0], waste, sizeof waste, 0) > 0) {
    }
}

static void deliver(struct script *script, size_t budget)
{
    for (int i = 0; i < 2; i++) {
        struct receiver *receiver = &script->receivers[i];
        size_t sent = 0;
        while (sent < script->pending_length && receiver->end == RECORD_OK) {
            ssize_t taken =
                send(receiver->ends[0], script->pending + sent, script->pending_length - sent, MSG_NOSIGNAL);
            sent += taken > 0 ? (size_t)taken : 0;
            receive(receiver, budget);
        }
        answer(receiver);
    }
    script->pending_length = 0;
}

static void add(struct script *script, const uint8_t *data, size_t length)
{
    if (script->pending_length + length > sizeof script->pending) {
        deliver(script, BUFFER_SHARED_BYTES);
    }
    if (length > 0) {
        memcpy(script->pending + script->pending_length, data, length);
        script->pending_length += length;
    }
}

static void add_record(struct script *script, uint8_t type, struct bytes content, size_t padding)
{
    static uint8_t plaintext[RECORD_MAXIMUM_BYTES];
    memset(plaintext, 0, content.length + padding + 1);
    if (content.length > 0) {
        memcpy(plaintext, content.data, content.length);
    }
    plaintext[content.length] = type;
    script->last_length = record_protection_seal(
        script->sealing, padding == 0 ? type : 0, plaintext, content.length + padding, script->last);
    if (script->flip_with != 0) {
        script->last[script->flip_at % script->last_length] ^= script->flip_with;
        script->flip_with = 0;
    }
    add(script, script->last, script->last_length);
}

static void add_data(struct script *script, size_t length, size_t padding)
{
    static uint8_t data[RECORD_PLAINTEXT_MAXIMUM + 16];
    data[0]++;
    add_record(script, RECORD_APPLICATION_DATA, bytes_of(data, length), padding);
}

static void add_key_update(struct script *script)
{
    const uint8_t update[] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, cursor_u8(&script->input) & 1 };
    add_record(script, RECORD_HANDSHAKE, bytes_of(update, sizeof update), 0);
    record_protection_advance(script->sealing);
    /* libssl overlooks a handshake message that comes while it owes an update: let both answer first. */
    deliver(script, BUFFER_SHARED_BYTES);
}

/* Short runs of the input. */
static struct bytes take_some(struct script *script)
{
    size_t length = cursor_u8(&script->input) % 32;
    return cursor_take(&script->input, length < cursor_left(&script->input) ? length : cursor_left(&script->input));
}

static void step(struct script *script)
{
    struct cursor *input = &script->input;
    switch (cursor_u8(input) % 12) {
    case 0:
        add_data(script, cursor_u16(input) % (RECORD_PLAINTEXT_MAXIMUM + 3), 0);
        break;
    case 1:
        /* Within the limit: libssl looks at what is left without the padding, RFC 8446 §5.4 at all of it. */
        add_data(script, cursor_u8(input), cursor_u16(input) % (RECORD_PLAINTEXT_MAXIMUM - UINT8_MAX));
        break;
    case 2:
        add_record(script, RECORD_HANDSHAKE, take_some(script), cursor_u8(input) % 3);
        break;
    case 3:
        add_record(script, RECORD_ALERT, take_some(script), 0);
        break;
    case 4:
        add_record(script, cursor_u8(input), take_some(script), cursor_u8(input) % 3);
        break;
    case 5: {
        struct bytes raw = take_some(script);
        add(script, raw.data, raw.length);
        script->has_garbage = true;
        break;
    }
    case 6:
        script->flip_at = cursor_u16(input);
        script->flip_with = cursor_u8(input);
        break;
    case 7:
        add(script, script->last, script->last_length);
        break;
    case 8:
        add_key_update(script);
        break;
    case 9:
        script->pending_length -= script->pending_length < 3 ? 0 : cursor_u8(input) % 3;
        script->has_garbage = true;
        break;
    default:
        deliver(script, 1 + cursor_u16(input));
        break;
    }
}

/* How many records without data are too many is each engine's own decision. */
static bool is_about_floods(const struct script *script)
{
    const struct record_layer *native = script->receivers[1].layer, *libssl = script->receivers[0].layer;
    return native->problem == RECORD_PROBLEM_FLOOD || strstr(record_failure(libssl), "too many") != NULL ||
           strstr(record_failure(libssl), "record too small") != NULL;
}

static void compare(const struct script *script)
{
    const struct receiver *libssl = &script->receivers[0], *native = &script->receivers[1];
    bool is_same = libssl->end == native->end &&
                   bytes_equal(bytes_of(libssl->output, libssl->length), bytes_of(native->output, native->length));
    if (!is_same && !is_about_floods(script)) {
        fprintf(stderr, "libssl: %zu bytes, status %d, %s\nnative: %zu bytes, status %d, %s\n", libssl->length,
            libssl->end, record_failure(libssl->layer), native->length, native->end, record_failure(native->layer));
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct script script;
    set_up_once();
    memset(&script, 0, sizeof script);
    script.input = cursor_of(bytes_of(data, size));
    begin(&script);
    for (int i = 0; i < STEPS_MAXIMUM && !cursor_is_at_end(&script.input); i++) {
        step(&script);
    }
    if (script.has_garbage) {
        /* libssl looks at a header when it is whole, we at its first byte. */
        static const uint8_t zeros[RECORD_HEADER_BYTES];
        add(&script, zeros, sizeof zeros);
    }
    deliver(&script, BUFFER_SHARED_BYTES);
    for (int i = 0; i < 2; i++) {
        (void)shutdown(script.receivers[i].ends[0], SHUT_WR);
        receive(&script.receivers[i], BUFFER_SHARED_BYTES);
    }
    compare(&script);
    end(&script);
    for (size_t i = 0; i < ARRAY_LENGTH(pools); i++) {
        if (buffer_pool_lent_bytes(pools[i]) != 0) {
            abort();
        }
    }
    ERR_clear_error();
    return 0;
}
