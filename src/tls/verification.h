/* Who the peer has to be, and the check of its certificates during the handshake (ztunnel-dataplane §16). Inside tls only. */
#ifndef AMBAR_TLS_VERIFICATION_H
#define AMBAR_TLS_VERIFICATION_H

#include "tls/certificate.h"
#include "tls/verified_chains.h"

enum verification_kind {
    VERIFY_CHAIN,        /* any certificate under the roots */
    VERIFY_TRUST_DOMAIN, /* one SPIFFE name of `trust_domain`; any chain when that is NULL */
    VERIFY_IDENTITIES,   /* one of `names` as a SPIFFE name */
    VERIFY_HOST,         /* one of `names` as a DNS name or an address */
};

struct tls_verification {
    enum verification_kind kind;
    char *trust_domain;
    char **names;
    size_t name_count;
    const struct chain_digest *roots; /* borrowed; NULL: chains are verified anew each time */
    char *failure;                    /* the sentence, once it failed */
    struct certificate_list chain;    /* verified, leaf first, root last; empty unless revocation is on */
};

void tls_verification_set_names(struct tls_verification *verification, const char *const *names, size_t count);
void tls_verification_clear(struct tls_verification *verification);

struct x509_store_ctx_st;
/* For SSL_CTX_set_cert_verify_callback. The error left in `check` decides the alert. */
int tls_verify_peer(struct x509_store_ctx_st *check, void *unused);

#endif
