/* How busy the workers have been a moment ago, as one of them sees it: the share of the time in which a worker's thread had a
 * processor. Sampled at most every WORKER_LOAD_WINDOW_MS, when somebody asks, so that nobody counts per packet. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_WORKER_LOAD_H
#define AMBAR_ZTUNNEL_WORKER_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKER_LOAD_WINDOW_MS 100
/* A worker relieves another only if it is less busy by so much: it is about to get more. */
#define WORKER_LOAD_MARGIN_PERCENT 25
#define WORKER_LOAD_NONE SIZE_MAX

struct worker;
struct worker_load;

struct worker_load *worker_load_new(const struct worker *workers, size_t worker_count);
void worker_load_free(struct worker_load *load);

/* The busy percents by worker, sampled again if the last sample is old enough; borrowed. A sample over too long a time tells nothing
 * of now: everybody counts as idle then. */
const unsigned *worker_load_refresh(struct worker_load *load, uint64_t now_ns);

/* Who takes new work of worker `home`: WORKER_LOAD_NONE while home is busy for less than `saturated_percent`, or when nobody is less
 * busy by the margin. One that `helps` already (NULL: nobody does) comes before one that does not, so that a pod has tunnels on few
 * workers. */
size_t worker_load_relief(
    const unsigned *busy_percent, size_t worker_count, size_t home, unsigned saturated_percent, const bool *helps);

#endif
