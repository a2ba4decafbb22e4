#include "xds/version_table.h"

#include "base/hash_map.h"
#include "base/memory.h"

#include <assert.h>
#include <stdio.h>

/* Entries lie one behind the other in blocks: flags, length of the name's end (2), kind of version, number of the name's beginning
 * (2), fingerprint (8, with its flag), the name's end, version. A handle is the block's number and the offset in it. Beginnings, up to
 * the last slash, are shared: "Kubernetes//Pod/namespace/" is a third of every name. */
#define BLOCK_BYTES 65536u
#define ENTRY_HEADER_BYTES 6u
#define ENTRY_IS_MARKED 1u
#define ENTRY_IS_DEAD 2u
#define ENTRY_HAS_FINGERPRINT 4u
#define FINGERPRINT_BYTES 8u
#define KIND_HEXADECIMAL 255u
#define ENTRY_NONE 0u
#define ENTRY_REMOVED UINT32_MAX
#define SLOTS_LEAST 64u
#define SLOTS_SMALL 65536u
#define PREFIXES_MAXIMUM 65535u

struct block {
    uint32_t used;
    uint8_t bytes[BLOCK_BYTES];
};

/* The lower half of the name's hash stands beside the handle: a look-up reads only the entry that is meant, and growth none. */
struct slot {
    uint32_t entry; /* handle + 1 */
    uint32_t tag;
};

struct version_table {
    struct block **blocks;
    size_t block_count;
    struct slot *slots;
    size_t slot_count;
    size_t slots_used; /* tombstones included */
    size_t count;
    size_t dead_bytes;
    size_t live_bytes;
    struct bytes *prefixes; /* by number - 1; 0 is none */
    size_t prefix_count;
    size_t prefix_bytes;
    struct hash_map *prefix_numbers; /* the number in place of a value */
};

struct version_table *version_table_new(void)
{
    struct version_table *table = NEW(struct version_table);
    table->slot_count = SLOTS_LEAST;
    table->slots = memory_allocate_zeroed(table->slot_count, sizeof *table->slots);
    table->prefix_numbers = hash_map_new();
    return table;
}

static void free_contents(struct version_table *table)
{
    for (size_t i = 0; i < table->block_count; i++) {
        memory_free(table->blocks[i]);
    }
    memory_free(table->blocks);
    memory_free(table->slots);
    for (size_t i = 0; i < table->prefix_count; i++) {
        memory_free((void *)(uintptr_t)table->prefixes[i].data);
    }
    memory_free(table->prefixes);
    hash_map_free(table->prefix_numbers, NULL);
}

void version_table_free(struct version_table *table)
{
    if (table != NULL) {
        free_contents(table);
        memory_free(table);
    }
}

size_t version_table_count(const struct version_table *table)
{
    return table->count;
}

bool version_table_is_full(const struct version_table *table)
{
    return table->live_bytes + table->dead_bytes + table->prefix_bytes >= VERSION_TABLE_MAXIMUM_BYTES;
}

static uint8_t *entry_at(const struct version_table *table, uint32_t handle)
{
    return table->blocks[handle / BLOCK_BYTES]->bytes + handle % BLOCK_BYTES;
}

static size_t suffix_bytes(const uint8_t *entry)
{
    return (size_t)entry[1] << 8 | entry[2];
}

static struct bytes prefix_of(const struct version_table *table, const uint8_t *entry)
{
    size_t number = (size_t)entry[4] << 8 | entry[5];
    return number == 0 ? bytes_of(NULL, 0) : table->prefixes[number - 1];
}

static size_t fingerprint_bytes(const uint8_t *entry)
{
    return (entry[0] & ENTRY_HAS_FINGERPRINT) != 0 ? FINGERPRINT_BYTES : 0;
}

/* 0: none. */
static uint64_t fingerprint_of(const uint8_t *entry)
{
    uint64_t fingerprint = 0;
    memcpy(&fingerprint, entry + ENTRY_HEADER_BYTES, fingerprint_bytes(entry));
    return fingerprint;
}

static struct bytes suffix_of(const uint8_t *entry)
{
    return bytes_of(entry + ENTRY_HEADER_BYTES + fingerprint_bytes(entry), suffix_bytes(entry));
}

static bool has_name(const struct version_table *table, const uint8_t *entry, struct bytes name)
{
    struct bytes prefix = prefix_of(table, entry), suffix = suffix_of(entry);
    return name.length == prefix.length + suffix.length &&
           memcmp(name.data + prefix.length, suffix.data, suffix.length) == 0 &&
           (prefix.length == 0 || memcmp(name.data, prefix.data, prefix.length) == 0);
}

