#include "base/address.h"

#include "base/random.h"
#include "cmocka_all.h"

#include <arpa/inet.h>

static struct ip_address ip(const char *text)
{
    struct ip_address parsed = { 0 };
    assert_true(ip_parse(text, &parsed));
    return parsed;
}

static void addresses_are_formatted_as_in_rfc_5952(void **state)
{
    (void)state;
    const char *const pairs[][2] = { { "1.2.3.4", "1.2.3.4" }, { "::", "::" }, { "::1", "::1" }, { "1::", "1::" },
        { "2001:DB8:0:0:0:0:2:1", "2001:db8::2:1" }, { "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
        { "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" }, { "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },
        { "0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7" }, { "1:2:3:4:5:6::", "1:2:3:4:5:6::" }, { "::102:304", "::102:304" },
        { "::ffff:10.0.0.1", "10.0.0.1" }, { "64:ff9b::1.2.3.4", "64:ff9b::102:304" } };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct ip_address parsed = ip(pairs[i][0]);
        char text[IP_TEXT_SIZE];
        assert_string_equal(ip_format(&parsed, text), pairs[i][1]);
    }
}

static void random_ipv6_addresses_come_back_from_their_text(void **state)
{
    (void)state;
    for (int i = 0; i < 5000; i++) {
        uint8_t raw[16];
        random_bytes(raw, sizeof raw);
        for (size_t j = 0; j < sizeof raw; j++) {
            raw[j] = random_below(2) == 0 ? 0 : raw[j];
        }
        raw[0] = 0x20;
        struct ip_address made, again;
        char text[IP_TEXT_SIZE], expected[INET6_ADDRSTRLEN];
        assert_true(ip_from_bytes(bytes_of(raw, sizeof raw), &made));
        assert_true(ip_parse(ip_format(&made, text), &again));
        assert_true(ip_equal(&made, &again));
        assert_string_equal(text, inet_ntop(AF_INET6, raw, expected, sizeof expected));
    }
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    const char *const refused[] = { "", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.4 ", " 1.2.3.4",
        "0x1.2.3.4", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "fe80::1%eth0", "[::1]", "::g",
        "12345::", "localhost" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct ip_address parsed;
        assert_false(ip_parse(refused[i], &parsed));
    }
    struct ip_address parsed;
    assert_false(ip_parse_bytes(bytes_of("1.2.3.4\0", 8), &parsed));
    assert_true(ip_parse_bytes(bytes_of("1.2.3.45", 7), &parsed));
    assert_int_equal(parsed.bytes[3], 4);
}

static void raw_addresses_have_4_or_16_bytes_and_mapped_ones_are_ipv4(void **state)
{
    (void)state;
    const uint8_t mapped[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1 };
    struct ip_address from_mapped, from_four;
    assert_true(ip_from_bytes(bytes_of(mapped, 16), &from_mapped));
    assert_true(ip_from_bytes(bytes_of(mapped + 12, 4), &from_four));
    assert_true(ip_equal(&from_mapped, &from_four));
    assert_int_equal(ip_bytes(&from_mapped).length, 4);
    assert_false(ip_from_bytes(bytes_of(mapped, 5), &from_four));
    assert_false(ip_from_bytes(bytes_of(mapped, 0), &from_four));
}

static void loopback_and_unspecified_are_known_in_both_families(void **state)
{
    (void)state;
    struct ip_address address = ip("127.9.9.9");
    assert_true(ip_is_loopback(&address));
    address = ip("::1");
    assert_true(ip_is_loopback(&address) && !ip_is_unspecified(&address));
    address = ip("::ffff:127.0.0.1");
    assert_true(ip_is_loopback(&address));
    address = ip("0.0.0.0");
    assert_true(ip_is_unspecified(&address) && !ip_is_loopback(&address));
    address = ip("::");
    assert_true(ip_is_unspecified(&address));
    address = (struct ip_address){ 0 };
    assert_false(ip_is_unspecified(&address));
}

static void socket_addresses_come_back_from_their_text(void **state)
{
    (void)state;
    const char *const texts[] = { "1.2.3.4:80", "[::1]:65535", "[2001:db8::1]:0" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct socket_address address;
        char text[SOCKET_ADDRESS_TEXT_SIZE];
        assert_true(socket_address_parse(texts[i], &address));
        assert_string_equal(socket_address_format(&address, text), texts[i]);
    }
    const char *const refused[] = { "", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:+80", "1.2.3.4:65536", "1.2.3.4:000080",
        "::1:80", "[1.2.3.4]:80", "[::1]80", "[::1:80", "host:80", "[]:80" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct socket_address address;
        assert_false(socket_address_parse(refused[i], &address));
    }
}

static void kernel_addresses_go_both_ways(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool as_mapped;
        int family;
    } cases[] = { { "10.1.2.3:15008", false, AF_INET }, { "10.1.2.3:15008", true, AF_INET6 },
        { "[2001:db8::7]:1", false, AF_INET6 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct socket_address address, back;
        struct sockaddr_storage kernel;
        assert_true(socket_address_parse(cases[i].text, &address));
        socklen_t length = socket_address_to_kernel(&address, cases[i].as_mapped, &kernel);
        assert_int_equal(kernel.ss_family, cases[i].family);
        assert_true(socket_address_from_kernel((struct sockaddr *)&kernel, length, &back));
        assert_true(socket_address_equal(&address, &back));
        assert_false(socket_address_from_kernel((struct sockaddr *)&kernel, length - 1, &back));
    }
    struct sockaddr_storage local = { .ss_family = AF_UNIX };
    struct socket_address back;
    assert_false(socket_address_from_kernel((struct sockaddr *)&local, sizeof local, &back));
}

static void blocks_contain_what_their_prefix_says(void **state)
{
    (void)state;
    const struct {
        const char *cidr, *ip;
        bool is_inside;
    } cases[] = { { "10.0.0.0/8", "10.255.1.1", true }, { "10.0.0.0/8", "11.0.0.0", false },
        { "10.1.2.3/32", "10.1.2.3", true }, { "10.1.2.3", "10.1.2.4", false }, { "0.0.0.0/0", "8.8.8.8", true },
        { "0.0.0.0/0", "::1", false }, { "::/0", "1.1.1.1", false }, { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false }, { "10.9.9.9/20", "10.9.15.1", true },
        { "10.9.9.9/20", "10.9.16.1", false }, { "::ffff:10.0.0.0/104", "10.4.4.4", true } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cidr cidr;
        struct ip_address address = ip(cases[i].ip);
        assert_true(cidr_parse(cases[i].cidr, &cidr));
        assert_int_equal(cidr_contains(&cidr, &address), cases[i].is_inside);
    }
    struct cidr too_wide = { .ip = ip("10.0.0.0"), .prefix_bits = 33 };
    struct ip_address address = ip("10.0.0.0");
    assert_false(cidr_contains(&too_wide, &address));
}

static void blocks_keep_the_host_bits_they_were_written_with(void **state)
{
    (void)state;
    struct cidr cidr;
    char text[50];
    assert_true(cidr_parse("10.9.9.9/20", &cidr));
    assert_string_equal(cidr_format(&cidr, text), "10.9.9.9/20");
    const char *const refused[] = { "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "::/129",
        "10.0.0/8", "::ffff:10.0.0.0/95", "10.0.0.0/0008" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_false(cidr_parse(refused[i], &cidr));
    }
}

static void a_host_is_split_from_its_port_at_the_last_colon(void **state)
{
    (void)state;
    struct bytes host;
    uint16_t port;
    assert_true(host_port_split(bytes_of_string("web.default.svc:8080"), &host, &port));
    assert_true(bytes_equal_string(host, "web.default.svc") && port == 8080);
    assert_true(host_port_split(bytes_of_string("[::1]:1"), &host, &port));
    assert_true(bytes_equal_string(host, "::1") && port == 1);
    const char *const refused[] = { "", "web", "web:", ":80", "web:80x", "::1:80", "a:b:80", "web:99999" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_false(host_port_split(bytes_of_string(refused[i]), &host, &port));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_formatted_as_in_rfc_5952),
        cmocka_unit_test(random_ipv6_addresses_come_back_from_their_text),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(raw_addresses_have_4_or_16_bytes_and_mapped_ones_are_ipv4),
        cmocka_unit_test(loopback_and_unspecified_are_known_in_both_families),
        cmocka_unit_test(socket_addresses_come_back_from_their_text),
        cmocka_unit_test(kernel_addresses_go_both_ways),
        cmocka_unit_test(blocks_contain_what_their_prefix_says),
        cmocka_unit_test(blocks_keep_the_host_bits_they_were_written_with),
        cmocka_unit_test(a_host_is_split_from_its_port_at_the_last_colon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
