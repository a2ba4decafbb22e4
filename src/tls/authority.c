#include "tls/authority_internal.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "tls/issuing.h"
#include "tls/openssl_error.h"

#include <openssl/x509v3.h>

#define COMMON_NAME_MAXIMUM 64 /* RFC 5280 ub-common-name */

void certificate_authority_free(struct certificate_authority *authority)
{
    if (authority == NULL) {
        return;
    }
    certificate_release(authority->signer);
    private_key_free(authority->key);
    certificate_list_clear(&authority->chain);
    certificate_list_clear(&authority->roots);
    memory_free(authority->root_pem);
    memory_free(authority);
}

const struct certificate_list *certificate_authority_roots(const struct certificate_authority *authority)
{
    return &authority->roots;
}

const struct x509_st *certificate_authority_signer(const struct certificate_authority *authority)
{
    return authority->signer;
}

const char *certificate_authority_root_pem(const struct certificate_authority *authority)
{
    return authority->root_pem;
}

static void add_subject(X509_NAME *subject, int identifier, const char *text)
{
    openssl_must(X509_NAME_add_entry_by_NID(subject, identifier, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0),
        "set a subject");
}

static X509 *self_signed_root(struct evp_pkey_st *key, const X509_NAME *subject, int64_t now_s)
{
    X509 *root = issuing_begin(key, now_s - AUTHORITY_LEAF_BACKDATE_S, now_s + AUTHORITY_ROOT_LIFETIME_S);
    openssl_must(X509_set_subject_name(root, subject), "set a subject");
    openssl_must(X509_set_issuer_name(root, X509_get_subject_name(root)), "set an issuer");
    issuing_set_key_usage(root, KU_KEY_CERT_SIGN);
    issuing_set_authority(root, 1);
    issuing_set_subject_key_identifier(root);
    struct result signed_root = issuing_sign(root, key);
    openssl_must(result_is_ok(&signed_root), "sign a root");
    return root;
}

static struct certificate_authority *self_signed(struct evp_pkey_st *key, const X509_NAME *subject, int64_t now_s)
{
    struct certificate_authority *authority = NEW(struct certificate_authority);
    authority->key = key;
    authority->signer = self_signed_root(key, subject, now_s);
    certificate_list_append(&authority->roots, authority->signer);
    struct writer pem = writer_growing();
    certificate_list_write_pem(&authority->roots, &pem);
    authority->root_pem = writer_take_string(&pem);
    return authority;
}

struct certificate_authority *certificate_authority_of_key(
    struct evp_pkey_st *key, const char *trust_domain, int64_t now_s)
{
    X509_NAME *subject = X509_NAME_new();
    openssl_must(subject != NULL, "make a subject");
    add_subject(subject, NID_organizationName, trust_domain);
    struct certificate_authority *authority = self_signed(key, subject, now_s);
    X509_NAME_free(subject);
    return authority;
}

struct certificate_authority *certificate_authority_new(const char *trust_domain, int64_t now_s)
{
    return certificate_authority_of_key(private_key_new(), trust_domain, now_s);
}

struct certificate_authority *certificate_authority_renew(const struct certificate_authority *authority, int64_t now_s)
{
    openssl_must(EVP_PKEY_up_ref(authority->key), "share a key");
    return self_signed(authority->key, X509_get_subject_name(authority->signer), now_s);
}

static bool is_self_signed(const struct certificate_authority *authority)
{
    return X509_NAME_cmp(X509_get_subject_name(authority->signer), X509_get_issuer_name(authority->signer)) == 0;
}

bool certificate_authority_is_ageing(const struct certificate_authority *authority, int64_t now_s)
{
    int64_t begin_s;
    int64_t end_s;
    certificate_validity(authority->signer, &begin_s, &end_s);
    return is_self_signed(authority) && end_s - now_s < (end_s - begin_s) / 5;
}

bool certificate_authority_is_same(const struct certificate_authority *left, const struct certificate_authority *right)
{
    return X509_cmp(left->signer, right->signer) == 0 && strcmp(left->root_pem, right->root_pem) == 0;
}

