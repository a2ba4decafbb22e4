/* A SOCKS5 client's bytes, arriving one by one: the length asked for never shrinks, never exceeds the buffer, and is exact. */
#include "ztunnel/socks5_message.h"

#include <stdlib.h>
#include <string.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static enum socks5_reading read_one(bool is_greeting, struct bytes received, size_t *needed)
{
    if (is_greeting) {
        return socks5_greeting_read(received, needed);
    }
    struct socks5_request request;
    enum socks5_reading reading = socks5_request_read(received, &request, needed);
    expect(reading != SOCKS5_READ || request.target.ip.family != IP_NONE || request.name[0] != '\0');
    expect(memchr(request.name, '\0', sizeof request.name) != NULL);
    return reading;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool is_greeting = size > 0 && data[0] % 2 == 0;
    size_t last = 0;
    for (size_t length = 0; length < size; length++) {
        size_t needed;
        enum socks5_reading reading = read_one(is_greeting, bytes_of(data + 1, length), &needed);
        expect(needed >= last && needed <= SOCKS5_MESSAGE_BYTES_MAXIMUM);
        last = needed;
        if (reading != SOCKS5_NEEDS_MORE) {
            expect(reading == SOCKS5_BAD || length == needed);
            return 0;
        }
        expect(length < needed);
    }
    return 0;
}
