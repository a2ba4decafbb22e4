/* The executable parts of this process's files, with their functions' names: what turns addresses of a profile into something to
 * read. Read once per profile from /proc/self/maps and the symbol tables of the files. */
#ifndef AMBAR_ZTUNNEL_MEMORY_MAP_H
#define AMBAR_ZTUNNEL_MEMORY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbol {
    uint64_t start, size; /* as the file numbers addresses */
    const char *name;     /* in the file's memory */
};

struct mapping {
    uint64_t start, limit, file_offset;
    char *path;
    char build_id[41]; /* hexadecimal; "" when the file has none */
    /* of the file */
    const uint8_t *file;
    size_t file_length;
    uint64_t bias; /* address in memory = address in the file + bias */
    struct symbol *symbols;
    size_t symbol_count;
};

#define MAPPINGS_MAXIMUM 64

struct memory_map {
    struct mapping mappings[MAPPINGS_MAXIMUM];
    size_t count;
};

void memory_map_read(struct memory_map *map);
void memory_map_free(struct memory_map *map);
/* NULL: in no file. */
const struct mapping *memory_map_find(const struct memory_map *map, uint64_t address);
/* The function around an address; NULL when the file does not say. */
const struct symbol *mapping_find_symbol(const struct mapping *mapping, uint64_t address);

#endif
