#include "ztunnel/memory_map.h"

#include "base/memory.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A piece of a file that lies whole within it; NULL otherwise. The files are this process's own, yet may be damaged. */
static const void *piece_of(const struct mapping *mapping, uint64_t offset, uint64_t length)
{
    bool is_inside = offset <= mapping->file_length && length <= mapping->file_length - offset;
    return is_inside && offset % 4 == 0 ? mapping->file + offset : NULL;
}

static void map_file(struct mapping *mapping)
{
    int descriptor = open(mapping->path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor < 0) {
        return;
    }
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (memory != MAP_FAILED) {
            mapping->file = memory;
            mapping->file_length = (size_t)status.st_size;
        }
    }
    close(descriptor);
}

static const Elf64_Ehdr *header_of(const struct mapping *mapping)
{
    const Elf64_Ehdr *header = piece_of(mapping, 0, sizeof *header);
    bool is_elf = header != NULL && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
                  header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_phentsize == sizeof(Elf64_Phdr) &&
                  header->e_shentsize == sizeof(Elf64_Shdr);
    return is_elf ? header : NULL;
}

static void read_build_id(struct mapping *mapping, const Elf64_Phdr *segment)
{
    uint64_t at = segment->p_offset;
    uint64_t end = segment->p_offset + segment->p_filesz;
    const Elf64_Nhdr *note;
    while (at < end && (note = piece_of(mapping, at, sizeof *note)) != NULL) {
        uint64_t description = at + sizeof *note + ((note->n_namesz + 3ULL) & ~3ULL);
        const uint8_t *bytes = piece_of(mapping, description, note->n_descsz);
        if (bytes == NULL) {
            return;
        }
        if (note->n_type == NT_GNU_BUILD_ID && note->n_descsz <= 20) {
            for (uint32_t i = 0; i < note->n_descsz; i++) {
                snprintf(mapping->build_id + (size_t)i * 2, 3, "%02x", bytes[i]);
            }
            return;
        }
        at = description + ((note->n_descsz + 3ULL) & ~3ULL);
    }
}

static void read_segments(struct mapping *mapping, const Elf64_Ehdr *header)
{
    const Elf64_Phdr *segments = piece_of(mapping, header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr));
    for (unsigned i = 0; segments != NULL && i < header->e_phnum; i++) {
        const Elf64_Phdr *segment = &segments[i];
        if (segment->p_type == PT_NOTE && mapping->build_id[0] == '\0') {
            read_build_id(mapping, segment);
        }
        bool has_mapping = segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0 &&
                           mapping->file_offset >= (segment->p_offset & ~4095ULL) &&
                           mapping->file_offset < segment->p_offset + segment->p_filesz;
        if (has_mapping) {
            mapping->bias = mapping->start - mapping->file_offset - (segment->p_vaddr - segment->p_offset);
        }
    }
}

static int compare_symbols(const void *left, const void *right)
{
    const struct symbol *left_symbol = left;
    const struct symbol *right_symbol = right;
    return left_symbol->start < right_symbol->start ? -1 : left_symbol->start > right_symbol->start;
}

static void add_symbols(struct mapping *mapping, const Elf64_Shdr *table, const Elf64_Shdr *texts)
{
    size_t count = table->sh_size / sizeof(Elf64_Sym);
    const Elf64_Sym *symbols = piece_of(mapping, table->sh_offset, table->sh_size);
    bool has_texts = texts->sh_size > 0 && texts->sh_offset < mapping->file_length &&
                     texts->sh_size <= mapping->file_length - texts->sh_offset &&
                     mapping->file[texts->sh_offset + texts->sh_size - 1] == '\0';
    if (symbols == NULL || !has_texts) {
        return;
    }
    mapping->symbols = memory_allocate_zeroed(count + 1, sizeof *mapping->symbols);
    for (size_t i = 0; i < count; i++) {
        unsigned type = ELF64_ST_TYPE(symbols[i].st_info);
        bool is_function = (type == STT_FUNC || type == STT_GNU_IFUNC) && symbols[i].st_shndx != SHN_UNDEF;
        if (is_function && symbols[i].st_name < texts->sh_size) {
            mapping->symbols[mapping->symbol_count++] = (struct symbol){ symbols[i].st_value, symbols[i].st_size,
                (const char *)mapping->file + texts->sh_offset + symbols[i].st_name };
        }
    }
    if (mapping->symbol_count > 1) {
        qsort(mapping->symbols, mapping->symbol_count, sizeof *mapping->symbols, compare_symbols);
    }
}

