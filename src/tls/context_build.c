#include "tls/context_build.h"

#include "tls/certificate_path.h"
#include "tls/handshake_secrets.h"
#include "tls/mesh_library.h"
#include "tls/openssl_error.h"
#include "tls/openssl_layer.h"
#include "tls/policy.h"
#include "tls/verification.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#define SECURITY_LEVEL 2                      /* RSA from 2048 bits, no SHA-1 */
#define PEER_CERTIFICATES_MAXIMUM_BYTES 65536 /* one Certificate message */
#define SUITES_13 "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
#define SUITES_13_AES128_FIRST "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
#define SUITES_12                                                                                                      \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:"                         \
    "ECDHE-RSA-AES128-GCM-SHA256"
#define GROUP_POST_QUANTUM "X25519MLKEM768"
#define GROUPS_CLASSIC "X25519:P-256:P-384"
/* A star asks for a key share at once (OpenSSL 3.5), so that peers of either kind need no second round trip. */
#define GROUPS_HYBRID "*X25519MLKEM768:*X25519:P-256:P-384"
#define SIGNATURES                                                                                                     \
    "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:"                                    \
    "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"                                                     \
    "rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512"

static const unsigned char alpn_protocols[] = { 2, 'h', '2' };

bool tls_has_post_quantum_group(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    openssl_must(context != NULL, "make a context");
    bool is_known = SSL_CTX_set1_groups_list(context, GROUP_POST_QUANTUM) == 1;
    ERR_clear_error();
    SSL_CTX_free(context);
    return is_known;
}

static void set_groups(SSL_CTX *context)
{
    if (tls_policy()->is_post_quantum_only) {
        openssl_must(SSL_CTX_set1_groups_list(context, GROUP_POST_QUANTUM), "use " GROUP_POST_QUANTUM);
        return;
    }
    if (SSL_CTX_set1_groups_list(context, GROUPS_HYBRID) == 1) {
        return;
    }
    ERR_clear_error();
    openssl_must(SSL_CTX_set1_groups_list(context, GROUPS_CLASSIC), "use " GROUPS_CLASSIC);
}

/* The other side may not speak ALPN at all; one that does must offer h2 (RFC 7301 §3.2). */
static int select_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_length,
    const unsigned char *offered, unsigned offered_length, void *context)
{
    (void)ssl, (void)context;
    unsigned char *found = NULL;
    if (SSL_select_next_proto(&found, chosen_length, alpn_protocols, sizeof alpn_protocols, offered, offered_length) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

static void set_protocol(SSL_CTX *context, bool allows_tls12)
{
    bool has_tls12 = allows_tls12 && !tls_policy()->is_post_quantum_only;
    const char *suites = tls_policy()->prefers_aes128 ? SUITES_13_AES128_FIRST : SUITES_13;
    SSL_CTX_set_security_level(context, SECURITY_LEVEL);
    openssl_must(SSL_CTX_set_min_proto_version(context, has_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) &&
                     SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) &&
                     SSL_CTX_set_ciphersuites(context, suites) && SSL_CTX_set_cipher_list(context, SUITES_12) &&
                     SSL_CTX_set1_sigalgs_list(context, SIGNATURES),
        "set the TLS versions and suites");
    set_groups(context);
    openssl_must(SSL_CTX_set_alpn_protos(context, alpn_protocols, sizeof alpn_protocols) == 0, "set the ALPN protocol");
    SSL_CTX_set_alpn_select_cb(context, select_alpn, NULL);
}

static void set_behaviour(SSL_CTX *context)
{
    SSL_CTX_clear_options(context, SSL_CTX_get_options(context)); /* what openssl.cnf may have set */
    SSL_CTX_set_options(
        context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    openssl_must(SSL_CTX_set_num_tickets(context, 0), "do without tickets");
    /* The chain to send is given; building one for each handshake would cost a verification. Buffers are released by the engine once
     * a turn, not by libssl for each record. */
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(context, 0);
    SSL_CTX_set_quiet_shutdown(context, 0);
    SSL_CTX_set_max_cert_list(context, PEER_CERTIFICATES_MAXIMUM_BYTES);
    SSL_CTX_set_info_callback(context, openssl_layer_on_information);
}

static struct result set_own(SSL_CTX *context, const struct certificate_bundle *own)
{
    if (own == NULL) {
        return result_ok();
    }
    STACK_OF(X509) *chain = certificate_stack_of(&own->intermediates);
    bool is_set = SSL_CTX_use_cert_and_key(context, own->leaf, own->key, chain, 1) == 1;
    sk_X509_free(chain);
    if (!is_set) {
        char reason[OPENSSL_REASON_SIZE];
        return result_fail(RESULT_INVALID, "the certificate cannot be used for TLS: %s", openssl_error_take(reason));
    }
    return result_ok();
}

static struct result set_trust(SSL_CTX *context, const struct context_plan *plan)
{
    int mode = SSL_VERIFY_PEER;
    if (plan->peer_certificate == PEER_CERTIFICATE_REQUIRED) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(context, mode, NULL);
    SSL_CTX_set_verify_depth(context, CERTIFICATE_CHAIN_MAXIMUM - 2);
    SSL_CTX_set_cert_verify_callback(context, tls_verify_peer, NULL);
    if (plan->roots != NULL) {
        SSL_CTX_set_cert_store(context, certificate_store_of(plan->roots));
    } else if (!SSL_CTX_set_default_verify_paths(context)) {
        char reason[OPENSSL_REASON_SIZE];
        return result_fail(RESULT_SYSTEM, "the system's trusted certificates: %s", openssl_error_take(reason));
    }
    return result_ok();
}

struct result tls_context_build(const struct context_plan *plan, struct ssl_ctx_st **context)
{
    *context = NULL;
    ERR_clear_error();
    SSL_CTX *built = SSL_CTX_new_ex(plan->is_for_mesh ? mesh_library() : NULL, NULL, TLS_method());
    openssl_must(built != NULL, "make a context");
    set_protocol(built, plan->allows_tls12);
    set_behaviour(built);
    struct result result = set_trust(built, plan);
    if (result_is_ok(&result)) {
        result = set_own(built, plan->own);
    }
    if (!result_is_ok(&result)) {
        SSL_CTX_free(built);
        return result;
    }
    if (plan->catches_secrets) {
        SSL_CTX_set_keylog_callback(built, handshake_secrets_on_line);
    }
    *context = built;
    return result;
}
