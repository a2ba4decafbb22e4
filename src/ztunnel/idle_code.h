/* Gives code back that nobody uses: after the start, and when a busy process has fallen silent. Control thread. */
#ifndef AMBAR_ZTUNNEL_IDLE_CODE_H
#define AMBAR_ZTUNNEL_IDLE_CODE_H

#include <stdbool.h>
#include <stdint.h>

/* Zero it. */
struct idle_code {
    uint64_t processor_ns; /* of the process, when it was looked at last */
    unsigned idle_seconds;
    bool is_released; /* since it was last busy */
};

/* To be called once a second. */
void idle_code_watch(struct idle_code *watch);

#endif
