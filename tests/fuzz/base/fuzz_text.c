/* Everything in base that reads text from outside: addresses, CIDR blocks, host:port, SPIFFE names, durations, times, base64url.
 * Whatever is accepted is written back to something that reads as the same. */
#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/spiffe.h"
#include "base/text.h"
#include "base/writer.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void read_addresses(const char *text, struct bytes bytes)
{
    struct ip_address ip, again;
    if (ip_parse(text, &ip)) {
        char out[IP_TEXT_SIZE];
        expect(ip_parse(ip_format(&ip, out), &again) && ip_equal(&ip, &again));
    }
    struct socket_address address, address_again;
    if (socket_address_parse_bytes(bytes, &address)) {
        char out[SOCKET_ADDRESS_TEXT_SIZE];
        expect(socket_address_parse(socket_address_format(&address, out), &address_again));
        expect(socket_address_equal(&address, &address_again));
    }
    struct cidr cidr;
    if (cidr_parse(text, &cidr)) {
        expect(cidr_contains(&cidr, &cidr.ip));
    }
    struct bytes host;
    uint16_t port;
    if (host_port_split(bytes, &host, &port)) {
        expect(host.length < bytes.length);
    }
}

static void read_names(struct bytes bytes)
{
    struct spiffe_identity *identity = spiffe_identity_parse(bytes);
    if (identity != NULL) {
        expect(bytes_equal_string(bytes, identity->uri));
        struct spiffe_identity *same =
            spiffe_identity_new(identity->trust_domain, identity->namespace_, identity->service_account);
        expect(same != NULL && strcmp(same->uri, identity->uri) == 0);
        spiffe_identity_free(same);
        spiffe_identity_free(identity);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = bytes_of(data, size);
    char *text = string_duplicate_n((const char *)data, size);
    read_addresses(text, bytes);
    read_names(bytes);
    uint64_t duration_ns;
    struct result outcome = duration_parse(text, &duration_ns);
    expect(result_is_ok(&outcome) || outcome.message[0] != '\0');
    int64_t wall_ns;
    outcome = clock_parse_rfc3339(text, &wall_ns);
    expect(result_is_ok(&outcome) || outcome.message[0] != '\0');
    struct writer decoded = writer_growing();
    if (bytes_from_base64url(bytes, &decoded)) {
        struct writer encoded = writer_growing();
        writer_add_base64url(&encoded, writer_bytes(&decoded));
        expect(bytes_equal(writer_bytes(&encoded), bytes));
        writer_free(&encoded);
    }
    writer_free(&decoded);
    memory_free(text);
    return 0;
}
