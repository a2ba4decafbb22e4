/* Allocated addresses, their blocks and their file. */
#include "ambard/auto_allocation.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAXIMUM (32u << 20)
/* Both blocks are counted to the end of the smaller one; its last address is left out as its first is. */
#define OFFSET_MAXIMUM 65534u

struct allocated {
    char *key;           /* "namespace/name host" */
    uint32_t offsets[2]; /* in the IPv4 and the IPv6 block; 0: none */
    bool is_used;        /* in this round */
};

struct block {
    uint8_t family;
    uint8_t base[16];
    struct allocated *owners[OFFSET_MAXIMUM + 1];
    uint32_t next;
};

struct auto_allocation {
    char *path; /* NULL: in memory only */
    bool is_read_only;
    bool has_changed;
    struct hash_map *by_key;
    struct block blocks[2];
};

/* ---- addresses ---- */

static struct ip_address address_at(const struct block *block, uint32_t offset)
{
    struct ip_address ip = { .family = block->family };
    memcpy(ip.bytes, block->base, sizeof ip.bytes);
    size_t end = block->family == IP_V4 ? 4 : 16;
    ip.bytes[end - 2] = (uint8_t)(offset >> 8);
    ip.bytes[end - 1] = (uint8_t)offset;
    return ip;
}

/* 0 when it is not in the block. */
static uint32_t offset_of(const struct block *block, const struct ip_address *ip)
{
    size_t end = block->family == IP_V4 ? 4 : 16;
    if (ip->family != block->family || memcmp(ip->bytes, block->base, end - 2) != 0) {
        return 0;
    }
    uint32_t offset = ((uint32_t)ip->bytes[end - 2] << 8) | ip->bytes[end - 1];
    return offset <= OFFSET_MAXIMUM ? offset : 0;
}

static uint32_t next_free(struct block *block)
{
    for (uint32_t tries = 0; tries < OFFSET_MAXIMUM; tries++) {
        uint32_t offset = block->next;
        block->next = offset == OFFSET_MAXIMUM ? 1 : offset + 1;
        if (block->owners[offset] == NULL) {
            return offset;
        }
    }
    return 0;
}

static void give(struct auto_allocation *allocation, struct allocated *owner, int family, uint32_t offset)
{
    struct block *block = &allocation->blocks[family];
    if (owner->offsets[family] != 0) {
        block->owners[owner->offsets[family]] = NULL;
    }
    owner->offsets[family] = offset;
    block->owners[offset] = owner;
    if (block->next <= offset) {
        block->next = offset == OFFSET_MAXIMUM ? 1 : offset + 1;
    }
    allocation->has_changed = true;
}

static struct allocated *find_or_add(struct auto_allocation *allocation, const char *entry, const char *host)
{
    char *AUTO_FREE key = string_format("%s %s", entry, host);
    struct allocated *allocated = hash_map_get(allocation->by_key, bytes_of_string(key));
    if (allocated == NULL) {
        allocated = NEW(struct allocated);
        allocated->key = string_duplicate(key);
        hash_map_put(allocation->by_key, bytes_of_string(key), allocated);
    }
    return allocated;
}

/* ---- the file: a line `namespace/name host IPv4 IPv6` each, `-` for none ---- */

static bool parse_address(const struct block *block, struct bytes text, uint32_t *offset)
{
    struct ip_address ip;
    *offset = 0;
    if (bytes_equal_string(text, "-")) {
        return true;
    }
    return ip_parse_bytes(text, &ip) && (*offset = offset_of(block, &ip)) != 0;
}

