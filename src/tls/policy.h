/* What all TLS of this process may use, decided once at start (ztunnel-dataplane §16), and OpenSSL's one-time set-up. */
#ifndef AMBAR_TLS_POLICY_H
#define AMBAR_TLS_POLICY_H

#include "base/result.h"

struct tls_policy {
    bool allows_tls12;         /* TLS12_ENABLED: 1.2 besides 1.3 */
    bool is_post_quantum_only; /* COMPLIANCE_POLICY=pqc: X25519MLKEM768 or nothing */
};

/* Sets the policy before other threads exist; without a call the defaults (all false) hold. Fails when the installed OpenSSL
 * cannot do what the policy demands, naming both. */
struct result tls_start(const struct tls_policy *policy);

/* The policy in force. */
const struct tls_policy *tls_policy(void);

#endif
