#include "tls/verification.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/spiffe.h"
#include "base/text.h"
#include "base/writer.h"
#include "tls/certificate.h"
#include "tls/openssl_layer.h"
#include "tls/revocation.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define SENTENCE_NAMES_MAXIMUM 16

/* OpenSSL turns errors of a verification into alerts; one it does not know becomes certificate_unknown(46). */
#define ERROR_FOR_CERTIFICATE_UNKNOWN 0x7fff

void tls_verification_set_names(struct tls_verification *verification, const char *const *names, size_t count)
{
    verification->names = memory_allocate_zeroed(count, sizeof verification->names[0]);
    for (size_t i = 0; i < count; i++) {
        verification->names[verification->name_count++] = string_duplicate(names[i]);
    }
}

void tls_verification_clear(struct tls_verification *verification)
{
    for (size_t i = 0; i < verification->name_count; i++) {
        memory_free(verification->names[i]);
    }
    memory_free(verification->names);
    memory_free(verification->trust_domain);
    memory_free(verification->failure);
    certificate_list_clear(&verification->chain);
    *verification = (struct tls_verification){ 0 };
}

static int refuse(struct tls_verification *verification, X509_STORE_CTX *check, int error, char *sentence)
{
    memory_free(verification->failure);
    verification->failure = sentence;
    X509_STORE_CTX_set_error(check, error);
    return 0;
}

/* The names other implementations give these, so that one search finds them in every log. */
static const char *well_known_name(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "Expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "NotValidYet";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return "UnknownIssuer";
    case X509_V_ERR_INVALID_PURPOSE:
        return "InvalidPurpose";
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return "BadSignature";
    default:
        return "Other";
    }
}

static int alert_error(int error)
{
    /* RFC 8446 §6.2 has one alert for both ends of the validity. */
    return error == X509_V_ERR_CERT_NOT_YET_VALID ? X509_V_ERR_CERT_HAS_EXPIRED : error;
}

/* libssl looks at the key of the first certificate of this list after the verification. */
static void put_certificate(X509_STORE_CTX *check, int index, X509 *certificate)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(check);
    X509 *replaced = sk_X509_value(sent, index);
    (void)sk_X509_set(sent, index, certificate);
    if (X509_STORE_CTX_get0_cert(check) == replaced) {
        X509_STORE_CTX_set_cert(check, certificate);
    }
    X509_free(replaced);
}

static bool has_key(const X509 *certificate)
{
    (void)ERR_set_mark();
    bool is_decoded = X509_get0_pubkey(certificate) != NULL;
    (void)ERR_pop_to_mark();
    return is_decoded;
}

/* In the default library context, with its key; NULL: not even the second time. */
static X509 *parse_again(const X509 *certificate)
{
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    const unsigned char *at = der;
    X509 *parsed = length > 0 ? d2i_X509(NULL, &at, length) : NULL;
    OPENSSL_free(der);
    return parsed;
}

/* Certificates of the mesh come without their keys (mesh_library.h). */
static void decode_keys(X509_STORE_CTX *check)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(check);
    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *certificate = has_key(sk_X509_value(sent, i)) ? NULL : parse_again(sk_X509_value(sent, i));
        if (certificate != NULL) {
            put_certificate(check, i, certificate);
        }
    }
}

static int verify_anew(struct tls_verification *verification, X509_STORE_CTX *check)
{
    int sent = sk_X509_num(X509_STORE_CTX_get0_untrusted(check));
    if (sent > CERTIFICATE_CHAIN_MAXIMUM) {
        return refuse(verification, check, X509_V_ERR_CERT_CHAIN_TOO_LONG,
            string_format("invalid peer certificate: a chain of %d certificates, at most %d are accepted", sent,
                CERTIFICATE_CHAIN_MAXIMUM));
    }
    decode_keys(check);
    if (X509_verify_cert(check) != 1) {
        int error = X509_STORE_CTX_get_error(check);
        ERR_clear_error();
        return refuse(verification, check, alert_error(error),
            string_format(
                "invalid peer certificate: %s (%s)", well_known_name(error), X509_verify_cert_error_string(error)));
    }
    if (X509_check_ca(X509_STORE_CTX_get0_cert(check)) == 1) {
        return refuse(verification, check, ERROR_FOR_CERTIFICATE_UNKNOWN,
            string_duplicate("invalid peer certificate: CaUsedAsEndEntity"));
    }
    return 1;
}

/* A list of revoked certificates judges the whole path, which only a verification builds: with one in force nothing is skipped. */
static bool may_remember(const struct tls_verification *verification, const struct revocation_lists *lists)
{
    return lists == NULL && verification->roots != NULL;
}

static int check_chain(
    struct tls_verification *verification, X509_STORE_CTX *check, const struct revocation_lists *lists)
{
    if (!may_remember(verification, lists)) {
        return verify_anew(verification, check);
    }
    int64_t now_s = clock_wall_s();
    bool is_for_server = verification->kind == VERIFY_IDENTITIES;
    struct chain_digest digest =
        chain_digest_of_peer(X509_STORE_CTX_get0_untrusted(check), verification->roots, is_for_server);
    X509 *known = verified_chains_find(&digest, now_s);
    if (known != NULL) {
        put_certificate(check, 0, known);
        return 1;
    }
    if (!verify_anew(verification, check)) {
        return 0;
    }
    verified_chains_remember(&digest, X509_STORE_CTX_get0_chain(check), now_s);
    return 1;
}

