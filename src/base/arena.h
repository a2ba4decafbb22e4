/* Memory that is freed all at once: one request's parse, one conversion. For one thread. */
#ifndef AMBAR_BASE_ARENA_H
#define AMBAR_BASE_ARENA_H

#include "base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t used_in_block;
    size_t total_bytes; /* handed out so far */
};

/* A zeroed struct arena is empty and ready. */
void *arena_allocate(struct arena *arena, size_t size);           /* zeroed, aligned for any type */
char *arena_string(struct arena *arena, const char *text);        /* a copy */
char *arena_string_bytes(struct arena *arena, struct bytes text); /* a NUL-terminated copy */
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *arena); /* everything; the arena is ready again */

#define ARENA_NEW(arena, type) ((type *)arena_allocate((arena), sizeof(type)))

#endif
