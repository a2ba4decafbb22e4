/* The certificate authority of ambard: its root or its plugged-in signer, kept in files, and the leaves it issues
 * (control-plane §§7.4, 7.5; wire-protocols §§14, 15). Immutable once made; any thread. */
#ifndef AMBAR_TLS_AUTHORITY_H
#define AMBAR_TLS_AUTHORITY_H

#include "tls/certificate_bundle.h"

#define AUTHORITY_ROOT_LIFETIME_S (3650LL * 86400)
#define AUTHORITY_LEAF_BACKDATE_S 120 /* clocks differ */
#define AUTHORITY_NAMES_MAXIMUM 64    /* names of one leaf */

struct certificate_authority;

/* A self-signed ECDSA P-256 root: subject O=<trust domain>, CA, keyCertSign, ten years. */
struct certificate_authority *certificate_authority_new(const char *trust_domain, int64_t now_s);
/* A root of the same key and subject that lives ten years from now: what the old root signed and trusts stays good (§7.5). */
struct certificate_authority *certificate_authority_renew(const struct certificate_authority *authority, int64_t now_s);
/* A self-signed authority in the last 20 % of its root's life; never one with a signer of somebody else's. */
bool certificate_authority_is_ageing(const struct certificate_authority *authority, int64_t now_s);
bool certificate_authority_is_same(const struct certificate_authority *left, const struct certificate_authority *right);
void certificate_authority_free(struct certificate_authority *authority);

/* From a directory: tls.crt, tls.key, ca.crt when tls.crt exists, else ca-cert.pem, ca-key.pem, cert-chain.pem (may be empty)
 * and root-cert.pem. RESULT_NOT_FOUND when none of them exists; some missing, a signer that is no CA, a key that is not the
 * signer's or a chain that does not end at a root are RESULT_INVALID, with the file in the sentence. */
struct result certificate_authority_load(
    const char *directory, int64_t now_s, struct certificate_authority **authority);

/* Writes ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem, each 0600, whole or not at all; the directory must exist.
 * ca-cert.pem is written last: a directory with it is complete. */
struct result certificate_authority_save(const struct certificate_authority *authority, const char *directory);

/* What certificate_authority_save left when it was cut short before ca-cert.pem: the authority of the key found there, saved
 * anew. RESULT_NOT_FOUND when ca-cert.pem exists or ca-key.pem does not. */
struct result certificate_authority_resume(
    const char *directory, const char *trust_domain, int64_t now_s, struct certificate_authority **authority);

/* What a leaf is for. */
struct leaf_request {
    struct evp_pkey_st *public_key;
    bool has_common_name;     /* the request had a CN: then ours is the first name, if not over 64 characters */
    const char *const *names; /* "spiffe://..." a URI, an IP address an iPAddress, everything else a dNSName */
    size_t name_count;
    int64_t lifetime_s;
    int64_t now_s;
};

/* The answer's elements: leaf, one each of cert-chain.pem, the roots as one text; PEM, owned. */
struct issued_chain {
    char **elements;
    size_t count;
    int64_t not_after_s; /* of the leaf */
};
/* Fails when the signer has expired. */
struct result certificate_authority_issue(
    const struct certificate_authority *authority, const struct leaf_request *request, struct issued_chain *chain);
void issued_chain_clear(struct issued_chain *chain);

/* A fresh key and a leaf for a server of our own (15012), as a bundle with our roots. */
struct result certificate_authority_issue_bundle(const struct certificate_authority *authority,
    const char *const *names, size_t name_count, int64_t lifetime_s, int64_t now_s, struct certificate_bundle **bundle);

const struct certificate_list *certificate_authority_roots(const struct certificate_authority *authority);
const struct x509_st *certificate_authority_signer(const struct certificate_authority *authority);
/* The roots as one PEM text; owned by the authority. */
const char *certificate_authority_root_pem(const struct certificate_authority *authority);

#endif
