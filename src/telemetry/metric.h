/* Metrics: families declared once in a table, series counted in per-thread shards, merged when scraped.
 *
 * Families that name the same array of labels share their label sets. A label set is resolved once, e.g. per connection, in the
 * shard of its thread; counting is then a plain store to memory that no other thread writes. The number of label sets is
 * capped; those over the cap share one whose labels are all "other". Families print in table order (ztunnel-management §8). */
#ifndef AMBAR_TELEMETRY_METRIC_H
#define AMBAR_TELEMETRY_METRIC_H

#include "base/writer.h"

#include <stdatomic.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_LABELS_MAXIMUM 32
#define METRIC_LABEL_BYTES_MAXIMUM 1024
#define METRIC_SERIES_CAP_DEFAULT 10000

struct metric_family {
    const char *name; /* with prefix, without `_total` */
    enum metric_type type;
    const char *help;          /* printed with a final period */
    const char *unit;          /* NULL: none */
    const char *const *labels; /* NULL-terminated; NULL: none */
    const double *buckets;     /* METRIC_HISTOGRAM: ascending, ended by a negative value; +Inf is implied */
    size_t series_cap;         /* in all shards together; 0: METRIC_SERIES_CAP_DEFAULT; the first of a schema decides */
    bool is_help_verbatim;     /* print the help as it is, without the final period */
};

struct metric_registry;
struct metric_shard;
struct metric_label_set;

/* One label set of one family in one shard. Written by the shard's thread only. */
struct metric_series {
    _Atomic uint64_t value;            /* counters: the count; gauges: a two's complement number */
    struct metric_series_state *state; /* metric.c's */
};

#define METRIC_GRACE_NS (15ULL * 60 * 1000000000ULL) /* how long a label set without users is still printed */

struct metric_registry *metric_registry_new(const struct metric_family *families, size_t count);
void metric_registry_free(struct metric_registry *registry);

/* A shard for the calling thread; lives as long as the registry. */
struct metric_shard *metric_shard_new(struct metric_registry *registry);

/* The label set with these values (as many as the family has labels; NULL or "" are printed as "unknown", more than
 * METRIC_LABEL_BYTES_MAXIMUM are cut), for `family` (index in the table) and all that have the same labels. Each get counts as a
 * use; give it back with metric_label_set_put, so that unused ones can expire. */
struct metric_label_set *metric_label_set_get(
    struct metric_shard *shard, size_t family, const char *const *label_values);
void metric_label_set_put(struct metric_label_set *set);
/* Its series of a family with the same labels: borrowed from the set. */
struct metric_series *metric_label_set_series(struct metric_label_set *set, size_t family);

/* The same for one family: get counts as a use of its label set. */
struct metric_series *metric_series_get(struct metric_shard *shard, size_t family, const char *const *label_values);
void metric_series_put(struct metric_series *series);

static inline void metric_add(struct metric_series *series, uint64_t amount)
{
    uint64_t value = atomic_load_explicit(&series->value, memory_order_relaxed);
    atomic_store_explicit(&series->value, value + amount, memory_order_relaxed);
}
static inline void metric_set(struct metric_series *series, int64_t value)
{
    atomic_store_explicit(&series->value, (uint64_t)value, memory_order_relaxed);
}
void metric_observe(struct metric_series *series, double value); /* histograms */

/* For a counter without labels: count in the shard directly. */
void metric_count(struct metric_shard *shard, size_t family, uint64_t amount);
/* Without a handle, where it happens seldom: counts, sets a gauge, observes in a histogram. NULL: a family without labels. */
void metric_count_labelled(struct metric_shard *shard, size_t family, const char *const *label_values, uint64_t amount);
void metric_set_labelled(struct metric_shard *shard, size_t family, const char *const *label_values, int64_t value);
void metric_observe_labelled(struct metric_shard *shard, size_t family, const char *const *label_values, double value);

/* Lets label sets go that no shard has had a user for since METRIC_GRACE_NS before `now_ns` (clock_monotonic_ns): they are
 * printed no more, start from 0 when used again, and each shard's thread frees its part when it next adds or gives back
 * one. A scrape does it too. Any thread; once a minute is often enough. */
void metric_registry_expire(struct metric_registry *registry, uint64_t now_ns);
void metric_registry_set_grace_ns(struct metric_registry *registry, uint64_t grace_ns);

/* The sum over all shards; for tests and admin pages. */
uint64_t metric_total(struct metric_registry *registry, size_t family);
/* Label sets held now, of all families and shards, and how many gets the cap of the family's has sent to `other`. */
size_t metric_registry_set_count(const struct metric_registry *registry);
uint64_t metric_over_cap(const struct metric_registry *registry, size_t family);

/* A scrape: OpenMetrics text, ended by "# EOF", made piece by piece so that nobody waits for the whole. Label sets that
 * expire meanwhile are freed after it and those before it, so it must not be left open for long. Any one thread; sees each value whole. */
struct metric_scrape;
struct metric_scrape *metric_scrape_new(struct metric_registry *registry);
/* Appends about `piece_bytes`, at least one sample; false when that was the end. */
bool metric_scrape_next(struct metric_scrape *scrape, size_t piece_bytes, struct writer *out);
void metric_scrape_free(struct metric_scrape *scrape);

/* A whole scrape at once. */
void metric_registry_render(struct metric_registry *registry, struct writer *out);

#endif
