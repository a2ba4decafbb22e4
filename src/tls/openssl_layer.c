#include "tls/openssl_layer.h"

#include "base/memory.h"
#include "tls/alert.h"
#include "tls/handshake_secrets.h"
#include "tls/openssl_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#define ALERT_LEVEL_FATAL 2

struct openssl_layer *openssl_layer_new(
    struct ssl_ctx_st *context, bool is_server, struct buffer_pool *pool, int descriptor)
{
    struct openssl_layer *layer = NEW(struct openssl_layer);
    layer->base = (struct record_layer){ .pool = pool, .descriptor = descriptor };
    layer->sent_alert = layer->received_alert = -1;
    send_queue_initialise(&layer->queue, pool);
    record_input_initialise(&layer->input, pool);
    layer->ssl = SSL_new(context);
    openssl_must(layer->ssl != NULL && SSL_set_app_data(layer->ssl, layer), "make a connection");
    struct bio_st *bio = openssl_bio_new(layer);
    SSL_set_bio(layer->ssl, bio, bio);
    if (is_server) {
        SSL_set_accept_state(layer->ssl);
    } else {
        SSL_set_connect_state(layer->ssl);
    }
    return layer;
}

void openssl_layer_free(struct openssl_layer *layer)
{
    SSL_free(layer->ssl);
    handshake_secrets_free(layer->secrets);
    send_queue_clear(&layer->queue);
    record_input_clear(&layer->input);
    memory_free(layer->failure);
    memory_free(layer);
}

struct openssl_layer *openssl_layer_of(const struct ssl_st *ssl)
{
    return SSL_get_app_data(ssl);
}

void openssl_layer_on_information(const struct ssl_st *ssl, int where, int value)
{
    struct openssl_layer *layer = openssl_layer_of(ssl);
    bool is_fatal = (value >> 8) == ALERT_LEVEL_FATAL;
    if (layer == NULL || (where & SSL_CB_ALERT) == 0 || !is_fatal) {
        return;
    }
    if ((where & SSL_CB_READ) != 0) {
        layer->received_alert = value & 0xff;
    } else {
        layer->sent_alert = value & 0xff;
    }
}

void openssl_layer_set_sentence(struct openssl_layer *layer, const char *sentence)
{
    if (layer->failure == NULL) {
        layer->failure = string_duplicate(sentence);
    }
}

void openssl_layer_set_lost(struct openssl_layer *layer, int error_number)
{
    if (layer->failure == NULL) {
        record_note_problem(&layer->base, RECORD_PROBLEM_LOST);
        layer->failure = string_format("connection lost: %s (os error %d)", strerror(error_number), error_number);
    }
}

void openssl_layer_set_failure(struct openssl_layer *layer)
{
    char reason[OPENSSL_REASON_SIZE];
    openssl_error_take(reason);
    if (layer->failure != NULL) {
        return;
    }
    if (layer->received_alert >= 0) {
        record_note_problem(&layer->base, RECORD_PROBLEM_ALERT_RECEIVED);
        layer->failure = string_format(
            "received fatal alert: %s (%d)", tls_alert_name(layer->received_alert), layer->received_alert);
    } else if (layer->sent_alert >= 0) {
        record_note_problem(&layer->base, record_problem_of_alert(layer->sent_alert));
        layer->failure =
            string_format("%s (sent alert %s (%d))", reason, tls_alert_name(layer->sent_alert), layer->sent_alert);
    } else {
        record_note_problem(&layer->base, RECORD_PROBLEM_INTERNAL);
        layer->failure = string_duplicate(reason);
    }
}
