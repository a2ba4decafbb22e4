#include "tls/handshake.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/spiffe.h"
#include "tls/context.h"
#include "tls/handshake_secrets.h"
#include "tls/identity.h"
#include "tls/native_layer.h"
#include "tls/openssl_error.h"
#include "tls/openssl_layer.h"
#include "tls/revocation.h"
#include "tls/verification.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>

#define DRAIN_MAXIMUM_BYTES 65536

struct tls_handshake {
    struct openssl_layer *layer;   /* NULL once handed out */
    struct tls_identity *identity; /* one of the two */
    struct tls_context *context;
    struct tls_verification verification;
    uint64_t start_ns;
    uint64_t end_ns;
    enum tls_handshake_status status;
    bool is_complete; /* but for what is still to be sent */
    bool holds_last_flight;
};

static struct tls_handshake *handshake_new(
    struct ssl_ctx_st *context, bool is_server, struct buffer_pool *pool, int descriptor)
{
    struct tls_handshake *handshake = NEW(struct tls_handshake);
    handshake->start_ns = clock_monotonic_ns();
    handshake->layer = openssl_layer_new(context, is_server, pool, descriptor);
    handshake->layer->verification = &handshake->verification;
    return handshake;
}

static void use_identity(struct tls_handshake *handshake, struct tls_identity *identity)
{
    handshake->identity = tls_identity_reference(identity);
    handshake->verification.roots = &identity->roots;
    handshake->layer->secrets = identity->cipher == NULL ? NULL : handshake_secrets_new();
}

struct tls_handshake *tls_handshake_new_mesh_server(
    struct tls_identity *identity, struct buffer_pool *pool, int descriptor)
{
    struct tls_handshake *handshake = handshake_new(identity->context, true, pool, descriptor);
    const struct spiffe_identity *own = certificate_bundle_identity(identity->bundle);
    use_identity(handshake, identity);
    handshake->verification.kind = VERIFY_TRUST_DOMAIN;
    handshake->verification.trust_domain = own == NULL ? NULL : string_duplicate(own->trust_domain);
    return handshake;
}

struct tls_handshake *tls_handshake_new_mesh_client(struct tls_identity *identity, struct buffer_pool *pool,
    int descriptor, const char *const *expected_identities, size_t count)
{
    struct tls_handshake *handshake = handshake_new(identity->context, false, pool, descriptor);
    use_identity(handshake, identity);
    handshake->verification.kind = VERIFY_IDENTITIES;
    tls_verification_set_names(&handshake->verification, expected_identities, count);
    return handshake;
}

struct tls_handshake *tls_handshake_new_server(struct tls_context *context, struct buffer_pool *pool, int descriptor)
{
    struct tls_handshake *handshake = handshake_new(context->context, true, pool, descriptor);
    handshake->context = tls_context_reference(context);
    handshake->verification.kind = VERIFY_CHAIN;
    return handshake;
}

struct tls_handshake *tls_handshake_new_client(struct tls_context *context, struct buffer_pool *pool, int descriptor,
    const char *host, const char *alternative_name)
{
    struct tls_handshake *handshake = handshake_new(context->context, false, pool, descriptor);
    const char *names[] = { host, alternative_name };
    struct ip_address address;
    handshake->context = tls_context_reference(context);
    handshake->verification.kind = VERIFY_HOST;
    tls_verification_set_names(&handshake->verification, names, alternative_name == NULL ? 1 : 2);
    if (!ip_parse(host, &address) && SSL_set_tlsext_host_name(handshake->layer->ssl, host) != 1) {
        ERR_clear_error(); /* a name too long for SNI is no name a certificate carries either */
    }
    return handshake;
}

void tls_handshake_hold_last_flight(struct tls_handshake *handshake)
{
    handshake->holds_last_flight = true;
}

void tls_handshake_free(struct tls_handshake *handshake)
{
    if (handshake == NULL) {
        return;
    }
    if (handshake->layer != NULL) {
        openssl_layer_free(handshake->layer);
    }
    tls_identity_release(handshake->identity);
    tls_context_release(handshake->context);
    tls_verification_clear(&handshake->verification);
    memory_free(handshake);
}

/* The peer may have sent application data behind its part of the handshake. Closing a socket with unread bytes resets it, and
 * the reset would overtake the alert: the bytes are read away, within a bound. */
static void let_alert_arrive(struct openssl_layer *layer)
{
    uint8_t waste[4096];
    (void)shutdown(layer->base.descriptor, SHUT_WR);
    for (size_t drained = 0; drained < DRAIN_MAXIMUM_BYTES; drained += sizeof waste) {
        if (recv(layer->base.descriptor, waste, sizeof waste, MSG_DONTWAIT) <= 0) {
            return;
        }
    }
}

static enum tls_handshake_status fail(struct tls_handshake *handshake)
{
    struct openssl_layer *layer = handshake->layer;
    if (handshake->verification.failure != NULL) {
        openssl_layer_set_sentence(layer, handshake->verification.failure);
    }
    openssl_layer_set_failure(layer);
    bool is_alert_sent = layer->sent_alert >= 0 && send_queue_flush(&layer->queue, layer->base.descriptor) == 0;
    if (is_alert_sent) {
        let_alert_arrive(layer);
    }
    return TLS_HANDSHAKE_FAILED;
}

