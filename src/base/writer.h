/* The one writer: bytes appended to a buffer that grows, or to one that does not.
 *
 * A growing writer owns its memory (free with writer_free). A fixed writer borrows the caller's and, when full, drops
 * what does not fit and sets `has_overflowed`; nothing is ever written past the end. */
#ifndef AMBAR_BASE_WRITER_H
#define AMBAR_BASE_WRITER_H

#include "base/bytes.h"

#include <stdarg.h>

struct writer {
    uint8_t *data;
    size_t length;
    size_t capacity;
    bool is_fixed;
    bool has_overflowed;
};

struct writer writer_growing(void);
struct writer writer_fixed(void *memory, size_t capacity);

/* Frees the memory of a growing writer and makes it empty and usable again. */
void writer_free(struct writer *writer);

/* Keeps the memory, forgets the contents. */
void writer_clear(struct writer *writer);

static inline struct bytes writer_bytes(const struct writer *writer)
{
    return bytes_of(writer->data, writer->length);
}

/* The contents as a NUL-terminated string, borrowed until the next write. The NUL is not counted in `length`.
 * A full fixed writer loses its last byte to the NUL. */
const char *writer_string(struct writer *writer);

/* Hands the memory of a growing writer, NUL-terminated, to the caller; the writer is empty afterwards. */
char *writer_take_string(struct writer *writer);

/* Room for `length` bytes at the end; NULL when a fixed writer has not so much. Does not change `length`. */
uint8_t *writer_reserve(struct writer *writer, size_t length);

void writer_add(struct writer *writer, const void *data, size_t length);
void writer_add_bytes(struct writer *writer, struct bytes bytes);
void writer_add_string(struct writer *writer, const char *text);
void writer_add_u8(struct writer *writer, uint8_t value);
void writer_add_u16(struct writer *writer, uint16_t value); /* big-endian, as are the next four */
void writer_add_u24(struct writer *writer, uint32_t value);
void writer_add_u32(struct writer *writer, uint32_t value);
void writer_add_u64(struct writer *writer, uint64_t value);
void writer_add_varint(struct writer *writer, uint64_t value); /* protobuf base-128 */
void writer_print(struct writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void writer_print_list(struct writer *writer, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

/* `length` random-looking bytes as lower-case hexadecimal. */
void writer_add_hexadecimal(struct writer *writer, struct bytes bytes);

#endif
