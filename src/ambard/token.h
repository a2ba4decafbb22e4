/* Tokens that nodes' proxies show: ES256 JWTs (RFC 7519, RFC 7518 §3.4) under a key of their own, never the CA's.
 *
 * Claims: iss, aud ("istio-ca"), sub ("system:serviceaccount:NS:SA"), iat, nbf, exp (at most 24 h), jti, and "ambar.io" with
 * namespace, serviceAccount and node. */
#ifndef AMBAR_AMBARD_TOKEN_H
#define AMBAR_AMBARD_TOKEN_H

#include "base/bytes.h"
#include "base/result.h"

#include <stdint.h>

#define TOKEN_AUDIENCE "istio-ca"
#define TOKEN_LIFETIME_MAXIMUM_S (24 * 3600)
#define TOKEN_BYTES_MAXIMUM 4096
#define TOKEN_CLOCK_SKEW_S 60

struct token_key;

struct token_claims {
    char *namespace_;
    char *service_account;
    char *node;
    char *identifier; /* jti */
    int64_t expires_at_s;
};
void token_claims_clear(struct token_claims *claims);

/* token-key.pem in the state directory, made (0600) when it does not exist and `may_create`. */
struct result token_key_open(const char *state_directory, bool may_create, struct token_key **key);
void token_key_free(struct token_key *key);

/* A token, owned by the caller (memory_free). Fails on empty or over-long parts and on a lifetime out of bounds. */
struct result token_issue(const struct token_key *key, const char *namespace_, const char *service_account,
    const char *node, int64_t lifetime_s, int64_t now_s, char **token);

/* Signature first, then the claims. Never says more in public than that it failed: the message is for our log. */
struct result token_verify(const struct token_key *key, struct bytes token, int64_t now_s, struct token_claims *claims);

#endif
