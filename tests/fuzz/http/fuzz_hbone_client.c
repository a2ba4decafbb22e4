/* What a server may send to our HBONE client, which has one CONNECT under way. */
#include "hbone_fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= 1 << 16) {
        hbone_fuzz_run(HBONE_CLIENT, data, size);
    }
    return 0;
}
