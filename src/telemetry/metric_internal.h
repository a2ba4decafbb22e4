/* What metric.c (counting) and metric_render.c (merging and printing) share.
 *
 * A series belongs to the thread of its shard, which alone adds, counts and removes. Everybody else follows the lists with
 * the registry's mutex held; the owner takes that mutex only to remove, and only when it is free. */
#ifndef AMBAR_TELEMETRY_METRIC_INTERNAL_H
#define AMBAR_TELEMETRY_METRIC_INTERNAL_H

#include "telemetry/metric.h"

#include <pthread.h>

struct hash_map;

/* Instead of a number of users: nobody uses it, it is printed no more, and its thread may remove it. */
#define SERIES_EXPIRED (1U << 31)

struct metric_histogram {
    size_t bucket_count;
    _Atomic uint64_t sum_bits; /* a double */
    _Atomic uint64_t counts[]; /* one a bucket, and one for +Inf */
};

struct metric_series_state {
    _Alignas(64) struct metric_series series;
    _Atomic uint32_t users;
    _Atomic uint64_t unused_since_ns; /* while users is 0 */
    struct metric_shard *shard;
    size_t family;
    _Atomic(struct metric_series_state *) next; /* of the family in this shard */
    struct metric_histogram *histogram;         /* NULL for counters and gauges */
    size_t key_length;
    char key[]; /* the label values, each followed by a NUL */
};

/* The series of one family in one shard. */
struct metric_shard_family {
    struct hash_map *by_key; /* the owner's; NULL before the first series, and for families without labels */
    _Atomic(struct metric_series_state *) first;
    struct metric_series_state *other; /* where label sets over the cap are counted */
};

struct metric_shard {
    struct metric_registry *registry;
    struct metric_shard *next;
    struct metric_shard_family *families;
    struct writer key;           /* where the owner puts together the key it looks for */
    uint32_t removed_generation; /* of the registry's expirations, the last one after which this shard has removed */
};

struct metric_registry {
    const struct metric_family *families;
    size_t family_count;
    pthread_mutex_t mutex;
    struct metric_shard *shards;
    uint64_t grace_ns;
    _Atomic uint32_t expired_generation; /* grows when series expire */
};

double metric_double_of_bits(uint64_t bits);
uint64_t metric_bits_of_double(double value);

#endif
