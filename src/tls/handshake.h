/* One TLS handshake over a connected non-blocking socket. The caller owns the descriptor, its watch and the deadline, and calls
 * tls_handshake_step until it is done; then a record layer comes out, with every byte that arrived behind the handshake in it.
 *
 * Mesh (ztunnel-dataplane §16): both sides show a certificate. The server wants a chain to its own roots and one SPIFFE name of
 * its own trust domain; the client a chain and one of the names it expects. On failure the alert is sent (best effort).
 * Everything is called on the worker's thread. */
#ifndef AMBAR_TLS_HANDSHAKE_H
#define AMBAR_TLS_HANDSHAKE_H

#include "tls/certificate.h"

struct buffer_pool;
struct record_layer;
struct tls_context;
struct tls_handshake;
struct tls_identity;

/* References the identity or context until it is freed. Names are copied. */
struct tls_handshake *tls_handshake_new_mesh_server(
    struct tls_identity *identity, struct buffer_pool *pool, int descriptor);
struct tls_handshake *tls_handshake_new_mesh_client(struct tls_identity *identity, struct buffer_pool *pool,
    int descriptor, const char *const *expected_identities, size_t count);
struct tls_handshake *tls_handshake_new_server(struct tls_context *context, struct buffer_pool *pool, int descriptor);
/* `host` is sent as SNI unless it is an address; the certificate must carry it or `alternative_name` (may be NULL). */
struct tls_handshake *tls_handshake_new_client(struct tls_context *context, struct buffer_pool *pool, int descriptor,
    const char *host, const char *alternative_name);
void tls_handshake_free(struct tls_handshake *handshake); /* NULL is allowed */

/* For a client that speaks at once when it is done: what ends its handshake leaves with the record layer's first flush, in one
 * packet with the client's first words. */
void tls_handshake_hold_last_flight(struct tls_handshake *handshake);

enum tls_handshake_status {
    TLS_HANDSHAKE_WANTS_READ, /* call step again when the socket is readable */
    TLS_HANDSHAKE_WANTS_WRITE,
    TLS_HANDSHAKE_DONE,   /* call finish */
    TLS_HANDSHAKE_FAILED, /* tls_handshake_failure says why */
};
enum tls_handshake_status tls_handshake_step(struct tls_handshake *handshake);

/* "identity verification error: peer did not present the expected SAN (A,B), got C", "invalid peer certificate: ...",
 * "received fatal alert: certificate_unknown (46)", "peer closed connection ...". Borrowed. */
const char *tls_handshake_failure(const struct tls_handshake *handshake);
/* The alert we sent, or -1. */
int tls_handshake_sent_alert(const struct tls_handshake *handshake);

/* Who is on the other side and what was agreed. Owned by whoever asked: tls_peer_clear. */
struct tls_peer {
    struct certificate_names names; /* URI names of the leaf; none when no certificate was shown */
    char *serial;                   /* of the leaf, decimal; NULL when none */
    char version[12];               /* "TLSv1.3" */
    char suite[32];                 /* "TLS_AES_256_GCM_SHA384" */
    char group[20];                 /* "x25519" */
    bool has_negotiated_h2;         /* false: the other side does not speak ALPN */
    uint64_t duration_ns;           /* from new to DONE */
};
/* After DONE, once. `peer` may be NULL. Free the handshake afterwards; the layer lives on its own. The record layer's memory comes
 * from the pool given at the start. */
struct record_layer *tls_handshake_finish(struct tls_handshake *handshake, struct tls_peer *peer);
/* The first SPIFFE identity; borrowed; NULL: none. */
const struct spiffe_identity *tls_peer_identity(const struct tls_peer *peer);
void tls_peer_clear(struct tls_peer *peer);

#endif
