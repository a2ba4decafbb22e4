#include "ambard/token.h"

#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "base/writer.h"
#include "tls/private_key.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEY_FILE "token-key.pem"
#define KEY_FILE_MAXIMUM_BYTES 8192
#define ISSUER "ambard"
#define HEADER "{\"alg\":\"ES256\",\"typ\":\"JWT\"}"
#define SIGNATURE_BYTES 64 /* r and s, 32 each */
#define PART_MAXIMUM 253   /* a Kubernetes name */

struct token_key {
    EVP_PKEY *key;
};

void token_claims_clear(struct token_claims *claims)
{
    memory_free(claims->namespace_);
    memory_free(claims->service_account);
    memory_free(claims->node);
    memory_free(claims->identifier);
    *claims = (struct token_claims){ 0 };
}

static struct result read_key(const char *path, EVP_PKEY **key)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return errno == ENOENT ? result_fail(RESULT_NOT_FOUND, "%s does not exist", path)
                               : result_system(errno, "cannot read %s", path);
    }
    uint8_t text[KEY_FILE_MAXIMUM_BYTES];
    ssize_t length = read(descriptor, text, sizeof text);
    close(descriptor);
    if (length < 0) {
        return result_system(errno, "cannot read %s", path);
    }
    struct result parsed = private_key_parse_pem(bytes_of(text, (size_t)length), path, key);
    memory_wipe(text, sizeof text);
    return parsed;
}

/* Whole or not at all: written aside, then linked, so that two starts at once agree on one key. */
static struct result write_key(const char *path, EVP_PKEY *key)
{
    struct writer pem = writer_growing();
    private_key_write_pem(key, &pem);
    char *temporary = string_format("%s.%d", path, (int)getpid());
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct result outcome = result_ok();
    if (descriptor < 0 || write(descriptor, pem.data, pem.length) != (ssize_t)pem.length || fsync(descriptor) != 0 ||
        (link(temporary, path) != 0 && errno != EEXIST)) {
        outcome = result_system(errno, "cannot write %s", path);
    }
    if (descriptor >= 0) {
        close(descriptor);
        unlink(temporary);
    }
    memory_free(temporary);
    secret_writer_free(&pem);
    return outcome;
}

struct result token_key_open(const char *state_directory, bool may_create, struct token_key **key)
{
    char *path AUTO_FREE = string_format("%s/" KEY_FILE, state_directory);
    EVP_PKEY *private_key = NULL;
    struct result outcome = read_key(path, &private_key);
    if (outcome.code == RESULT_NOT_FOUND && may_create) {
        EVP_PKEY *fresh = private_key_new();
        outcome = write_key(path, fresh);
        private_key_free(fresh);
        if (result_is_ok(&outcome)) {
            outcome = read_key(path, &private_key);
        }
    }
    RESULT_TRY(outcome);
    if (EVP_PKEY_get_bits(private_key) != 256 || !EVP_PKEY_is_a(private_key, "EC")) {
        private_key_free(private_key);
        return result_fail(RESULT_INVALID, "%s: tokens need an ECDSA P-256 key", path);
    }
    *key = NEW(struct token_key);
    (*key)->key = private_key;
    return result_ok();
}

void token_key_free(struct token_key *key)
{
    if (key != NULL) {
        private_key_free(key->key);
        memory_free(key);
    }
}

static bool sign(const struct token_key *key, struct bytes text, uint8_t signature[SIGNATURE_BYTES])
{
    uint8_t der[128];
    size_t der_length = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_signed = EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->key) == 1 &&
                     EVP_DigestSign(context, der, &der_length, text.data, text.length) == 1;
    EVP_MD_CTX_free(context);
    const unsigned char *at = der;
    ECDSA_SIG *parts = is_signed ? d2i_ECDSA_SIG(NULL, &at, (long)der_length) : NULL;
    is_signed = parts != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(parts), signature, 32) == 32 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(parts), signature + 32, 32) == 32;
    ECDSA_SIG_free(parts);
    return is_signed;
}

