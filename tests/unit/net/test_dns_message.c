/* DNS messages: what is read of a query, what is built, what is taken from upstream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/memory.h"
#include "net/dns_message.h"

#include <stdio.h>
#include <string.h>

#define EDNS_1400_DO "\0\0\x29\x05\x78\0\0\x80\0\0\0"

/* A query for `name` of `type` (both on the wire), id 0x1234, with what comes behind the question. */
static struct writer query_of(const char *name, uint16_t type, uint16_t flags, const char *tail, size_t tail_length)
{
    struct writer out = writer_growing();
    assert_true(dns_query_write(name, (enum dns_type)type, 0x1234, &out));
    out.data[2] = (uint8_t)(flags >> 8);
    out.data[3] = (uint8_t)flags;
    out.data[11] = tail_length > 0;
    writer_add(&out, tail, tail_length);
    return out;
}

static struct dns_request read_query(const struct writer *query)
{
    struct dns_request request;
    enum dns_code code = DNS_NO_ERROR;
    assert_int_equal(dns_request_read(writer_bytes(query), &request, &code), DNS_READ);
    return request;
}

static void assert_bytes(const struct writer *out, const char *expected, size_t length)
{
    assert_int_equal(out->length, length);
    assert_memory_equal(out->data, expected, length);
}
#define assert_written(out, literal) assert_bytes((out), (literal), sizeof(literal) - 1)

static struct ip_address ip(const char *text)
{
    struct ip_address address;
    assert_true(ip_parse(text, &address));
    return address;
}

static void test_a_query_is_read_with_its_flags_and_edns(void **state)
{
    (void)state;
    struct writer query = query_of("Www.example.com", DNS_TYPE_AAAA, 0x0110, EDNS_1400_DO, sizeof EDNS_1400_DO - 1);
    struct dns_request request = read_query(&query);
    char name[DNS_NAME_TEXT_SIZE];
    assert_int_equal(request.id, 0x1234);
    assert_true(request.is_recursion_desired);
    assert_true(request.is_checking_disabled);
    assert_int_equal(request.question.type, DNS_TYPE_AAAA);
    assert_int_equal(dns_name_text(request.question.name, name), 3);
    assert_string_equal(name, "www.example.com");
    assert_true(request.has_edns);
    assert_true(request.is_dnssec_ok);
    assert_int_equal(request.edns_payload_bytes, 1400);
    assert_int_equal(dns_request_udp_bytes(&request), 1400);
    writer_free(&query);
}

static void test_the_size_for_udp_follows_edns(void **state)
{
    (void)state;
    struct dns_request request = { .has_edns = false };
    assert_int_equal(dns_request_udp_bytes(&request), 4096);
    request.has_edns = true;
    request.edns_payload_bytes = 100;
    assert_int_equal(dns_request_udp_bytes(&request), 512);
}

static void test_bytes_that_no_host_name_has_are_escaped(void **state)
{
    (void)state;
    char name[DNS_NAME_TEXT_SIZE];
    (void)dns_name_text(bytes_of("\3a.b\2\0\xff\3C_*\0", 12), name);
    assert_string_equal(name, "a\\046b.\\000\\255.c_*");
    assert_int_equal(dns_name_text(bytes_of("\0", 1), name), 0);
    assert_string_equal(name, "");
}

static enum dns_reading reading_of(const char *message, size_t length, enum dns_code *code)
{
    /* At its exact size, so that a read past the end is seen. */
    uint8_t *copy = memory_allocate(length);
    memcpy(copy, message, length);
    struct dns_request request;
    enum dns_reading reading = dns_request_read(bytes_of(copy, length), &request, code);
    memory_free(copy);
    return reading;
}