static int64_t leaf_end(const struct certificate_authority *authority, const struct leaf_request *request)
{
    int64_t signer_begin_s, signer_end_s;
    certificate_validity(authority->signer, &signer_begin_s, &signer_end_s);
    int64_t wanted_s = request->now_s + request->lifetime_s;
    return wanted_s < signer_end_s ? wanted_s : signer_end_s;
}

static struct result fill_leaf(
    const struct certificate_authority *authority, const struct leaf_request *request, X509 *leaf)
{
    if (request->has_common_name && strlen(request->names[0]) <= COMMON_NAME_MAXIMUM) {
        add_subject(X509_get_subject_name(leaf), NID_commonName, request->names[0]);
    }
    openssl_must(X509_set_issuer_name(leaf, X509_get_subject_name(authority->signer)), "set an issuer");
    issuing_set_key_usage(leaf, KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
    issuing_set_peer_usage(leaf);
    issuing_set_authority(leaf, 0);
    issuing_set_authority_key_identifier(leaf, authority->signer);
    RESULT_TRY(issuing_set_names(leaf, request->names, request->name_count));
    return issuing_sign(leaf, authority->key);
}

static char *pem_of(const struct x509_st *certificate)
{
    struct writer pem = writer_growing();
    certificate_write_pem(certificate, &pem);
    return writer_take_string(&pem);
}

static void fill_chain(const struct certificate_authority *authority, const X509 *leaf, struct issued_chain *chain)
{
    chain->count = 2 + authority->chain.count;
    chain->elements = memory_allocate_zeroed(chain->count, sizeof chain->elements[0]);
    chain->elements[0] = pem_of(leaf);
    for (size_t i = 0; i < authority->chain.count; i++) {
        chain->elements[1 + i] = pem_of(authority->chain.items[i]);
    }
    chain->elements[chain->count - 1] = string_duplicate(authority->root_pem);
}

struct result certificate_authority_issue(
    const struct certificate_authority *authority, const struct leaf_request *request, struct issued_chain *chain)
{
    *chain = (struct issued_chain){ 0 };
    if (request->name_count == 0 || request->name_count > AUTHORITY_NAMES_MAXIMUM) {
        return result_fail(RESULT_INVALID, "a certificate with %zu names: 1 to %d are possible", request->name_count,
            AUTHORITY_NAMES_MAXIMUM);
    }
    int64_t not_after_s = leaf_end(authority, request);
    if (not_after_s <= request->now_s) {
        return result_fail(RESULT_UNAVAILABLE, "the CA's own certificate has expired");
    }
    X509 *leaf = issuing_begin(request->public_key, request->now_s - AUTHORITY_LEAF_BACKDATE_S, not_after_s);
    struct result filled = fill_leaf(authority, request, leaf);
    if (result_is_ok(&filled)) {
        fill_chain(authority, leaf, chain);
        chain->not_after_s = not_after_s;
    }
    X509_free(leaf);
    return filled;
}

void issued_chain_clear(struct issued_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        memory_free(chain->elements[i]);
    }
    memory_free(chain->elements);
    *chain = (struct issued_chain){ 0 };
}

static struct result bundle_of(const struct issued_chain *chain, struct evp_pkey_st *key,
    const struct leaf_request *request, struct certificate_bundle **bundle)
{
    struct bytes *elements AUTO_FREE = memory_allocate_zeroed(chain->count, sizeof elements[0]);
    for (size_t i = 0; i < chain->count; i++) {
        elements[i] = bytes_of_string(chain->elements[i]);
    }
    struct certificate_request_answer answer = {
        .elements = elements,
        .element_count = chain->count,
        .key = key,
        .identity = request->names[0],
        .now_s = request->now_s,
    };
    return certificate_bundle_from_answer(&answer, bundle);
}

struct result certificate_authority_issue_bundle(const struct certificate_authority *authority,
    const char *const *names, size_t name_count, int64_t lifetime_s, int64_t now_s, struct certificate_bundle **bundle)
{
    *bundle = NULL;
    struct evp_pkey_st *key = private_key_new();
    struct leaf_request request = { key, false, names, name_count, lifetime_s, now_s };
    struct issued_chain chain;
    struct result result = certificate_authority_issue(authority, &request, &chain);
    if (result_is_ok(&result)) {
        result = bundle_of(&chain, key, &request, bundle);
        issued_chain_clear(&chain);
    }
    private_key_free(key);
    return result;
}
