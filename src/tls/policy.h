/* What all TLS of this process may use, decided once at start (ztunnel-dataplane §16), and OpenSSL's one-time set-up. */
#ifndef AMBAR_TLS_POLICY_H
#define AMBAR_TLS_POLICY_H

#include "base/result.h"

enum tls_engine {
    TLS_ENGINE_OPENSSL, /* libssl does records */
    TLS_ENGINE_AUTO,    /* the best one here */
    TLS_ENGINE_NATIVE,  /* ours, where the protocol allows it (TLS 1.3); never in FIPS mode */
};

struct tls_policy {
    bool allows_tls12;         /* TLS12_ENABLED: 1.2 besides 1.3 */
    bool is_post_quantum_only; /* COMPLIANCE_POLICY=pqc: X25519MLKEM768 or nothing */
    enum tls_engine engine;    /* of the mesh's connections; the control plane's are libssl's always */
    bool prefers_aes128;       /* TLS_CIPHER_PREFERENCE=aes-128: both stay allowed, in the other order */
    bool is_evp_only;          /* no ipsec-mb even where it works: for tests */
};

/* Sets the policy before other threads exist; without a call the defaults (all false) hold. Fails when the installed OpenSSL
 * cannot do what the policy demands, naming both. */
struct result tls_start(const struct tls_policy *policy);

/* The policy in force. */
const struct tls_policy *tls_policy(void);

struct record_cipher;
/* What the mesh's new connections get their records sealed with; NULL: libssl. */
const struct record_cipher *tls_record_cipher(void);
/* "native" or "openssl", and the code that encrypts: "ipsec-mb avx512+vaes", "evp", "libssl". */
const char *tls_engine_name(void);
const char *tls_cipher_name(void);

#endif
