/* Where this ztunnel's certificates come from: its CA, or files in dedicated mode without one. */
#ifndef AMBAR_ZTUNNEL_CERTIFICATE_SETUP_H
#define AMBAR_ZTUNNEL_CERTIFICATE_SETUP_H

#include "base/arena.h"
#include "telemetry/metric.h"
#include "xds/certificate_store.h"
#include "ztunnel/configuration.h"

struct buffer_pool;

/* The store, with its source. Texts of the settings live in `texts`, which outlives it. Files are read once to refuse bad ones now. */
struct result certificate_setup(const struct configuration *configuration, struct loop *control,
    struct buffer_pool *buffers, struct metric_shard *metrics, struct arena *texts, struct certificate_store **store);

#endif
