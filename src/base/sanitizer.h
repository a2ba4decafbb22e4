/* Whether this build runs under AddressSanitizer or ThreadSanitizer, by gcc or clang: such a process needs system calls and dumps
 * that no other may have. */
#ifndef AMBAR_BASE_SANITIZER_H
#define AMBAR_BASE_SANITIZER_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

#endif
