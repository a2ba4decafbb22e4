/* A workload identity ready for TLS: its certificates and the OpenSSL context made of them once, for both roles. Counted
 * atomically; shared between workers (making a connection from it is thread-safe, nothing of it is touched afterwards). */
#ifndef AMBAR_TLS_IDENTITY_H
#define AMBAR_TLS_IDENTITY_H

#include "tls/certificate_bundle.h"
#include "tls/verified_chains.h"

struct ssl_ctx_st; /* SSL_CTX */

struct record_cipher;

struct tls_identity {
    _Atomic uint32_t references;
    struct certificate_bundle *bundle;
    struct ssl_ctx_st *context;         /* mutual TLS by tls_policy(): see handshake.h */
    struct chain_digest roots;          /* of the bundle's roots: see verified_chains.h */
    const struct record_cipher *cipher; /* for records of our own behind its handshakes; NULL: libssl's */
};

/* Takes a reference of its own to the bundle. The caller has the first reference of the identity. */
struct result tls_identity_new(struct certificate_bundle *bundle, struct tls_identity **identity);
struct tls_identity *tls_identity_reference(struct tls_identity *identity);
void tls_identity_release(struct tls_identity *identity); /* NULL is allowed */

#endif
