/* ambard over HTTP: /ready for everybody and /debug/ for loopback on 8080, /metrics and /version on 15014 (control-plane §6.5). */
#ifndef AMBAR_AMBARD_DEBUG_PAGES_H
#define AMBAR_AMBARD_DEBUG_PAGES_H

#include "ambard/discovery.h"
#include "ambard/settings.h"
#include "kube/problem.h"
#include "telemetry/metric.h"

struct debug_pages;

struct debug_pages_settings {
    const struct ambard_settings *settings;
    const struct ambient_index *index;
    const struct discovery *discovery;
    const struct kube_problems *problems;
    struct metric_registry *metrics;
    struct metric_shard *shard;
};

struct debug_pages *debug_pages_new(struct loop *loop, const struct debug_pages_settings *settings);
struct result debug_pages_listen(struct debug_pages *pages);
/* NULL is allowed. */
void debug_pages_free(struct debug_pages *pages);

#endif
