#include "ambard/caller.h"

#include "base/clock.h"
#include "base/text.h"

#define BEARER "Bearer "

struct result caller_authenticate(
    const struct caller_check *check, const struct grpc_server_call *call, struct token_claims *claims)
{
    const char *authorization = grpc_server_call_metadata(call, "authorization", NULL);
    if (authorization == NULL || !text_starts_with(authorization, BEARER)) {
        return result_fail(RESULT_DENIED, "no bearer token");
    }
    RESULT_TRY(token_verify(check->key, bytes_of_string(authorization + strlen(BEARER)), clock_wall_s(), claims));
    /* Removing a Node object revokes every token bound to it, from the next call on. */
    if (!ambient_index_has_node(check->index, claims->node)) {
        struct result refusal =
            result_fail(RESULT_DENIED, "node %s of token %s does not exist", claims->node, claims->identifier);
        token_claims_clear(claims);
        return refusal;
    }
    return result_ok();
}
