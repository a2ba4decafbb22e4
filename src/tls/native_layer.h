/* The record layer of our own: TLS 1.3 records after libssl's handshake (RFC 8446 §5, §4.6.3, §6). Sealed in the slots they were written
 * to, opened in the buffer they were read into; an idle layer is this struct and two slots of secret memory. What is
 * refused, and with which alert: record_problem.h. Inside tls only; docs/record-engine.md says why it exists and how it is checked. */
#ifndef AMBAR_TLS_NATIVE_LAYER_H
#define AMBAR_TLS_NATIVE_LAYER_H

#include "tls/post_handshake.h"
#include "tls/record_input.h"
#include "tls/record_layer.h"
#include "tls/record_protection.h"
#include "tls/send_queue.h"

struct openssl_layer;

struct native_layer {
    struct record_layer base;
    struct record_protection *sealing; /* NULL once the state was exported */
    struct record_protection *opening;
    struct send_queue queue;
    struct record_input input;
    struct post_handshake post_handshake;
    char *failure;
    enum record_status input_end;  /* RECORD_OK while more may come; else what receive says for ever */
    enum record_status output_end; /* the same for flush */
    uint32_t records_before_key_update;
    uint16_t slot_bytes;     /* the longest plaintext of one record */
    uint8_t records_in_vain; /* in a row, without application data */
    bool owes_key_update;    /* the peer asked for one */
    bool is_closing;         /* close_notify is sent or queued */
    bool is_end_told;        /* receive has said input_end */
};

/* What libssl's handshake leaves: each side's first traffic secret, and what was read behind the handshake. */
struct native_start {
    const struct record_cipher *cipher;
    enum record_suite suite;
    bool is_server;
    uint16_t slot_bytes;
    const uint8_t *sealing_secret; /* copied */
    const uint8_t *opening_secret;
};
/* Without keys yet. */
struct native_layer *native_layer_bare(struct buffer_pool *pool, int descriptor);
struct native_layer *native_layer_new(const struct native_start *start, struct buffer_pool *pool, int descriptor);

/* The records behind a finished handshake of libssl, with everything that waits in either direction; frees `layer`. NULL, and the
 * layer as it was: these records have to stay with libssl (TLS 1.2, another suite, no secrets). */
struct record_layer *native_layer_take_over(struct openssl_layer *layer, const struct record_cipher *cipher);

/* Opens what is complete in the input's window into at most `capacity` runs. The first record that is not right ends the input:
 * the layer has failed then, with what came before it delivered. */
int native_layer_open_records(struct native_layer *layer, struct bytes *runs, int capacity);

/* Our own records. False: the queue is full, or the numbers are used up. */
bool native_layer_send_alert(struct native_layer *layer, uint8_t level, int alert);
bool native_layer_send_key_update(struct native_layer *layer, bool request_peer);

/* Ends the connection: the sentence, the alert of the problem (once, and not behind our close_notify), both directions. */
void native_layer_fail(struct native_layer *layer, enum record_problem problem, const char *sentence);

/* The peer ended it with an alert. */
void native_layer_receive_alert(struct native_layer *layer, int alert);

struct result native_layer_export(struct native_layer *layer, struct writer *state);
/* The layer in the process that takes over. The state is read with suspicion, as everything from outside. */
struct result native_layer_import(struct bytes state, const struct record_cipher *cipher, struct buffer_pool *pool,
    int descriptor, struct record_layer **layer);

#endif
