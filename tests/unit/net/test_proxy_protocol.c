/* The PROXY protocol's header: the example of ztunnel-dataplane §11 byte for byte, both families, and what is refused. */
#include "cmocka_all.h"

#include "base/writer.h"
#include "net/proxy_protocol.h"

static const char IDENTITY[] = "spiffe://cluster.local/ns/default/sa/client";

static struct socket_address address_of(const char *text)
{
    struct socket_address address;
    assert_true(socket_address_parse(text, &address));
    return address;
}

static struct proxy_protocol_header header_of(const char *source, const char *destination, const char *identity)
{
    return (struct proxy_protocol_header){ address_of(source), address_of(destination),
        identity != NULL ? bytes_of_string(identity) : bytes_of(NULL, 0) };
}

static void assert_round_trip(const struct proxy_protocol_header *header)
{
    uint8_t memory[PROXY_PROTOCOL_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    struct proxy_protocol_header read;
    proxy_protocol_write(header, &out);
    writer_add_string(&out, "GET");
    struct cursor cursor = cursor_of(writer_bytes(&out));
    assert_int_equal(proxy_protocol_read(&cursor, &read), PROXY_PROTOCOL_READ);
    assert_true(socket_address_equal(&read.source, &header->source));
    assert_true(socket_address_equal(&read.destination, &header->destination));
    assert_true(bytes_equal(read.identity, header->identity));
    assert_int_equal(cursor_left(&cursor), 3);
}

static void the_documented_example_is_written_byte_for_byte(void **state)
{
    (void)state;
    static const uint8_t EXPECTED[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21,
        0x11, 0x00, 0x3a, 0x0a, 0x00, 0x00, 0x01, 0x0a, 0x0a, 0x00, 0x01, 0x04, 0xd2, 0x00, 0x50, 0xd0, 0x00, 0x2b };
    struct proxy_protocol_header header = header_of("10.0.0.1:1234", "10.10.0.1:80", IDENTITY);
    struct writer out = writer_growing();
    proxy_protocol_write(&header, &out);
    assert_int_equal(out.length, sizeof EXPECTED + 43);
    assert_memory_equal(out.data, EXPECTED, sizeof EXPECTED);
    assert_memory_equal(out.data + sizeof EXPECTED, IDENTITY, 43);
    writer_free(&out);
}

static void both_families_come_back_as_they_were_written(void **state)
{
    (void)state;
    struct proxy_protocol_header four = header_of("10.0.0.1:1234", "10.10.0.1:80", IDENTITY);
    struct proxy_protocol_header six = header_of("[fd00::1]:1234", "[fd00::2]:443", NULL);
    assert_round_trip(&four);
    assert_round_trip(&six);
}

static void mixed_families_leave_the_addresses_out_and_keep_the_identity(void **state)
{
    (void)state;
    struct proxy_protocol_header header = header_of("10.0.0.1:1234", "[fd00::2]:443", IDENTITY);
    struct proxy_protocol_header read;
    struct writer out = writer_growing();
    proxy_protocol_write(&header, &out);
    assert_int_equal(out.data[13], 0x01);
    struct cursor cursor = cursor_of(writer_bytes(&out));
    assert_int_equal(proxy_protocol_read(&cursor, &read), PROXY_PROTOCOL_READ);
    assert_int_equal(read.source.ip.family, IP_NONE);
    assert_true(bytes_equal_string(read.identity, IDENTITY));
    writer_free(&out);
}

static void every_beginning_of_a_header_asks_for_more(void **state)
{
    (void)state;
    struct proxy_protocol_header header = header_of("10.0.0.1:1234", "10.10.0.1:80", IDENTITY);
    struct proxy_protocol_header read;
    struct writer out = writer_growing();
    proxy_protocol_write(&header, &out);
    for (size_t length = 0; length < out.length; length++) {
        struct cursor cursor = cursor_of(bytes_of(out.data, length));
        assert_int_equal(proxy_protocol_read(&cursor, &read), PROXY_PROTOCOL_PARTIAL);
        assert_int_equal(cursor_left(&cursor), length);
    }
    writer_free(&out);
}

static void assert_invalid(struct writer *header)
{
    struct proxy_protocol_header read;
    struct cursor cursor = cursor_of(writer_bytes(header));
    assert_int_equal(proxy_protocol_read(&cursor, &read), PROXY_PROTOCOL_INVALID);
    assert_null(read.identity.data);
}

static void what_is_no_header_of_a_stream_is_invalid(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } CHANGES[] = { { 0, 'P' }, { 11, 0 }, { 12, 0x11 }, { 12, 0x22 }, { 13, 0x12 }, { 13, 0x31 }, { 14, 0x10 },
        /* a TLV longer than what is left */
        { 29, 0x01 } };
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        struct proxy_protocol_header header = header_of("10.0.0.1:1234", "10.10.0.1:80", IDENTITY);
        struct writer out = writer_growing();
        proxy_protocol_write(&header, &out);
        out.data[CHANGES[i].at] = CHANGES[i].value;
        assert_invalid(&out);
        writer_free(&out);
    }
}

static void a_local_header_says_nothing_about_addresses(void **state)
{
    (void)state;
    struct proxy_protocol_header header = header_of("10.0.0.1:1234", "10.10.0.1:80", IDENTITY);
    struct proxy_protocol_header read;
    struct writer out = writer_growing();
    proxy_protocol_write(&header, &out);
    out.data[12] = 0x20;
    struct cursor cursor = cursor_of(writer_bytes(&out));
    assert_int_equal(proxy_protocol_read(&cursor, &read), PROXY_PROTOCOL_READ);
    assert_int_equal(read.source.ip.family, IP_NONE);
    assert_null(read.identity.data);
    assert_true(cursor_is_at_end(&cursor));
    writer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_example_is_written_byte_for_byte),
        cmocka_unit_test(both_families_come_back_as_they_were_written),
        cmocka_unit_test(mixed_families_leave_the_addresses_out_and_keep_the_identity),
        cmocka_unit_test(every_beginning_of_a_header_asks_for_more),
        cmocka_unit_test(what_is_no_header_of_a_stream_is_invalid),
        cmocka_unit_test(a_local_header_says_nothing_about_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
