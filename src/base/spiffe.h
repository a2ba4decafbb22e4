/* SPIFFE identities of the mesh: spiffe://<trust domain>/ns/<namespace>/sa/<service account> (wire-protocols §14). */
#ifndef AMBAR_BASE_SPIFFE_H
#define AMBAR_BASE_SPIFFE_H

#include "base/bytes.h"
#include "base/result.h"

#define SPIFFE_PREFIX "spiffe://"

/* The three parts, NUL-terminated, in one allocation owned by whoever made it. */
struct spiffe_identity {
    char *trust_domain;
    char *namespace_;
    char *service_account;
    char *uri; /* the whole text */
};

/* Borrowed parts of a URI. */
struct spiffe_parts {
    struct bytes trust_domain, namespace_, service_account;
};

/* Exactly five segments, none empty, no query, fragment, percent sign, NUL, control character or blank. */
bool spiffe_parse(struct bytes uri, struct spiffe_parts *parts);

/* NULL when the URI does not parse. */
struct spiffe_identity *spiffe_identity_parse(struct bytes uri);
struct spiffe_identity *spiffe_identity_new(
    const char *trust_domain, const char *namespace_, const char *service_account);
void spiffe_identity_free(struct spiffe_identity *identity);

#endif