static void test_what_is_no_query_is_told_apart(void **state)
{
    (void)state;
#define HEAD(flags, questions, additionals) "\x12\x34" flags questions "\0\0\0\0" additionals
#define NAME "\1a\0\0\1\0\1"
    static const struct {
        const char *bytes;
        size_t length;
        enum dns_reading reading;
        enum dns_code code;
    } CASES[] = {
#define CASE(bytes, reading, code) { bytes, sizeof(bytes) - 1, reading, code }
        CASE("", DNS_IGNORED, 0),
        CASE("\x12\x34\1\0\0\1\0\0\0\0\0", DNS_IGNORED, 0),
        CASE(HEAD("\x81\0", "\0\1", "\0\0") NAME, DNS_IGNORED, 0),
        CASE(HEAD("\x28\0", "\0\1", "\0\0") NAME, DNS_BAD, DNS_NOT_IMPLEMENTED),
        CASE(HEAD("\1\0", "\0\0", "\0\0"), DNS_BAD, DNS_SERVER_FAILURE),
        CASE(HEAD("\1\0", "\0\2", "\0\0") NAME NAME, DNS_BAD, DNS_SERVER_FAILURE),
        CASE(HEAD("\1\0", "\0\2", "\0\0") NAME, DNS_BAD, DNS_FORMAT_ERROR),
        CASE(HEAD("\1\0", "\0\1", "\0\0") "\1a\0\0\1\0", DNS_BAD, DNS_FORMAT_ERROR),
        CASE(HEAD("\1\0", "\0\1", "\0\0") "\xc0\x0c\0\1\0\1", DNS_BAD, DNS_FORMAT_ERROR),
        CASE(HEAD("\1\0", "\0\1", "\0\0") "\x40", DNS_BAD, DNS_FORMAT_ERROR),
        CASE(HEAD("\1\0", "\0\1", "\0\1") NAME, DNS_BAD, DNS_FORMAT_ERROR),
        CASE(HEAD("\1\0", "\0\1", "\0\2") NAME EDNS_1400_DO EDNS_1400_DO, DNS_BAD, DNS_FORMAT_ERROR),
        CASE(HEAD("\1\0", "\0\1", "\0\1") NAME EDNS_1400_DO, DNS_READ, 0),
        CASE(HEAD("\1\0", "\0\1", "\0\0") NAME "behind", DNS_READ, 0),
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        enum dns_code code = DNS_NO_ERROR;
        enum dns_reading reading = reading_of(CASES[i].bytes, CASES[i].length, &code);
        if (reading != CASES[i].reading || (reading == DNS_BAD && code != CASES[i].code)) {
            fail_msg("case %zu: reading %d, code %d", i, reading, code);
        }
    }
}

static void test_a_query_longer_than_any_is_refused(void **state)
{
    (void)state;
    struct writer query = query_of("a", DNS_TYPE_A, 0x0100, NULL, 0);
    enum dns_code code = DNS_NO_ERROR;
    struct dns_request request;
    while (query.length <= DNS_QUERY_BYTES_MAXIMUM) {
        writer_add_u8(&query, 0);
    }
    assert_int_equal(dns_request_read(writer_bytes(&query), &request, &code), DNS_BAD);
    assert_int_equal(code, DNS_FORMAT_ERROR);
    writer_free(&query);
}

static void test_an_answer_bears_authority_the_question_and_pointers_to_it(void **state)
{
    (void)state;
    struct writer query = query_of("a.b", DNS_TYPE_A, 0x0110, NULL, 0);
    struct dns_request request = read_query(&query);
    struct ip_address addresses[] = { ip("10.0.0.1"), ip("10.0.0.2") };
    struct writer out = writer_growing();
    dns_answer_write(&request, &(struct dns_answer){ NULL, addresses, 2, 30 }, 512, &out);
    assert_written(&out, "\x12\x34\x85\x90\0\1\0\2\0\0\0\0\1a\1b\0\0\1\0\1"
                         "\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1"
                         "\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\2");
    writer_free(&out);
    writer_free(&query);
}

static void test_owners_are_in_lower_case_and_the_question_as_it_was(void **state)
{
    (void)state;
    struct writer query = query_of("A.b", DNS_TYPE_AAAA, 0, EDNS_1400_DO, sizeof EDNS_1400_DO - 1);
    struct dns_request request = read_query(&query);
    struct ip_address addresses[] = { ip("fd00::1"), ip("fd00::2") };
    struct writer out = writer_growing();
    dns_answer_write(&request, &(struct dns_answer){ NULL, addresses, 2, 30 }, 512, &out);
    assert_written(&out, "\x12\x34\x84\x80\0\1\0\2\0\0\0\1\1A\1b\0\0\x1c\0\1"
                         "\1a\1b\0\0\x1c\0\1\0\0\0\x1e\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
                         "\xc0\x15\0\x1c\0\1\0\0\0\x1e\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2" EDNS_1400_DO);
    writer_free(&out);
    writer_free(&query);
}

