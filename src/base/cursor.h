/* The only way bytes from outside are read: a cursor that cannot leave its buffer.
 *
 * A read past the end returns zero (or an empty run), and the cursor remembers it: `has_failed` stays true and every
 * later read fails too, so a parser may read a whole structure and check once at the end. Big-endian unless named otherwise. */
#ifndef AMBAR_BASE_CURSOR_H
#define AMBAR_BASE_CURSOR_H

#include "base/bytes.h"

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool has_failed;
};

static inline struct cursor cursor_of(struct bytes bytes)
{
    /* An empty run may be NULL, to which C adds not even 0. */
    const uint8_t *end = bytes.length == 0 ? bytes.data : bytes.data + bytes.length;
    return (struct cursor){ bytes.data, end, false };
}

static inline size_t cursor_left(const struct cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

static inline bool cursor_is_at_end(const struct cursor *cursor)
{
    return cursor->at == cursor->end;
}

/* The next `length` bytes, borrowed from the buffer; an empty run when there are fewer. */
static inline struct bytes cursor_take(struct cursor *cursor, size_t length)
{
    if (cursor->has_failed || cursor_left(cursor) < length) {
        cursor->has_failed = true;
        return (struct bytes){ 0, 0 };
    }
    struct bytes taken = { cursor->at, length };
    cursor->at += length;
    return taken;
}

static inline void cursor_skip(struct cursor *cursor, size_t length)
{
    (void)cursor_take(cursor, length);
}

static inline uint64_t cursor_big_endian(struct cursor *cursor, size_t width)
{
    struct bytes taken = cursor_take(cursor, width);
    uint64_t value = 0;
    for (size_t i = 0; i < taken.length; i++) {
        value = (value << 8) | taken.data[i];
    }
    return value;
}

static inline uint8_t cursor_u8(struct cursor *cursor)
{
    return (uint8_t)cursor_big_endian(cursor, 1);
}
static inline uint16_t cursor_u16(struct cursor *cursor)
{
    return (uint16_t)cursor_big_endian(cursor, 2);
}
static inline uint32_t cursor_u24(struct cursor *cursor)
{
    return (uint32_t)cursor_big_endian(cursor, 3);
}
static inline uint32_t cursor_u32(struct cursor *cursor)
{
    return (uint32_t)cursor_big_endian(cursor, 4);
}
static inline uint64_t cursor_u64(struct cursor *cursor)
{
    return cursor_big_endian(cursor, 8);
}

/* Protobuf base-128 varint; more than 10 bytes, or bits beyond the 64th, fail. */
uint64_t cursor_varint(struct cursor *cursor);

/* Protobuf fixed widths are little-endian. */
uint32_t cursor_u32_little(struct cursor *cursor);
uint64_t cursor_u64_little(struct cursor *cursor);

#endif
