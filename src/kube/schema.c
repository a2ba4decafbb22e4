/* The decoder behind the tables. */
#include "kube/schema.h"

#include "base/clock.h"
#include "base/text.h"
#include "kube/labels.h"
#include "kube/problem.h"

#include <stdlib.h>

/* Every list's layout: KUBE_FIELD_LIST fields are `struct { T *items; size_t count; }`. */
struct any_list {
    void *items;
    size_t count;
};

static void report(struct kube_decode *decode, uint32_t line, const char *field, const char *format, va_list arguments)
{
    const struct kube_problem where = {
        .severity = KUBE_ERROR,
        .file = decode->file,
        .line = line == 0 ? 0 : line + decode->line_offset,
        .object = decode->object,
        .field = field,
    };
    decode->error_count++;
    kube_problems_add_list(decode->problems, &where, format, arguments);
}

/* An error at the value being read. */
static bool refuse(struct kube_decode *decode, const struct yaml_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool refuse(struct kube_decode *decode, const struct yaml_node *node, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(decode, node->line, writer_string(&decode->path), format, arguments);
    va_end(arguments);
    return false;
}

void kube_decode_error(
    struct kube_decode *decode, const struct yaml_node *node, const char *field, long position, const char *format, ...)
{
    size_t length = decode->path.length;
    uint32_t line = node == NULL ? 0 : node->line;
    const struct yaml_node *child = field[0] == '\0' ? node : yaml_get(node, field);
    if (field[0] != '\0') {
        writer_print(&decode->path, length == 0 ? "%s" : ".%s", field);
    }
    if (position >= 0) {
        writer_print(&decode->path, "[%ld]", position);
        bool has_it = child != NULL && child->kind == YAML_SEQUENCE && (size_t)position < child->children.count;
        child = has_it ? child->children.items[position].value : child;
    }
    va_list arguments;
    va_start(arguments, format);
    report(decode, child == NULL ? line : child->line, writer_string(&decode->path), format, arguments);
    va_end(arguments);
    decode->path.length = length;
}

static bool wrong_kind(struct kube_decode *decode, const struct yaml_node *node, const char *wanted)
{
    bool is_scalar = node->kind != YAML_SEQUENCE && node->kind != YAML_MAPPING;
    if (is_scalar && strcmp(wanted, "a string") == 0) {
        return refuse(
            decode, node, "must be a string, but %s is %s (put it in quotes)", node->text, yaml_kind_name(node->kind));
    }
    return refuse(decode, node, "must be %s, not %s", wanted, yaml_kind_name(node->kind));
}

/* ---- scalars ---- */

static bool decode_string(struct kube_decode *decode, const struct yaml_node *node, const char **text)
{
    if (node->kind != YAML_STRING) {
        return wrong_kind(decode, node, "a string");
    }
    *text = arena_string(decode->arena, node->text);
    return true;
}

static bool decode_bool(struct kube_decode *decode, const struct yaml_node *node, bool *value)
{
    if (node->kind != YAML_BOOL) {
        return wrong_kind(decode, node, "a boolean");
    }
    *value = node->boolean;
    return true;
}

static bool decode_number(
    struct kube_decode *decode, const struct yaml_node *node, uint64_t minimum, uint64_t maximum, uint32_t *value)
{
    if (node->kind != YAML_INTEGER) {
        return wrong_kind(decode, node, "an integer");
    }
    maximum = maximum == 0 ? UINT32_MAX : maximum;
    bool is_negative = node->integer.is_negative && node->integer.magnitude != 0;
    if (is_negative || node->integer.magnitude < minimum || node->integer.magnitude > maximum) {
        return refuse(decode, node, "%s is out of range: it must be between %llu and %llu", node->text,
            (unsigned long long)minimum, (unsigned long long)maximum);
    }
    *value = (uint32_t)node->integer.magnitude;
    return true;
}

static bool decode_time(struct kube_decode *decode, const struct yaml_node *node, int64_t *wall_ns)
{
    const char *text = NULL;
    if (!decode_string(decode, node, &text)) {
        return false;
    }
    struct result result = clock_parse_rfc3339(text, wall_ns);
    return result_is_ok(&result) || refuse(decode, node, "%s is no RFC 3339 time", text);
}

static bool decode_choice(
    struct kube_decode *decode, const struct yaml_node *node, const char *const *choices, int *value)
{
    if (node->kind != YAML_STRING) {
        return wrong_kind(decode, node, "a string");
    }
    struct writer known = writer_growing();
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(node->text, choices[i]) == 0) {
            *value = i;
            writer_free(&known);
            return true;
        }
        if (choices[i][0] != '\0') {
            writer_print(&known, "%s%s", known.length == 0 ? "" : ", ", choices[i]);
        }
    }
    refuse(decode, node, "\"%s\" is not one of %s", node->text, writer_string(&known));
    writer_free(&known);
    return false;
}

