/* /etc/resolv.conf: what counts, what is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/resolver_file.h"

#include <stdlib.h>
#include <unistd.h>

static struct resolver_file parse(const char *text)
{
    struct resolver_file file;
    resolver_file_parse(bytes_of_string(text), &file);
    return file;
}

static void assert_server(const struct resolver_file *file, size_t index, const char *expected)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    assert_string_equal(socket_address_format(&file->servers[index], text), expected);
}

static void test_servers_search_and_options_are_read(void **state)
{
    (void)state;
    struct resolver_file file = parse("# by hand\n"
                                      "nameserver 10.96.0.10\n"
                                      "\tnameserver\tfd00::10  \r\n"
                                      "search Shop.svc.cluster.local svc.cluster.local. cluster.local\n"
                                      "options ndots:5 timeout:2 attempts:3 rotate");
    assert_int_equal(file.server_count, 2);
    assert_server(&file, 0, "10.96.0.10:53");
    assert_server(&file, 1, "[fd00::10]:53");
    assert_int_equal(file.search_count, 3);
    assert_string_equal(file.search[0], "shop.svc.cluster.local");
    assert_string_equal(file.search[1], "svc.cluster.local");
    assert_int_equal(file.timeout_s, 2);
    assert_int_equal(file.attempts, 3);
}

static void test_an_empty_file_means_the_machine_itself(void **state)
{
    (void)state;
    struct resolver_file file = parse("");
    assert_int_equal(file.server_count, 1);
    assert_server(&file, 0, "127.0.0.1:53");
    assert_int_equal(file.search_count, 0);
    assert_int_equal(file.timeout_s, 5);
    assert_int_equal(file.attempts, 2);
}

static void test_the_last_search_or_domain_counts(void **state)
{
    (void)state;
    struct resolver_file file = parse("search a b\ndomain c\n");
    assert_int_equal(file.search_count, 1);
    assert_string_equal(file.search[0], "c");
}

static void test_what_is_not_understood_is_left_out(void **state)
{
    (void)state;
    struct resolver_file file = parse("nameserver localhost\nnameserver fe80::1%eth0\nnameserver 10.0.0.1 10.0.0.2\n"
                                      "nameserver\n;nameserver 1.1.1.1\nsortlist 1.2.3.4\nsearch . ..\n"
                                      "options timeout:x attempts: timeout:-1");
    assert_int_equal(file.server_count, 1);
    assert_server(&file, 0, "10.0.0.1:53");
    assert_int_equal(file.search_count, 0);
    assert_int_equal(file.timeout_s, 5);
}

static void test_everything_is_bounded(void **state)
{
    (void)state;
    struct resolver_file file =
        parse("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n"
              "search a b c d e f g h i j\noptions timeout:0 timeout:9999 attempts:100");
    assert_int_equal(file.server_count, RESOLVER_SERVERS_MAXIMUM);
    assert_int_equal(file.search_count, RESOLVER_SEARCH_MAXIMUM);
    assert_int_equal(file.timeout_s, 30);
    assert_int_equal(file.attempts, 5);
}

static void test_a_missing_file_is_an_empty_one_and_a_folder_is_none(void **state)
{
    (void)state;
    struct resolver_file file;
    struct result read = resolver_file_read("/nonexistent/resolv.conf", &file);
    assert_true(result_is_ok(&read));
    assert_int_equal(file.server_count, 1);
    read = resolver_file_read("/", &file);
    assert_false(result_is_ok(&read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_servers_search_and_options_are_read),
        cmocka_unit_test(test_an_empty_file_means_the_machine_itself),
        cmocka_unit_test(test_the_last_search_or_domain_counts),
        cmocka_unit_test(test_what_is_not_understood_is_left_out),
        cmocka_unit_test(test_everything_is_bounded),
        cmocka_unit_test(test_a_missing_file_is_an_empty_one_and_a_folder_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
