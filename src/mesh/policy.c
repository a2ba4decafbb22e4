#include "mesh/policy.h"

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/packing.h"

#include <stdatomic.h>

/* A value as it is read: which match and list it belongs to, and where in the builder's texts its text is. */
struct pending_value {
    uint32_t match;
    uint8_t field;
    uint8_t text_kind;
    uint16_t port;
    struct cidr cidr;
    uint32_t first_text, first_length;
    uint32_t second_text, second_length;
};

struct growing_array {
    void *items;
    size_t count, capacity;
};

struct policy_builder {
    struct growing_array rules;   /* struct policy_range */
    struct growing_array clauses; /* struct policy_range */
    struct growing_array matches; /* struct policy_match */
    struct growing_array values;  /* struct pending_value */
    struct writer texts;
};

static void *array_add(struct growing_array *array, size_t size)
{
    if (array->count == array->capacity) {
        array->capacity = array->capacity == 0 ? 8 : array->capacity * 2;
        array->items = memory_resize(array->items, array->capacity, size);
    }
    void *item = (char *)array->items + array->count++ * size;
    memset(item, 0, size);
    return item;
}

struct policy_builder *policy_builder_new(void)
{
    struct policy_builder *builder = NEW(struct policy_builder);
    builder->texts = writer_growing();
    return builder;
}

void policy_builder_free(struct policy_builder *builder)
{
    if (builder == NULL) {
        return;
    }
    memory_free(builder->rules.items);
    memory_free(builder->clauses.items);
    memory_free(builder->matches.items);
    memory_free(builder->values.items);
    writer_free(&builder->texts);
    memory_free(builder);
}

static void builder_clear(struct policy_builder *builder)
{
    builder->rules.count = builder->clauses.count = builder->matches.count = builder->values.count = 0;
    writer_clear(&builder->texts);
}

void policy_builder_begin_rule(struct policy_builder *builder)
{
    struct policy_range *rule = array_add(&builder->rules, sizeof(struct policy_range));
    rule->first = (uint32_t)builder->clauses.count;
}

void policy_builder_begin_clause(struct policy_builder *builder)
{
    struct policy_range *rules = builder->rules.items;
    rules[builder->rules.count - 1].count++;
    struct policy_range *clause = array_add(&builder->clauses, sizeof(struct policy_range));
    clause->first = (uint32_t)builder->matches.count;
}

void policy_builder_begin_match(struct policy_builder *builder)
{
    struct policy_range *clauses = builder->clauses.items;
    clauses[builder->clauses.count - 1].count++;
    array_add(&builder->matches, sizeof(struct policy_match));
}

static struct policy_match *current_match(struct policy_builder *builder)
{
    struct policy_match *matches = builder->matches.items;
    return &matches[builder->matches.count - 1];
}

static struct pending_value *add_value(struct policy_builder *builder, enum policy_field field)
{
    struct pending_value *value = array_add(&builder->values, sizeof(struct pending_value));
    value->match = (uint32_t)builder->matches.count - 1;
    value->field = (uint8_t)field;
    current_match(builder)->lists[field - 1].count++;
    return value;
}

static bool has_nul(struct bytes text)
{
    return text.length > 0 && memchr(text.data, '\0', text.length) != NULL;
}

static uint32_t keep_text(struct policy_builder *builder, struct bytes text)
{
    uint32_t offset = (uint32_t)builder->texts.length;
    writer_add_bytes(&builder->texts, text);
    writer_add_u8(&builder->texts, 0);
    return offset;
}

void policy_builder_add_text(
    struct policy_builder *builder, enum policy_field field, enum policy_text_kind kind, struct bytes text)
{
    if (has_nul(text)) {
        policy_builder_mark_unparsable(builder, field);
        return;
    }
    struct pending_value *value = add_value(builder, field);
    value->text_kind = (uint8_t)kind;
    value->first_text = keep_text(builder, text);
    value->first_length = (uint32_t)text.length;
}

void policy_builder_add_cidr(struct policy_builder *builder, enum policy_field field, const struct cidr *cidr)
{
    add_value(builder, field)->cidr = *cidr;
}

void policy_builder_add_port(struct policy_builder *builder, enum policy_field field, uint16_t port)
{
    add_value(builder, field)->port = port;
}

void policy_builder_add_account(
    struct policy_builder *builder, enum policy_field field, struct bytes namespace_, struct bytes service_account)
{
    if (has_nul(namespace_) || has_nul(service_account)) {
        policy_builder_mark_unparsable(builder, field);
        return;
    }
    struct pending_value *value = add_value(builder, field);
    value->first_text = keep_text(builder, namespace_);
    value->second_text = keep_text(builder, service_account);
}

void policy_builder_mark_unparsable(struct policy_builder *builder, enum policy_field field)
{
    current_match(builder)->unparsable_fields |= (uint16_t)(1U << field);
}

