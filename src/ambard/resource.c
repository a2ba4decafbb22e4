/* One resource, in one block of memory. */
#include "ambard/resource.h"

#include "ambard/conversion.h"
#include "ambard/resource_table.h"
#include "base/cursor.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

static size_t texts_size(const char *const *texts, size_t count)
{
    size_t size = count * sizeof *texts;
    for (size_t i = 0; i < count; i++) {
        size += strlen(texts[i]) + 1;
    }
    return size;
}

static const char *put_text(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    const char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

static void put_texts(char **at, const char **to, const char *const *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = put_text(at, from[i]);
    }
}

struct ambient_resource *ambient_resource_new(const struct ambient_draft *draft)
{
    size_t size = sizeof(struct ambient_resource) + texts_size(draft->aliases, draft->alias_count) +
                  texts_size(draft->services, draft->service_count) + strlen(draft->name) + 1 + strlen(draft->node) +
                  1 + draft->body.length;
    struct ambient_resource *resource = memory_allocate(size);
    const char **pointers = (const char **)(resource + 1);
    char *at = (char *)(pointers + draft->alias_count + draft->service_count);
    *resource = (struct ambient_resource){
        .references = 1,
        .type = draft->type,
        .aliases = pointers,
        .alias_count = draft->alias_count,
        .services = pointers + draft->alias_count,
        .service_count = draft->service_count,
    };
    put_texts(&at, resource->aliases, draft->aliases, draft->alias_count);
    put_texts(&at, resource->services, draft->services, draft->service_count);
    resource->name = put_text(&at, draft->name);
    resource->node = put_text(&at, draft->node);
    memcpy(at, draft->body.data, draft->body.length);
    resource->body = bytes_of(at, draft->body.length);
    if (draft->type != AMBIENT_AUTHORIZATION) {
        snprintf(resource->version, sizeof resource->version, "%" PRIx64, XXH64(at, draft->body.length, 0));
    }
    return resource;
}

struct ambient_resource *ambient_resource_reference(const struct ambient_resource *resource)
{
    /* The count is the one thing that changes in a resource that is const to everyone else. */
    struct ambient_resource *counted;
    memcpy(&counted, &resource, sizeof counted);
    counted->references++;
    return counted;
}

void ambient_resource_release(struct ambient_resource *resource)
{
    if (resource != NULL && --resource->references == 0) {
        memory_free(resource);
    }
}

struct bytes ambient_resource_workload_bytes(const struct ambient_resource *resource)
{
    struct cursor cursor = cursor_of(resource->body);
    cursor_varint(&cursor); /* the tag of Address.workload */
    return cursor_take(&cursor, (size_t)cursor_varint(&cursor));
}
