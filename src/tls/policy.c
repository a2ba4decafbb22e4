#include "tls/policy.h"

#include "tls/context_build.h"

#include <openssl/ssl.h>

static struct tls_policy policy_in_force;

const struct tls_policy *tls_policy(void)
{
    return &policy_in_force;
}

struct result tls_start(const struct tls_policy *policy)
{
    (void)OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    if (policy->is_post_quantum_only && !tls_has_post_quantum_group()) {
        return result_fail(RESULT_UNSUPPORTED,
            "COMPLIANCE_POLICY=pqc: needs the key exchange group X25519MLKEM768, which the installed %s does not know",
            OpenSSL_version(OPENSSL_VERSION_STRING));
    }
    policy_in_force = *policy;
    return result_ok();
}
