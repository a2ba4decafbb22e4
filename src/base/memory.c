#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Formats nothing that could allocate: the heap has just said no. */
static _Noreturn void die_out_of_memory(void)
{
    static const char message[] = "out of memory\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    abort();
}

void *memory_allocate(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);
    if (memory == NULL) {
        die_out_of_memory();
    }
    return memory;
}

void *memory_allocate_zeroed(size_t count, size_t size)
{
    /* calloc checks the product. */
    void *memory = count == 0 || size == 0 ? calloc(1, 1) : calloc(count, size);
    if (memory == NULL) {
        die_out_of_memory();
    }
    return memory;
}

void *memory_allocate_lines(size_t size)
{
    size_t whole = (size / MEMORY_LINE_BYTES + 1) * MEMORY_LINE_BYTES;
    void *memory = aligned_alloc(MEMORY_LINE_BYTES, whole);
    if (memory == NULL) {
        die_out_of_memory();
    }
    return memset(memory, 0, whole);
}

void *memory_resize(void *memory, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        die_out_of_memory();
    }
    void *resized = realloc(memory, total == 0 ? 1 : total);
    if (resized == NULL) {
        die_out_of_memory();
    }
    return resized;
}

void memory_free(void *memory)
{
    free(memory);
}

char *string_duplicate(const char *text)
{
    return string_duplicate_n(text, strlen(text));
}

char *string_duplicate_n(const char *text, size_t length)
{
    char *copy = memory_allocate(length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *string_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0 || text == NULL) {
        die_out_of_memory();
    }
    return text;
}

void memory_wipe(void *memory, size_t size)
{
    explicit_bzero(memory, size);
}

_Bool memory_equal_constant_time(const void *left, const void *right, size_t size)
{
    /* volatile keeps the compiler from leaving the loop at the first difference. */
    const volatile unsigned char *left_bytes = left;
    const volatile unsigned char *right_bytes = right;
    unsigned char difference = 0;
    for (size_t i = 0; i < size; i++) {
        difference |= (unsigned char)(left_bytes[i] ^ right_bytes[i]);
    }
    return difference == 0;
}
