/* OpenSSL's error queue of this thread as one reason. Inside tls only. */
#ifndef AMBAR_TLS_OPENSSL_ERROR_H
#define AMBAR_TLS_OPENSSL_ERROR_H

#define OPENSSL_REASON_SIZE 160

/* The reason of the first error queued ("wrong version number"), "unknown error" when there is none. Empties the queue. */
const char *openssl_error_take(char out[static OPENSSL_REASON_SIZE]);

/* For calls that fail only without memory or by a mistake of ours: ends the process with `what` and the reason unless `is_true`. */
void openssl_must(int is_true, const char *what);
#ifdef __clang_analyzer__
#define openssl_must(is_true, what) (!(is_true) ? __builtin_unreachable() : (void)(what))
#endif

#endif
