/* Tokens that callers show: no input but one of our own making is ever accepted. */
#include "ambard/token.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW_S 1790000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct token_key *key;
    static char *genuine;
    if (key == NULL) {
        char directory[] = "/tmp/ambar-fuzz-token-XXXXXX";
        struct result opened =
            mkdtemp(directory) != NULL ? token_key_open(directory, true, &key) : result_fail(RESULT_SYSTEM, "mkdtemp");
        struct result issued =
            result_is_ok(&opened) ? token_issue(key, "ns", "sa", "n1", 3600, NOW_S, &genuine) : opened;
        if (!result_is_ok(&issued)) {
            abort();
        }
        char *path = string_format("%s/token-key.pem", directory);
        unlink(path);
        rmdir(directory);
        memory_free(path);
    }
    /* The input is a change to a genuine token: a place, a length to cut out, and what to put there. */
    size_t length = strlen(genuine);
    size_t place = size > 1 ? (size_t)data[0] * 256 + data[1] : 0;
    place %= length;
    size_t cut = size > 2 ? data[2] % (length - place + 1) : 0;
    struct bytes insert = size > 3 ? bytes_of(data + 3, size - 3) : bytes_of(NULL, 0);
    char *token = memory_allocate(length - cut + insert.length + 1);
    memcpy(token, genuine, place);
    if (insert.length > 0) {
        memcpy(token + place, insert.data, insert.length);
    }
    memcpy(token + place + insert.length, genuine + place + cut, length - place - cut);
    struct bytes changed = bytes_of(token, length - cut + insert.length);
    struct token_claims claims;
    struct result verified = token_verify(key, changed, NOW_S, &claims);
    if (result_is_ok(&verified)) {
        if (!bytes_equal_string(changed, genuine)) {
            abort();
        }
        token_claims_clear(&claims);
    }
    memory_free(token);
    return 0;
}
