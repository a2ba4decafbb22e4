#include "base/result.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct result result_ok(void)
{
    return (struct result){ .code = RESULT_OK };
}

/* The longest prefix of `text` that fits the message and does not end inside a UTF-8 sequence. */
static size_t cut_length(const char *text, size_t length, size_t room)
{
    if (length <= room) {
        return length;
    }
    while (room > 0 && ((unsigned char)text[room] & 0xC0) == 0x80) {
        room--;
    }
    return room;
}

static void append(struct result *result, const char *text)
{
    size_t used = strlen(result->message);
    size_t length = cut_length(text, strlen(text), sizeof result->message - 1 - used);
    memcpy(result->message + used, text, length);
    result->message[used + length] = '\0';
}

/* Formatted on the stack: longer than any message, so that what is lost is lost at a place cut_length chooses. */
static void append_formatted(struct result *result, const char *format, va_list arguments)
{
    char text[2 * sizeof result->message];
    if (vsnprintf(text, sizeof text, format, arguments) < 0) {
        return;
    }
    append(result, text);
}

struct result(result_fail)(enum result_code code, const char *format, ...)
{
    struct result result = { .code = code };
    va_list arguments;
    va_start(arguments, format);
    append_formatted(&result, format, arguments);
    va_end(arguments);
    return result;
}

struct result result_of_errno(int error_number)
{
    char reason[128];
    return result_fail(
        RESULT_SYSTEM, "%s (os error %d)", strerror_r(error_number, reason, sizeof reason), error_number);
}

struct result(result_system)(int error_number, const char *format, ...)
{
    struct result result = { .code = RESULT_SYSTEM };
    va_list arguments;
    va_start(arguments, format);
    append_formatted(&result, format, arguments);
    va_end(arguments);
    char reason[128];
    char suffix[192];
    /* The GNU strerror_r: it may return a constant instead of filling the buffer. */
    snprintf(
        suffix, sizeof suffix, ": %s (os error %d)", strerror_r(error_number, reason, sizeof reason), error_number);
    append(&result, suffix);
    return result;
}

struct result result_in(struct result inner, const char *format, ...)
{
    if (inner.code == RESULT_OK) {
        return inner;
    }
    struct result result = { .code = inner.code };
    va_list arguments;
    va_start(arguments, format);
    append_formatted(&result, format, arguments);
    va_end(arguments);
    append(&result, ": ");
    append(&result, inner.message);
    return result;
}

const char *result_code_name(enum result_code code)
{
    switch (code) {
    case RESULT_OK:
        return "ok";
    case RESULT_INVALID:
        return "invalid";
    case RESULT_NOT_FOUND:
        return "not found";
    case RESULT_DENIED:
        return "denied";
    case RESULT_UNAVAILABLE:
        return "unavailable";
    case RESULT_TIMEOUT:
        return "timeout";
    case RESULT_LIMIT:
        return "limit";
    case RESULT_UNSUPPORTED:
        return "unsupported";
    case RESULT_SYSTEM:
        return "system";
    }
    return "unknown";
}
