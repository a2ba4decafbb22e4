/* Baggage lines: every value that is taken lies within the header, is not empty and contains no separator. */
#include "mesh/baggage.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check(struct bytes header, struct bytes value)
{
    if (value.length == 0) {
        return;
    }
    expect(value.data >= header.data && value.data + value.length <= header.data + header.length);
    expect(memchr(value.data, ',', value.length) == NULL && memchr(value.data, '=', value.length) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct baggage baggage = { 0 };
    struct bytes header = bytes_of(data, size);
    baggage_parse(header, &baggage);
    check(header, baggage.cluster_id);
    check(header, baggage.namespace_);
    check(header, baggage.workload_name);
    check(header, baggage.canonical_name);
    check(header, baggage.canonical_revision);
    check(header, baggage.region);
    check(header, baggage.zone);
    expect((baggage.workload_name.length > 0) == (baggage.workload_type.length > 0));
    return 0;
}
