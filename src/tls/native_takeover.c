#include "tls/native_layer.h"

#include "tls/handshake_secrets.h"
#include "tls/openssl_layer.h"

#include <openssl/ssl.h>

/* Whether these records can be ours: TLS 1.3, a suite we know, both secrets, and nothing left inside libssl. */
static bool can_take_over(const struct openssl_layer *layer, unsigned suite)
{
    const struct handshake_secrets *secrets = layer->secrets;
    if (secrets == NULL || SSL_version(layer->ssl) != TLS1_3_VERSION || !record_suite_is_known(suite)) {
        return false;
    }
    size_t length = record_suite_secret_bytes((enum record_suite)suite);
    return secrets->client_length == length && secrets->server_length == length && SSL_has_pending(layer->ssl) == 0 &&
           SSL_is_init_finished(layer->ssl);
}

struct record_layer *native_layer_take_over(struct openssl_layer *layer, const struct record_cipher *cipher)
{
    unsigned suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(layer->ssl));
    if (!can_take_over(layer, suite)) {
        return NULL;
    }
    bool is_server = SSL_is_server(layer->ssl);
    const struct handshake_secrets *secrets = layer->secrets;
    const struct native_start start = {
        .cipher = cipher,
        .suite = (enum record_suite)suite,
        .is_server = is_server,
        .slot_bytes = layer->slot_bytes,
        .sealing_secret = is_server ? secrets->server : secrets->client,
        .opening_secret = is_server ? secrets->client : secrets->server,
    };
    struct native_layer *native = native_layer_new(&start, layer->base.pool, layer->base.descriptor);
    /* Records that came with the end of the handshake, and what of ours the socket did not take yet. */
    record_input_move(&native->input, &layer->input);
    send_queue_move(&native->queue, &layer->queue);
    openssl_layer_free(layer);
    return &native->base;
}