/* The whole name, put together in `memory`. */
static struct bytes name_of(
    const struct version_table *table, const uint8_t *entry, uint8_t memory[static RESOURCE_NAME_MAXIMUM_BYTES])
{
    struct bytes prefix = prefix_of(table, entry), suffix = suffix_of(entry);
    if (prefix.length > 0) {
        memcpy(memory, prefix.data, prefix.length);
    }
    memcpy(memory + prefix.length, suffix.data, suffix.length);
    return bytes_of(memory, prefix.length + suffix.length);
}

/* Where the version lies. */
static const uint8_t *after_name(const uint8_t *entry)
{
    return entry + ENTRY_HEADER_BYTES + fingerprint_bytes(entry) + suffix_bytes(entry);
}

static size_t stored_version_bytes(uint8_t kind)
{
    return kind == KIND_HEXADECIMAL ? 8 : kind;
}

static size_t entry_bytes(const uint8_t *entry)
{
    return ENTRY_HEADER_BYTES + fingerprint_bytes(entry) + suffix_bytes(entry) + stored_version_bytes(entry[3]);
}

static uint32_t tag_of(struct bytes name)
{
    return (uint32_t)hash_bytes(name);
}

/* The slot of the name, or the one to use for it. */
static size_t find_slot(const struct version_table *table, struct bytes name, uint32_t tag, bool *is_found)
{
    size_t mask = table->slot_count - 1;
    size_t reusable = SIZE_MAX;
    for (size_t i = tag & mask;; i = (i + 1) & mask) {
        struct slot slot = table->slots[i];
        if (slot.entry == ENTRY_NONE) {
            *is_found = false;
            return reusable != SIZE_MAX ? reusable : i;
        }
        if (slot.entry == ENTRY_REMOVED) {
            reusable = reusable != SIZE_MAX ? reusable : i;
        } else if (slot.tag == tag && has_name(table, entry_at(table, slot.entry - 1), name)) {
            *is_found = true;
            return i;
        }
    }
}

bool version_table_has(const struct version_table *table, struct bytes name)
{
    bool is_found;
    (void)find_slot(table, name, tag_of(name), &is_found);
    return is_found;
}

/* What is stored for a version. */
struct encoded_version {
    uint8_t kind;
    const uint8_t *bytes;
    uint8_t number[8];
};

static bool encode_hexadecimal(struct bytes version, uint8_t out[8])
{
    if (version.length == 0 || version.length > 16 || (version.length > 1 && version.data[0] == '0')) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < version.length; i++) {
        uint8_t character = version.data[i];
        if (character >= '0' && character <= '9') {
            value = value << 4 | (uint64_t)(character - '0');
        } else if (character >= 'a' && character <= 'f') {
            value = value << 4 | (uint64_t)(character - 'a' + 10);
        } else {
            return false;
        }
    }
    memcpy(out, &value, sizeof value);
    return true;
}

static void encode_version(struct bytes version, struct encoded_version *encoded)
{
    if (encode_hexadecimal(version, encoded->number)) {
        encoded->kind = KIND_HEXADECIMAL;
        encoded->bytes = encoded->number;
        return;
    }
    encoded->kind = version.length <= VERSION_MAXIMUM_BYTES ? (uint8_t)version.length : 0;
    encoded->bytes = version.data;
}

static size_t decode_version(const uint8_t *entry, uint8_t out[static VERSION_MAXIMUM_BYTES])
{
    const uint8_t *stored = after_name(entry);
    if (entry[3] != KIND_HEXADECIMAL) {
        memcpy(out, stored, entry[3]);
        return entry[3];
    }
    uint64_t value;
    memcpy(&value, stored, sizeof value);
    char text[17];
    int length = snprintf(text, sizeof text, "%llx", (unsigned long long)value);
    memcpy(out, text, (size_t)length);
    return (size_t)length;
}

/* The number of the name's beginning, which it is told the length of; 0 where there is none, or too many are known. */
static size_t share_prefix(struct version_table *table, struct bytes name, size_t *prefix_bytes)
{
    const uint8_t *slash = memrchr(name.data, '/', name.length);
    struct bytes prefix = bytes_of(name.data, slash == NULL ? 0 : (size_t)(slash + 1 - name.data));
    *prefix_bytes = 0;
    if (prefix.length == 0) {
        return 0;
    }
    size_t number = (size_t)(uintptr_t)hash_map_get(table->prefix_numbers, prefix);
    if (number == 0 && table->prefix_count < PREFIXES_MAXIMUM) {
        if ((table->prefix_count & (table->prefix_count - 1)) == 0) {
            size_t capacity = table->prefix_count == 0 ? 1 : 2 * table->prefix_count;
            table->prefixes = memory_resize(table->prefixes, capacity, sizeof *table->prefixes);
        }
        uint8_t *copy = memory_allocate(prefix.length);
        memcpy(copy, prefix.data, prefix.length);
        table->prefixes[table->prefix_count] = bytes_of(copy, prefix.length);
        number = ++table->prefix_count;
        table->prefix_bytes += prefix.length;
        hash_map_put(table->prefix_numbers, prefix, (void *)(uintptr_t)number);
    }
    *prefix_bytes = number != 0 ? prefix.length : 0;
    return number;
}

