/* What metric.c (counting), metric_expiry.c and metric_render.c (merging and printing) share.
 *
 * A label set and its series belong to the thread of their shard, which alone adds, counts and removes. Everybody else
 * follows the lists with the registry's mutex held; the owner removes only with the mutex held, which it never waits for, and only
 * sets that had expired before the oldest scrape under way began: others that one may have gathered. */
#ifndef AMBAR_TELEMETRY_METRIC_INTERNAL_H
#define AMBAR_TELEMETRY_METRIC_INTERNAL_H

#include "base/list.h"
#include "telemetry/metric.h"

#include <pthread.h>

struct hash_map;

/* Instead of a number of users: nobody uses it, it is printed no more, and its thread may remove it. */
#define LABEL_SET_EXPIRED (1U << 31)

struct metric_histogram {
    size_t bucket_count;
    _Atomic uint64_t sum_bits; /* a double */
    _Atomic uint64_t counts[]; /* one a bucket, and one for +Inf */
};

struct metric_series_state {
    _Alignas(64) struct metric_series series;
    struct metric_label_set *set;
    size_t family;
    struct metric_histogram *histogram; /* NULL for counters and gauges */
};

struct metric_label_set {
    struct metric_shard *shard;
    size_t schema;
    _Atomic uint32_t users;
    _Atomic uint64_t unused_since_ns;        /* while users is 0 */
    uint64_t expired_generation;             /* the registry's when it last expired; with the mutex */
    _Atomic(struct metric_label_set *) next; /* of the schema in this shard */
    char *text; /* the labels as they are printed; the scraper's, NULL until it needs them */
    size_t text_length;
    size_t key_length;
    char *key;                                      /* the label values, each followed by a NUL; behind `series` */
    _Atomic(struct metric_series_state *) series[]; /* by the family's rank in the schema; NULL: not counted yet */
};

/* The label sets of one schema in one shard. */
struct metric_shard_schema {
    struct hash_map *by_key; /* the owner's; NULL before the first set, and where there are no labels */
    _Atomic(struct metric_label_set *) first;
    struct metric_label_set *other; /* where what is over the cap is counted */
};

struct metric_shard {
    struct metric_registry *registry;
    struct metric_shard *next;
    struct metric_shard_schema *schemas;
    struct writer key;           /* where the owner puts together the key it looks for */
    uint64_t removed_generation; /* of the registry's expirations, the last one whose sets this shard has removed */
};

/* The families with the same labels: they share label sets. */
struct metric_schema {
    const char *const *labels; /* NULL: none */
    size_t label_count;
    size_t family_count;
    size_t cap;
    _Atomic size_t set_count; /* in all shards, without the `other` ones */
    _Atomic uint64_t over_cap;
};

struct metric_registry {
    const struct metric_family *families;
    size_t family_count;
    struct metric_schema *schemas;
    size_t schema_count;
    struct metric_family_place {
        size_t schema, rank;
    } * places; /* by family */
    pthread_mutex_t mutex;
    struct metric_shard *shards;
    uint64_t grace_ns;
    struct list scrapes;                 /* under way, the oldest first; with the mutex */
    _Atomic uint64_t expired_generation; /* grows when label sets expire */
};

/* All label sets of one schema, those with equal labels side by side. */
struct metric_gathered {
    struct metric_label_set **sets;
    size_t count;
    size_t capacity;
};

/* Those that have not expired. With the mutex held. */
void metric_gather(struct metric_registry *registry, size_t schema, struct metric_gathered *gathered);
/* How many from `start` on have the same labels as the one there. */
size_t metric_group_size(const struct metric_gathered *gathered, size_t start);
void metric_gathered_free(struct metric_gathered *gathered);

/* Both with the mutex held. The generation up to which sets may be removed now. */
uint64_t metric_removable_generation(const struct metric_registry *registry);
void metric_expire_locked(struct metric_registry *registry, uint64_t now_ns);

static inline bool metric_schema_has_labels(const struct metric_schema *schema)
{
    return schema->label_count > 0;
}

double metric_double_of_bits(uint64_t bits);
uint64_t metric_bits_of_double(double value);

#endif
