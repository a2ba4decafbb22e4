/* Label sets that nobody uses any more, and how the shards' parts of one are brought together. */
#include "base/memory.h"
#include "telemetry/metric_internal.h"

#include <stdlib.h>

static int compare_sets(const void *left, const void *right)
{
    const struct metric_label_set *left_set = *(struct metric_label_set *const *)left;
    const struct metric_label_set *right_set = *(struct metric_label_set *const *)right;
    size_t common = left_set->key_length < right_set->key_length ? left_set->key_length : right_set->key_length;
    int order = memcmp(left_set->key, right_set->key, common);
    if (order != 0) {
        return order;
    }
    return (left_set->key_length > right_set->key_length) - (left_set->key_length < right_set->key_length);
}

static bool is_expired(const struct metric_label_set *set)
{
    return atomic_load_explicit(&set->users, memory_order_acquire) >= LABEL_SET_EXPIRED;
}

static void gather_from_shard(struct metric_shard *shard, size_t schema, struct metric_gathered *gathered)
{
    struct metric_label_set *set = atomic_load_explicit(&shard->schemas[schema].first, memory_order_acquire);
    for (; set != NULL; set = atomic_load_explicit(&set->next, memory_order_relaxed)) {
        if (is_expired(set)) {
            continue;
        }
        if (gathered->count == gathered->capacity) {
            gathered->capacity = gathered->capacity == 0 ? 64 : 2 * gathered->capacity;
            gathered->sets = memory_resize(gathered->sets, gathered->capacity, sizeof gathered->sets[0]);
        }
        gathered->sets[gathered->count++] = set;
    }
}

void metric_gather(struct metric_registry *registry, size_t schema, struct metric_gathered *gathered)
{
    gathered->count = 0;
    for (struct metric_shard *shard = registry->shards; shard != NULL; shard = shard->next) {
        gather_from_shard(shard, schema, gathered);
    }
    if (gathered->count > 1) {
        qsort(gathered->sets, gathered->count, sizeof gathered->sets[0], compare_sets);
    }
}

size_t metric_group_size(const struct metric_gathered *gathered, size_t start)
{
    size_t end = start + 1;
    while (end < gathered->count && compare_sets(&gathered->sets[start], &gathered->sets[end]) == 0) {
        end++;
    }
    return end - start;
}

void metric_gathered_free(struct metric_gathered *gathered)
{
    memory_free(gathered->sets);
    *gathered = (struct metric_gathered){ 0 };
}

static bool is_past_grace(const struct metric_registry *registry, const struct metric_label_set *set, uint64_t now_ns)
{
    uint64_t unused_since_ns = atomic_load_explicit(&set->unused_since_ns, memory_order_relaxed);
    return unused_since_ns < now_ns && now_ns - unused_since_ns > registry->grace_ns;
}

static bool is_long_unused(const struct metric_registry *registry, const struct metric_label_set *set, uint64_t now_ns)
{
    return atomic_load_explicit(&set->users, memory_order_acquire) == 0 && is_past_grace(registry, set, now_ns);
}

/* False when its thread has taken it into use in the meantime, be it for a moment. */
static bool try_to_expire(const struct metric_registry *registry, struct metric_label_set *set, uint64_t now_ns)
{
    uint32_t nobody = 0, expired = LABEL_SET_EXPIRED;
    if (!atomic_compare_exchange_strong(&set->users, &nobody, LABEL_SET_EXPIRED)) {
        return false;
    }
    if (is_past_grace(registry, set, now_ns)) {
        set->expired_generation = atomic_load_explicit(&registry->expired_generation, memory_order_relaxed) + 1;
        return true;
    }
    (void)atomic_compare_exchange_strong(&set->users, &expired, 0);
    return false;
}

/* The shards' parts of one label set expire together: a total that lost only one of them would look like a counter that was
 * reset, and a rate made from it would count everything twice. */
static bool expire_group(
    const struct metric_registry *registry, struct metric_label_set **group, size_t size, uint64_t now_ns)
{
    for (size_t i = 0; i < size; i++) {
        if (!is_long_unused(registry, group[i], now_ns)) {
            return false;
        }
    }
    for (size_t i = 0; i < size; i++) {
        if (try_to_expire(registry, group[i], now_ns)) {
            continue;
        }
        while (i > 0) {
            uint32_t expired = LABEL_SET_EXPIRED;
            (void)atomic_compare_exchange_strong(&group[--i]->users, &expired, 0);
        }
        return false;
    }
    return true;
}

void metric_expire_locked(struct metric_registry *registry, uint64_t now_ns)
{
    struct metric_gathered gathered = { 0 };
    bool has_expired = false;
    for (size_t index = 0; index < registry->schema_count; index++) {
        if (!metric_schema_has_labels(&registry->schemas[index])) {
            continue;
        }
        metric_gather(registry, index, &gathered);
        for (size_t i = 0, size; i < gathered.count; i += size) {
            size = metric_group_size(&gathered, i);
            has_expired |= expire_group(registry, &gathered.sets[i], size, now_ns);
        }
    }
    metric_gathered_free(&gathered);
    if (has_expired) {
        atomic_fetch_add_explicit(&registry->expired_generation, 1, memory_order_release);
    }
}

void metric_registry_expire(struct metric_registry *registry, uint64_t now_ns)
{
    pthread_mutex_lock(&registry->mutex);
    metric_expire_locked(registry, now_ns);
    pthread_mutex_unlock(&registry->mutex);
}
