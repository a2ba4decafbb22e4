/* The `config` object of /config_dump (ztunnel-management §7.3). */
#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "tls/policy.h"
#include "ztunnel/configuration_internal.h"

#include <stdlib.h>

#define AT(field) offsetof(struct configuration, field)

static int compare_dump_keys(const void *left, const void *right)
{
    const struct option *const *left_option = left;
    const struct option *const *right_option = right;
    return strcmp((*left_option)->dump_key, (*right_option)->dump_key);
}

/* serde's form of a duration, which readers of the dump expect. */
static void dump_duration(struct json_writer *json, uint64_t duration_ns)
{
    json_write_object_begin(json);
    json_write_member_unsigned(json, "nanos", duration_ns % NANOSECONDS_PER_SECOND);
    json_write_member_unsigned(json, "secs", duration_ns / NANOSECONDS_PER_SECOND);
    json_write_object_end(json);
}

static void dump_value(const struct configuration *configuration, const struct option *option, struct json_writer *json)
{
    const char *field = (const char *)configuration + option->offset;
    if (option->offset == AT(original_source)) {
        if (configuration->original_source == ORIGINAL_SOURCE_TRY) {
            json_write_null(json);
        } else {
            json_write_bool(json, configuration->original_source == ORIGINAL_SOURCE_MUST);
        }
        return;
    }
    if (option->offset == AT(worker_threads_text)) {
        json_write_unsigned(json, configuration->worker_count);
        return;
    }
    if (option->offset == AT(proxy_mode)) {
        json_write_string(json, configuration->proxy_mode == PROXY_MODE_SHARED ? "Shared" : "Dedicated");
        return;
    }
    if (option->offset == AT(tls_engine)) {
        json_write_string(json, tls_engine_name());
        return;
    }
    switch (option->kind) {
    case OPTION_STRING:
        json_write_string(json, *(char *const *)(const void *)field);
        break;
    case OPTION_BOOL:
        json_write_bool(json, *(const bool *)(const void *)field);
        break;
    case OPTION_U16:
        json_write_unsigned(json, *(const uint16_t *)(const void *)field);
        break;
    case OPTION_U32:
        json_write_unsigned(json, *(const uint32_t *)(const void *)field);
        break;
    case OPTION_U64:
        json_write_unsigned(json, *(const uint64_t *)(const void *)field);
        break;
    case OPTION_DURATION:
        dump_duration(json, *(const uint64_t *)(const void *)field);
        break;
    case OPTION_CHOICE:
        json_write_string(json, option->choices[*(const int *)(const void *)field]);
        break;
    case OPTION_WORD:
    case OPTION_SWITCH:
    case OPTION_DOCUMENTED:
    case OPTION_STRING_LIST:
        json_write_null(json);
        break;
    }
}

void configuration_dump(const struct configuration *configuration, struct json_writer *json)
{
    const struct option **AUTO_FREE sorted = memory_allocate(CONFIGURATION_OPTION_COUNT * sizeof *sorted);
    size_t count = 0;
    for (size_t i = 0; i < CONFIGURATION_OPTION_COUNT; i++) {
        if (CONFIGURATION_OPTIONS[i].dump_key != NULL) {
            sorted[count++] = &CONFIGURATION_OPTIONS[i];
        }
    }
    qsort(sorted, count, sizeof sorted[0], compare_dump_keys);
    json_write_object_begin(json);
    for (size_t i = 0; i < count; i++) {
        json_write_key(json, sorted[i]->dump_key);
        dump_value(configuration, sorted[i], json);
    }
    json_write_object_end(json);
}
