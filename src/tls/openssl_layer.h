/* The record layer on libssl, from the handshake on: an SSL between a queue of records to send and an input cut at record
 * boundaries. libssl never touches the socket. Inside tls only; tests use it to lower bounds. */
#ifndef AMBAR_TLS_OPENSSL_LAYER_H
#define AMBAR_TLS_OPENSSL_LAYER_H

#include "tls/record_input.h"
#include "tls/record_layer.h"
#include "tls/send_queue.h"

struct handshake_secrets;
struct ssl_ctx_st;
struct ssl_st;
struct tls_verification;

struct openssl_layer {
    struct record_layer base;
    struct ssl_st *ssl;
    struct send_queue queue;
    struct record_input input;
    struct tls_verification *verification; /* borrowed, during the handshake only */
    struct handshake_secrets *secrets;     /* caught for the native layer that takes over; NULL: not wanted */
    char *failure;
    enum record_status input_end;  /* RECORD_OK while more may come; else what receive says for ever */
    enum record_status output_end; /* the same for flush */
    int sent_alert;                /* the last one; -1: none */
    int received_alert;
    uint32_t records_before_key_update; /* 0: never (TLS 1.2 keys are changed by a new connection) */
    uint32_t records_sealed;            /* since the last key update */
    uint16_t slot_bytes;
    bool is_closing;
    bool is_end_told; /* receive has said input_end */
};

/* A layer whose SSL is made from `context`, ready to shake hands as client or server. */
struct openssl_layer *openssl_layer_new(
    struct ssl_ctx_st *context, bool is_server, struct buffer_pool *pool, int descriptor);

void openssl_layer_free(struct openssl_layer *layer);

/* The handshake is over: the layer does records from now on. */
void openssl_layer_established(struct openssl_layer *layer);

/* The layer of an SSL. */
struct openssl_layer *openssl_layer_of(const struct ssl_st *ssl);

/* Remembers the first failure: the alert received, or what OpenSSL says, with the alert sent for it. */
void openssl_layer_set_failure(struct openssl_layer *layer);
void openssl_layer_set_lost(struct openssl_layer *layer, int error_number);
void openssl_layer_set_sentence(struct openssl_layer *layer, const char *sentence);

/* For SSL_CTX_set_info_callback: keeps the alerts. */
void openssl_layer_on_information(const struct ssl_st *ssl, int where, int value);

/* libssl's socket: a BIO on the layer's input and queue. */
struct bio_st *openssl_bio_new(struct openssl_layer *layer);

#endif
