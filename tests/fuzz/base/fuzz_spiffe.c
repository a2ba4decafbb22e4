/* SPIFFE names: whatever is accepted is put together again from its parts, byte for byte. */
#include "base/memory.h"
#include "base/spiffe.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes uri = bytes_of(data, size);
    struct spiffe_identity *identity = spiffe_identity_parse(uri);
    if (identity == NULL) {
        return 0;
    }
    struct spiffe_identity *again =
        spiffe_identity_new(identity->trust_domain, identity->namespace_, identity->service_account);
    if (!bytes_equal_string(uri, identity->uri) || !bytes_equal_string(uri, again->uri)) {
        abort();
    }
    spiffe_identity_free(again);
    spiffe_identity_free(identity);
    return 0;
}
