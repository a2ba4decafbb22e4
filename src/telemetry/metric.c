#include "telemetry/metric.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"
#include "telemetry/metric_internal.h"

#include <assert.h>
#include <stdlib.h>

#define SERIES_CAP_DEFAULT 10000
#define LABEL_UNKNOWN "unknown"
#define LABEL_OTHER "other"

struct metric_registry *metric_registry_new(const struct metric_family *families, size_t count)
{
    struct metric_registry *registry = NEW(struct metric_registry);
    registry->families = families;
    registry->family_count = count;
    registry->grace_ns = METRIC_GRACE_NS;
    pthread_mutex_init(&registry->mutex, NULL);
    return registry;
}

static void free_series(struct metric_series_state *state)
{
    memory_free(state->histogram);
    memory_free(state);
}

static void free_shard(struct metric_shard *shard)
{
    for (size_t i = 0; i < shard->registry->family_count; i++) {
        struct metric_shard_family *family = &shard->families[i];
        struct metric_series_state *state = atomic_load(&family->first);
        while (state != NULL) {
            struct metric_series_state *next = atomic_load(&state->next);
            free_series(state);
            state = next;
        }
        hash_map_free(family->by_key, NULL);
    }
    writer_free(&shard->key);
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
    pthread_mutex_destroy(&registry->mutex);
    memory_free(registry);
}

void metric_registry_set_grace_ns(struct metric_registry *registry, uint64_t grace_ns)
{
    pthread_mutex_lock(&registry->mutex);
    registry->grace_ns = grace_ns;
    pthread_mutex_unlock(&registry->mutex);
}

struct metric_shard *metric_shard_new(struct metric_registry *registry)
{
    struct metric_shard *shard = NEW(struct metric_shard);
    shard->registry = registry;
    shard->families = memory_allocate_zeroed(registry->family_count, sizeof *shard->families);
    pthread_mutex_lock(&registry->mutex);
    shard->next = registry->shards;
    registry->shards = shard;
    pthread_mutex_unlock(&registry->mutex);
    return shard;
}

/* The value without what is beyond the bound, cut between characters. */
static size_t label_length(const char *value)
{
    size_t length = strnlen(value, METRIC_LABEL_BYTES_MAXIMUM + 1);
    if (length <= METRIC_LABEL_BYTES_MAXIMUM) {
        return length;
    }
    length = METRIC_LABEL_BYTES_MAXIMUM;
    while (length > 0 && ((unsigned char)value[length] & 0xC0) == 0x80) {
        length--;
    }
    return length;
}

static void add_to_key(struct writer *key, const char *value)
{
    if (text_is_empty(value)) {
        value = LABEL_UNKNOWN;
    }
    writer_add(key, value, label_length(value));
    writer_add_u8(key, '\0');
}

/* The key of these label values, or of the family's `other` series for NULL; borrowed until the next one. */
static struct bytes key_of(
    struct metric_shard *shard, const struct metric_family *declared, const char *const *label_values)
{
    writer_clear(&shard->key);
    for (size_t i = 0; declared->labels != NULL && declared->labels[i] != NULL; i++) {
        assert(i < METRIC_LABELS_MAXIMUM);
        add_to_key(&shard->key, label_values != NULL ? label_values[i] : LABEL_OTHER);
    }
    return writer_bytes(&shard->key);
}

static struct metric_histogram *new_histogram(const struct metric_family *declared)
{
    if (declared->type != METRIC_HISTOGRAM) {
        return NULL;
    }
    size_t buckets = 0;
    while (declared->buckets[buckets] >= 0) {
        buckets++;
    }
    struct metric_histogram *histogram =
        memory_allocate_zeroed(1, sizeof *histogram + (buckets + 1) * sizeof histogram->counts[0]);
    histogram->bucket_count = buckets;
    return histogram;
}

static struct metric_series_state *allocate_series(size_t key_length)
{
    const size_t alignment = _Alignof(struct metric_series_state);
    size_t size = (sizeof(struct metric_series_state) + key_length + alignment - 1) / alignment * alignment;
    struct metric_series_state *state = aligned_alloc(alignment, size);
    if (state == NULL) {
        abort();
    }
    memset(state, 0, size);
    return state;
}

static struct metric_series_state *add_series(struct metric_shard *shard, size_t index, struct bytes key)
{
    struct metric_shard_family *family = &shard->families[index];
    struct metric_series_state *state = allocate_series(key.length);
    state->series.state = state;
    state->shard = shard;
    state->family = index;
    state->histogram = new_histogram(&shard->registry->families[index]);
    state->key_length = key.length;
    if (key.length > 0) {
        memcpy(state->key, key.data, key.length);
    }
    atomic_init(&state->next, atomic_load_explicit(&family->first, memory_order_relaxed));
    /* Whole before a scrape can find it. */
    atomic_store_explicit(&family->first, state, memory_order_release);
    return state;
}

