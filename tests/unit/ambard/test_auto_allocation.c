/* Allocated addresses: where they begin, that they stay, that they are given back. */
#include "ambard/auto_allocation.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *directory;

static int make_directory(void **state)
{
    (void)state;
    directory = string_duplicate("/tmp/ambar-test-allocation-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    char *AUTO_FREE path = string_format("%s/%s", directory, AUTO_ALLOCATION_FILE);
    unlink(path);
    rmdir(directory);
    memory_free(directory);
    return 0;
}

static struct auto_allocation *open_allocation(const char *state_directory, bool is_read_only)
{
    struct auto_allocation *allocation;
    struct result result = auto_allocation_open(state_directory, is_read_only, &allocation);
    assert_string_equal(result.message, "");
    return allocation;
}

static void assert_assigned(
    struct auto_allocation *allocation, const char *entry, const char *host, const char *ipv4, const char *ipv6)
{
    struct ip_address addresses[2];
    char text[IP_TEXT_SIZE];
    auto_allocation_assign(allocation, entry, host, &addresses[0], &addresses[1]);
    assert_string_equal(ip_format(&addresses[0], text), ipv4);
    assert_string_equal(ip_format(&addresses[1], text), ipv6);
}

static void end_round(struct auto_allocation *allocation)
{
    struct result result = auto_allocation_end(allocation);
    assert_string_equal(result.message, "");
}

static void addresses_begin_at_one_and_are_each_host_s_own(void **state)
{
    (void)state;
    struct auto_allocation *allocation = open_allocation(NULL, false);
    auto_allocation_begin(allocation);
    assert_assigned(allocation, "n/e", "a", "240.240.0.1", "2001:2::1");
    assert_assigned(allocation, "n/e", "b", "240.240.0.2", "2001:2::2");
    assert_assigned(allocation, "m/e", "a", "240.240.0.3", "2001:2::3");
    assert_assigned(allocation, "n/e", "a", "240.240.0.1", "2001:2::1");
    end_round(allocation);
    auto_allocation_free(allocation);
}

static void addresses_stay_over_restarts(void **state)
{
    (void)state;
    struct auto_allocation *allocation = open_allocation(directory, false);
    auto_allocation_begin(allocation);
    assert_assigned(allocation, "n/e", "a", "240.240.0.1", "2001:2::1");
    assert_assigned(allocation, "n/e", "b", "240.240.0.2", "2001:2::2");
    end_round(allocation);
    auto_allocation_free(allocation);

    allocation = open_allocation(directory, false);
    auto_allocation_begin(allocation);
    assert_assigned(allocation, "n/e", "new", "240.240.0.3", "2001:2::3");
    assert_assigned(allocation, "n/e", "b", "240.240.0.2", "2001:2::2");
    end_round(allocation);
    auto_allocation_free(allocation);
    char *AUTO_FREE path = string_format("%s/%s", directory, AUTO_ALLOCATION_FILE);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void what_is_no_longer_asked_for_is_given_back(void **state)
{
    (void)state;
    struct auto_allocation *allocation = open_allocation(NULL, false);
    struct ip_address first;
    ip_parse("240.240.0.1", &first);
    auto_allocation_begin(allocation);
    assert_assigned(allocation, "n/e", "a", "240.240.0.1", "2001:2::1");
    end_round(allocation);
    auto_allocation_begin(allocation);
    assert_assigned(allocation, "n/e", "b", "240.240.0.2", "2001:2::2");
    end_round(allocation);
    auto_allocation_begin(allocation);
    auto_allocation_seed(allocation, "n/e", "c", &first);
    assert_assigned(allocation, "n/e", "c", "240.240.0.1", "2001:2::3");
    end_round(allocation);
    auto_allocation_free(allocation);
}

static void the_first_to_claim_an_address_keeps_it(void **state)
{
    (void)state;
    struct auto_allocation *allocation = open_allocation(NULL, false);
    struct ip_address ip;
    ip_parse("240.240.9.9", &ip);
    auto_allocation_begin(allocation);
    auto_allocation_seed(allocation, "n/old", "a", &ip);
    auto_allocation_seed(allocation, "n/new", "b", &ip);
    ip_parse("10.0.0.1", &ip);
    auto_allocation_seed(allocation, "n/new", "b", &ip);
    assert_assigned(allocation, "n/new", "b", "240.240.9.10", "2001:2::1");
    assert_assigned(allocation, "n/old", "a", "240.240.9.9", "2001:2::2");
    end_round(allocation);
    auto_allocation_free(allocation);
}

static void a_block_that_is_used_up_gives_none(void **state)
{
    (void)state;
    struct auto_allocation *allocation = open_allocation(NULL, false);
    struct ip_address ipv4, ipv6;
    auto_allocation_begin(allocation);
    for (int i = 0; i < 65535; i++) {
        char *AUTO_FREE host = string_format("h%d", i);
        auto_allocation_assign(allocation, "n/e", host, &ipv4, &ipv6);
        assert_int_equal(ipv4.family, i < 65534 ? IP_V4 : IP_NONE);
    }
    auto_allocation_free(allocation);
}

static void a_read_only_state_is_not_written(void **state)
{
    (void)state;
    struct auto_allocation *allocation = open_allocation(directory, true);
    auto_allocation_begin(allocation);
    assert_assigned(allocation, "n/e", "a", "240.240.0.1", "2001:2::1");
    end_round(allocation);
    auto_allocation_free(allocation);
    char *AUTO_FREE path = string_format("%s/%s", directory, AUTO_ALLOCATION_FILE);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_damaged_file_is_refused_with_its_line(void **state)
{
    (void)state;
    char *AUTO_FREE path = string_format("%s/%s", directory, AUTO_ALLOCATION_FILE);
    FILE *file = fopen(path, "w");
    fputs("n/e a 240.240.0.1 2001:2::1\nn/e b 10.0.0.1 -\n", file);
    fclose(file);
    struct auto_allocation *allocation;
    struct result result = auto_allocation_open(directory, false, &allocation);
    char *AUTO_FREE expected = string_format("%s:2: not `namespace/name host IPv4 IPv6`", path);
    assert_string_equal(result.message, expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_begin_at_one_and_are_each_host_s_own),
        TEST(addresses_stay_over_restarts),
        cmocka_unit_test(what_is_no_longer_asked_for_is_given_back),
        cmocka_unit_test(the_first_to_claim_an_address_keeps_it),
        cmocka_unit_test(a_block_that_is_used_up_gives_none),
        TEST(a_read_only_state_is_not_written),
        TEST(a_damaged_file_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
