/* Memory for keys: never swapped (as far as RLIMIT_MEMLOCK allows), in no core dump, given to no child, overwritten when it is given back.
 *
 * Slots of one size, each on cache lines of its own, from pages that go back to the system when they are empty. Taking and giving
 * lock a mutex: they happen when a tunnel opens and closes, never per record. Any thread. Inside tls only. */
#ifndef AMBAR_TLS_SECRET_MEMORY_H
#define AMBAR_TLS_SECRET_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define SECRET_SLOT_BYTES 1152
#define SECRET_SLOT_ALIGNMENT 64

/* One zeroed slot. */
void *secret_memory_take(void) __attribute__((returns_nonnull, warn_unused_result));
void secret_memory_give(void *slot); /* NULL is allowed */

/* Bytes of slots that are lent out, and whether every page so far could be locked. */
size_t secret_memory_lent_bytes(void);
bool secret_memory_is_locked(void);

#endif
