/* The one way a function says that it failed.
 *
 * A result is returned by value: a code for the program, a sentence for the person. The sentence names the
 * input at fault ("FOO=bar: not a duration"), never only the symptom. Hot paths that cannot fail with a
 * sentence return their own small enums instead.
 *
 * Allocation failure is never a result: see memory.h. */
#ifndef AMBAR_BASE_RESULT_H
#define AMBAR_BASE_RESULT_H

#include <stdbool.h>

enum result_code {
    RESULT_OK = 0,
    RESULT_INVALID,     /* the input is wrong; trying again with the same input fails again */
    RESULT_NOT_FOUND,   /* what was named does not exist */
    RESULT_DENIED,      /* the caller may not */
    RESULT_UNAVAILABLE, /* not now; may be tried again */
    RESULT_TIMEOUT,     /* a deadline passed */
    RESULT_LIMIT,       /* a bound of ours was reached */
    RESULT_UNSUPPORTED, /* understood, not done here */
    RESULT_SYSTEM,      /* the operating system or a library refused */
};

struct result {
    enum result_code code;
    char message[252]; /* UTF-8, NUL-terminated, one sentence without a final period; "" when ok */
};

static inline bool result_is_ok(const struct result *result)
{
    return result->code == RESULT_OK;
}

/* Success. */
struct result result_ok(void);

/* Failure with a formatted message; longer messages are cut at the end, on a UTF-8 boundary. */
struct result result_fail(enum result_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* RESULT_SYSTEM with "<strerror> (os error N)" alone. */
struct result result_of_errno(int error_number);

/* RESULT_SYSTEM with ": <strerror> (os error N)" appended to the formatted message. */
struct result result_system(int error_number, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same failure with "<context>: " put in front of its message. A success stays a success. */
struct result result_in(struct result inner, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* The analyzer does not see into these functions: it is told that a failure is never RESULT_OK. */
static inline struct result result_assume_failure(struct result result)
{
    if (result.code == RESULT_OK) {
        __builtin_unreachable();
    }
    return result;
}
#define result_fail(code, ...) result_assume_failure(result_fail(code, __VA_ARGS__))
#define result_system(error_number, ...) result_assume_failure(result_system(error_number, __VA_ARGS__))
#endif

/* "invalid", "not found", ... for logs. */
const char *result_code_name(enum result_code code);

/* Leaves the calling function with the failure, or goes on. */
#define RESULT_TRY(expression)                                                                                         \
    do {                                                                                                               \
        struct result result_try_ = (expression);                                                                      \
        if (result_try_.code != RESULT_OK) {                                                                           \
            return result_try_;                                                                                        \
        }                                                                                                              \
    } while (0)

#endif
