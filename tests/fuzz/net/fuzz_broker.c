/* The broker's reading of requests (first byte even) and a client's of answers (odd): whatever comes, every accepted field is in
 * range, and what is accepted is written back as the same bytes. */
#include "net/broker_protocol.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void read_request(struct bytes bytes, unsigned descriptor_count)
{
    struct broker_request request;
    struct result result = broker_request_read(bytes, descriptor_count, &request);
    if (!result_is_ok(&result)) {
        expect(result.message[0] != '\0');
        return;
    }
    expect(descriptor_count == (request.type == BROKER_REGISTER_NAMESPACE ? 1u : 0u));
    expect((request.flags & ~SOCKET_FLAGS_ALL) == 0);
    expect(request.type != BROKER_MAKE_SOCKETS || (request.count >= 1 && request.count <= BROKER_SOCKETS_A_MESSAGE));
    expect(request.type != BROKER_MAKE_LISTENER || request.address.ip.family == IP_V4 ||
           request.address.ip.family == IP_V6);
    uint8_t memory[BROKER_REQUEST_BYTES];
    struct writer writer = writer_fixed(memory, sizeof memory);
    broker_request_write(&request, &writer);
    expect(!writer.has_overflowed && bytes_equal(writer_bytes(&writer), bytes));
}

static void read_answer(struct bytes bytes)
{
    struct broker_answer answer;
    if (!broker_answer_read(bytes, &answer)) {
        return;
    }
    expect(answer.descriptor_count <= BROKER_SOCKETS_A_MESSAGE);
    expect(answer.result.code <= RESULT_SYSTEM);
    expect(memchr(answer.result.message, '\0', sizeof answer.result.message) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct bytes rest = bytes_of(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        read_request(rest, data[0] / 2);
    } else {
        read_answer(rest);
    }
    return 0;
}
