/* The reading side of the metrics: expiry, merging the shards, OpenMetrics text. With the registry's mutex held throughout. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "telemetry/metric_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* All series of one family, those with equal labels side by side. */
struct gathered {
    struct metric_series_state **series;
    size_t count;
    size_t capacity;
};

static int compare_series(const void *left, const void *right)
{
    const struct metric_series_state *left_series = *(struct metric_series_state *const *)left;
    const struct metric_series_state *right_series = *(struct metric_series_state *const *)right;
    size_t common =
        left_series->key_length < right_series->key_length ? left_series->key_length : right_series->key_length;
    int order = memcmp(left_series->key, right_series->key, common);
    if (order != 0) {
        return order;
    }
    return (left_series->key_length > right_series->key_length) - (left_series->key_length < right_series->key_length);
}

static bool is_expired(const struct metric_series_state *series)
{
    return atomic_load_explicit(&series->users, memory_order_acquire) >= SERIES_EXPIRED;
}

static void gather_from_shard(struct metric_shard *shard, size_t index, struct gathered *gathered)
{
    struct metric_series_state *series = atomic_load_explicit(&shard->families[index].first, memory_order_acquire);
    for (; series != NULL; series = atomic_load_explicit(&series->next, memory_order_relaxed)) {
        if (is_expired(series)) {
            continue;
        }
        if (gathered->count == gathered->capacity) {
            gathered->capacity = gathered->capacity == 0 ? 64 : 2 * gathered->capacity;
            gathered->series = memory_resize(gathered->series, gathered->capacity, sizeof gathered->series[0]);
        }
        gathered->series[gathered->count++] = series;
    }
}

static void gather(struct metric_registry *registry, size_t index, struct gathered *gathered)
{
    gathered->count = 0;
    for (struct metric_shard *shard = registry->shards; shard != NULL; shard = shard->next) {
        gather_from_shard(shard, index, gathered);
    }
    if (gathered->count > 1) {
        qsort(gathered->series, gathered->count, sizeof gathered->series[0], compare_series);
    }
}

/* How many series from `start` on have the same labels as the one there. */
static size_t group_size(const struct gathered *gathered, size_t start)
{
    size_t end = start + 1;
    while (end < gathered->count && compare_series(&gathered->series[start], &gathered->series[end]) == 0) {
        end++;
    }
    return end - start;
}

static bool is_long_unused(const struct metric_registry *registry, struct metric_series_state *series, uint64_t now_ns)
{
    if (atomic_load_explicit(&series->users, memory_order_acquire) != 0) {
        return false;
    }
    uint64_t unused_since_ns = atomic_load_explicit(&series->unused_since_ns, memory_order_relaxed);
    return unused_since_ns < now_ns && now_ns - unused_since_ns > registry->grace_ns;
}

/* False when its thread has taken it into use in the meantime, be it for a moment. */
static bool try_to_expire(const struct metric_registry *registry, struct metric_series_state *series, uint64_t now_ns)
{
    uint32_t nobody = 0, expired = SERIES_EXPIRED;
    if (!atomic_compare_exchange_strong(&series->users, &nobody, SERIES_EXPIRED)) {
        return false;
    }
    uint64_t unused_since_ns = atomic_load_explicit(&series->unused_since_ns, memory_order_relaxed);
    if (unused_since_ns < now_ns && now_ns - unused_since_ns > registry->grace_ns) {
        return true;
    }
    (void)atomic_compare_exchange_strong(&series->users, &expired, 0);
    return false;
}

/* The parts of one label set expire together: a total that lost only one of them would look like a counter that was reset,
 * and a rate made from it would count everything twice. */
static bool expire_group(
    const struct metric_registry *registry, struct metric_series_state **group, size_t size, uint64_t now_ns)
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
            uint32_t expired = SERIES_EXPIRED;
            (void)atomic_compare_exchange_strong(&group[--i]->users, &expired, 0);
        }
        return false;
    }
    return true;
}

static bool has_labels(const struct metric_family *family)
{
    return family->labels != NULL && family->labels[0] != NULL;
}

static void expire_locked(struct metric_registry *registry, uint64_t now_ns)
{
    struct gathered gathered = { 0 };
    bool has_expired = false;
    for (size_t index = 0; index < registry->family_count; index++) {
        if (!has_labels(&registry->families[index])) {
            continue;
        }
        gather(registry, index, &gathered);
        for (size_t i = 0, size; i < gathered.count; i += size) {
            size = group_size(&gathered, i);
            has_expired |= expire_group(registry, &gathered.series[i], size, now_ns);
        }
    }
    memory_free(gathered.series);
    if (has_expired) {
        atomic_fetch_add_explicit(&registry->expired_generation, 1, memory_order_release);
    }
}

void metric_registry_expire(struct metric_registry *registry, uint64_t now_ns)
{
    pthread_mutex_lock(&registry->mutex);
    expire_locked(registry, now_ns);
    pthread_mutex_unlock(&registry->mutex);
}

static uint64_t sum_of_values(struct metric_series_state *const *series, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += atomic_load_explicit(&series[i]->series.value, memory_order_relaxed);
    }
    return sum;
}

uint64_t metric_total(struct metric_registry *registry, size_t family)
{
    struct gathered gathered = { 0 };
    pthread_mutex_lock(&registry->mutex);
    gather(registry, family, &gathered);
    uint64_t total = sum_of_values(gathered.series, gathered.count);
    pthread_mutex_unlock(&registry->mutex);
    memory_free(gathered.series);
    return total;
}

