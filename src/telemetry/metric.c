#include "telemetry/metric.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"
#include "telemetry/metric_internal.h"

#include <assert.h>
#include <stdlib.h>

#define LABEL_UNKNOWN "unknown"
#define LABEL_OTHER "other"

static size_t count_labels(const char *const *labels)
{
    size_t count = 0;
    while (labels != NULL && labels[count] != NULL) {
        count++;
    }
    assert(count <= METRIC_LABELS_MAXIMUM);
    return count;
}

/* The schema of these labels, made when no family before had them. */
static size_t schema_of(struct metric_registry *registry, const struct metric_family *family)
{
    for (size_t i = 0; i < registry->schema_count; i++) {
        if (registry->schemas[i].labels == family->labels) {
            return i;
        }
    }
    struct metric_schema *schema = &registry->schemas[registry->schema_count];
    schema->labels = family->labels;
    schema->label_count = count_labels(family->labels);
    schema->cap = family->series_cap > 0 ? family->series_cap : METRIC_SERIES_CAP_DEFAULT;
    return registry->schema_count++;
}

struct metric_registry *metric_registry_new(const struct metric_family *families, size_t count)
{
    struct metric_registry *registry = NEW(struct metric_registry);
    registry->families = families;
    registry->family_count = count;
    registry->grace_ns = METRIC_GRACE_NS;
    registry->schemas = memory_allocate_zeroed(count, sizeof *registry->schemas);
    registry->places = memory_allocate_zeroed(count, sizeof *registry->places);
    for (size_t i = 0; i < count; i++) {
        size_t schema = schema_of(registry, &families[i]);
        registry->places[i].schema = schema;
        registry->places[i].rank = registry->schemas[schema].family_count++;
    }
    list_initialise(&registry->scrapes);
    pthread_mutex_init(&registry->mutex, NULL);
    return registry;
}

static void free_label_set(const struct metric_registry *registry, struct metric_label_set *set)
{
    for (size_t i = 0; i < registry->schemas[set->schema].family_count; i++) {
        struct metric_series_state *state = atomic_load_explicit(&set->series[i], memory_order_relaxed);
        if (state != NULL) {
            memory_free(state->histogram);
            memory_free(state);
        }
    }
    memory_free(set->text);
    memory_free(set);
}

