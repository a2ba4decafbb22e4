#include "tls/policy.h"

#include "tls/context_build.h"
#include "tls/record_cipher.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>

static struct tls_policy policy_in_force;
static const struct record_cipher *cipher_in_force;

const struct tls_policy *tls_policy(void)
{
    return &policy_in_force;
}

const struct record_cipher *tls_record_cipher(void)
{
    return cipher_in_force;
}

const char *tls_engine_name(void)
{
    return cipher_in_force == NULL ? "openssl" : "native";
}

const char *tls_cipher_name(void)
{
    return cipher_in_force == NULL ? "libssl" : cipher_in_force->name;
}

static const struct record_cipher *choose_cipher(const struct tls_policy *policy)
{
    /* A validated module does its own records. */
    bool is_native = policy->engine != TLS_ENGINE_OPENSSL && !EVP_default_properties_is_fips_enabled(NULL);
    if (!is_native) {
        return NULL;
    }
    return policy->is_evp_only ? &record_cipher_evp : record_cipher_best();
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
    cipher_in_force = choose_cipher(policy);
    return result_ok();
}
