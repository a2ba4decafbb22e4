#include "tls/openssl_error.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

const char *openssl_error_take(char out[static OPENSSL_REASON_SIZE])
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    if (reason != NULL) {
        (void)snprintf(out, OPENSSL_REASON_SIZE, "%s", reason);
    } else if (code != 0) {
        ERR_error_string_n(code, out, OPENSSL_REASON_SIZE);
    } else {
        (void)snprintf(out, OPENSSL_REASON_SIZE, "unknown error");
    }
    ERR_clear_error();
    return out;
}

void(openssl_must)(int is_true, const char *what)
{
    if (!is_true) {
        char reason[OPENSSL_REASON_SIZE];
        (void)fprintf(stderr, "OpenSSL cannot %s: %s\n", what, openssl_error_take(reason));
        abort();
    }
}
