/* The printing side of the metrics: OpenMetrics text, a piece at a time. */
#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/text.h"
#include "telemetry/metric_internal.h"

#include <inttypes.h>
#include <stdlib.h>

struct metric_scrape {
    struct list link;            /* of the registry's */
    uint64_t expired_generation; /* of the registry when it began: what expired by then it does not see */
    struct metric_registry *registry;
    struct metric_gathered *gathered; /* by schema; filled when the first family of it is printed */
    bool *is_gathered;
    size_t family;
    size_t position; /* in the family's gathered sets */
    bool has_head;   /* of the family */
};

/* The series of one family with one set of labels, of which several shards may have a part. */
struct parts {
    struct metric_label_set *const *sets;
    size_t count;
    size_t rank;
};

static struct metric_series_state *part(const struct parts *parts, size_t index)
{
    return atomic_load_explicit(&parts->sets[index]->series[parts->rank], memory_order_acquire);
}

static bool has_any(const struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (part(parts, i) != NULL) {
            return true;
        }
    }
    return false;
}

static uint64_t sum_of_values(const struct parts *parts)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < parts->count; i++) {
        const struct metric_series_state *state = part(parts, i);
        sum += state != NULL ? atomic_load_explicit(&state->series.value, memory_order_relaxed) : 0;
    }
    return sum;
}

uint64_t metric_total(struct metric_registry *registry, size_t family)
{
    struct metric_gathered gathered = { 0 };
    pthread_mutex_lock(&registry->mutex);
    metric_gather(registry, registry->places[family].schema, &gathered);
    const struct parts all = { gathered.sets, gathered.count, registry->places[family].rank };
    uint64_t total = sum_of_values(&all);
    pthread_mutex_unlock(&registry->mutex);
    metric_gathered_free(&gathered);
    return total;
}

/* How many bytes from the start need no escape and are ASCII. */
static size_t harmless_length(struct bytes text)
{
    size_t length = 0;
    while (length < text.length && text.data[length] >= ' ' && text.data[length] < 0x7F && text.data[length] != '"' &&
           text.data[length] != '\\') {
        length++;
    }
    return length;
}

/* Escaped as OpenMetrics demands: an unescaped quote or line end in a label would let a workload forge samples. */
static void add_label_value(struct bytes rest, struct writer *out)
{
    while (rest.length > 0) {
        size_t length = harmless_length(rest);
        if (length > 0) {
            writer_add(out, rest.data, length);
        } else if ((length = bytes_utf8_length(rest)) == 0) {
            writer_add_string(out, "\xEF\xBF\xBD");
            length = 1;
        } else if (rest.data[0] == '\n') {
            writer_add_string(out, "\\n");
        } else {
            writer_add_string(out, rest.data[0] == '\\' || rest.data[0] == '"' ? "\\" : "");
            writer_add(out, rest.data, length);
        }
        rest = bytes_of(rest.data + length, rest.length - length);
    }
}

/* Made once for a label set: a scrape mostly copies. */
static void make_text(const struct metric_schema *schema, struct metric_label_set *set)
{
    struct writer text = writer_growing();
    const char *key = set->key;
    for (size_t i = 0; i < schema->label_count; i++) {
        writer_add_string(&text, i > 0 ? "," : "");
        writer_add_string(&text, schema->labels[i]);
        writer_add_string(&text, "=\"");
        struct bytes value = bytes_of_string(key);
        add_label_value(value, &text);
        writer_add_u8(&text, '"');
        key += value.length + 1;
    }
    set->text_length = text.length;
    set->text = writer_take_string(&text);
}

/* `{le="...",name="value",...}`; nothing when there is no label at all. */
static void add_labels(
    const struct metric_schema *schema, struct metric_label_set *set, const char *bound, struct writer *out)
{
    bool has_labels = metric_schema_has_labels(schema);
    if (!has_labels && bound == NULL) {
        return;
    }
    writer_add_u8(out, '{');
    if (bound != NULL) {
        writer_print(out, "le=\"%s\"%s", bound, has_labels ? "," : "");
    }
    if (has_labels) {
        if (set->text == NULL) {
            make_text(schema, set);
        }
        writer_add(out, set->text, set->text_length);
    }
    writer_add_u8(out, '}');
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

/* A space, the number, a line end. */
static void add_value(uint64_t value, bool is_signed, struct writer *out)
{
    char digits[24];
    char *start = digits + sizeof digits;
    bool is_negative = is_signed && (int64_t)value < 0;
    uint64_t rest = is_negative ? 0 - value : value;
    *--start = '\n';
    do {
        *--start = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (is_negative) {
        *--start = '-';
    }
    *--start = ' ';
    writer_add(out, start, (size_t)(digits + sizeof digits - start));
}

static uint64_t sum_of_bucket(const struct parts *parts, size_t bucket)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < parts->count; i++) {
        const struct metric_series_state *state = part(parts, i);
        sum += state != NULL ? atomic_load_explicit(&state->histogram->counts[bucket], memory_order_relaxed) : 0;
    }
    return sum;
}

static double sum_of_observations(const struct parts *parts)
{
    double sum = 0;
    for (size_t i = 0; i < parts->count; i++) {
        const struct metric_series_state *state = part(parts, i);
        sum += state != NULL
                   ? metric_double_of_bits(atomic_load_explicit(&state->histogram->sum_bits, memory_order_relaxed))
                   : 0;
    }
    return sum;
}