static void test_an_alias_owns_the_addresses(void **state)
{
    (void)state;
    struct writer query = query_of("a.b.c", DNS_TYPE_A, 0, NULL, 0);
    struct dns_request request = read_query(&query);
    struct ip_address address = ip("10.0.0.1");
    struct writer out = writer_growing();
    dns_answer_write(&request, &(struct dns_answer){ "a.b", &address, 1, 30 }, 512, &out);
    assert_written(&out, "\x12\x34\x84\x80\0\1\0\2\0\0\0\0\1a\1b\1c\0\0\1\0\1"
                         "\xc0\x0c\0\5\0\1\0\0\0\x1e\0\5\1a\1b\0"
                         "\xc0\x23\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1");
    writer_free(&out);
    writer_free(&query);
}

static void test_an_empty_answer_is_no_error(void **state)
{
    (void)state;
    struct writer query = query_of("a", DNS_TYPE_AAAA, 0x0100, NULL, 0);
    struct dns_request request = read_query(&query);
    struct writer out = writer_growing();
    dns_answer_write(&request, &(struct dns_answer){ .ttl_s = 30 }, 512, &out);
    assert_written(&out, "\x12\x34\x85\x80\0\1\0\0\0\0\0\0\1a\0\0\x1c\0\1");
    writer_free(&out);
    writer_free(&query);
}

static void test_an_answer_that_does_not_fit_is_cut_at_a_record_and_says_so(void **state)
{
    (void)state;
    struct writer query = query_of("a", DNS_TYPE_A, 0, EDNS_1400_DO, sizeof EDNS_1400_DO - 1);
    struct dns_request request = read_query(&query);
    struct ip_address addresses[200];
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++) {
        addresses[i] = ip("10.0.0.1");
    }
    struct writer out = writer_growing();
    dns_answer_write(&request, &(struct dns_answer){ NULL, addresses, 200, 30 }, 512, &out);
    assert_true(out.length <= 512 && out.length > 512 - 16);
    assert_int_equal(out.data[2] & 2, 2);
    assert_int_equal(out.data[7], (512 - 19 - 11) / 16);
    assert_memory_equal(out.data + out.length - 11, EDNS_1400_DO, 11);
    dns_answer_write(&request, &(struct dns_answer){ NULL, addresses, 200, 30 }, DNS_MESSAGE_BYTES_MAXIMUM, &out);
    assert_int_equal(out.data[2] & 2, 0);
    assert_int_equal(out.data[7], 200);
    writer_free(&out);
    writer_free(&query);
}

static void test_the_longest_names_fit_or_are_cut_never_more(void **state)
{
    (void)state;
    char name[254];
    memset(name, 'A', 253);
    name[63] = name[127] = name[191] = '.';
    name[253] = '\0';
    struct writer query = query_of(name, DNS_TYPE_A, 0, EDNS_1400_DO, sizeof EDNS_1400_DO - 1);
    struct dns_request request = read_query(&query);
    struct ip_address address = ip("10.0.0.1");
    char alias[252];
    memcpy(alias, name, 251);
    alias[251] = '\0';
    struct writer out = writer_growing();
    dns_answer_write(&request, &(struct dns_answer){ alias, &address, 1, 30 }, 512, &out);
    assert_true(out.length <= 512);
    assert_int_equal(out.data[2] & 2, 2);
    writer_free(&out);
    writer_free(&query);
}

static void test_errors_have_neither_authority_nor_edns(void **state)
{
    (void)state;
    struct writer query = query_of("a", DNS_TYPE_A, 0x0110, EDNS_1400_DO, sizeof EDNS_1400_DO - 1);
    struct dns_request request = read_query(&query);
    struct writer out = writer_growing();
    dns_error_write(&request, DNS_SERVER_FAILURE, &out);
    assert_written(&out, "\x12\x34\x81\x12\0\1\0\0\0\0\0\0\1a\0\0\1\0\1");
    writer_free(&out);
    writer_free(&query);
}

/* An answer of upstream: the query with QR set and a code, and perhaps other bytes in one place. */
static bool matches(const struct writer *query, uint16_t id, uint8_t code, size_t changed_at, uint8_t changed_to)
{
    struct dns_request request = read_query(query);
    struct writer response = writer_growing();
    writer_add_bytes(&response, writer_bytes(query));
    response.data[2] |= 0x80;
    response.data[3] = code;
    if (changed_at > 0) {
        response.data[changed_at] = changed_to;
    }
    bool does_match = dns_response_matches(writer_bytes(&response), id, &request.question);
    writer_free(&response);
    return does_match;
}

