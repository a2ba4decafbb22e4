#include "tls/issuing.h"

#include "base/address.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/spiffe.h"
#include "base/text.h"
#include "tls/openssl_error.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#define SERIAL_BYTES 16
#define NAME_MAXIMUM_BYTES 2048

static void set_serial(X509 *certificate)
{
    uint8_t bytes[SERIAL_BYTES];
    random_bytes(bytes, sizeof bytes);
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    openssl_must(number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL,
        "set a serial number");
    BN_free(number);
}

struct x509_st *issuing_begin(struct evp_pkey_st *public_key, int64_t not_before_s, int64_t not_after_s)
{
    X509 *certificate = X509_new();
    openssl_must(certificate != NULL && X509_set_version(certificate, X509_VERSION_3), "make a certificate");
    set_serial(certificate);
    openssl_must(ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)not_before_s) != NULL &&
                     ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)not_after_s) != NULL &&
                     X509_set_pubkey(certificate, public_key),
        "fill a certificate");
    return certificate;
}

static void add_extension(X509 *certificate, int identifier, void *value, int is_critical)
{
    openssl_must(
        X509_add1_ext_i2d(certificate, identifier, value, is_critical, X509V3_ADD_DEFAULT) == 1, "add an extension");
}

void issuing_set_key_usage(struct x509_st *certificate, unsigned bits)
{
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    openssl_must(usage != NULL, "make a key usage");
    for (int bit = 0; bit < 8; bit++) {
        if ((bits & (0x80u >> bit)) != 0) {
            openssl_must(ASN1_BIT_STRING_set_bit(usage, bit, 1), "set a key usage");
        }
    }
    add_extension(certificate, NID_key_usage, usage, 1);
    ASN1_BIT_STRING_free(usage);
}

void issuing_set_authority(struct x509_st *certificate, int is_authority)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    openssl_must(constraints != NULL, "make basic constraints");
    constraints->ca = is_authority ? 0xff : 0;
    add_extension(certificate, NID_basic_constraints, constraints, 1);
    BASIC_CONSTRAINTS_free(constraints);
}

void issuing_set_peer_usage(struct x509_st *certificate)
{
    EXTENDED_KEY_USAGE *usage = EXTENDED_KEY_USAGE_new();
    openssl_must(usage != NULL && sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_server_auth)) &&
                     sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_client_auth)),
        "make an extended key usage");
    add_extension(certificate, NID_ext_key_usage, usage, 0);
    EXTENDED_KEY_USAGE_free(usage);
}

void issuing_set_subject_key_identifier(struct x509_st *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();
    /* RFC 5280 §4.2.1.2 method 1. */
    openssl_must(identifier != NULL && X509_pubkey_digest(certificate, EVP_sha1(), digest, &length) &&
                     ASN1_OCTET_STRING_set(identifier, digest, (int)length),
        "make a key identifier");
    add_extension(certificate, NID_subject_key_identifier, identifier, 0);
    ASN1_OCTET_STRING_free(identifier);
}

void issuing_set_authority_key_identifier(struct x509_st *certificate, const struct x509_st *issuer)
{
    ASN1_OCTET_STRING *of_issuer = X509_get_ext_d2i(issuer, NID_subject_key_identifier, NULL, NULL);
    if (of_issuer == NULL) {
        return;
    }
    AUTHORITY_KEYID *identifier = AUTHORITY_KEYID_new();
    openssl_must(identifier != NULL, "make an authority key identifier");
    identifier->keyid = of_issuer;
    add_extension(certificate, NID_authority_key_identifier, identifier, 0);
    AUTHORITY_KEYID_free(identifier);
}

/* What an IA5String may hold and a log line should. */
static bool is_visible_ascii(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return length > 0 && length <= NAME_MAXIMUM_BYTES;
}

static GENERAL_NAME *text_name(int type, const char *text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    openssl_must(name != NULL && value != NULL && ASN1_STRING_set(value, text, -1), "make a name");
    GENERAL_NAME_set0_value(name, type, value);
    return name;
}

static GENERAL_NAME *address_name(const struct ip_address *address)
{
    struct bytes bytes = ip_bytes(address);
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    openssl_must(name != NULL && value != NULL && ASN1_OCTET_STRING_set(value, bytes.data, (int)bytes.length),
        "make an address name");
    GENERAL_NAME_set0_value(name, GEN_IPADD, value);
    return name;
}

static GENERAL_NAME *name_of(const char *text)
{
    struct ip_address address;
    if (text_starts_with(text, SPIFFE_PREFIX)) {
        return text_name(GEN_URI, text);
    }
    if (ip_parse(text, &address)) {
        return address_name(&address);
    }
    return text_name(GEN_DNS, text);
}

struct result issuing_set_names(struct x509_st *certificate, const char *const *names, size_t count)
{
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    openssl_must(all != NULL, "make a list of names");
    struct result result = result_ok();
    for (size_t i = 0; i < count && result_is_ok(&result); i++) {
        if (is_visible_ascii(names[i])) {
            openssl_must(sk_GENERAL_NAME_push(all, name_of(names[i])), "add a name");
        } else {
            result = result_fail(RESULT_INVALID,
                "subject alternative name \"%s\": 1 to %d visible ASCII characters are possible", names[i],
                NAME_MAXIMUM_BYTES);
        }
    }
    if (result_is_ok(&result)) {
        add_extension(certificate, NID_subject_alt_name, all, 1);
    }
    GENERAL_NAMES_free(all);
    return result;
}

static const EVP_MD *digest_for(const struct evp_pkey_st *key)
{
    if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448")) {
        return NULL;
    }
    if (!EVP_PKEY_is_a(key, "EC")) {
        return EVP_sha256();
    }
    int bits = EVP_PKEY_get_bits(key);
    return bits > 384 ? EVP_sha512() : bits > 256 ? EVP_sha384() : EVP_sha256();
}

struct result issuing_sign(struct x509_st *certificate, struct evp_pkey_st *key)
{
    if (X509_sign(certificate, key, digest_for(key)) <= 0) {
        char reason[OPENSSL_REASON_SIZE];
        return result_fail(RESULT_SYSTEM, "the certificate cannot be signed: %s", openssl_error_take(reason));
    }
    return result_ok();
}
