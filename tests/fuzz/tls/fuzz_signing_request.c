/* Signing requests from anybody. One that is accepted has a key, and a leaf can be issued for it. */
#include "base/clock.h"
#include "tls/authority.h"
#include "tls/signing_request.h"

#include <stdlib.h>

static void issue_for(const struct signing_request *request)
{
    static struct certificate_authority *authority;
    int64_t now_s = clock_wall_s();
    if (authority == NULL) {
        authority = certificate_authority_new("cluster.local", now_s);
    }
    const char *name = "spiffe://cluster.local/ns/a/sa/b";
    struct leaf_request leaf = { request->public_key, request->has_common_name, &name, 1, 3600, now_s };
    struct issued_chain chain;
    struct result result = certificate_authority_issue(authority, &leaf, &chain);
    if (!result_is_ok(&result)) {
        abort();
    }
    issued_chain_clear(&chain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct signing_request request;
    struct result result = signing_request_parse(bytes_of(data, size), &request);
    if (result_is_ok(&result) != (request.public_key != NULL)) {
        abort();
    }
    if (result_is_ok(&result)) {
        issue_for(&request);
    }
    signing_request_clear(&request);
    return 0;
}
