#include "base/writer.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define WRITER_FIRST_CAPACITY 128

struct writer writer_growing(void)
{
    return (struct writer){ 0 };
}

struct writer writer_fixed(void *memory, size_t capacity)
{
    return (struct writer){ .data = memory, .capacity = capacity, .is_fixed = true };
}

void writer_free(struct writer *writer)
{
    if (!writer->is_fixed) {
        memory_free(writer->data);
        *writer = writer_growing();
    }
}

void writer_clear(struct writer *writer)
{
    writer->length = 0;
    writer->has_overflowed = false;
}

static void grow(struct writer *writer, size_t needed)
{
    size_t capacity = writer->capacity == 0 ? WRITER_FIRST_CAPACITY : writer->capacity;
    while (capacity < needed) {
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    }
    writer->data = memory_resize(writer->data, capacity, 1);
    writer->capacity = capacity;
}

uint8_t *writer_reserve(struct writer *writer, size_t length)
{
    if (writer->data != NULL && length <= writer->capacity - writer->length) {
        return writer->data + writer->length;
    }
    if (writer->is_fixed) {
        return NULL;
    }
    size_t needed;
    if (__builtin_add_overflow(writer->length, length, &needed)) {
        abort();
    }
    grow(writer, needed);
    return writer->data + writer->length;
}

const char *writer_string(struct writer *writer)
{
    if (writer_reserve(writer, 1) == NULL) {
        if (writer->data == NULL || writer->capacity == 0) {
            return "";
        }
        writer->length = writer->capacity - 1;
        writer->has_overflowed = true;
    }
    writer->data[writer->length] = '\0';
    return (const char *)writer->data;
}

char *writer_take_string(struct writer *writer)
{
    (void)writer_string(writer);
    char *text = (char *)writer->data;
    *writer = writer_growing();
    return text;
}

void writer_add(struct writer *writer, const void *data, size_t length)
{
    if (length == 0) {
        return;
    }
    uint8_t *room = writer_reserve(writer, length);
    if (room == NULL) {
        /* What fits is kept: a cut line is still worth reading. */
        writer->has_overflowed = true;
        length = writer->capacity - writer->length;
        if (writer->data == NULL || length == 0) {
            return;
        }
        room = writer->data + writer->length;
    }
    memcpy(room, data, length);
    writer->length += length;
}

void writer_add_bytes(struct writer *writer, struct bytes bytes)
{
    writer_add(writer, bytes.data, bytes.length);
}

void writer_add_string(struct writer *writer, const char *text)
{
    writer_add(writer, text, strlen(text));
}

static void add_big_endian(struct writer *writer, uint64_t value, size_t width)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (width - 1 - i)));
    }
    writer_add(writer, bytes, width);
}

void writer_add_u8(struct writer *writer, uint8_t value)
{
    writer_add(writer, &value, 1);
}

void writer_add_u16(struct writer *writer, uint16_t value)
{
    add_big_endian(writer, value, 2);
}

void writer_add_u24(struct writer *writer, uint32_t value)
{
    add_big_endian(writer, value, 3);
}

void writer_add_u32(struct writer *writer, uint32_t value)
{
    add_big_endian(writer, value, 4);
}

void writer_add_u64(struct writer *writer, uint64_t value)
{
    add_big_endian(writer, value, 8);
}

void writer_add_varint(struct writer *writer, uint64_t value)
{
    uint8_t bytes[10];
    size_t length = 0;
    while (value >= 0x80) {
        bytes[length++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[length++] = (uint8_t)value;
    writer_add(writer, bytes, length);
}

void writer_print(struct writer *writer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    writer_print_list(writer, format, arguments);
    va_end(arguments);
}

void writer_print_list(struct writer *writer, const char *format, va_list arguments)
{
    char short_text[256];
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(short_text, sizeof short_text, format, arguments);
    if (length >= 0 && (size_t)length < sizeof short_text) {
        writer_add(writer, short_text, (size_t)length);
    } else if (length >= 0) {
        char *long_text = memory_allocate((size_t)length + 1);
        vsnprintf(long_text, (size_t)length + 1, format, again);
        writer_add(writer, long_text, (size_t)length);
        memory_free(long_text);
    }
    va_end(again);
}

void writer_add_hexadecimal(struct writer *writer, struct bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.length; i++) {
        char pair[2] = { digits[bytes.data[i] >> 4], digits[bytes.data[i] & 0x0F] };
        writer_add(writer, pair, sizeof pair);
    }
}
