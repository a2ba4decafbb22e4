#include "ztunnel/idle_code.h"

#include "base/clock.h"
#include "base/loaded_code.h"

#define IDLE_NS_A_SECOND (10 * NANOSECONDS_PER_MILLISECOND) /* less processor time than this is nothing to speak of */
#define IDLE_SECONDS 5

void idle_code_watch(struct idle_code *watch)
{
    bool is_first = watch->processor_ns == 0;
    uint64_t now_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
    bool is_busy = !is_first && now_ns - watch->processor_ns > IDLE_NS_A_SECOND;
    watch->processor_ns = now_ns;
    watch->idle_seconds = is_busy ? 0 : watch->idle_seconds + 1;
    if (is_busy) {
        watch->is_released = false;
    }
    if (!watch->is_released && (is_first || watch->idle_seconds >= IDLE_SECONDS)) {
        watch->is_released = !is_first; /* the last of the start comes behind it */
        loaded_code_release(NULL);
    }
}