static void add_label_value(const char *value, struct writer *out)
{
    struct bytes rest = bytes_of_string(value);
    while (rest.length > 0) {
        size_t length = bytes_utf8_length(rest);
        uint8_t first = rest.data[0];
        if (length == 0) {
            writer_add_string(out, "\xEF\xBF\xBD");
            length = 1;
        } else if (first == '\n') {
            writer_add_string(out, "\\n");
        } else {
            writer_add_string(out, first == '\\' || first == '"' ? "\\" : "");
            writer_add(out, rest.data, length);
        }
        rest = bytes_of(rest.data + length, rest.length - length);
    }
}

/* `{le="...",name="value",...}`; nothing when there is no label at all. */
static void add_labels(const struct metric_family *family, const char *key, const char *bound, struct writer *out)
{
    char separator = '{';
    if (bound != NULL) {
        writer_print(out, "{le=\"%s\"", bound);
        separator = ',';
    }
    for (size_t i = 0; has_labels(family) && family->labels[i] != NULL; i++) {
        writer_print(out, "%c%s=\"", separator, family->labels[i]);
        add_label_value(key, out);
        writer_add_u8(out, '"');
        key += strlen(key) + 1;
        separator = ',';
    }
    if (separator == ',') {
        writer_add_u8(out, '}');
    }
}

/* The shortest decimal that reads back as the same number, with a point: "0.1", "5.0". */
static const char *format_double(double value, char out[static 40])
{
    struct writer writer = writer_fixed(out, 40);
    for (int digits = 15; digits <= 17; digits++) {
        writer_clear(&writer);
        writer_print(&writer, "%.*g", digits, value);
        if (strtod(writer_string(&writer), NULL) == value) {
            break;
        }
    }
    if (strpbrk(out, ".en") == NULL) {
        writer_add_string(&writer, ".0");
    }
    return writer_string(&writer);
}

static uint64_t sum_of_bucket(struct metric_series_state *const *series, size_t count, size_t bucket)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += atomic_load_explicit(&series[i]->histogram->counts[bucket], memory_order_relaxed);
    }
    return sum;
}

static void add_buckets(const struct metric_family *family, struct metric_series_state *const *series, size_t count,
    struct writer *out, uint64_t *total)
{
    size_t buckets = series[0]->histogram->bucket_count;
    *total = 0;
    for (size_t i = 0; i <= buckets; i++) {
        char bound[40];
        *total += sum_of_bucket(series, count, i);
        writer_print(out, "%s_bucket", family->name);
        add_labels(family, series[0]->key, i < buckets ? format_double(family->buckets[i], bound) : "+Inf", out);
        writer_print(out, " %" PRIu64 "\n", *total);
    }
}

static void add_histogram(
    const struct metric_family *family, struct metric_series_state *const *series, size_t count, struct writer *out)
{
    double sum = 0;
    uint64_t total;
    char text[40];
    for (size_t i = 0; i < count; i++) {
        sum += metric_double_of_bits(atomic_load_explicit(&series[i]->histogram->sum_bits, memory_order_relaxed));
    }
    add_buckets(family, series, count, out, &total);
    writer_print(out, "%s_count", family->name);
    add_labels(family, series[0]->key, NULL, out);
    writer_print(out, " %" PRIu64 "\n%s_sum", total, family->name);
    add_labels(family, series[0]->key, NULL, out);
    writer_print(out, " %s\n", format_double(sum, text));
}

/* One label set, which `count` shards have a part of. */
static void add_sample(
    const struct metric_family *family, struct metric_series_state *const *series, size_t count, struct writer *out)
{
    if (family->type == METRIC_HISTOGRAM) {
        add_histogram(family, series, count, out);
        return;
    }
    writer_print(out, "%s%s", family->name, family->type == METRIC_COUNTER ? "_total" : "");
    add_labels(family, series[0]->key, NULL, out);
    uint64_t value = sum_of_values(series, count);
    if (family->type == METRIC_GAUGE) {
        writer_print(out, " %" PRId64 "\n", (int64_t)value);
    } else {
        writer_print(out, " %" PRIu64 "\n", value);
    }
}

static void add_head(const struct metric_family *family, struct writer *out)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };
    writer_print(out, "# HELP %s %s%s\n", family->name, family->help, family->is_help_verbatim ? "" : ".");
    writer_print(out, "# TYPE %s %s\n", family->name, types[family->type]);
    if (family->unit != NULL) {
        writer_print(out, "# UNIT %s %s\n", family->name, family->unit);
    }
}

static void render_family(struct metric_registry *registry, size_t index, struct gathered *gathered, struct writer *out)
{
    const struct metric_family *family = &registry->families[index];
    gather(registry, index, gathered);
    if (gathered->count == 0 && has_labels(family)) {
        return;
    }
    add_head(family, out);
    if (gathered->count == 0 && family->type != METRIC_HISTOGRAM) {
        writer_print(out, "%s%s 0\n", family->name, family->type == METRIC_COUNTER ? "_total" : "");
    }
    for (size_t i = 0, size; i < gathered->count; i += size) {
        size = group_size(gathered, i);
        add_sample(family, &gathered->series[i], size, out);
    }
}

void metric_registry_render(struct metric_registry *registry, struct writer *out)
{
    struct gathered gathered = { 0 };
    pthread_mutex_lock(&registry->mutex);
    expire_locked(registry, clock_monotonic_ns());
    for (size_t i = 0; i < registry->family_count; i++) {
        render_family(registry, i, &gathered, out);
    }
    pthread_mutex_unlock(&registry->mutex);
    memory_free(gathered.series);
    writer_add_string(out, "# EOF\n");
}
