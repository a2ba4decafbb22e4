#include "ztunnel/memory_return.h"

#include "base/clock.h"

#include <malloc.h>

#define PEAK_CONNECTIONS 256 /* fewer are not worth the walk */
#define QUIET_CONNECTIONS 16 /* begun between two reviews */
#define BUSY_INTERVAL_NS (60 * NANOSECONDS_PER_SECOND)

void memory_return_bound_arenas(unsigned workers)
{
    (void)mallopt(
        M_ARENA_MAX, (int)workers + 3); /* one each; the control thread's; those of the log and of the scrapes */
}

bool memory_return_review(struct memory_return *state, uint64_t begun, uint64_t live, uint64_t now_ns)
{
    uint64_t recently = begun - state->begun_at_review;
    uint64_t gone = begun - state->begun_at_return > live ? begun - state->begun_at_return - live : 0;
    state->begun_at_review = begun;
    bool is_quiet = recently <= QUIET_CONNECTIONS || now_ns - state->returned_ns >= BUSY_INTERVAL_NS;
    if (gone < PEAK_CONNECTIONS || live > gone || !is_quiet) {
        return false;
    }
    state->begun_at_return = begun;
    state->returned_ns = now_ns;
    (void)malloc_trim(0);
    return true;
}