static struct result parse_line(struct auto_allocation *allocation, struct bytes line, size_t number)
{
    struct bytes parts[4];
    struct bytes rest = line;
    size_t count = 0;
    uint32_t offsets[2];
    while (count < 4 && bytes_split(&rest, ' ', &parts[count])) {
        count++;
    }
    bool is_valid = count == 4 && rest.data == NULL && parse_address(&allocation->blocks[0], parts[2], &offsets[0]) &&
                    parse_address(&allocation->blocks[1], parts[3], &offsets[1]);
    if (!is_valid) {
        return result_fail(RESULT_INVALID, "%s:%zu: not `namespace/name host IPv4 IPv6`", allocation->path, number);
    }
    char *AUTO_FREE entry = string_duplicate_n((const char *)parts[0].data, parts[0].length);
    char *AUTO_FREE host = string_duplicate_n((const char *)parts[1].data, parts[1].length);
    struct allocated *allocated = find_or_add(allocation, entry, host);
    for (int family = 0; family < 2; family++) {
        if (offsets[family] != 0 && allocation->blocks[family].owners[offsets[family]] == NULL) {
            give(allocation, allocated, family, offsets[family]);
        }
    }
    return result_ok();
}

static struct result parse_file(struct auto_allocation *allocation, struct bytes text)
{
    struct bytes rest = text;
    struct bytes line;
    for (size_t number = 1; bytes_split(&rest, '\n', &line); number++) {
        if (line.length > 0) {
            RESULT_TRY(parse_line(allocation, line, number));
        }
    }
    allocation->has_changed = false;
    return result_ok();
}

static struct result load(struct auto_allocation *allocation)
{
    int descriptor = open(allocation->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return errno == ENOENT ? result_ok() : result_system(errno, "%s could not be opened", allocation->path);
    }
    struct writer text = writer_growing();
    struct result result = result_ok();
    for (;;) {
        uint8_t *at = writer_reserve(&text, 65536);
        ssize_t got = read(descriptor, at, 65536);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            result = got == 0 ? result_ok() : result_system(errno, "%s could not be read", allocation->path);
            break;
        }
        text.length += (size_t)got;
        if (text.length > FILE_BYTES_MAXIMUM) {
            result = result_fail(RESULT_LIMIT, "%s is larger than %u bytes", allocation->path, FILE_BYTES_MAXIMUM);
            break;
        }
    }
    close(descriptor);
    if (result_is_ok(&result)) {
        result = parse_file(allocation, writer_bytes(&text));
    }
    writer_free(&text);
    return result;
}

static int compare_allocated(const void *left, const void *right)
{
    return strcmp((*(const struct allocated *const *)left)->key, (*(const struct allocated *const *)right)->key);
}

static void print_allocated(
    const struct auto_allocation *allocation, const struct allocated *allocated, struct writer *text)
{
    writer_add_string(text, allocated->key);
    for (int family = 0; family < 2; family++) {
        char address[IP_TEXT_SIZE] = "-";
        if (allocated->offsets[family] != 0) {
            struct ip_address ip = address_at(&allocation->blocks[family], allocated->offsets[family]);
            ip_format(&ip, address);
        }
        writer_print(text, " %s", address);
    }
    writer_add_string(text, "\n");
}

static void print_all(const struct auto_allocation *allocation, struct writer *text)
{
    size_t count = 0;
    size_t position = 0;
    struct bytes key;
    void *value;
    struct allocated **sorted = memory_allocate((hash_map_count(allocation->by_key) + 1) * sizeof *sorted);
    while (hash_map_next(allocation->by_key, &position, &key, &value)) {
        sorted[count++] = value;
    }
    qsort(sorted, count, sizeof(struct allocated *), compare_allocated);
    for (size_t i = 0; i < count; i++) {
        print_allocated(allocation, sorted[i], text);
    }
    memory_free(sorted);
}

static struct result write_all(int descriptor, struct bytes text, const char *path)
{
    while (text.length > 0) {
        ssize_t written = write(descriptor, text.data, text.length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return result_system(errno, "%s could not be written", path);
        }
        text.data += written;
        text.length -= (size_t)written;
    }
    return fsync(descriptor) == 0 ? result_ok() : result_system(errno, "%s could not be written", path);
}