static bool decode_int_or_string(struct kube_decode *decode, const struct yaml_node *node,
    const struct kube_field *field, struct kube_int_or_string *value)
{
    if (node->kind == YAML_INTEGER) {
        return decode_number(decode, node, field->minimum, field->maximum, &value->number);
    }
    return decode_string(decode, node, &value->name);
}

/* ---- collections ---- */

static size_t path_push_position(struct kube_decode *decode, size_t position)
{
    size_t length = decode->path.length;
    writer_print(&decode->path, "[%zu]", position);
    return length;
}

static size_t path_push_key(struct kube_decode *decode, const char *key)
{
    size_t length = decode->path.length;
    writer_print(&decode->path, length == 0 ? "%.200s" : ".%.200s", key);
    return length;
}

static bool decode_strings(struct kube_decode *decode, const struct yaml_node *node, struct kube_strings *strings)
{
    if (node->kind != YAML_SEQUENCE) {
        return wrong_kind(decode, node, "a list");
    }
    strings->items = arena_allocate(decode->arena, node->children.count * sizeof *strings->items);
    for (size_t i = 0; i < node->children.count; i++) {
        size_t length = path_push_position(decode, i);
        if (!decode_string(decode, node->children.items[i].value, &strings->items[i])) {
            strings->items[i] = "";
        }
        decode->path.length = length;
    }
    strings->count = node->children.count;
    return true;
}

static int compare_labels(const void *left, const void *right)
{
    return strcmp(((const struct kube_label *)left)->key, ((const struct kube_label *)right)->key);
}

static bool decode_string_map(struct kube_decode *decode, const struct yaml_node *node, struct kube_labels *labels)
{
    if (node->kind != YAML_MAPPING) {
        return wrong_kind(decode, node, "a mapping");
    }
    labels->items = arena_allocate(decode->arena, node->children.count * sizeof *labels->items);
    for (size_t i = 0; i < node->children.count; i++) {
        const struct yaml_entry *entry = &node->children.items[i];
        size_t length = path_push_key(decode, entry->key);
        struct kube_label *label = &labels->items[i];
        label->key = arena_string(decode->arena, entry->key);
        label->value = "";
        if (entry->value->kind != YAML_NULL) { /* Kubernetes reads null as the empty string */
            decode_string(decode, entry->value, &label->value);
        }
        decode->path.length = length;
    }
    labels->count = node->children.count;
    if (labels->count > 1) {
        qsort(labels->items, labels->count, sizeof *labels->items, compare_labels);
    }
    return true;
}

static bool decode_number_map(struct kube_decode *decode, const struct yaml_node *node, const struct kube_field *field,
    struct kube_number_map *map)
{
    if (node->kind != YAML_MAPPING) {
        return wrong_kind(decode, node, "a mapping");
    }
    map->items = arena_allocate(decode->arena, node->children.count * sizeof *map->items);
    for (size_t i = 0; i < node->children.count; i++) {
        const struct yaml_entry *entry = &node->children.items[i];
        size_t length = path_push_key(decode, entry->key);
        map->items[i].key = arena_string(decode->arena, entry->key);
        decode_number(decode, entry->value, field->minimum, field->maximum, &map->items[i].value);
        decode->path.length = length;
    }
    map->count = node->children.count;
    return true;
}

static void initialise(const struct kube_schema *schema, void *value);

static bool decode_list(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_field *field, struct any_list *list)
{
    bool is_keyed = field->kind == KUBE_FIELD_KEYED_LIST;
    if (node->kind != (is_keyed ? YAML_MAPPING : YAML_SEQUENCE)) {
        return wrong_kind(decode, node, is_keyed ? "a mapping" : "a list");
    }
    size_t size = field->schema->size;
    char *items = arena_allocate(decode->arena, node->children.count * size);
    for (size_t i = 0; i < node->children.count; i++) {
        const struct yaml_entry *entry = &node->children.items[i];
        char *item = items + i * size;
        size_t length = is_keyed ? path_push_key(decode, entry->key) : path_push_position(decode, i);
        if (entry->value->kind == YAML_NULL) {
            initialise(field->schema, item);
            refuse(decode, entry->value, "must not be null");
        } else {
            kube_decode_value(decode, field->schema, entry->value, item);
        }
        if (is_keyed) {
            const char *key = arena_string(decode->arena, entry->key);
            memcpy(item, &key, sizeof key);
        }
        decode->path.length = length;
    }
    *list = (struct any_list){ items, node->children.count };
    return true;
}

