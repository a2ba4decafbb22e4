/* Random numbers: the kernel's for secrets and identifiers, a seeded generator per thread for load balancing and jitter. */
#ifndef AMBAR_BASE_RANDOM_H
#define AMBAR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills from the kernel (getrandom); ends the process if that fails. */
void random_bytes(void *out, size_t size);

/* Fast, per thread, seeded from the kernel at first use; not for secrets. */
uint64_t random_u64(void);

/* Uniform in [0, bound); 0 for bound 0. */
uint64_t random_below(uint64_t bound);

/* `value` varied by up to ±percent. */
uint64_t random_jitter(uint64_t value, unsigned percent);

/* A version 4 UUID in lower case: 36 characters and a NUL. */
void random_uuid(char out[static 37]);

#endif
