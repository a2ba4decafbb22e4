/* Resources and their look-ups. */
#include "ambard/resource_table.h"

#include "ambard/conversion.h"
#include "base/hash_map.h"
#include "base/memory.h"

#include <stdlib.h>

#define TYPE_COUNT (AMBIENT_AUTHORIZATION + 1)

struct resource_vector {
    const struct ambient_resource **items;
    size_t count;
    size_t capacity;
};

struct resource_table {
    struct hash_map *addresses; /* workloads and services share one name space */
    struct hash_map *authorizations;
    struct resource_vector lists[TYPE_COUNT];
    struct hash_map *workload_aliases; /* these four: text -> struct resource_vector */
    struct hash_map *service_aliases;
    struct hash_map *services;
    struct hash_map *nodes;
};

struct resource_table *resource_table_new(void)
{
    struct resource_table *table = NEW(struct resource_table);
    table->addresses = hash_map_new();
    table->authorizations = hash_map_new();
    table->workload_aliases = hash_map_new();
    table->service_aliases = hash_map_new();
    table->services = hash_map_new();
    table->nodes = hash_map_new();
    return table;
}

static void release_resource(void *value)
{
    ambient_resource_release(value);
}

static void vector_free(void *value)
{
    struct resource_vector *vector = value;
    memory_free(vector->items);
    memory_free(vector);
}

void resource_table_free(struct resource_table *table)
{
    if (table == NULL) {
        return;
    }
    hash_map_free(table->workload_aliases, vector_free);
    hash_map_free(table->service_aliases, vector_free);
    hash_map_free(table->services, vector_free);
    hash_map_free(table->nodes, vector_free);
    for (int i = 0; i < TYPE_COUNT; i++) {
        memory_free(table->lists[i].items);
    }
    hash_map_free(table->addresses, release_resource);
    hash_map_free(table->authorizations, release_resource);
    memory_free(table);
}

static void vector_add(struct resource_vector *vector, const struct ambient_resource *resource)
{
    if (vector->count == vector->capacity) {
        vector->capacity = vector->capacity == 0 ? 4 : vector->capacity * 2;
        vector->items = memory_resize(vector->items, vector->capacity, sizeof *vector->items);
    }
    vector->items[vector->count++] = resource;
}

static void file_under(struct hash_map *map, const char *key, const struct ambient_resource *resource)
{
    struct resource_vector *vector = hash_map_get(map, bytes_of_string(key));
    if (vector == NULL) {
        vector = NEW(struct resource_vector);
        hash_map_put(map, bytes_of_string(key), vector);
    }
    vector_add(vector, resource);
}

static struct hash_map *map_of(const struct resource_table *table, enum ambient_resource_type type)
{
    return type == AMBIENT_AUTHORIZATION ? table->authorizations : table->addresses;
}

void resource_table_add(
    struct resource_table *table, const struct resource_table *previous, const struct ambient_draft *draft)
{
    struct hash_map *map = map_of(table, draft->type);
    struct bytes name = bytes_of_string(draft->name);
    if (hash_map_get(map, name) != NULL) {
        return;
    }
    const struct ambient_resource *before = previous == NULL ? NULL : hash_map_get(map_of(previous, draft->type), name);
    /* Aliases, node and services are all in the bytes: equal bytes make an equal resource. */
    bool is_same = before != NULL && before->type == draft->type && bytes_equal(before->body, draft->body);
    struct ambient_resource *resource = is_same ? ambient_resource_reference(before) : ambient_resource_new(draft);
    hash_map_put(map, name, resource);
    vector_add(&table->lists[draft->type], resource);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(
        (*(const struct ambient_resource *const *)left)->name, (*(const struct ambient_resource *const *)right)->name);
}

static void file_resource(struct resource_table *table, const struct ambient_resource *resource)
{
    bool is_workload = resource->type == AMBIENT_WORKLOAD;
    for (size_t i = 0; i < resource->alias_count; i++) {
        file_under(is_workload ? table->workload_aliases : table->service_aliases, resource->aliases[i], resource);
    }
    for (size_t i = 0; i < resource->service_count; i++) {
        file_under(table->services, resource->services[i], resource);
    }
    if (resource->node[0] != '\0') {
        file_under(table->nodes, resource->node, resource);
    }
}

void resource_table_finish(struct resource_table *table)
{
    for (int type = 0; type < TYPE_COUNT; type++) {
        struct resource_vector *list = &table->lists[type];
        if (list->count > 1) {
            qsort(list->items, list->count, sizeof *list->items, compare_names);
        }
        for (size_t i = 0; i < list->count; i++) {
            file_resource(table, list->items[i]);
        }
    }
}

static struct ambient_resource_list list_of(const struct resource_vector *vector)
{
    return vector == NULL ? (struct ambient_resource_list){ NULL, 0 }
                          : (struct ambient_resource_list){ vector->items, vector->count };
}

const struct ambient_resource *resource_table_get(
    const struct resource_table *table, enum ambient_resource_type type, const char *name)
{
    return hash_map_get(map_of(table, type), bytes_of_string(name));
}

struct ambient_resource_list resource_table_list(const struct resource_table *table, enum ambient_resource_type type)
{
    return list_of(&table->lists[type]);
}

struct ambient_resource_list resource_table_at_alias(const struct resource_table *table, const char *alias)
{
    const struct resource_vector *workloads = hash_map_get(table->workload_aliases, bytes_of_string(alias));
    return list_of(workloads != NULL ? workloads : hash_map_get(table->service_aliases, bytes_of_string(alias)));
}

struct ambient_resource_list resource_table_of_service(const struct resource_table *table, const char *service_name)
{
    return list_of(hash_map_get(table->services, bytes_of_string(service_name)));
}

struct ambient_resource_list resource_table_on_node(const struct resource_table *table, const char *node)
{
    return list_of(hash_map_get(table->nodes, bytes_of_string(node)));
}