static bool verify(const struct token_key *key, struct bytes text, struct bytes signature)
{
    ECDSA_SIG *parts = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature.data, 32, NULL);
    BIGNUM *s = BN_bin2bn(signature.data + 32, 32, NULL);
    ECDSA_SIG_set0(parts, r, s);
    unsigned char *der = NULL;
    int der_length = i2d_ECDSA_SIG(parts, &der);
    ECDSA_SIG_free(parts);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_genuine = der_length > 0 && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->key) == 1 &&
                      EVP_DigestVerify(context, der, (size_t)der_length, text.data, text.length) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return is_genuine;
}

static bool is_good_part(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length <= PART_MAXIMUM && strpbrk(text, "/: \t\n\"\\") == NULL;
}

static json_t *make_claims(
    const char *namespace_, const char *service_account, const char *node, int64_t lifetime_s, int64_t now_s)
{
    char identifier[37];
    random_uuid(identifier);
    char *subject AUTO_FREE = string_format("system:serviceaccount:%s:%s", namespace_, service_account);
    return json_pack("{s:s, s:[s], s:s, s:I, s:I, s:I, s:s, s:{s:s, s:s, s:s}}", "iss", ISSUER, "aud", TOKEN_AUDIENCE,
        "sub", subject, "iat", (json_int_t)now_s, "nbf", (json_int_t)now_s, "exp", (json_int_t)now_s + lifetime_s,
        "jti", identifier, "ambar.io", "namespace", namespace_, "serviceAccount", service_account, "node", node);
}

struct result token_issue(const struct token_key *key, const char *namespace_, const char *service_account,
    const char *node, int64_t lifetime_s, int64_t now_s, char **token)
{
    if (!is_good_part(namespace_) || !is_good_part(service_account) || !is_good_part(node)) {
        return result_fail(RESULT_INVALID, "%s/%s on node %s: not names of a service account and a node", namespace_,
            service_account, node);
    }
    if (lifetime_s < 1 || lifetime_s > TOKEN_LIFETIME_MAXIMUM_S) {
        return result_fail(RESULT_INVALID, "a token may live for 1s to 24h, not %llds", (long long)lifetime_s);
    }
    json_t *claims = make_claims(namespace_, service_account, node, lifetime_s, now_s);
    char *body = json_dumps(claims, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(claims);
    struct writer out = writer_growing();
    writer_add_base64url(&out, bytes_of_string(HEADER));
    writer_add_u8(&out, '.');
    writer_add_base64url(&out, bytes_of_string(body));
    free(body);
    uint8_t signature[SIGNATURE_BYTES];
    if (!sign(key, writer_bytes(&out), signature)) {
        writer_free(&out);
        return result_fail(RESULT_SYSTEM, "OpenSSL refused to sign the token");
    }
    writer_add_u8(&out, '.');
    writer_add_base64url(&out, bytes_of(signature, sizeof signature));
    *token = writer_take_string(&out);
    return result_ok();
}

static bool has_audience(const json_t *claims)
{
    const json_t *audience = json_object_get(claims, "aud");
    if (json_is_string(audience)) {
        return strcmp(json_string_value(audience), TOKEN_AUDIENCE) == 0;
    }
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const char *item = json_string_value(json_array_get(audience, i));
        if (item != NULL && strcmp(item, TOKEN_AUDIENCE) == 0) {
            return true;
        }
    }
    return false;
}

