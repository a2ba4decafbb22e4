/* Counts what happens to the records of a tunnel in the worker's shard. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_RECORD_COUNTING_H
#define AMBAR_ZTUNNEL_RECORD_COUNTING_H

#include "http/hbone_session.h"

struct record_layer;
struct worker;

/* From now on, for a tunnel in which we are the `role`. */
void record_counting_start(struct record_layer *layer, struct worker *worker, enum hbone_role role);

#endif
