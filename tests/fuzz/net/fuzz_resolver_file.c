/* resolv.conf: whatever it says, there is a server, and everything is within its bounds. */
#include "net/resolver_file.h"

#include <stdlib.h>
#include <string.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resolver_file file;
    resolver_file_parse(bytes_of(data, size), &file);
    expect(file.server_count >= 1 && file.server_count <= RESOLVER_SERVERS_MAXIMUM);
    expect(file.search_count <= RESOLVER_SEARCH_MAXIMUM);
    expect(file.timeout_s >= 1 && file.timeout_s <= 30 && file.attempts >= 1 && file.attempts <= 5);
    for (size_t i = 0; i < file.search_count; i++) {
        expect(memchr(file.search[i], '\0', RESOLVER_DOMAIN_SIZE) != NULL && file.search[i][0] != '\0');
    }
    return 0;
}
