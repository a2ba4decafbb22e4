/* Names of resources and the versions they were accepted in, kept small: 100,000 of them cost about 6 MB. For one thread.
 *
 * Versions that are lower-case hexadecimal of up to 64 bits (what istiod sends) take 8 bytes; others are kept as text up to
 * VERSION_MAXIMUM_BYTES; longer ones are kept as the empty version, which makes the control plane send the resource again. */
#ifndef AMBAR_XDS_VERSION_TABLE_H
#define AMBAR_XDS_VERSION_TABLE_H

#include "base/bytes.h"

#define RESOURCE_NAME_MAXIMUM_BYTES 4096
#define VERSION_MAXIMUM_BYTES 254
#define VERSION_TABLE_MAXIMUM_BYTES (128u * 1024 * 1024)

struct version_table;

struct version_table *version_table_new(void);
void version_table_free(struct version_table *table);

size_t version_table_count(const struct version_table *table);
/* VERSION_TABLE_MAXIMUM_BYTES of names and versions are held, replaced ones included. Nothing new is to be put then. */
bool version_table_is_full(const struct version_table *table);
bool version_table_has(const struct version_table *table, struct bytes name);

/* Sets the version and takes away the mark. The name is at most RESOURCE_NAME_MAXIMUM_BYTES long and not empty. `fingerprint` is of
 * the resource's contents; 0: none is kept. Returns a handle to the entry, valid until version_table_tidy. */
uint32_t version_table_put(struct version_table *table, struct bytes name, struct bytes version, uint64_t fingerprint);
/* The same, but only when the name is held with this very fingerprint; else false, and nothing is changed. */
bool version_table_put_unchanged(
    struct version_table *table, struct bytes name, struct bytes version, uint64_t fingerprint);
/* Makes the version of the name put then empty, and forgets the fingerprint. */
void version_table_forget_version(struct version_table *table, uint32_t handle);
bool version_table_remove(struct version_table *table, struct bytes name); /* whether it was there */

/* A mark on entries, for the sweep after a reconnect. Absent names are ignored. */
void version_table_unmark(struct version_table *table, struct bytes name);

/* One entry while walking; not to be copied. */
struct version_entry {
    struct bytes name; /* in `name_memory` */
    uint8_t name_memory[RESOURCE_NAME_MAXIMUM_BYTES];
    uint8_t version[VERSION_MAXIMUM_BYTES];
    size_t version_bytes;
    bool is_marked;
    uint32_t handle;
};
/* In the order of insertion. `position` starts at 0. Entries may be marked, and the current one removed, on the way. */
bool version_table_next(const struct version_table *table, uint32_t *position, struct version_entry *entry);
void version_table_mark(struct version_table *table, uint32_t handle);

/* Gives back what removed and replaced entries occupied, when that is worth while. Ends all handles. */
void version_table_tidy(struct version_table *table);

#endif
