/* Where the process spends its time: a timer of CPU time for each thread, whose signal takes down the stack it interrupted.
 *
 * A thread that sleeps costs nothing; one that runs is interrupted `frequency` times a second of its own time. Equal stacks are
 * counted in one table, made beforehand, without locks: the handler allocates nothing and waits for nobody. One profile at a
 * time. Control thread. */
#ifndef AMBAR_ZTUNNEL_CPU_SAMPLER_H
#define AMBAR_ZTUNNEL_CPU_SAMPLER_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

#define CPU_SAMPLER_DEPTH 48

struct cpu_stack {
    uint64_t count;
    size_t depth;
    const uintptr_t *frames; /* the interrupted address first, then return addresses */
};

/* Loads what taking a stack needs, so that the handler never does. At start, before system calls are filtered. */
void cpu_sampler_prepare(void);

/* Fails when a profile is running already. Threads that start later are not seen. */
struct result cpu_sampler_start(unsigned frequency);
/* Ends the interruptions. A handler may still be on its way: the table may be read when cpu_sampler_is_quiet. */
void cpu_sampler_stop(void);
bool cpu_sampler_is_quiet(void);
/* `*position` starts at 0. False at the end. */
bool cpu_sampler_next(size_t *position, struct cpu_stack *stack);
/* Samples that found the table full. */
uint64_t cpu_sampler_lost(void);
/* Frees the table; another profile may be started. */
void cpu_sampler_free(void);

#endif
