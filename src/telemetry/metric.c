#include "telemetry/metric.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_CAP_DEFAULT 10000
#define CACHE_LINE_BYTES 64
#define OTHER "other"

/* Histogram counts, one per bucket and one for +Inf; the sum in doubles' bits. */
struct histogram {
    size_t bucket_count;
    _Atomic uint64_t sum_bits;
    _Atomic uint64_t counts[];
};

struct metric_series_state {
    alignas(CACHE_LINE_BYTES) struct metric_series series;
    struct metric_shard *shard;
    size_t family;
    struct metric_series_state *_Atomic next; /* of the family in this shard; a renderer follows it */
    char *key;                                /* label values, each followed by a NUL */
    size_t key_length;
    size_t users;
    uint64_t unused_since_ns;
    struct histogram *histogram; /* NULL for counters and gauges */
};

/* The series of one family in one shard. */
struct shard_family {
    struct hash_map *by_key;
    struct metric_series_state *_Atomic first;
    struct metric_series_state *other; /* where label sets over the cap are counted */
};

struct metric_shard {
    struct metric_registry *registry;
    struct metric_shard *next;
    struct shard_family *families;
};

/* `lock` is held while shards are added, while series are removed, and while a scrape follows the lists; never to count. */
struct metric_registry {
    const struct metric_family *families;
    size_t family_count;
    pthread_mutex_t lock;
    struct metric_shard *shards;
};

struct metric_registry *metric_registry_new(const struct metric_family *families, size_t count)
{
    struct metric_registry *registry = NEW(struct metric_registry);
    registry->families = families;
    registry->family_count = count;
    pthread_mutex_init(&registry->lock, NULL);
    return registry;
}

static void free_series(struct metric_series_state *state)
{
    memory_free(state->key);
    memory_free(state->histogram);
    free(state);
}

static void free_shard(struct metric_shard *shard)
{
    for (size_t i = 0; i < shard->registry->family_count; i++) {
        struct shard_family *family = &shard->families[i];
        struct metric_series_state *state = atomic_load(&family->first);
        while (state != NULL) {
            struct metric_series_state *next = atomic_load(&state->next);
            free_series(state);
            state = next;
        }
        hash_map_free(family->by_key, NULL);
    }
    memory_free(shard->families);
    memory_free(shard);
}

void metric_registry_free(struct metric_registry *registry)
{
    while (registry->shards != NULL) {
        struct metric_shard *shard = registry->shards;
        registry->shards = shard->next;
        free_shard(shard);
    }
    pthread_mutex_destroy(&registry->lock);
    memory_free(registry);
}

struct metric_shard *metric_shard_new(struct metric_registry *registry)
{
    struct metric_shard *shard = NEW(struct metric_shard);
    shard->registry = registry;
    shard->families = memory_allocate_zeroed(registry->family_count, sizeof *shard->families);
    pthread_mutex_lock(&registry->lock);
    shard->next = registry->shards;
    registry->shards = shard;
    pthread_mutex_unlock(&registry->lock);
    return shard;
}

static size_t label_count(const struct metric_family *family)
{
    size_t count = 0;
    while (family->labels != NULL && family->labels[count] != NULL) {
        count++;
    }
    assert(count <= METRIC_LABELS_MAXIMUM);
    return count;
}

static void write_key(const char *const *values, size_t count, struct writer *key)
{
    for (size_t i = 0; i < count; i++) {
        bool is_known = values[i] != NULL && values[i][0] != '\0';
        const char *value = is_known ? values[i] : "unknown";
        writer_add(key, value, strlen(value) + 1);
    }
}

static struct histogram *new_histogram(const struct metric_family *family)
{
    if (family->type != METRIC_HISTOGRAM) {
        return NULL;
    }
    size_t buckets = 0;
    while (family->buckets[buckets] >= 0) {
        buckets++;
    }
    struct histogram *histogram = memory_allocate_zeroed(1, sizeof *histogram + (buckets + 1) * sizeof histogram->counts[0]);
    histogram->bucket_count = buckets;
    return histogram;
}