void policy_builder_mark_unknown_field(struct policy_builder *builder)
{
    current_match(builder)->has_unknown_field = true;
}

static struct result check_header(const struct policy_header *header)
{
    RESULT_TRY(packing_check_text("resource name", header->key));
    RESULT_TRY(packing_check_text("name", header->name));
    return packing_check_text("namespace", header->namespace_);
}

static union policy_value final_value(const struct pending_value *pending, const char *texts)
{
    union policy_value value = { 0 };
    switch ((enum policy_field)pending->field) {
    case POLICY_SOURCE_IPS:
    case POLICY_NOT_SOURCE_IPS:
    case POLICY_DESTINATION_IPS:
    case POLICY_NOT_DESTINATION_IPS:
        value.cidr = pending->cidr;
        break;
    case POLICY_DESTINATION_PORTS:
    case POLICY_NOT_DESTINATION_PORTS:
        value.port = pending->port;
        break;
    case POLICY_SERVICE_ACCOUNTS:
    case POLICY_NOT_SERVICE_ACCOUNTS:
        value.account.namespace_ = texts + pending->first_text;
        value.account.service_account = texts + pending->second_text;
        break;
    default:
        value.text.text = texts + pending->first_text;
        value.text.length = pending->first_length;
        value.text.kind = pending->text_kind;
    }
    return value;
}

/* Sorts the values by match and list: first each list gets its place, then each value goes to the end of its list. */
static void place_values(
    struct policy_builder *builder, struct policy_match *matches, union policy_value *values, const char *texts)
{
    uint32_t next = 0;
    for (size_t i = 0; i < builder->matches.count; i++) {
        for (size_t field = POLICY_NAMESPACES; field < POLICY_FIELD_END; field++) {
            struct policy_range *list = &matches[i].lists[field - 1];
            list->first = next;
            next += list->count;
            list->count = 0;
        }
    }
    const struct pending_value *pending = builder->values.items;
    for (size_t i = 0; i < builder->values.count; i++) {
        struct policy_range *list = &matches[pending[i].match].lists[pending[i].field - 1];
        values[list->first + list->count++] = final_value(&pending[i], texts);
    }
}

static void copy_array(void *to, const struct growing_array *from, size_t size)
{
    if (from->count > 0) {
        memcpy(to, from->items, from->count * size);
    }
}

struct result policy_builder_finish(
    struct policy_builder *builder, const struct policy_header *header, struct policy **policy)
{
    struct result checked = check_header(header);
    if (!result_is_ok(&checked)) {
        builder_clear(builder);
        return checked;
    }
    size_t size = sizeof(struct policy) + builder->values.count * sizeof(union policy_value) +
                  builder->matches.count * sizeof(struct policy_match) +
                  (builder->rules.count + builder->clauses.count) * sizeof(struct policy_range) +
                  builder->texts.length + packing_text_size(header->key) + packing_text_size(header->name) +
                  packing_text_size(header->namespace_);
    struct policy *made = memory_allocate_zeroed(1, size);
    struct packing packing = { (uint8_t *)made + sizeof(struct policy), (uint8_t *)made + size };
    union policy_value *values = packing_take(&packing, builder->values.count * sizeof *values);
    struct policy_match *matches = packing_take(&packing, builder->matches.count * sizeof *matches);
    struct policy_range *rules = packing_take(&packing, builder->rules.count * sizeof *rules);
    struct policy_range *clauses = packing_take(&packing, builder->clauses.count * sizeof *clauses);
    char *texts = packing_take(&packing, builder->texts.length);
    if (builder->texts.length > 0) {
        memcpy(texts, builder->texts.data, builder->texts.length);
    }
    copy_array(matches, &builder->matches, sizeof *matches);
    copy_array(rules, &builder->rules, sizeof *rules);
    copy_array(clauses, &builder->clauses, sizeof *clauses);
    place_values(builder, matches, values, texts);

    made->references = 1;
    made->scope = (uint8_t)header->scope;
    made->action = (uint8_t)header->action;
    made->is_dry_run = header->is_dry_run;
    made->key = packing_text(&packing, header->key);
    made->name = packing_text(&packing, header->name);
    made->namespace_ = packing_text(&packing, header->namespace_);
    made->rules = rules;
    made->clauses = clauses;
    made->matches = matches;
    made->values = values;
    made->rule_count = (uint32_t)builder->rules.count;
    made->clause_count = (uint32_t)builder->clauses.count;
    made->match_count = (uint32_t)builder->matches.count;
    made->value_count = (uint32_t)builder->values.count;
    builder_clear(builder);
    *policy = made;
    return result_ok();
}

struct policy *policy_reference(const struct policy *policy)
{
    /* The count is the one part of an immutable object that changes. */
    struct policy *counted = (struct policy *)(uintptr_t)policy;
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return counted;
}

void policy_release(struct policy *policy)
{
    if (policy != NULL && atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) == 1) {
        memory_free(policy);
    }
}