static void free_shard(struct metric_shard *shard)
{
    for (size_t i = 0; i < shard->registry->schema_count; i++) {
        struct metric_shard_schema *schema = &shard->schemas[i];
        struct metric_label_set *set = atomic_load(&schema->first);
        while (set != NULL) {
            struct metric_label_set *next = atomic_load(&set->next);
            free_label_set(shard->registry, set);
            set = next;
        }
        hash_map_free(schema->by_key, NULL);
    }
    writer_free(&shard->key);
    memory_free(shard->schemas);
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
    memory_free(registry->schemas);
    memory_free(registry->places);
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
    shard->schemas = memory_allocate_zeroed(registry->schema_count, sizeof *shard->schemas);
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

/* The key of these label values, or of the `other` set for NULL; borrowed until the next one. */
static struct bytes key_of(
    struct metric_shard *shard, const struct metric_schema *schema, const char *const *label_values)
{
    writer_clear(&shard->key);
    for (size_t i = 0; i < schema->label_count; i++) {
        add_to_key(&shard->key, label_values != NULL ? label_values[i] : LABEL_OTHER);
    }
    return writer_bytes(&shard->key);
}

static struct metric_label_set *add_label_set(struct metric_shard *shard, size_t index, struct bytes key)
{
    struct metric_shard_schema *schema = &shard->schemas[index];
    size_t family_count = shard->registry->schemas[index].family_count;
    size_t series_bytes = family_count * sizeof(_Atomic(struct metric_series_state *));
    struct metric_label_set *set =
        memory_allocate_zeroed(1, sizeof(struct metric_label_set) + series_bytes + key.length);
    set->shard = shard;
    set->schema = index;
    set->key = (char *)set + sizeof(struct metric_label_set) + series_bytes;
    set->key_length = key.length;
    if (key.length > 0) {
        memcpy(set->key, key.data, key.length);
    }
    atomic_init(&set->next, atomic_load_explicit(&schema->first, memory_order_relaxed));
    /* Whole before a scrape can find it. */
    atomic_store_explicit(&schema->first, set, memory_order_release);
    return set;
}

static struct metric_histogram *new_histogram(const struct metric_family *family)
{
    if (family->type != METRIC_HISTOGRAM) {
        return NULL;
    }
    size_t buckets = 0;
    while (family->buckets[buckets] >= 0) {
        buckets++;
    }
    struct metric_histogram *histogram =
        memory_allocate_zeroed(1, sizeof *histogram + (buckets + 1) * sizeof histogram->counts[0]);
    histogram->bucket_count = buckets;
    return histogram;
}

/* On a cache line of its own: what else is on it would be dragged about between the counting and the scraping thread. */
static struct metric_series_state *new_series(struct metric_label_set *set, size_t family)
{
    struct metric_series_state *state =
        aligned_alloc(_Alignof(struct metric_series_state), sizeof(struct metric_series_state));
    if (state == NULL) {
        abort();
    }
    memset(state, 0, sizeof *state);
    state->series.state = state;
    state->set = set;
    state->family = family;
    state->histogram = new_histogram(&set->shard->registry->families[family]);
    return state;
}

struct metric_series *metric_label_set_series(struct metric_label_set *set, size_t family)
{
    const struct metric_registry *registry = set->shard->registry;
    assert(family < registry->family_count && registry->places[family].schema == set->schema);
    size_t rank = registry->places[family].rank;
    struct metric_series_state *state = atomic_load_explicit(&set->series[rank], memory_order_relaxed);
    if (state == NULL) {
        state = new_series(set, family);
        atomic_store_explicit(&set->series[rank], state, memory_order_release);
    }
    return &state->series;
}

static void clear_series(struct metric_series_state *state)
{
    atomic_store_explicit(&state->series.value, 0, memory_order_relaxed);
    if (state->histogram == NULL) {
        return;
    }
    atomic_store_explicit(&state->histogram->sum_bits, 0, memory_order_relaxed);
    for (size_t i = 0; i <= state->histogram->bucket_count; i++) {
        atomic_store_explicit(&state->histogram->counts[i], 0, memory_order_relaxed);
    }
}

/* Forgets what the set counted before it expired, and makes it one that has a user. */
static void revive(struct metric_label_set *set)
{
    for (size_t i = 0; i < set->shard->registry->schemas[set->schema].family_count; i++) {
        struct metric_series_state *state = atomic_load_explicit(&set->series[i], memory_order_relaxed);
        if (state != NULL) {
            clear_series(state);
        }
    }
    atomic_store_explicit(&set->users, 1, memory_order_release);
}

static bool is_removable(const struct metric_label_set *set, uint64_t generation)
{
    return atomic_load_explicit(&set->users, memory_order_acquire) >= LABEL_SET_EXPIRED &&
           set->expired_generation <= generation;
}

static void remove_expired_of_schema(
    struct metric_registry *registry, struct metric_shard_schema *schema, uint64_t generation)
{
    _Atomic(struct metric_label_set *) *link = &schema->first;
    struct metric_label_set *set;
    while ((set = atomic_load_explicit(link, memory_order_relaxed)) != NULL) {
        if (!is_removable(set, generation)) {
            link = &set->next;
            continue;
        }
        struct metric_label_set *next = atomic_load_explicit(&set->next, memory_order_relaxed);
        atomic_store_explicit(link, next, memory_order_relaxed);
        if (set == schema->other) {
            schema->other = NULL;
        } else {
            hash_map_remove(schema->by_key, bytes_of(set->key, set->key_length));
            atomic_fetch_sub_explicit(&registry->schemas[set->schema].set_count, 1, memory_order_relaxed);
        }
        free_label_set(registry, set);
    }
}

/* Removes what has expired since the last time; what a scrape under way may hold stays until that one is over. */
static void remove_expired(struct metric_shard *shard)
{
    struct metric_registry *registry = shard->registry;
    uint64_t expired = atomic_load_explicit(&registry->expired_generation, memory_order_relaxed);
    if (expired == shard->removed_generation || pthread_mutex_trylock(&registry->mutex) != 0) {
        return;
    }
    uint64_t generation = metric_removable_generation(registry);
    if (generation != shard->removed_generation) {
        for (size_t i = 0; i < registry->schema_count; i++) {
            remove_expired_of_schema(registry, &shard->schemas[i], generation);
        }
        shard->removed_generation = generation;
    }
    pthread_mutex_unlock(&registry->mutex);
}

/* Whether there is room for one more set, which then counts. */
static bool take_room(struct metric_schema *schema)
{
    if (atomic_fetch_add_explicit(&schema->set_count, 1, memory_order_relaxed) < schema->cap) {
        return true;
    }
    atomic_fetch_sub_explicit(&schema->set_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&schema->over_cap, 1, memory_order_relaxed);
    return false;
}

static struct metric_label_set *add_or_share(struct metric_shard *shard, size_t index, const char *const *label_values)
{
    struct metric_schema *declared = &shard->registry->schemas[index];
    struct metric_shard_schema *schema = &shard->schemas[index];
    remove_expired(shard);
    if (take_room(declared)) {
        struct bytes key = key_of(shard, declared, label_values);
        struct metric_label_set *set = add_label_set(shard, index, key);
        hash_map_put(schema->by_key, key, set);
        return set;
    }
    if (schema->other == NULL) {
        schema->other = add_label_set(shard, index, key_of(shard, declared, NULL));
    }
    return schema->other;
}

/* The one set of families without labels. */
static struct metric_label_set *only_set(struct metric_shard *shard, size_t index)
{
    struct metric_label_set *set = atomic_load_explicit(&shard->schemas[index].first, memory_order_relaxed);
    return set != NULL ? set : add_label_set(shard, index, bytes_of(NULL, 0));
}

static struct metric_label_set *find_or_add(struct metric_shard *shard, size_t index, const char *const *label_values)
{
    const struct metric_schema *declared = &shard->registry->schemas[index];
    struct metric_shard_schema *schema = &shard->schemas[index];
    if (!metric_schema_has_labels(declared)) {
        return only_set(shard, index);
    }
    if (schema->by_key == NULL) {
        schema->by_key = hash_map_new();
    }
    struct metric_label_set *set = hash_map_get(schema->by_key, key_of(shard, declared, label_values));
    return set != NULL ? set : add_or_share(shard, index, label_values);
}

struct metric_label_set *metric_label_set_get(
    struct metric_shard *shard, size_t family, const char *const *label_values)
{
    assert(family < shard->registry->family_count);
    struct metric_label_set *set = find_or_add(shard, shard->registry->places[family].schema, label_values);
    if (atomic_fetch_add_explicit(&set->users, 1, memory_order_acq_rel) >= LABEL_SET_EXPIRED) {
        revive(set);
    }
    return set;
}

void metric_label_set_put(struct metric_label_set *set)
{
    if (atomic_load_explicit(&set->users, memory_order_relaxed) > 1) {
        atomic_fetch_sub_explicit(&set->users, 1, memory_order_release);
        return;
    }
    struct metric_shard *shard = set->shard;
    /* Before the number of users says that this time counts. */
    atomic_store_explicit(&set->unused_since_ns, clock_monotonic_ns(), memory_order_relaxed);
    atomic_fetch_sub_explicit(&set->users, 1, memory_order_release);
    remove_expired(shard);
}

struct metric_series *metric_series_get(struct metric_shard *shard, size_t family, const char *const *label_values)
{
    return metric_label_set_series(metric_label_set_get(shard, family, label_values), family);
}

void metric_series_put(struct metric_series *series)
{
    metric_label_set_put(series->state->set);
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
    const struct metric_series_state *state = series->state;
    struct metric_histogram *histogram = state->histogram;
    assert(histogram != NULL && "only histograms observe");
    const double *bounds = state->set->shard->registry->families[state->family].buckets;
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
    struct metric_label_set *set = only_set(shard, shard->registry->places[family].schema);
    metric_add(metric_label_set_series(set, family), amount);
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

size_t metric_registry_set_count(const struct metric_registry *registry)
{
    size_t count = 0;
    for (size_t i = 0; i < registry->schema_count; i++) {
        count += atomic_load_explicit(&registry->schemas[i].set_count, memory_order_relaxed);
    }
    return count;
}

uint64_t metric_over_cap(const struct metric_registry *registry, size_t family)
{
    const struct metric_schema *schema = &registry->schemas[registry->places[family].schema];
    return atomic_load_explicit(&schema->over_cap, memory_order_relaxed);
}