static void add_histogram(const struct metric_family *family, const struct metric_schema *schema,
    const struct parts *parts, struct writer *out)
{
    uint64_t total = 0;
    char text[40];
    for (size_t i = 0;; i++) {
        bool is_last = family->buckets[i] < 0;
        total += sum_of_bucket(parts, i);
        writer_print(out, "%s_bucket", family->name);
        add_labels(schema, parts->sets[0], is_last ? "+Inf" : format_double(family->buckets[i], text), out);
        add_value(total, false, out);
        if (is_last) {
            break;
        }
    }
    writer_print(out, "%s_count", family->name);
    add_labels(schema, parts->sets[0], NULL, out);
    add_value(total, false, out);
    writer_print(out, "%s_sum", family->name);
    add_labels(schema, parts->sets[0], NULL, out);
    writer_print(out, " %s\n", format_double(sum_of_observations(parts), text));
}

static void add_sample(const struct metric_family *family, const struct metric_schema *schema,
    const struct parts *parts, struct writer *out)
{
    if (family->type == METRIC_HISTOGRAM) {
        add_histogram(family, schema, parts, out);
        return;
    }
    writer_add_string(out, family->name);
    writer_add_string(out, family->type == METRIC_COUNTER ? "_total" : "");
    add_labels(schema, parts->sets[0], NULL, out);
    add_value(sum_of_values(parts), family->type == METRIC_GAUGE, out);
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

/* Scrapes begin in the order of generations: the first one is of the oldest. */
uint64_t metric_removable_generation(const struct metric_registry *registry)
{
    if (list_is_empty(&registry->scrapes)) {
        return atomic_load_explicit(&registry->expired_generation, memory_order_relaxed);
    }
    return LIST_ENTRY(registry->scrapes.next, struct metric_scrape, link)->expired_generation;
}

struct metric_scrape *metric_scrape_new(struct metric_registry *registry)
{
    struct metric_scrape *scrape = NEW(struct metric_scrape);
    scrape->registry = registry;
    scrape->gathered = memory_allocate_zeroed(registry->schema_count, sizeof *scrape->gathered);
    scrape->is_gathered = memory_allocate_zeroed(registry->schema_count, sizeof *scrape->is_gathered);
    pthread_mutex_lock(&registry->mutex);
    metric_expire_locked(registry, clock_monotonic_ns());
    scrape->expired_generation = atomic_load_explicit(&registry->expired_generation, memory_order_relaxed);
    list_append(&registry->scrapes, &scrape->link);
    pthread_mutex_unlock(&registry->mutex);
    return scrape;
}

void metric_scrape_free(struct metric_scrape *scrape)
{
    if (scrape == NULL) {
        return;
    }
    pthread_mutex_lock(&scrape->registry->mutex);
    list_remove(&scrape->link);
    pthread_mutex_unlock(&scrape->registry->mutex);
    for (size_t i = 0; i < scrape->registry->schema_count; i++) {
        metric_gathered_free(&scrape->gathered[i]);
    }
    memory_free(scrape->gathered);
    memory_free(scrape->is_gathered);
    memory_free(scrape);
}

static const struct metric_gathered *gathered_of(struct metric_scrape *scrape, size_t schema)
{
    struct metric_gathered *gathered = &scrape->gathered[schema];
    if (!scrape->is_gathered[schema]) {
        pthread_mutex_lock(&scrape->registry->mutex);
        metric_gather(scrape->registry, schema, gathered);
        pthread_mutex_unlock(&scrape->registry->mutex);
        scrape->is_gathered[schema] = true;
    }
    return gathered;
}

static void add_head_once(struct metric_scrape *scrape, const struct metric_family *family, struct writer *out)
{
    if (!scrape->has_head) {
        add_head(family, out);
        scrape->has_head = true;
    }
}

/* The next sample of the current family; false at its end. */
static bool add_next_sample(struct metric_scrape *scrape, const struct metric_family *family, struct writer *out)
{
    const struct metric_registry *registry = scrape->registry;
    size_t index = registry->places[scrape->family].schema;
    const struct metric_gathered *gathered = gathered_of(scrape, index);
    while (scrape->position < gathered->count) {
        struct parts parts = { &gathered->sets[scrape->position], metric_group_size(gathered, scrape->position),
            registry->places[scrape->family].rank };
        scrape->position += parts.count;
        if (has_any(&parts)) {
            add_head_once(scrape, family, out);
            add_sample(family, &registry->schemas[index], &parts, out);
            return true;
        }
    }
    return false;
}

/* A family without labels has a sample even if nothing was counted; one with labels and no series is left out. */
static void end_family(struct metric_scrape *scrape, const struct metric_family *family, struct writer *out)
{
    const struct metric_schema *schema = &scrape->registry->schemas[scrape->registry->places[scrape->family].schema];
    if (!scrape->has_head && !metric_schema_has_labels(schema)) {
        add_head_once(scrape, family, out);
        if (family->type != METRIC_HISTOGRAM) {
            writer_print(out, "%s%s 0\n", family->name, family->type == METRIC_COUNTER ? "_total" : "");
        }
    }
    scrape->family++;
    scrape->position = 0;
    scrape->has_head = false;
}

bool metric_scrape_next(struct metric_scrape *scrape, size_t piece_bytes, struct writer *out)
{
    size_t start = out->length;
    while (scrape->family < scrape->registry->family_count) {
        const struct metric_family *family = &scrape->registry->families[scrape->family];
        if (!add_next_sample(scrape, family, out)) {
            end_family(scrape, family, out);
        }
        if (out->length - start >= piece_bytes) {
            return true;
        }
    }
    writer_add_string(out, "# EOF\n");
    return false;
}

void metric_registry_render(struct metric_registry *registry, struct writer *out)
{
    struct metric_scrape *scrape = metric_scrape_new(registry);
    while (metric_scrape_next(scrape, SIZE_MAX, out)) {
    }
    metric_scrape_free(scrape);
}
