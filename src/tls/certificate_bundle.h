/* One identity's material: private key, leaf, intermediates, trusted roots. Checked before it exists, immutable afterwards,
 * counted atomically, shared between threads; the key is wiped with the last reference. */
#ifndef AMBAR_TLS_CERTIFICATE_BUNDLE_H
#define AMBAR_TLS_CERTIFICATE_BUNDLE_H

#include "tls/certificate.h"
#include "tls/private_key.h"

struct certificate_bundle {
    _Atomic uint32_t references;
    struct evp_pkey_st *key;
    struct x509_st *leaf;
    struct certificate_list intermediates; /* as sent to peers; without the roots */
    struct certificate_list roots;
    struct certificate_names names; /* the leaf's URI names */
    int64_t not_before_s;           /* of the leaf */
    int64_t not_after_s;
    char *serial; /* of the leaf, decimal */
};

/* From the CA's answer: elements[0] the leaf, the last the roots (several certificates in one text), those between one
 * intermediate each (ztunnel-management §5.2). `key` gets another reference. `identity`: what was asked for, for the sentences;
 * with `requires_identity` the leaf's first URI name must be exactly that.
 * Refused unless the key is the leaf's, the chain verifies up to the roots and all of it is valid at `now_s`. */
struct certificate_request_answer {
    const struct bytes *elements;
    size_t element_count;
    struct evp_pkey_st *key;
    const char *identity;
    bool requires_identity;
    int64_t now_s;
};
struct result certificate_bundle_from_answer(
    const struct certificate_request_answer *answer, struct certificate_bundle **bundle);

/* From PEM files, with the same checks; the chain file begins with the leaf. Reads at most CERTIFICATE_PEM_MAXIMUM_BYTES each. */
struct result certificate_bundle_from_files(const char *key_file, const char *chain_file, const char *root_file,
    int64_t now_s, struct certificate_bundle **bundle);

struct certificate_bundle *certificate_bundle_reference(struct certificate_bundle *bundle);
void certificate_bundle_release(struct certificate_bundle *bundle); /* NULL is allowed */

/* The leaf's first identity; borrowed; NULL for a certificate without one. */
const struct spiffe_identity *certificate_bundle_identity(const struct certificate_bundle *bundle);

#endif
