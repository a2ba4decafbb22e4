/* PROXY protocol headers: whatever comes is read, partial or invalid; what is read is written back and read again as the same. */
#include "base/writer.h"
#include "net/proxy_protocol.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor cursor = cursor_of(bytes_of(data, size));
    struct proxy_protocol_header header;
    enum proxy_protocol_status status = proxy_protocol_read(&cursor, &header);
    if (status != PROXY_PROTOCOL_READ) {
        expect(cursor_left(&cursor) == size);
        return 0;
    }
    expect(size - cursor_left(&cursor) <= PROXY_PROTOCOL_BYTES_MAXIMUM);
    uint8_t memory[PROXY_PROTOCOL_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    proxy_protocol_write(&header, &out);
    expect(!out.has_overflowed);
    struct cursor again = cursor_of(writer_bytes(&out));
    struct proxy_protocol_header second;
    expect(proxy_protocol_read(&again, &second) == PROXY_PROTOCOL_READ && cursor_is_at_end(&again));
    bool is_of_one_family = header.source.ip.family == header.destination.ip.family;
    expect(!is_of_one_family || socket_address_equal(&header.source, &second.source));
    expect(!is_of_one_family || socket_address_equal(&header.destination, &second.destination));
    expect(bytes_equal(header.identity, second.identity));
    return 0;
}