/* The new file replaces the old one at once or not at all. */
static struct result save(const struct auto_allocation *allocation)
{
    char *AUTO_FREE temporary = string_format("%s.new", allocation->path);
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) {
        return result_system(errno, "%s could not be made", temporary);
    }
    struct writer text = writer_growing();
    print_all(allocation, &text);
    struct result result = write_all(descriptor, writer_bytes(&text), temporary);
    writer_free(&text);
    close(descriptor);
    RESULT_TRY(result);
    if (rename(temporary, allocation->path) != 0) {
        return result_system(errno, "%s could not be replaced", allocation->path);
    }
    return result_ok();
}

/* ---- public ---- */

static void block_initialise(struct block *block, uint8_t family, const uint8_t prefix[static 4])
{
    block->family = family;
    block->next = 1;
    memcpy(block->base, prefix, 4);
}

struct result auto_allocation_open(const char *state_directory, bool is_read_only, struct auto_allocation **allocation)
{
    struct auto_allocation *opened = NEW(struct auto_allocation);
    opened->by_key = hash_map_new();
    opened->is_read_only = is_read_only;
    block_initialise(&opened->blocks[0], IP_V4, (const uint8_t[4]){ 240, 240 });
    block_initialise(&opened->blocks[1], IP_V6, (const uint8_t[4]){ 0x20, 0x01, 0x00, 0x02 });
    if (state_directory != NULL) {
        opened->path = string_format("%s/" AUTO_ALLOCATION_FILE, state_directory);
        struct result result = load(opened);
        if (!result_is_ok(&result)) {
            auto_allocation_free(opened);
            return result;
        }
    }
    *allocation = opened;
    return result_ok();
}

static void allocated_free(void *value)
{
    struct allocated *allocated = value;
    memory_free(allocated->key);
    memory_free(allocated);
}

void auto_allocation_free(struct auto_allocation *allocation)
{
    if (allocation == NULL) {
        return;
    }
    hash_map_free(allocation->by_key, allocated_free);
    memory_free(allocation->path);
    memory_free(allocation);
}

void auto_allocation_begin(struct auto_allocation *allocation)
{
    size_t position = 0;
    struct bytes key;
    void *value;
    while (hash_map_next(allocation->by_key, &position, &key, &value)) {
        ((struct allocated *)value)->is_used = false;
    }
}

void auto_allocation_seed(
    struct auto_allocation *allocation, const char *entry, const char *host, const struct ip_address *ip)
{
    for (int family = 0; family < 2; family++) {
        uint32_t offset = offset_of(&allocation->blocks[family], ip);
        if (offset == 0 || allocation->blocks[family].owners[offset] != NULL) {
            continue;
        }
        give(allocation, find_or_add(allocation, entry, host), family, offset);
    }
}

void auto_allocation_assign(struct auto_allocation *allocation, const char *entry, const char *host,
    struct ip_address *ipv4, struct ip_address *ipv6)
{
    struct allocated *allocated = find_or_add(allocation, entry, host);
    struct ip_address *addresses[2] = { ipv4, ipv6 };
    allocated->is_used = true;
    for (int family = 0; family < 2; family++) {
        if (allocated->offsets[family] == 0) {
            uint32_t offset = next_free(&allocation->blocks[family]);
            if (offset == 0) {
                *addresses[family] = (struct ip_address){ 0 };
                continue;
            }
            give(allocation, allocated, family, offset);
        }
        *addresses[family] = address_at(&allocation->blocks[family], allocated->offsets[family]);
    }
}

struct result auto_allocation_end(struct auto_allocation *allocation)
{
    size_t position = 0;
    struct bytes key;
    void *value;
    while (hash_map_next(allocation->by_key, &position, &key, &value)) {
        struct allocated *allocated = value;
        if (allocated->is_used) {
            continue;
        }
        for (int family = 0; family < 2; family++) {
            allocation->blocks[family].owners[allocated->offsets[family]] = NULL; /* [0] is nobody's anyway */
        }
        hash_map_remove(allocation->by_key, key);
        allocated_free(allocated);
        allocation->has_changed = true;
    }
    if (!allocation->has_changed || allocation->path == NULL || allocation->is_read_only) {
        return result_ok();
    }
    struct result result = save(allocation);
    allocation->has_changed = !result_is_ok(&result); /* try again with the next round */
    return result;
}
