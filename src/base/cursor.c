#include "base/cursor.h"

#define VARINT_BYTES_MAXIMUM 10

uint64_t cursor_varint(struct cursor *cursor)
{
    if (!cursor->has_failed && cursor_left(cursor) > 0 && *cursor->at < 0x80) {
        return *cursor->at++; /* most are one byte */
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAXIMUM; i++) {
        uint8_t byte = cursor_u8(cursor);
        if (cursor->has_failed) {
            return 0;
        }
        /* The tenth byte carries the 64th bit only. */
        if (i == VARINT_BYTES_MAXIMUM - 1 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    cursor->has_failed = true;
    return 0;
}

static uint64_t little_endian(struct cursor *cursor, size_t width)
{
    struct bytes taken = cursor_take(cursor, width);
    uint64_t value = 0;
    for (size_t i = taken.length; i > 0; i--) {
        value = (value << 8) | taken.data[i - 1];
    }
    return value;
}

uint32_t cursor_u32_little(struct cursor *cursor)
{
    return (uint32_t)little_endian(cursor, 4);
}

uint64_t cursor_u64_little(struct cursor *cursor)
{
    return little_endian(cursor, 8);
}
