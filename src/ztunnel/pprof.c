#include "ztunnel/pprof.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "ztunnel/cpu_sampler.h"
#include "ztunnel/memory_map.h"

/* Numbers of the fields (proto/profile.proto of google/pprof). */
enum profile_field {
    PROFILE_SAMPLE_TYPE = 1,
    PROFILE_SAMPLE = 2,
    PROFILE_MAPPING = 3,
    PROFILE_LOCATION = 4,
    PROFILE_FUNCTION = 5,
    PROFILE_STRING = 6,
    PROFILE_TIME_NANOS = 9,
    PROFILE_DURATION_NANOS = 10,
    PROFILE_PERIOD_TYPE = 11,
    PROFILE_PERIOD = 12,
};
enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

/* One profile being written. Strings, functions and locations are written when first met; a table knows their numbers. */
struct encoder {
    struct writer *out;
    struct memory_map map;
    struct hash_map *strings, *functions, *locations; /* values: the number, as a pointer, plus one */
    uint64_t string_count, function_count, location_count;
};

static void add_number(struct writer *out, unsigned field, uint64_t value)
{
    writer_add_varint(out, (uint64_t)field << 3 | WIRE_VARINT);
    writer_add_varint(out, value);
}

static void add_bytes(struct writer *out, unsigned field, struct bytes value)
{
    writer_add_varint(out, (uint64_t)field << 3 | WIRE_BYTES);
    writer_add_varint(out, value.length);
    writer_add(out, value.data, value.length);
}

/* The number that a table has for a key; 0: none yet. */
static uint64_t known(const struct hash_map *table, struct bytes key)
{
    return (uint64_t)(uintptr_t)hash_map_get(table, key);
}

static void remember(struct hash_map *table, struct bytes key, uint64_t number)
{
    (void)hash_map_put(table, key, (void *)(uintptr_t)number);
}

/* Strings are numbered from 0, the first is empty. */
static uint64_t string_number(struct encoder *encoder, const char *text)
{
    struct bytes key = bytes_of_string(text);
    uint64_t number = known(encoder->strings, key);
    if (number == 0) {
        number = ++encoder->string_count;
        remember(encoder->strings, key, number);
        add_bytes(encoder->out, PROFILE_STRING, key);
    }
    return number - 1;
}

static uint64_t function_number(struct encoder *encoder, const char *name, const char *path)
{
    struct bytes key = bytes_of_string(name);
    uint64_t number = known(encoder->functions, key);
    if (number != 0) {
        return number;
    }
    number = ++encoder->function_count;
    remember(encoder->functions, key, number);
    struct writer function = writer_growing();
    add_number(&function, 1, number);
    add_number(&function, 2, string_number(encoder, name));
    add_number(&function, 3, string_number(encoder, name));
    add_number(&function, 4, string_number(encoder, path));
    add_bytes(encoder->out, PROFILE_FUNCTION, writer_bytes(&function));
    writer_free(&function);
    return number;
}

static void write_location(struct encoder *encoder, uint64_t number, uint64_t address)
{
    const struct mapping *mapping = memory_map_find(&encoder->map, address);
    const struct symbol *symbol = mapping != NULL ? mapping_find_symbol(mapping, address) : NULL;
    struct writer location = writer_growing();
    add_number(&location, 1, number);
    if (mapping != NULL) {
        add_number(&location, 2, (uint64_t)(mapping - encoder->map.mappings) + 1);
    }
    add_number(&location, 3, address);
    if (symbol != NULL) {
        struct writer line = writer_growing();
        add_number(&line, 1, function_number(encoder, symbol->name, mapping->path));
        add_bytes(&location, 4, writer_bytes(&line));
        writer_free(&line);
    }
    add_bytes(encoder->out, PROFILE_LOCATION, writer_bytes(&location));
    writer_free(&location);
}

static uint64_t location_number(struct encoder *encoder, uint64_t address)
{
    struct bytes key = bytes_of(&address, sizeof address);
    uint64_t number = known(encoder->locations, key);
    if (number == 0) {
        number = ++encoder->location_count;
        remember(encoder->locations, key, number);
        write_location(encoder, number, address);
    }
    return number;
}

static void write_sample(struct encoder *encoder, const struct cpu_stack *stack, uint64_t period_ns)
{
    struct writer locations = writer_growing();
    struct writer values = writer_growing();
    struct writer sample = writer_growing();
    for (size_t i = 0; i < stack->depth; i++) {
        /* A return address may lie behind the end of the function that called. */
        writer_add_varint(&locations, location_number(encoder, stack->frames[i] - (i > 0 ? 1 : 0)));
    }
    writer_add_varint(&values, stack->count);
    writer_add_varint(&values, stack->count * period_ns);
    add_bytes(&sample, 1, writer_bytes(&locations));
    add_bytes(&sample, 2, writer_bytes(&values));
    add_bytes(encoder->out, PROFILE_SAMPLE, writer_bytes(&sample));
    writer_free(&locations);
    writer_free(&values);
    writer_free(&sample);
}

static void write_value_type(struct encoder *encoder, unsigned field, const char *type, const char *unit)
{
    struct writer value = writer_growing();
    add_number(&value, 1, string_number(encoder, type));
    add_number(&value, 2, string_number(encoder, unit));
    add_bytes(encoder->out, field, writer_bytes(&value));
    writer_free(&value);
}

static void write_mapping(struct encoder *encoder, size_t index)
{
    const struct mapping *mapping = &encoder->map.mappings[index];
    struct writer out = writer_growing();
    add_number(&out, 1, index + 1);
    add_number(&out, 2, mapping->start);
    add_number(&out, 3, mapping->limit);
    add_number(&out, 4, mapping->file_offset);
    add_number(&out, 5, string_number(encoder, mapping->path));
    add_number(&out, 6, string_number(encoder, mapping->build_id));
    add_number(&out, 7, mapping->symbol_count > 0); /* has_functions */
    add_bytes(encoder->out, PROFILE_MAPPING, writer_bytes(&out));
    writer_free(&out);
}

void pprof_write(const struct pprof_profile *profile, struct writer *out)
{
    struct encoder *encoder = NEW(struct encoder);
    uint64_t period_ns = NANOSECONDS_PER_SECOND / profile->frequency;
    encoder->out = out;
    encoder->strings = hash_map_new();
    encoder->functions = hash_map_new();
    encoder->locations = hash_map_new();
    memory_map_read(&encoder->map);
    (void)string_number(encoder, "");
    write_value_type(encoder, PROFILE_SAMPLE_TYPE, "samples", "count");
    write_value_type(encoder, PROFILE_SAMPLE_TYPE, "cpu", "nanoseconds");
    for (size_t i = 0; i < encoder->map.count; i++) {
        write_mapping(encoder, i);
    }
    size_t position = 0;
    struct cpu_stack stack;
    while (profile->next(&position, &stack)) {
        write_sample(encoder, &stack, period_ns);
    }
    add_number(out, PROFILE_TIME_NANOS, (uint64_t)profile->started_ns);
    add_number(out, PROFILE_DURATION_NANOS, profile->duration_ns);
    write_value_type(encoder, PROFILE_PERIOD_TYPE, "cpu", "nanoseconds");
    add_number(out, PROFILE_PERIOD, period_ns);
    memory_map_free(&encoder->map);
    hash_map_free(encoder->strings, NULL);
    hash_map_free(encoder->functions, NULL);
    hash_map_free(encoder->locations, NULL);
    memory_free(encoder);
}
