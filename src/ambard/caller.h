/* Who is calling: the bearer token of a node's proxy, or its verified certificate, and whether the Node object still exists
 * (control-plane §7.2; tokens of our own instead of TokenReview). */
#ifndef AMBAR_AMBARD_CALLER_H
#define AMBAR_AMBARD_CALLER_H

#include "ambard/index.h"
#include "ambard/token.h"
#include "http/grpc_server.h"

struct caller_check {
    const struct token_key *key;
    const struct ambient_index *index;
};

/* RESULT_DENIED with the reason, for our log only: the caller learns no more than that it failed. On success the claims are
 * the caller's (token_claims_clear). */
struct result caller_authenticate(
    const struct caller_check *check, const struct grpc_server_call *call, struct token_claims *claims);

#endif
