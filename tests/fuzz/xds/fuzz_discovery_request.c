/* What a client may send to ambard's workload API, before anybody has asked who it is. */
#include "xds/discovery_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = { 0 };
    struct discovery_request request;
    struct result outcome = discovery_request_decode(bytes_of(data, size), &arena, &request);
    if (result_is_ok(&outcome) &&
        (request.type_url == NULL || request.nonce == NULL || request.node_namespace == NULL)) {
        abort();
    }
    arena_free(&arena);
    return 0;
}
