/* Gauges that are not kept up to date but set when somebody asks: each thread sets its own, in its own shard. */
#ifndef AMBAR_ZTUNNEL_METRICS_SAMPLE_H
#define AMBAR_ZTUNNEL_METRICS_SAMPLE_H

#include "telemetry/metric.h"

struct certificate_store;
struct configuration;
struct mesh_publication;
struct worker;

/* Where the control thread's gauges come from. */
struct metrics_source {
    const struct configuration *configuration;
    struct metric_registry *registry;
    struct metric_shard *shard; /* of the control thread */
    struct mesh_publication *publication;
    struct certificate_store *certificates;
    struct worker *workers;
    size_t worker_count; /* 0 before they are started */
};

/* Control thread. */
void metrics_sample_control(const struct metrics_source *source);
/* The worker's thread. */
void metrics_sample_worker(struct worker *worker);

#endif
