/* Certificate revocation lists as PEM and DER, then asked about a chain: never a crash, and nothing that the issuer has not
 * signed revokes. */
#include "base/memory.h"
#include "tls/revocation.h"

#include <stdlib.h>

/* A root and a leaf of it; the root's key was thrown away, so no input can be a genuine list. */
static const char CHAIN_FILE[] = "tests/fuzz/tls/chain.pem";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct certificate_list chain;
    if (chain.count == 0) {
        struct result loaded = certificate_list_read_file(CHAIN_FILE, &chain);
        if (!result_is_ok(&loaded)) {
            abort();
        }
    }
    struct revocation_lists *lists;
    struct result parsed = revocation_lists_parse(bytes_of(data, size), &lists);
    if (result_is_ok(&parsed)) {
        if (revocation_lists_revoke(lists, &chain)) {
            abort();
        }
        revocation_lists_release(lists);
    }
    return 0;
}
