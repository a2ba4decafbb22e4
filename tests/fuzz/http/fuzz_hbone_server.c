/* What a peer may send to our HBONE server after the handshake; the preface is put in front so that frames are reached. */
#include "hbone_fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (size == 0 || size > 1 << 16) {
        return 0;
    }
    /* An odd first byte leaves the preface to the input. */
    size_t preface = data[0] % 2 == 0 ? sizeof PREFACE - 1 : 0;
    uint8_t *input = memory_allocate(preface + size);
    memcpy(input, PREFACE, preface);
    memcpy(input + preface, data + 1, size - 1);
    hbone_fuzz_run(HBONE_SERVER, input, preface + size - 1);
    memory_free(input);
    return 0;
}
