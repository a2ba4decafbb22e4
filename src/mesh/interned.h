/* Parts of the model that many objects have in common, kept once: equal ones are one object while anybody holds it.
 *
 * A part is made from its key, the bytes that say all there is to say about it; what is derived from the key lies in front of it. Any
 * thread may make, reference and release; readers of an object that holds a part need neither. */
#ifndef AMBAR_MESH_INTERNED_H
#define AMBAR_MESH_INTERNED_H

#include "base/bytes.h"

struct interned {
    _Atomic uint32_t references;
    uint32_t key_length, derived_bytes;
    uint64_t hash;
    void *derived[]; /* `derived_bytes`, then the key */
};

/* The part with this key (and this size of what is derived), referenced for the caller. When it is new, `derive` fills its `derived_bytes`; `key` is its own copy. */
const struct interned *interned_get(struct bytes key, size_t derived_bytes,
    void (*derive)(void *derived, const uint8_t *key, const void *context), const void *context);
const struct interned *interned_reference(const struct interned *part);
void interned_release(const struct interned *part);

/* How many there are; for tests and figures. */
size_t interned_count(void);

#endif