static struct metric_series_state *add_series(struct metric_shard *shard, size_t index, struct bytes key)
{
    struct metric_series_state *state = aligned_alloc(CACHE_LINE_BYTES, sizeof *state);
    if (state == NULL) {
        return memory_allocate_zeroed(SIZE_MAX, 2); /* ends the process as every refused allocation */
    }
    memset(state, 0, sizeof *state);
    state->series.state = state;
    state->shard = shard;
    state->family = index;
    state->key = string_duplicate_n((const char *)key.data, key.length);
    state->key_length = key.length;
    state->histogram = new_histogram(&shard->registry->families[index]);
    struct shard_family *family = &shard->families[index];
    atomic_store_explicit(&state->next, atomic_load_explicit(&family->first, memory_order_relaxed), memory_order_relaxed);
    atomic_store_explicit(&family->first, state, memory_order_release);
    return state;
}

static struct metric_series_state *other_series(struct metric_shard *shard, size_t index, size_t labels)
{
    struct shard_family *family = &shard->families[index];
    if (family->other == NULL) {
        const char *values[METRIC_LABELS_MAXIMUM];
        struct writer key = writer_growing();
        for (size_t i = 0; i < labels; i++) {
            values[i] = OTHER;
        }
        write_key(values, labels, &key);
        family->other = add_series(shard, index, writer_bytes(&key));
        writer_free(&key);
    }
    return family->other;
}

struct metric_series *metric_series_get(struct metric_shard *shard, size_t index, const char *const *label_values)
{
    assert(index < shard->registry->family_count);
    const struct metric_family *declared = &shard->registry->families[index];
    struct shard_family *family = &shard->families[index];
    size_t labels = label_count(declared);
    uint8_t memory[2048];
    struct writer key = writer_fixed(memory, sizeof memory);
    write_key(label_values, labels, &key);
    if (family->by_key == NULL) {
        family->by_key = hash_map_new();
    }
    struct metric_series_state *state = hash_map_get(family->by_key, writer_bytes(&key));
    if (state == NULL) {
        size_t cap = declared->series_cap > 0 ? declared->series_cap : SERIES_CAP_DEFAULT;
        if (key.has_overflowed || hash_map_count(family->by_key) >= cap) {
            state = other_series(shard, index, labels);
        } else {
            state = add_series(shard, index, writer_bytes(&key));
            hash_map_put(family->by_key, writer_bytes(&key), state);
        }
    }
    state->users++;
    return &state->series;
}

void metric_series_put(struct metric_series *series)
{
    if (--series->state->users == 0) {
        series->state->unused_since_ns = clock_monotonic_ns();
    }
}

/* Unlinks what is due; only this thread adds, and a scrape is kept out by the lock. */
static void expire_family(struct shard_family *family, uint64_t now_ns)
{
    struct metric_series_state *_Atomic *link = &family->first;
    struct metric_series_state *state;
    while ((state = atomic_load_explicit(link, memory_order_relaxed)) != NULL) {
        bool is_due = state->users == 0 && state != family->other && now_ns - state->unused_since_ns > METRIC_GRACE_NS;
        if (!is_due) {
            link = &state->next;
            continue;
        }
        atomic_store_explicit(link, atomic_load_explicit(&state->next, memory_order_relaxed), memory_order_relaxed);
        hash_map_remove(family->by_key, bytes_of(state->key, state->key_length));
        free_series(state);
    }
}

void metric_shard_expire(struct metric_shard *shard, uint64_t now_ns)
{
    struct metric_registry *registry = shard->registry;
    pthread_mutex_lock(&registry->lock);
    for (size_t i = 0; i < registry->family_count; i++) {
        if (registry->families[i].labels != NULL) {
            expire_family(&shard->families[i], now_ns);
        }
    }
    pthread_mutex_unlock(&registry->lock);
}