/* Forgets what the series counted before it expired, and makes it one that has a user. */
static void revive(struct metric_series_state *state)
{
    atomic_store_explicit(&state->series.value, 0, memory_order_relaxed);
    if (state->histogram != NULL) {
        atomic_store_explicit(&state->histogram->sum_bits, 0, memory_order_relaxed);
        for (size_t i = 0; i <= state->histogram->bucket_count; i++) {
            atomic_store_explicit(&state->histogram->counts[i], 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&state->users, 1, memory_order_release);
}

static void remove_expired_of_family(struct metric_shard_family *family)
{
    _Atomic(struct metric_series_state *) *link = &family->first;
    struct metric_series_state *state;
    while ((state = atomic_load_explicit(link, memory_order_relaxed)) != NULL) {
        if (atomic_load_explicit(&state->users, memory_order_acquire) < SERIES_EXPIRED) {
            link = &state->next;
            continue;
        }
        struct metric_series_state *next = atomic_load_explicit(&state->next, memory_order_relaxed);
        atomic_store_explicit(link, next, memory_order_relaxed);
        if (state == family->other) {
            family->other = NULL;
        } else {
            hash_map_remove(family->by_key, bytes_of(state->key, state->key_length));
        }
        free_series(state);
    }
}

/* Removes what has expired since the last time; put off while a scrape is under way. */
static void remove_expired(struct metric_shard *shard)
{
    struct metric_registry *registry = shard->registry;
    uint32_t generation = atomic_load_explicit(&registry->expired_generation, memory_order_relaxed);
    if (generation == shard->removed_generation || pthread_mutex_trylock(&registry->mutex) != 0) {
        return;
    }
    for (size_t i = 0; i < registry->family_count; i++) {
        remove_expired_of_family(&shard->families[i]);
    }
    shard->removed_generation = generation;
    pthread_mutex_unlock(&registry->mutex);
}

static struct metric_series_state *add_or_share(
    struct metric_shard *shard, size_t index, const char *const *label_values)
{
    const struct metric_family *declared = &shard->registry->families[index];
    struct metric_shard_family *family = &shard->families[index];
    size_t cap = declared->series_cap > 0 ? declared->series_cap : SERIES_CAP_DEFAULT;
    remove_expired(shard);
    if (hash_map_count(family->by_key) < cap) {
        struct bytes key = key_of(shard, declared, label_values);
        struct metric_series_state *state = add_series(shard, index, key);
        hash_map_put(family->by_key, key, state);
        return state;
    }
    if (family->other == NULL) {
        family->other = add_series(shard, index, key_of(shard, declared, NULL));
    }
    return family->other;
}

/* The one series of a family without labels. */
static struct metric_series_state *only_series(struct metric_shard *shard, size_t index)
{
    struct metric_series_state *state = atomic_load_explicit(&shard->families[index].first, memory_order_relaxed);
    return state != NULL ? state : add_series(shard, index, bytes_of(NULL, 0));
}

static struct metric_series_state *find_or_add(
    struct metric_shard *shard, size_t index, const char *const *label_values)
{
    const struct metric_family *declared = &shard->registry->families[index];
    struct metric_shard_family *family = &shard->families[index];
    if (declared->labels == NULL || declared->labels[0] == NULL) {
        return only_series(shard, index);
    }
    if (family->by_key == NULL) {
        family->by_key = hash_map_new();
    }
    struct metric_series_state *state = hash_map_get(family->by_key, key_of(shard, declared, label_values));
    return state != NULL ? state : add_or_share(shard, index, label_values);
}

struct metric_series *metric_series_get(struct metric_shard *shard, size_t family, const char *const *label_values)
{
    assert(family < shard->registry->family_count);
    struct metric_series_state *state = find_or_add(shard, family, label_values);
    if (atomic_fetch_add_explicit(&state->users, 1, memory_order_acq_rel) >= SERIES_EXPIRED) {
        revive(state);
    }
    return &state->series;
}

void metric_series_put(struct metric_series *series)
{
    struct metric_series_state *state = series->state;
    if (atomic_load_explicit(&state->users, memory_order_relaxed) > 1) {
        atomic_fetch_sub_explicit(&state->users, 1, memory_order_release);
        return;
    }
    struct metric_shard *shard = state->shard;
    /* Before the number of users says that this time counts. */
    atomic_store_explicit(&state->unused_since_ns, clock_monotonic_ns(), memory_order_relaxed);
    atomic_fetch_sub_explicit(&state->users, 1, memory_order_release);
    remove_expired(shard);
}

double metric_double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint64_t metric_bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void metric_observe(struct metric_series *series, double value)
{
    struct metric_series_state *state = series->state;
    struct metric_histogram *histogram = state->histogram;
    assert(histogram != NULL && "only histograms observe");
    const double *bounds = state->shard->registry->families[state->family].buckets;
    size_t bucket = 0;
    while (bucket < histogram->bucket_count && value > bounds[bucket]) {
        bucket++;
    }
    uint64_t count = atomic_load_explicit(&histogram->counts[bucket], memory_order_relaxed);
    atomic_store_explicit(&histogram->counts[bucket], count + 1, memory_order_relaxed);
    double sum = metric_double_of_bits(atomic_load_explicit(&histogram->sum_bits, memory_order_relaxed));
    atomic_store_explicit(&histogram->sum_bits, metric_bits_of_double(sum + value), memory_order_relaxed);
    metric_add(series, 1);
}

void metric_count(struct metric_shard *shard, size_t family, uint64_t amount)
{
    metric_add(&only_series(shard, family)->series, amount);
}

void metric_count_labelled(struct metric_shard *shard, size_t family, const char *const *label_values, uint64_t amount)
{
    struct metric_series *series = metric_series_get(shard, family, label_values);
    metric_add(series, amount);
    metric_series_put(series);
}

void metric_set_labelled(struct metric_shard *shard, size_t family, const char *const *label_values, int64_t value)
{
    struct metric_series *series = metric_series_get(shard, family, label_values);
    metric_set(series, value);
    metric_series_put(series);
}

void metric_observe_labelled(struct metric_shard *shard, size_t family, const char *const *label_values, double value)
{
    struct metric_series *series = metric_series_get(shard, family, label_values);
    metric_observe(series, value);
    metric_series_put(series);
}
