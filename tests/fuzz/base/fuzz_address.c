/* Address texts: whatever is accepted must come back from its own text as the same thing. */
#include "base/address.h"
#include "base/memory.h"

#include <stdlib.h>

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_ip(struct bytes text)
{
    struct ip_address ip, again;
    char out[IP_TEXT_SIZE];
    if (ip_parse_bytes(text, &ip)) {
        require(ip_parse(ip_format(&ip, out), &again) && ip_equal(&ip, &again));
    }
    if (ip_from_bytes(text, &ip)) {
        require(ip_parse(ip_format(&ip, out), &again) && ip_equal(&ip, &again));
    }
}

static void check_socket_address(struct bytes text)
{
    struct socket_address address, again;
    struct sockaddr_storage kernel;
    char out[SOCKET_ADDRESS_TEXT_SIZE];
    if (!socket_address_parse_bytes(text, &address)) {
        return;
    }
    require(socket_address_parse(socket_address_format(&address, out), &again));
    require(socket_address_equal(&address, &again));
    socklen_t length = socket_address_to_kernel(&address, text.data[0] % 2 == 0, &kernel);
    require(socket_address_from_kernel((struct sockaddr *)&kernel, length, &again));
    require(socket_address_equal(&address, &again));
}

static void check_cidr(const char *text)
{
    struct cidr cidr, again;
    char out[50];
    if (!cidr_parse(text, &cidr)) {
        return;
    }
    require(cidr_contains(&cidr, &cidr.ip));
    require(cidr_parse(cidr_format(&cidr, out), &again));
    require(again.prefix_bits == cidr.prefix_bits && ip_equal(&again.ip, &cidr.ip));
}

static void check_host_port(struct bytes text)
{
    struct bytes host;
    uint16_t port;
    if (host_port_split(text, &host, &port)) {
        require(host.length > 0 && host.data >= text.data && host.data + host.length < text.data + text.length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *AUTO_FREE text = string_duplicate_n((const char *)data, size);
    check_ip(bytes_of(data, size));
    check_socket_address(bytes_of(data, size));
    check_cidr(text);
    check_host_port(bytes_of(data, size));
    return 0;
}