void metric_observe(struct metric_series *series, double value)
{
    struct histogram *histogram = series->state->histogram;
    const double *bounds = series->state->shard->registry->families[series->state->family].buckets;
    size_t bucket = 0;
    while (bucket < histogram->bucket_count && value > bounds[bucket]) {
        bucket++;
    }
    uint64_t count = atomic_load_explicit(&histogram->counts[bucket], memory_order_relaxed);
    atomic_store_explicit(&histogram->counts[bucket], count + 1, memory_order_relaxed);
    uint64_t bits = atomic_load_explicit(&histogram->sum_bits, memory_order_relaxed);
    double sum;
    memcpy(&sum, &bits, sizeof sum);
    sum += value;
    memcpy(&bits, &sum, sizeof bits);
    atomic_store_explicit(&histogram->sum_bits, bits, memory_order_relaxed);
}

void metric_count(struct metric_shard *shard, size_t family, uint64_t amount)
{
    struct metric_series *series = metric_series_get(shard, family, NULL);
    metric_add(series, amount);
    metric_series_put(series);
}

uint64_t metric_total(struct metric_registry *registry, size_t index)
{
    uint64_t total = 0;
    pthread_mutex_lock(&registry->lock);
    for (struct metric_shard *shard = registry->shards; shard != NULL; shard = shard->next) {
        struct metric_series_state *state = atomic_load_explicit(&shard->families[index].first, memory_order_acquire);
        for (; state != NULL; state = atomic_load_explicit(&state->next, memory_order_acquire)) {
            total += atomic_load_explicit(&state->series.value, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&registry->lock);
    return total;
}

/* One label set summed over the shards. */
struct merged_series {
    const struct metric_series_state *first;
    struct merged_series *next;
    uint64_t value;
    double sum;
    uint64_t counts[];
};

static void merge(struct merged_series *merged, const struct metric_series_state *state)
{
    merged->value += atomic_load_explicit(&state->series.value, memory_order_relaxed);
    const struct histogram *histogram = state->histogram;
    if (histogram == NULL) {
        return;
    }
    for (size_t i = 0; i <= histogram->bucket_count; i++) {
        merged->counts[i] += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    }
    uint64_t bits = atomic_load_explicit(&histogram->sum_bits, memory_order_relaxed);
    double sum;
    memcpy(&sum, &bits, sizeof sum);
    merged->sum += sum;
}

static struct merged_series *merge_family(struct metric_registry *registry, size_t index)
{
    struct hash_map *by_key = hash_map_new();
    struct merged_series *list = NULL;
    for (struct metric_shard *shard = registry->shards; shard != NULL; shard = shard->next) {
        struct metric_series_state *state = atomic_load_explicit(&shard->families[index].first, memory_order_acquire);
        for (; state != NULL; state = atomic_load_explicit(&state->next, memory_order_acquire)) {
            struct bytes key = bytes_of(state->key, state->key_length);
            struct merged_series *merged = hash_map_get(by_key, key);
            if (merged == NULL) {
                size_t counts = state->histogram != NULL ? state->histogram->bucket_count + 1 : 0;
                merged = memory_allocate_zeroed(1, sizeof *merged + counts * sizeof merged->counts[0]);
                merged->first = state;
                merged->next = list;
                list = merged;
                hash_map_put(by_key, key, merged);
            }
            merge(merged, state);
        }
    }
    hash_map_free(by_key, NULL);
    return list;
}

static void write_label_value(const char *value, struct writer *out)
{
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"') {
            writer_add_u8(out, '\\');
            writer_add_u8(out, (uint8_t)*value);
        } else if (*value == '\n') {
            writer_add_string(out, "\\n");
        } else {
            writer_add_u8(out, (uint8_t)*value);
        }
    }
}

