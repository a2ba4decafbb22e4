#include "ambard/discovery_response.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "xds/protobuf.h"

static void format_version(uint64_t counter, struct writer *out)
{
    char time[40];
    clock_format_rfc3339(clock_wall_ns(), 0, time);
    writer_print(out, "%s/%llu", time, (unsigned long long)counter);
}

void discovery_response_begin(struct discovery_response *response, const char *type_url, uint64_t counter)
{
    *response = (struct discovery_response){ .type_url = type_url };
    struct writer version = writer_growing();
    format_version(counter, &version);
    protobuf_add_string(&response->body, 1, writer_bytes(&version));
    writer_free(&version);
}

void discovery_response_add(struct discovery_response *response, const struct ambient_resource *resource)
{
    struct bytes value = response->is_bare_workload ? ambient_resource_workload_bytes(resource) : resource->body;
    struct writer any = writer_growing();
    struct writer wrapped = writer_growing();
    protobuf_add_string(&any, 1, bytes_of_string(response->type_url));
    protobuf_add_string(&any, 2, value);
    protobuf_add_string(&wrapped, 1, bytes_of_string(resource->version));
    protobuf_add_message(&wrapped, 2, writer_bytes(&any));
    protobuf_add_string(&wrapped, 3, bytes_of_string(resource->name));
    for (size_t i = 0; response->has_aliases && i < resource->alias_count; i++) {
        protobuf_add_message(&wrapped, 4, bytes_of_string(resource->aliases[i]));
    }
    protobuf_add_message(&response->body, 2, writer_bytes(&wrapped));
    writer_free(&any);
    writer_free(&wrapped);
    response->resource_count++;
}

void discovery_response_remove(struct discovery_response *response, const char *name)
{
    protobuf_add_message(&response->removed, 6, bytes_of_string(name));
    response->removed_count++;
}

struct writer discovery_response_finish(struct discovery_response *response, uint64_t counter, char **nonce)
{
    char unique[37];
    random_uuid(unique);
    struct writer text = writer_growing();
    format_version(counter, &text);
    writer_add_string(&text, unique);
    protobuf_add_string(&response->body, 4, bytes_of_string(response->type_url));
    protobuf_add_string(&response->body, 5, writer_bytes(&text));
    writer_add_bytes(&response->body, writer_bytes(&response->removed));
    *nonce = writer_take_string(&text);
    writer_free(&response->removed);
    return response->body;
}

void discovery_response_discard(struct discovery_response *response)
{
    writer_free(&response->body);
    writer_free(&response->removed);
}
