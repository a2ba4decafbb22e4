/* A borrowed run of bytes: whoever made the memory keeps it. */
#ifndef AMBAR_BASE_BYTES_H
#define AMBAR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t length;
};

static inline struct bytes bytes_of(const void *data, size_t length)
{
    return (struct bytes){ (const uint8_t *)data, length };
}

static inline struct bytes bytes_of_string(const char *text)
{
    return bytes_of(text, strlen(text));
}

static inline bool bytes_equal(struct bytes left, struct bytes right)
{
    return left.length == right.length && (left.length == 0 || memcmp(left.data, right.data, left.length) == 0);
}

static inline bool bytes_equal_string(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_of_string(text));
}

#endif
