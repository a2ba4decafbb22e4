/* A DeltaDiscoveryResponse cut into pieces of every size: the same resources and verdict as in one piece. */
#include "base/memory.h"
#include "xds/delta_response.h"

#include <stdlib.h>

struct seen {
    size_t resources;
    size_t bytes;
};

static void on_resource(void *context, const struct delta_wire_resource *resource)
{
    struct seen *seen = context;
    seen->resources++;
    seen->bytes += resource->name.length + resource->version.length + resource->value.length;
}

static bool walk(struct bytes message, size_t step, struct seen *seen)
{
    struct delta_response response = delta_response_of(on_resource, seen);
    struct result outcome = result_ok();
    for (size_t at = 0; at < message.length && result_is_ok(&outcome); at += step) {
        size_t part = message.length - at < step ? message.length - at : step;
        outcome = delta_response_feed(&response, bytes_of(message.data + at, part));
    }
    if (result_is_ok(&outcome)) {
        outcome = delta_response_end(&response);
    }
    delta_response_clear(&response);
    return result_is_ok(&outcome);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 16) {
        return 0;
    }
    struct bytes message = bytes_of(data + 1, size - 1);
    struct seen whole = { 0 };
    struct seen pieces = { 0 };
    bool is_good = walk(message, message.length > 0 ? message.length : 1, &whole);
    bool is_good_in_pieces = walk(message, 1 + data[0] % 13, &pieces);
    if (is_good != is_good_in_pieces ||
        (is_good && (whole.resources != pieces.resources || whole.bytes != pieces.bytes))) {
        abort();
    }
    return 0;
}
