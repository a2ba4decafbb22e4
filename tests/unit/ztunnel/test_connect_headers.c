/* `forwarded`, `traceparent` and `baggage` as they are written and as they are read from peers (ztunnel-dataplane §§7, 10). */
#include "cmocka_all.h"

#include "base/memory.h"
#include "base/writer.h"
#include "ztunnel/connect_headers.h"

#define TEXT(text_) bytes_of_string(text_)

static void assert_forwarded(const char *peer, const char *host, const char *expected)
{
    struct socket_address address;
    struct writer out = writer_growing();
    assert_true(socket_address_parse(peer, &address));
    connect_headers_write_forwarded(&address, host, &out);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void the_peer_is_quoted_and_the_host_is_not(void **state)
{
    (void)state;
    assert_forwarded("10.0.0.1:1234", NULL, "for=\"10.0.0.1:1234\"");
    assert_forwarded("[::1]:80", "web.example", "for=\"[::1]:80\";host=web.example");
}

static void assert_host(const char *forwarded, const char *expected)
{
    char *host AUTO_FREE = connect_headers_forwarded_host(TEXT(forwarded));
    if (expected == NULL) {
        assert_null(host);
    } else {
        assert_non_null(host);
        assert_string_equal(host, expected);
    }
}

static void the_host_is_the_first_part_that_has_one(void **state)
{
    (void)state;
    assert_host("for=\"10.0.0.1:1234\";host=web.example", "web.example");
    assert_host("for=x ;  host=\"web.example\" ;host=other", "web.example");
    assert_host("host=web.example", "web.example");
}

static void what_names_no_host_has_none(void **state)
{
    (void)state;
    assert_host("", NULL);
    assert_host("for=x", NULL);
    assert_host("host=", NULL);
    assert_host("host=\"\"", NULL);
    assert_host("Host=web.example", NULL);
    assert_host("for=\xc3\xbc;host=web.example", NULL);
}

static void a_trace_is_read_back_from_its_header(void **state)
{
    (void)state;
    static const char TRACE[] = "0123456789abcdef0123456789abcdef";
    char traceparent[TRACEPARENT_TEXT_SIZE];
    char read[TRACE_ID_TEXT_SIZE] = "";
    connect_headers_write_traceparent(TRACE, traceparent);
    assert_int_equal(strlen(traceparent), 55);
    assert_memory_equal(traceparent, "00-", 3);
    assert_string_equal(traceparent + 52, "-00");
    assert_true(connect_headers_read_trace(TEXT(traceparent), read));
    assert_string_equal(read, TRACE);
}

static void a_malformed_trace_is_not_taken_over(void **state)
{
    (void)state;
    static const char *const MALFORMED[] = { "", "00-0123", "0000000000000000000000000000000000000000000000000000000",
        "00-0123456789abcdef0123456789abcdeg-0123456789abcdef-00",
        "00-0123456789abcdef0123456789abcdef-0123456789abcdef-0x",
        "00-0123456789abcdef0123456789abcdef-0123456789abcdef-001" };
    for (size_t i = 0; i < sizeof MALFORMED / sizeof MALFORMED[0]; i++) {
        char read[TRACE_ID_TEXT_SIZE] = "own";
        assert_false(connect_headers_read_trace(TEXT(MALFORMED[i]), read));
        assert_string_equal(read, "own");
    }
}

static void baggage_lines_add_up_and_one_that_cannot_be_read_spoils_all(void **state)
{
    (void)state;
    struct hbone_field fields[] = { { TEXT("baggage"), TEXT("k8s.namespace.name=shop,k8s.deployment.name=web") },
        { TEXT("x-baggage"), TEXT("service.name=other") }, { TEXT("baggage"), TEXT("service.name=web-service") } };
    struct hbone_headers headers = { fields, 3 };
    struct baggage baggage = connect_headers_baggage(&headers);
    assert_true(bytes_equal_string(baggage.namespace_, "shop"));
    assert_true(bytes_equal_string(baggage.workload_name, "web"));
    assert_true(bytes_equal_string(baggage.canonical_name, "web-service"));
    fields[2].value = TEXT("service.name=\x01");
    baggage = connect_headers_baggage(&headers);
    assert_int_equal(baggage.namespace_.length, 0);
    assert_int_equal(baggage.canonical_name.length, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_peer_is_quoted_and_the_host_is_not),
        cmocka_unit_test(the_host_is_the_first_part_that_has_one),
        cmocka_unit_test(what_names_no_host_has_none),
        cmocka_unit_test(a_trace_is_read_back_from_its_header),
        cmocka_unit_test(a_malformed_trace_is_not_taken_over),
        cmocka_unit_test(baggage_lines_add_up_and_one_that_cannot_be_read_spoils_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