/* The full table where the file has one, else that of the dynamic linker. */
static void read_symbols(struct mapping *mapping, const Elf64_Ehdr *header)
{
    const Elf64_Shdr *sections = piece_of(mapping, header->e_shoff, (uint64_t)header->e_shnum * sizeof(Elf64_Shdr));
    const Elf64_Shdr *best = NULL;
    for (unsigned i = 0; sections != NULL && i < header->e_shnum; i++) {
        bool is_dynamic = sections[i].sh_type == SHT_DYNSYM && best == NULL;
        if ((sections[i].sh_type == SHT_SYMTAB || is_dynamic) && sections[i].sh_link < header->e_shnum) {
            best = &sections[i];
        }
    }
    if (best != NULL) {
        add_symbols(mapping, best, &sections[best->sh_link]);
    }
}

static void read_file(struct mapping *mapping)
{
    map_file(mapping);
    const Elf64_Ehdr *header = mapping->file != NULL ? header_of(mapping) : NULL;
    if (header != NULL) {
        read_segments(mapping, header);
        read_symbols(mapping, header);
    }
}

/* One line of proc(5): start-limit rwxp offset device inode path. */
static void read_line(struct memory_map *map, const char *line)
{
    unsigned long long start;
    unsigned long long limit;
    unsigned long long offset;
    char rights[8];
    int path = 0;
    bool is_read = sscanf(line, "%llx-%llx %7s %llx %*s %*s %n", &start, &limit, rights, &offset, &path) == 4;
    if (!is_read || path == 0 || rights[2] != 'x' || line[path] != '/' || map->count == MAPPINGS_MAXIMUM) {
        return;
    }
    struct mapping *mapping = &map->mappings[map->count++];
    *mapping = (struct mapping){ .start = start, .limit = limit, .file_offset = offset };
    mapping->path = string_duplicate_n(line + path, strcspn(line + path, "\n"));
    read_file(mapping);
}

void memory_map_read(struct memory_map *map)
{
    char line[4096 + 128];
    map->count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        read_line(map, line);
    }
    if (file != NULL) {
        fclose(file);
    }
}

void memory_map_free(struct memory_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        struct mapping *mapping = &map->mappings[i];
        if (mapping->file != NULL) {
            void *memory;
            memcpy(&memory, &mapping->file, sizeof memory);
            munmap(memory, mapping->file_length);
        }
        memory_free(mapping->symbols);
        memory_free(mapping->path);
    }
    map->count = 0;
}

const struct mapping *memory_map_find(const struct memory_map *map, uint64_t address)
{
    for (size_t i = 0; i < map->count; i++) {
        if (address >= map->mappings[i].start && address < map->mappings[i].limit) {
            return &map->mappings[i];
        }
    }
    return NULL;
}

const struct symbol *mapping_find_symbol(const struct mapping *mapping, uint64_t address)
{
    uint64_t wanted = address - mapping->bias;
    size_t low = 0;
    size_t high = mapping->symbol_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (mapping->symbols[middle].start <= wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return NULL;
    }
    const struct symbol *symbol = &mapping->symbols[low - 1];
    bool is_inside = symbol->size == 0 || wanted - symbol->start < symbol->size;
    return is_inside ? symbol : NULL;
}