static void test_only_the_answer_to_the_question_under_its_id_is_taken(void **state)
{
    (void)state;
    struct writer query = query_of("ab.c", DNS_TYPE_A, 0x0100, NULL, 0);
    assert_true(matches(&query, 0x1234, 0, 0, 0));
    assert_true(matches(&query, 0x1234, 3, 13, 'A')); /* in other letters */
    assert_false(matches(&query, 0x1235, 0, 0, 0));
    assert_false(matches(&query, 0x1234, 0, 2, 1)); /* a query */
    assert_false(matches(&query, 0x1234, 0, 13, 'x'));
    assert_false(matches(&query, 0x1234, 0, 19, 2)); /* another type */
    assert_false(matches(&query, 0x1234, 0, 21, 3)); /* another class */
    assert_false(matches(&query, 0x1234, 0, 5, 2));  /* two questions */
    assert_false(matches(&query, 0x1234, 0, 5, 0));  /* none, and yet success */
    assert_false(matches(&query, 0x1234, 3, 5, 0));  /* a name does not cease to exist like that */
    assert_true(matches(&query, 0x1234, 5, 5, 0));
    struct dns_request request = read_query(&query);
    assert_false(dns_response_matches(bytes_of("\x12\x34\x80", 3), 0x1234, &request.question));
    writer_free(&query);
}

static void test_the_first_address_of_an_answer_is_found_behind_aliases(void **state)
{
    (void)state;
    static const char RESPONSE[] = "\x12\x34\x81\x80\0\1\0\3\0\0\0\0\1a\0\0\1\0\1"
                                   "\xc0\x0c\0\5\0\1\0\0\0\x1e\0\3\1b\0"
                                   "\xc0\x1f\0\x1c\0\1\0\0\0\x1e\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
                                   "\xc0\x1f\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1";
    struct ip_address found;
    /* The CNAME's data is three bytes, of which the literal has the final 0 as its third. */
    assert_true(dns_response_address(bytes_of(RESPONSE, sizeof RESPONSE - 1), DNS_TYPE_A, &found));
    struct ip_address expected = ip("10.0.0.1");
    assert_true(ip_equal(&found, &expected));
    assert_true(dns_response_address(bytes_of(RESPONSE, sizeof RESPONSE - 1), DNS_TYPE_AAAA, &found));
    for (size_t length = 0; length < sizeof RESPONSE - 1; length++) {
        (void)dns_response_address(bytes_of(RESPONSE, length), DNS_TYPE_A, &found);
    }
    assert_false(dns_response_address(bytes_of(RESPONSE, sizeof RESPONSE - 3), DNS_TYPE_A, &found));
}

static void test_names_that_are_none_are_not_asked_for(void **state)
{
    (void)state;
    static const char *const NAMES[] = { "", ".", "a..b", ".a",
        "0123456789012345678901234567890123456789012345678901234567890123" };
    for (size_t i = 0; i < ARRAY_LENGTH(NAMES); i++) {
        struct writer out = writer_growing();
        assert_false(dns_query_write(NAMES[i], DNS_TYPE_A, 1, &out));
        writer_free(&out);
    }
}

static void test_types_have_names(void **state)
{
    (void)state;
    assert_string_equal(dns_type_name(1), "a");
    assert_string_equal(dns_type_name(65), "https");
    assert_string_equal(dns_type_name(65000), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_query_is_read_with_its_flags_and_edns),
        cmocka_unit_test(test_the_size_for_udp_follows_edns),
        cmocka_unit_test(test_bytes_that_no_host_name_has_are_escaped),
        cmocka_unit_test(test_what_is_no_query_is_told_apart),
        cmocka_unit_test(test_a_query_longer_than_any_is_refused),
        cmocka_unit_test(test_an_answer_bears_authority_the_question_and_pointers_to_it),
        cmocka_unit_test(test_owners_are_in_lower_case_and_the_question_as_it_was),
        cmocka_unit_test(test_an_alias_owns_the_addresses),
        cmocka_unit_test(test_an_empty_answer_is_no_error),
        cmocka_unit_test(test_an_answer_that_does_not_fit_is_cut_at_a_record_and_says_so),
        cmocka_unit_test(test_the_longest_names_fit_or_are_cut_never_more),
        cmocka_unit_test(test_errors_have_neither_authority_nor_edns),
        cmocka_unit_test(test_only_the_answer_to_the_question_under_its_id_is_taken),
        cmocka_unit_test(test_the_first_address_of_an_answer_is_found_behind_aliases),
        cmocka_unit_test(test_names_that_are_none_are_not_asked_for),
        cmocka_unit_test(test_types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
