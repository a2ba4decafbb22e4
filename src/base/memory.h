/* Memory from the heap.
 *
 * The policy for the whole project, stated once: an allocation that fails ends the process with a message. Sizes that
 * come from outside are bounded by their parser before they reach these functions. Every function is thread-safe. */
#ifndef AMBAR_BASE_MEMORY_H
#define AMBAR_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* `size` bytes, contents undefined. A size of 0 gives a unique pointer that may be freed. */
void *memory_allocate(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* `count` * `size` zeroed bytes; an overflow of the product ends the process. */
void *memory_allocate_zeroed(size_t count, size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* Zeroed and on cache lines of its own, for what one thread writes all the time while another writes its neighbour: two such objects
 * on one line would take it from each other at every write. */
#define MEMORY_LINE_BYTES 64
void *memory_allocate_lines(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* realloc for `count` elements of `size` bytes, with the same policy. */
void *memory_resize(void *memory, size_t count, size_t size) __attribute__((returns_nonnull, warn_unused_result));

void memory_free(void *memory);

/* A NUL-terminated copy, owned by the caller. */
char *string_duplicate(const char *text) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *string_duplicate_n(const char *text, size_t length) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* printf into a string owned by the caller. */
char *string_format(const char *format, ...) __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

/* Overwrites secrets in a way the compiler does not remove. */
void memory_wipe(void *memory, size_t size);

/* Equality in time that depends on `size` only; for secrets. */
_Bool memory_equal_constant_time(const void *left, const void *right, size_t size);

/* One zeroed object of a type. */
#define NEW(type) ((type *)memory_allocate_zeroed(1, sizeof(type)))

#define NEW_LINES(type) ((type *)memory_allocate_lines(sizeof(type)))

/* `char *AUTO_FREE name` is freed when it leaves scope. */
static inline void memory_free_at(void *pointer_to_pointer)
{
    void *memory;
    memcpy(&memory, pointer_to_pointer, sizeof memory);
    memory_free(memory);
}
#define AUTO_FREE __attribute__((cleanup(memory_free_at)))

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* The object that contains `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((uintptr_t)(pointer)-offsetof(type, member)))

#endif