static enum tls_handshake_status lose(struct tls_handshake *handshake, ssize_t got)
{
    if (got == 0) {
        openssl_layer_set_sentence(handshake->layer, "peer closed the connection during the TLS handshake");
    } else {
        openssl_layer_set_lost(handshake->layer, (int)-got);
    }
    return TLS_HANDSHAKE_FAILED;
}

static enum tls_handshake_status flush(struct tls_handshake *handshake, enum tls_handshake_status then)
{
    int error = send_queue_flush(&handshake->layer->queue, handshake->layer->base.descriptor);
    if (error == -EAGAIN) {
        return TLS_HANDSHAKE_WANTS_WRITE;
    }
    return error == 0 ? then : lose(handshake, error);
}

/* One read of the socket and what libssl makes of it. */
static enum tls_handshake_status advance(struct tls_handshake *handshake)
{
    struct openssl_layer *layer = handshake->layer;
    ssize_t got = record_input_fill(&layer->input, layer->base.descriptor, record_input_room(&layer->input));
    ERR_clear_error();
    int done = SSL_do_handshake(layer->ssl);
    int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(layer->ssl, done);
    (void)record_input_close(&layer->input); /* at most a block was filled */
    if (done == 1) {
        handshake->is_complete = true;
        handshake->end_ns = clock_monotonic_ns();
        return handshake->holds_last_flight ? TLS_HANDSHAKE_DONE : flush(handshake, TLS_HANDSHAKE_DONE);
    }
    if (error != SSL_ERROR_WANT_READ) {
        return fail(handshake);
    }
    if (got == 0 || (got < 0 && got != -EAGAIN)) {
        return lose(handshake, got);
    }
    /* After a read that found something there may be more: the caller's loop comes back at once if so. */
    return flush(handshake, TLS_HANDSHAKE_WANTS_READ);
}

enum tls_handshake_status tls_handshake_step(struct tls_handshake *handshake)
{
    if (handshake->status == TLS_HANDSHAKE_FAILED || handshake->status == TLS_HANDSHAKE_DONE) {
        return handshake->status;
    }
    if (handshake->is_complete) {
        handshake->status = flush(handshake, TLS_HANDSHAKE_DONE);
    } else {
        handshake->status = advance(handshake);
    }
    return handshake->status;
}

const char *tls_handshake_failure(const struct tls_handshake *handshake)
{
    const char *failure = handshake->layer == NULL ? NULL : handshake->layer->failure;
    return failure == NULL ? "no failure" : failure;
}

int tls_handshake_sent_alert(const struct tls_handshake *handshake)
{
    return handshake->layer == NULL ? -1 : handshake->layer->sent_alert;
}

static void describe_peer(const struct tls_handshake *handshake, struct tls_peer *peer)
{
    SSL *ssl = handshake->layer->ssl;
    *peer = (struct tls_peer){ .duration_ns = handshake->end_ns - handshake->start_ns };
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (certificate != NULL) {
        peer->names = certificate_names_of(certificate);
        peer->serial = certificate_serial(certificate);
    }
    const char *group = SSL_group_to_name(ssl, (int)SSL_get_negotiated_group(ssl));
    (void)snprintf(peer->version, sizeof peer->version, "%s", SSL_get_version(ssl));
    (void)snprintf(peer->suite, sizeof peer->suite, "%s", SSL_get_cipher_name(ssl));
    (void)snprintf(peer->group, sizeof peer->group, "%s", group == NULL ? "" : group);
    const unsigned char *protocol = NULL;
    unsigned protocol_length = 0;
    SSL_get0_alpn_selected(ssl, &protocol, &protocol_length);
    peer->has_negotiated_h2 = bytes_equal_string(bytes_of(protocol, protocol_length), "h2");
}

/* Who does records from here on: our own engine where it is wanted and can, else libssl. */
static struct record_layer *establish(const struct tls_handshake *handshake, struct openssl_layer *layer)
{
    openssl_layer_established(layer);
    struct record_layer *native =
        layer->secrets == NULL ? NULL : native_layer_take_over(layer, handshake->identity->cipher);
    if (native != NULL) {
        return native;
    }
    handshake_secrets_free(layer->secrets);
    layer->secrets = NULL;
    return &layer->base;
}

struct record_layer *tls_handshake_finish(struct tls_handshake *handshake, struct tls_peer *peer)
{
    if (peer != NULL) {
        describe_peer(handshake, peer);
    }
    struct record_layer *layer = establish(handshake, handshake->layer);
    handshake->layer = NULL;
    record_layer_keep_peer(layer, &handshake->verification.chain);
    return layer;
}

const struct spiffe_identity *tls_peer_identity(const struct tls_peer *peer)
{
    return certificate_names_first_identity(&peer->names);
}

void tls_peer_clear(struct tls_peer *peer)
{
    certificate_names_clear(&peer->names);
    memory_free(peer->serial);
    *peer = (struct tls_peer){ 0 };
}