static struct result check_times(const json_t *claims, int64_t now_s, int64_t *expires_at_s)
{
    const json_t *issued = json_object_get(claims, "iat");
    const json_t *not_before = json_object_get(claims, "nbf");
    const json_t *expires = json_object_get(claims, "exp");
    if (!json_is_integer(issued) || !json_is_integer(not_before) || !json_is_integer(expires)) {
        return result_fail(RESULT_DENIED, "token without iat, nbf and exp");
    }
    *expires_at_s = json_integer_value(expires);
    if (json_integer_value(not_before) > now_s + TOKEN_CLOCK_SKEW_S ||
        json_integer_value(issued) > now_s + TOKEN_CLOCK_SKEW_S) {
        return result_fail(RESULT_DENIED, "token is not valid yet");
    }
    if (*expires_at_s <= now_s) {
        return result_fail(RESULT_DENIED, "token has expired");
    }
    int64_t lifetime_s;
    if (__builtin_sub_overflow(*expires_at_s, json_integer_value(issued), &lifetime_s) ||
        lifetime_s > TOKEN_LIFETIME_MAXIMUM_S) {
        return result_fail(RESULT_DENIED, "token lives longer than 24h");
    }
    return result_ok();
}

static struct result read_claims(const json_t *claims, int64_t now_s, struct token_claims *out)
{
    int64_t expires_at_s;
    RESULT_TRY(check_times(claims, now_s, &expires_at_s));
    const json_t *ours = json_object_get(claims, "ambar.io");
    const char *issuer = json_string_value(json_object_get(claims, "iss"));
    const char *identifier = json_string_value(json_object_get(claims, "jti"));
    const char *namespace_ = json_string_value(json_object_get(ours, "namespace"));
    const char *service_account = json_string_value(json_object_get(ours, "serviceAccount"));
    const char *node = json_string_value(json_object_get(ours, "node"));
    if (issuer == NULL || strcmp(issuer, ISSUER) != 0 || !has_audience(claims)) {
        return result_fail(RESULT_DENIED, "token of another issuer or for another audience");
    }
    if (text_is_empty(identifier) || namespace_ == NULL || service_account == NULL || node == NULL ||
        !is_good_part(namespace_) || !is_good_part(service_account) || !is_good_part(node)) {
        return result_fail(RESULT_DENIED, "token without jti, namespace, service account or node");
    }
    *out = (struct token_claims){ string_duplicate(namespace_), string_duplicate(service_account),
        string_duplicate(node), string_duplicate(identifier), expires_at_s };
    return result_ok();
}

static struct result parse_claims(struct bytes encoded, int64_t now_s, struct token_claims *claims)
{
    struct writer text = writer_growing();
    json_t *parsed = NULL;
    if (bytes_from_base64url(encoded, &text)) {
        parsed = json_loadb((const char *)text.data, text.length, JSON_REJECT_DUPLICATES, NULL);
    }
    writer_free(&text);
    struct result outcome = json_is_object(parsed) ? read_claims(parsed, now_s, claims)
                                                   : result_fail(RESULT_DENIED, "token claims are not a JSON object");
    json_decref(parsed);
    return outcome;
}

struct result token_verify(const struct token_key *key, struct bytes token, int64_t now_s, struct token_claims *claims)
{
    struct bytes rest = token;
    struct bytes header;
    struct bytes body;
    struct bytes signature;
    struct bytes more;
    if (token.length > TOKEN_BYTES_MAXIMUM || !bytes_split(&rest, '.', &header) || !bytes_split(&rest, '.', &body) ||
        !bytes_split(&rest, '.', &signature) || bytes_split(&rest, '.', &more)) {
        return result_fail(RESULT_DENIED, "token is not three parts joined by dots");
    }
    /* One header is ours; every other, `none` and other algorithms among them, is refused by its bytes. */
    struct writer expected_header = writer_growing();
    writer_add_base64url(&expected_header, bytes_of_string(HEADER));
    bool is_our_header = bytes_equal(header, writer_bytes(&expected_header));
    writer_free(&expected_header);
    struct writer raw = writer_growing();
    bool is_decoded = is_our_header && bytes_from_base64url(signature, &raw) && raw.length == SIGNATURE_BYTES;
    struct bytes signed_text = bytes_of(token.data, header.length + 1 + body.length);
    bool is_genuine = is_decoded && verify(key, signed_text, writer_bytes(&raw));
    writer_free(&raw);
    if (!is_genuine) {
        return result_fail(RESULT_DENIED, "token signature does not verify");
    }
    return parse_claims(body, now_s, claims);
}
