/* After a peak memory goes back to the system: the C library keeps what was freed in the middle of its arenas until it is told.
 * Telling it walks them under their locks, so it is done when many connections have come and most of them gone, in a quiet
 * moment or once a minute. One struct a worker, used on its thread. */
#ifndef AMBAR_ZTUNNEL_MEMORY_RETURN_H
#define AMBAR_ZTUNNEL_MEMORY_RETURN_H

#include <stdbool.h>
#include <stdint.h>

struct memory_return {
    uint64_t begun_at_review; /* connections begun by the last review */
    uint64_t begun_at_return; /* ... when memory was returned last */
    uint64_t returned_ns;
};

/* Before the first thread: at most so many arenas as there are threads that allocate much. */
void memory_return_bound_arenas(unsigned workers);

/* Every few seconds: `begun` connections since the start, `live` of them now. True when it has returned memory. */
bool memory_return_review(struct memory_return *state, uint64_t begun, uint64_t live, uint64_t now_ns);

#endif
