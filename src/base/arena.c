#include "base/arena.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BLOCK_BYTES 4096
/* The first block is small: an arena often holds one small object, and there may be very many of those. */
#define ARENA_FIRST_BLOCK_BYTES 1024
#define ARENA_ALIGNMENT _Alignof(max_align_t)

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    _Alignas(max_align_t) unsigned char data[];
};

static void add_block(struct arena *arena, size_t capacity)
{
    struct arena_block *block = memory_allocate(sizeof *block + capacity);
    block->capacity = capacity;
    block->next = arena->blocks;
    arena->blocks = block;
    arena->used_in_block = 0;
}

/* A large object gets a block of its own, put behind the current one so that this is not given up half empty. */
static void *allocate_alone(struct arena *arena, size_t size)
{
    struct arena_block *current = arena->blocks;
    size_t used = arena->used_in_block;
    add_block(arena, size);
    struct arena_block *alone = arena->blocks;
    if (current == NULL) {
        arena->used_in_block = size;
        return alone->data;
    }
    alone->next = current->next;
    current->next = alone;
    arena->blocks = current;
    arena->used_in_block = used;
    return alone->data;
}

void *arena_allocate(struct arena *arena, size_t size)
{
    size_t rounded;
    if (__builtin_add_overflow(size == 0 ? 1 : size, ARENA_ALIGNMENT - 1, &rounded) || rounded > SIZE_MAX / 2) {
        abort();
    }
    rounded -= rounded % ARENA_ALIGNMENT;
    arena->total_bytes += rounded;
    if (rounded > ARENA_FIRST_BLOCK_BYTES) {
        return memset(allocate_alone(arena, rounded), 0, rounded);
    }
    if (arena->blocks == NULL || arena->blocks->capacity - arena->used_in_block < rounded) {
        add_block(arena, arena->blocks == NULL ? ARENA_FIRST_BLOCK_BYTES : ARENA_BLOCK_BYTES);
    }
    void *memory = arena->blocks->data + arena->used_in_block;
    arena->used_in_block += rounded;
    return memset(memory, 0, rounded); /* not the block as a whole: most arenas use little of it */
}

char *arena_string(struct arena *arena, const char *text)
{
    return arena_string_bytes(arena, bytes_of_string(text));
}

char *arena_string_bytes(struct arena *arena, struct bytes text)
{
    char *copy = arena_allocate(arena, text.length + 1);
    if (text.length > 0) {
        memcpy(copy, text.data, text.length);
    }
    return copy;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *AUTO_FREE text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        abort();
    }
    va_end(arguments);
    return arena_string(arena, text);
}

void arena_free(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        memory_free(block);
        block = next;
    }
    *arena = (struct arena){ 0 };
}
