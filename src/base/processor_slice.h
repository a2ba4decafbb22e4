/* For how long the scheduler lets this thread run before others get their turn. A thread may ask for shorter turns, more often:
 * its share of the processor stays the same (EEVDF with slices, Linux 6.12; sched(7)). */
#ifndef AMBAR_BASE_PROCESSOR_SLICE_H
#define AMBAR_BASE_PROCESSOR_SLICE_H

#include <stdbool.h>

/* Asks for the shortest slices there are, for the calling thread and those it will make. False when the kernel knows none. */
bool processor_slice_shorten(void);

#endif