/* `{le="...",name="value",...}`; nothing when there is no label at all. */
static void write_labels(const struct metric_family *family, const char *key, const char *bound, struct writer *out)
{
    const char *separator = "{";
    if (bound != NULL) {
        writer_print(out, "{le=\"%s\"", bound);
        separator = ",";
    }
    for (size_t i = 0; family->labels != NULL && family->labels[i] != NULL; i++) {
        writer_print(out, "%s%s=\"", separator, family->labels[i]);
        write_label_value(key, out);
        writer_add_u8(out, '"');
        key += strlen(key) + 1;
        separator = ",";
    }
    if (separator[0] == ',') {
        writer_add_u8(out, '}');
    }
}

static void write_histogram(const struct metric_family *family, const struct merged_series *merged, struct writer *out)
{
    uint64_t cumulative = 0;
    size_t buckets = merged->first->histogram->bucket_count;
    for (size_t i = 0; i <= buckets; i++) {
        char bound[32] = "+Inf";
        if (i < buckets) {
            struct writer text = writer_fixed(bound, sizeof bound);
            bool is_whole = family->buckets[i] == (double)(int64_t)family->buckets[i];
            writer_print(&text, is_whole ? "%.1f" : "%g", family->buckets[i]);
            (void)writer_string(&text);
        }
        cumulative += merged->counts[i];
        writer_print(out, "%s_bucket", family->name);
        write_labels(family, merged->first->key, bound, out);
        writer_print(out, " %llu\n", (unsigned long long)cumulative);
    }
    writer_print(out, "%s_sum", family->name);
    write_labels(family, merged->first->key, NULL, out);
    writer_print(out, " %g\n%s_count", merged->sum, family->name);
    write_labels(family, merged->first->key, NULL, out);
    writer_print(out, " %llu\n", (unsigned long long)cumulative);
}

static void write_series(const struct metric_family *family, const struct merged_series *merged, struct writer *out)
{
    if (family->type == METRIC_HISTOGRAM) {
        write_histogram(family, merged, out);
        return;
    }
    writer_print(out, "%s%s", family->name, family->type == METRIC_COUNTER ? "_total" : "");
    write_labels(family, merged->first->key, NULL, out);
    if (family->type == METRIC_GAUGE) {
        writer_print(out, " %lld\n", (long long)merged->value);
    } else {
        writer_print(out, " %llu\n", (unsigned long long)merged->value);
    }
}

static void write_head(const struct metric_family *family, struct writer *out)
{
    static const char *const TYPES[] = { "counter", "gauge", "histogram" };
    writer_print(out, "# HELP %s %s%s\n", family->name, family->help, family->is_help_verbatim ? "" : ".");
    writer_print(out, "# TYPE %s %s\n", family->name, TYPES[family->type]);
    if (family->unit != NULL) {
        writer_print(out, "# UNIT %s %s\n", family->name, family->unit);
    }
}

static void render_family(struct metric_registry *registry, size_t index, struct writer *out)
{
    const struct metric_family *family = &registry->families[index];
    struct merged_series *list = merge_family(registry, index);
    if (list == NULL && family->labels != NULL) {
        return;
    }
    write_head(family, out);
    if (list == NULL && family->type != METRIC_HISTOGRAM) {
        writer_print(out, "%s%s 0\n", family->name, family->type == METRIC_COUNTER ? "_total" : "");
    }
    while (list != NULL) {
        struct merged_series *merged = list;
        list = merged->next;
        write_series(family, merged, out);
        memory_free(merged);
    }
}

void metric_registry_render(struct metric_registry *registry, struct writer *out)
{
    pthread_mutex_lock(&registry->lock);
    for (size_t i = 0; i < registry->family_count; i++) {
        render_family(registry, i, out);
    }
    pthread_mutex_unlock(&registry->lock);
    writer_add_string(out, "# EOF\n");
}