/* For mesh peers only: a control plane's certificate is not of the mesh. */
static int check_revocation(
    struct tls_verification *verification, X509_STORE_CTX *check, const struct revocation_lists *lists)
{
    if (lists == NULL) {
        return 1;
    }
    STACK_OF(X509) *verified = X509_STORE_CTX_get0_chain(check);
    for (int i = 0; i < sk_X509_num(verified); i++) {
        certificate_list_append(&verification->chain, sk_X509_value(verified, i));
    }
    return !revocation_lists_revoke(lists, &verification->chain) ||
           refuse(verification, check, X509_V_ERR_CERT_REVOKED, string_duplicate("invalid peer certificate: Revoked"));
}

static void add_to_list(struct writer *list, size_t index, const char *text)
{
    if (index < SENTENCE_NAMES_MAXIMUM) {
        writer_print(list, "%s%s", index == 0 ? "" : ",", text);
    } else if (index == SENTENCE_NAMES_MAXIMUM) {
        writer_add_string(list, ",...");
    }
}

static char *presented_list(const struct certificate_names *names)
{
    struct writer list = writer_growing();
    size_t listed = 0;
    for (size_t i = 0; i < names->count; i++) {
        if (names->items[i].identity != NULL) {
            add_to_list(&list, listed++, names->items[i].uri);
        }
    }
    return writer_take_string(&list);
}

static char *expected_list(const struct tls_verification *verification)
{
    struct writer list = writer_growing();
    for (size_t i = 0; i < verification->name_count; i++) {
        add_to_list(&list, i, verification->names[i]);
    }
    return writer_take_string(&list);
}

/* At least one identity, and none of another trust domain: the first one becomes the peer's, so that a name of ours must not vouch
 * for a foreign one before it. */
static bool is_of_trust_domain(const struct certificate_names *names, const char *trust_domain)
{
    size_t identities = 0;
    for (size_t i = 0; i < names->count; i++) {
        const struct spiffe_identity *identity = names->items[i].identity;
        if (identity != NULL && !text_equal(identity->trust_domain, trust_domain)) {
            return false;
        }
        identities += identity != NULL;
    }
    return identities > 0;
}

static bool has_expected_identity(const struct certificate_names *names, const struct tls_verification *verification)
{
    for (size_t i = 0; i < names->count; i++) {
        for (size_t j = 0; names->items[i].identity != NULL && j < verification->name_count; j++) {
            if (text_equal(names->items[i].uri, verification->names[j])) {
                return true;
            }
        }
    }
    return false;
}

static int refuse_identity(struct tls_verification *verification, X509_STORE_CTX *check, const char *what,
    const char *expected, const struct certificate_names *names)
{
    char *got AUTO_FREE = presented_list(names);
    return refuse(verification, check, ERROR_FOR_CERTIFICATE_UNKNOWN,
        string_format(
            "identity verification error: peer did not present the expected %s (%s), got %s", what, expected, got));
}

static int check_identity(struct tls_verification *verification, X509_STORE_CTX *check)
{
    struct certificate_names names = certificate_names_of(X509_STORE_CTX_get0_cert(check));
    int is_right = 1;
    if (verification->kind == VERIFY_TRUST_DOMAIN && verification->trust_domain != NULL &&
        !is_of_trust_domain(&names, verification->trust_domain)) {
        is_right = refuse_identity(verification, check, "trustdomain", verification->trust_domain, &names);
    }
    if (verification->kind == VERIFY_IDENTITIES && !has_expected_identity(&names, verification)) {
        char *expected AUTO_FREE = expected_list(verification);
        is_right = refuse_identity(verification, check, "SAN", expected, &names);
    }
    certificate_names_clear(&names);
    return is_right;
}

static bool certificate_is_for(X509 *certificate, const char *host)
{
    struct ip_address address;
    if (ip_parse(host, &address)) {
        struct bytes bytes = ip_bytes(&address);
        return X509_check_ip(certificate, bytes.data, bytes.length, 0) == 1;
    }
    unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    return X509_check_host(certificate, host, strlen(host), flags, NULL) == 1;
}

static int check_host(struct tls_verification *verification, X509_STORE_CTX *check)
{
    for (size_t i = 0; i < verification->name_count; i++) {
        if (certificate_is_for(X509_STORE_CTX_get0_cert(check), verification->names[i])) {
            return 1;
        }
    }
    ERR_clear_error();
    char *expected AUTO_FREE = expected_list(verification);
    return refuse(verification, check, X509_V_ERR_HOSTNAME_MISMATCH,
        string_format("invalid peer certificate: NotValidForName (not valid for %s)", expected));
}

static int verify(struct tls_verification *verification, X509_STORE_CTX *check, const struct revocation_lists *lists)
{
    if (!check_chain(verification, check, lists)) {
        return 0;
    }
    if (verification->kind == VERIFY_HOST) {
        return check_host(verification, check);
    }
    if (verification->kind != VERIFY_CHAIN && !check_revocation(verification, check, lists)) {
        return 0;
    }
    return check_identity(verification, check);
}

int tls_verify_peer(struct x509_store_ctx_st *check, void *unused)
{
    (void)unused;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct openssl_layer *layer = openssl_layer_of(ssl);
    if (layer == NULL || layer->verification == NULL) {
        X509_STORE_CTX_set_error(check, X509_V_ERR_UNSPECIFIED);
        return 0; /* after the handshake nobody may show another certificate */
    }
    /* The same lists throughout: ones that came into force in between would judge a path that was not built. */
    struct revocation_lists *lists = revocation_in_force();
    int is_right = verify(layer->verification, check, lists);
    revocation_lists_release(lists);
    return is_right;
}