static uint32_t append_entry(
    struct version_table *table, struct bytes name, const struct encoded_version *version, uint64_t fingerprint)
{
    size_t version_bytes = stored_version_bytes(version->kind), prefix_bytes;
    size_t prefix_number = share_prefix(table, name, &prefix_bytes);
    struct bytes suffix = bytes_of(name.data + prefix_bytes, name.length - prefix_bytes);
    size_t before_name = ENTRY_HEADER_BYTES + (fingerprint != 0 ? FINGERPRINT_BYTES : 0);
    size_t length = before_name + suffix.length + version_bytes;
    if (table->block_count == 0 || table->blocks[table->block_count - 1]->used + length > BLOCK_BYTES) {
        table->blocks = memory_resize(table->blocks, table->block_count + 1, sizeof *table->blocks);
        struct block *block = memory_allocate(sizeof *block);
        block->used = 0;
        table->blocks[table->block_count++] = block;
    }
    struct block *block = table->blocks[table->block_count - 1];
    uint32_t handle = (uint32_t)((table->block_count - 1) * BLOCK_BYTES + block->used);
    uint8_t *entry = block->bytes + block->used;
    entry[0] = fingerprint != 0 ? ENTRY_HAS_FINGERPRINT : 0;
    entry[1] = (uint8_t)(suffix.length >> 8);
    entry[2] = (uint8_t)suffix.length;
    entry[3] = version->kind;
    entry[4] = (uint8_t)(prefix_number >> 8);
    entry[5] = (uint8_t)prefix_number;
    memcpy(entry + ENTRY_HEADER_BYTES, &fingerprint, before_name - ENTRY_HEADER_BYTES);
    memcpy(entry + before_name, suffix.data, suffix.length);
    if (version_bytes > 0) {
        memcpy(entry + before_name + suffix.length, version->bytes, version_bytes);
    }
    block->used += (uint32_t)length;
    table->live_bytes += length;
    return handle;
}

static void kill_entry(struct version_table *table, uint32_t handle)
{
    uint8_t *entry = entry_at(table, handle);
    entry[0] |= ENTRY_IS_DEAD;
    table->dead_bytes += entry_bytes(entry);
    table->live_bytes -= entry_bytes(entry);
}

static void resize_slots(struct version_table *table, size_t slot_count)
{
    struct slot *before = table->slots;
    size_t count_before = table->slot_count;
    table->slots = memory_allocate_zeroed(slot_count, sizeof *table->slots);
    table->slot_count = slot_count;
    table->slots_used = table->count;
    for (size_t i = 0; i < count_before; i++) {
        if (before[i].entry != ENTRY_NONE && before[i].entry != ENTRY_REMOVED) {
            size_t slot = before[i].tag & (slot_count - 1);
            while (table->slots[slot].entry != ENTRY_NONE) {
                slot = (slot + 1) & (slot_count - 1);
            }
            table->slots[slot] = before[i];
        }
    }
    memory_free(before);
}

static void make_room(struct version_table *table)
{
    if ((table->slots_used + 1) * 4 > table->slot_count * 3) {
        /* Larger, or the same without its tombstones. While it is small it grows faster. */
        size_t factor = table->slot_count < SLOTS_SMALL ? 4 : 2;
        resize_slots(table, table->count * 2 > table->slot_count ? table->slot_count * factor : table->slot_count);
    }
}

/* In place, where what is stored has the same size. */
static bool overwrite(uint8_t *entry, const struct encoded_version *version, uint64_t fingerprint)
{
    size_t length = stored_version_bytes(version->kind);
    if (stored_version_bytes(entry[3]) != length || (fingerprint_bytes(entry) > 0) != (fingerprint != 0)) {
        return false;
    }
    entry[0] &= (uint8_t)~ENTRY_IS_MARKED;
    entry[3] = version->kind;
    memcpy(entry + ENTRY_HEADER_BYTES, &fingerprint, fingerprint_bytes(entry));
    if (length > 0) {
        memcpy(entry + (after_name(entry) - entry), version->bytes, length);
    }
    return true;
}