/* ---- structs ---- */

/* Absent strings are "", in embedded structs too. */
static void initialise(const struct kube_schema *schema, void *value)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct kube_field *field = &schema->fields[i];
        char *at = (char *)value + field->offset;
        if (field->kind == KUBE_FIELD_STRING) {
            *(const char **)(void *)at = "";
        } else if (field->kind == KUBE_FIELD_INT_OR_STRING) {
            ((struct kube_int_or_string *)(void *)at)->name = "";
        } else if (field->kind == KUBE_FIELD_EMBEDDED) {
            initialise(field->schema, at);
        }
    }
}

static bool decode_tristate(struct kube_decode *decode, const struct yaml_node *node, int *value)
{
    bool is_true = false;
    if (!decode_bool(decode, node, &is_true)) {
        return false;
    }
    *value = is_true ? KUBE_TRUE : KUBE_FALSE;
    return true;
}

static bool decode_pointer(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_field *field, void **value)
{
    *value = arena_allocate(decode->arena, field->schema->size);
    return kube_decode_value(decode, field->schema, node, *value);
}

static bool decode_field(
    struct kube_decode *decode, const struct kube_field *field, const struct yaml_node *node, void *at)
{
    switch (field->kind) {
    case KUBE_FIELD_IGNORED:
        return true;
    case KUBE_FIELD_STRING:
        return decode_string(decode, node, at);
    case KUBE_FIELD_BOOL:
        return decode_bool(decode, node, at);
    case KUBE_FIELD_TRISTATE:
        return decode_tristate(decode, node, at);
    case KUBE_FIELD_NUMBER:
        return decode_number(decode, node, field->minimum, field->maximum, at);
    case KUBE_FIELD_TIME:
        return decode_time(decode, node, at);
    case KUBE_FIELD_CHOICE:
        return decode_choice(decode, node, field->choices, at);
    case KUBE_FIELD_STRINGS:
        return decode_strings(decode, node, at);
    case KUBE_FIELD_STRING_MAP:
        return decode_string_map(decode, node, at);
    case KUBE_FIELD_NUMBER_MAP:
        return decode_number_map(decode, node, field, at);
    case KUBE_FIELD_INT_OR_STRING:
        return decode_int_or_string(decode, node, field, at);
    case KUBE_FIELD_EMBEDDED:
        return kube_decode_value(decode, field->schema, node, at);
    case KUBE_FIELD_POINTER:
        return decode_pointer(decode, node, field, at);
    case KUBE_FIELD_LIST:
    case KUBE_FIELD_KEYED_LIST:
        return decode_list(decode, node, field, at);
    }
    return false;
}

static const struct kube_field *find_field(const struct kube_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        if (strcmp(schema->fields[i].name, name) == 0) {
            return &schema->fields[i];
        }
    }
    return NULL;
}

static void decode_entries(
    struct kube_decode *decode, const struct kube_schema *schema, const struct yaml_node *node, void *value)
{
    for (size_t i = 0; i < node->children.count; i++) {
        const struct yaml_entry *entry = &node->children.items[i];
        const struct kube_field *field = find_field(schema, entry->key);
        if (field == NULL && !schema->is_strict) {
            continue;
        }
        size_t length = path_push_key(decode, entry->key);
        if (field == NULL) {
            const struct yaml_node at_key = { .line = entry->key_line };
            refuse(decode, &at_key, "unknown field");
        } else if (entry->value->kind != YAML_NULL) { /* null means absent */
            decode_field(decode, field, entry->value, (char *)value + field->offset);
        }
        decode->path.length = length;
    }
}

bool kube_decode_value(
    struct kube_decode *decode, const struct kube_schema *schema, const struct yaml_node *node, void *value)
{
    size_t errors_before = decode->error_count;
    initialise(schema, value);
    if (node == NULL) {
        return true;
    }
    if (node->kind != YAML_MAPPING) {
        return wrong_kind(decode, node, "a mapping");
    }
    decode_entries(decode, schema, node, value);
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct yaml_node *given = schema->fields[i].is_required ? yaml_get(node, schema->fields[i].name) : node;
        if (given == NULL || (given != node && given->kind == YAML_NULL)) {
            kube_decode_error(decode, node, schema->fields[i].name, -1, "is required");
        }
    }
    if (schema->validate != NULL && decode->error_count == errors_before) {
        schema->validate(decode, node, value);
    }
    return decode->error_count == errors_before;
}