bool version_table_put_unchanged(
    struct version_table *table, struct bytes name, struct bytes version, uint64_t fingerprint)
{
    bool is_found;
    size_t slot = find_slot(table, name, tag_of(name), &is_found);
    if (!is_found || fingerprint == 0 || fingerprint_of(entry_at(table, table->slots[slot].entry - 1)) != fingerprint) {
        return false;
    }
    struct encoded_version encoded;
    encode_version(version, &encoded);
    uint32_t handle = table->slots[slot].entry - 1;
    if (!overwrite(entry_at(table, handle), &encoded, fingerprint)) {
        kill_entry(table, handle);
        table->slots[slot].entry = append_entry(table, name, &encoded, fingerprint) + 1;
    }
    return true;
}

uint32_t version_table_put(struct version_table *table, struct bytes name, struct bytes version, uint64_t fingerprint)
{
    assert(name.length > 0 && name.length <= RESOURCE_NAME_MAXIMUM_BYTES);
    struct encoded_version encoded;
    encode_version(version, &encoded);
    make_room(table);
    bool is_found;
    uint32_t tag = tag_of(name);
    size_t slot = find_slot(table, name, tag, &is_found);
    if (is_found) {
        uint32_t handle = table->slots[slot].entry - 1;
        if (overwrite(entry_at(table, handle), &encoded, fingerprint)) {
            return handle;
        }
        kill_entry(table, handle);
    } else {
        table->slots_used += table->slots[slot].entry == ENTRY_NONE;
        table->count++;
    }
    uint32_t handle = append_entry(table, name, &encoded, fingerprint);
    table->slots[slot] = (struct slot){ handle + 1, tag };
    return handle;
}

void version_table_forget_version(struct version_table *table, uint32_t handle)
{
    uint8_t memory[RESOURCE_NAME_MAXIMUM_BYTES];
    struct bytes name = name_of(table, entry_at(table, handle), memory);
    if (version_table_has(table, name)) {
        (void)version_table_put(table, name, bytes_of("", 0), 0);
    }
}

bool version_table_remove(struct version_table *table, struct bytes name)
{
    bool is_found;
    size_t slot = find_slot(table, name, tag_of(name), &is_found);
    if (!is_found) {
        return false;
    }
    kill_entry(table, table->slots[slot].entry - 1);
    table->slots[slot].entry = ENTRY_REMOVED;
    table->count--;
    return true;
}

void version_table_unmark(struct version_table *table, struct bytes name)
{
    bool is_found;
    size_t slot = find_slot(table, name, tag_of(name), &is_found);
    if (is_found) {
        entry_at(table, table->slots[slot].entry - 1)[0] &= (uint8_t)~ENTRY_IS_MARKED;
    }
}

void version_table_mark(struct version_table *table, uint32_t handle)
{
    entry_at(table, handle)[0] |= ENTRY_IS_MARKED;
}

bool version_table_next(const struct version_table *table, uint32_t *position, struct version_entry *entry)
{
    while (*position / BLOCK_BYTES < table->block_count) {
        if (*position % BLOCK_BYTES >= table->blocks[*position / BLOCK_BYTES]->used) {
            *position = (*position / BLOCK_BYTES + 1) * BLOCK_BYTES;
            continue;
        }
        const uint8_t *stored = entry_at(table, *position);
        uint32_t handle = *position;
        *position += (uint32_t)entry_bytes(stored);
        /* An entry may fill its block to the last byte: then the position already is in the next one. */
        if (stored[0] & ENTRY_IS_DEAD) {
            continue;
        }
        entry->name = name_of(table, stored, entry->name_memory);
        entry->version_bytes = decode_version(stored, entry->version);
        entry->is_marked = (stored[0] & ENTRY_IS_MARKED) != 0;
        entry->handle = handle;
        return true;
    }
    return false;
}

void version_table_tidy(struct version_table *table)
{
    if (table->dead_bytes < BLOCK_BYTES || table->dead_bytes < table->live_bytes) {
        return;
    }
    struct version_table old = *table;
    size_t slot_count = SLOTS_LEAST;
    while (old.count * 2 > slot_count) {
        slot_count *= 2;
    }
    memset(table, 0, sizeof *table);
    table->slot_count = slot_count;
    table->slots = memory_allocate_zeroed(slot_count, sizeof *table->slots);
    table->prefix_numbers = hash_map_new();
    uint32_t position = 0;
    struct version_entry entry;
    while (version_table_next(&old, &position, &entry)) {
        uint64_t fingerprint = fingerprint_of(entry_at(&old, entry.handle));
        uint32_t handle =
            version_table_put(table, entry.name, bytes_of(entry.version, entry.version_bytes), fingerprint);
        if (entry.is_marked) {
            version_table_mark(table, handle);
        }
    }
    free_contents(&old);
}
