/* Network namespaces: what is accepted as one, identity, going in and coming back, whose addresses are whose. */
#include "unit/net/support.h"

#include <fcntl.h>

static void test_only_a_network_namespace_is_accepted(void **state)
{
    (void)state;
    struct network_namespace namespace_;
    struct result result = network_namespace_open("/proc/self/ns/mnt", &namespace_);
    assert_int_equal(result.code, RESULT_INVALID);
    assert_string_equal(result.message, "/proc/self/ns/mnt is not a network namespace");
    result = network_namespace_open("/dev/null", &namespace_);
    assert_int_equal(result.code, RESULT_INVALID);
    result = network_namespace_open("/nowhere/at/all", &namespace_);
    assert_int_equal(result.code, RESULT_SYSTEM);
    assert_non_null(strstr(result.message, "/nowhere/at/all"));
    assert_int_equal(namespace_.descriptor, -1);
}

static void test_a_refused_descriptor_is_closed(void **state)
{
    (void)state;
    struct network_namespace namespace_;
    int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct result result = network_namespace_from_descriptor(descriptor, &namespace_);
    assert_int_equal(result.code, RESULT_INVALID);
    assert_int_equal(fcntl(descriptor, F_GETFD), -1);
}

static void test_two_ways_to_one_namespace_are_equal_and_another_is_not(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace one, two, other = make_namespace();
    assert_ok(network_namespace_open("/proc/self/ns/net", &one));
    assert_ok(network_namespace_open_current(&two));
    assert_true(network_namespace_equal(&one, &two));
    assert_false(network_namespace_equal(&one, &other));
    network_namespace_close(&one);
    network_namespace_close(&one);
    network_namespace_close(&two);
    network_namespace_close(&other);
}

static void record_here(void *context)
{
    assert_ok(network_namespace_open_current(context));
}

static void test_a_function_runs_inside_and_the_thread_comes_back(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace before, inside, after, other = make_namespace();
    assert_ok(network_namespace_open_current(&before));
    assert_ok(network_namespace_run(&other, &before, record_here, &inside));
    assert_ok(network_namespace_open_current(&after));
    assert_true(network_namespace_equal(&inside, &other));
    assert_true(network_namespace_equal(&before, &after));
    struct network_namespace *all[] = { &before, &inside, &after, &other };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        network_namespace_close(all[i]);
    }
}

static bool owns(const struct network_namespace *namespace_, const char *text)
{
    struct ip_address ip = ip_of_text(text);
    bool result;
    assert_ok(network_namespace_owns(namespace_, &ip, &result));
    return result;
}

static void test_a_namespace_owns_the_addresses_of_its_interfaces_but_lo(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace namespace_ = make_namespace();
    run_command_inside(&namespace_, "ip link add eth0 type veth peer name eth1 && ip addr add 10.77.0.5/24 dev eth0"
                                    " && ip addr add fd77::5/64 dev eth0 nodad && ip addr add 10.77.9.9/32 dev lo"
                                    " && ip link set eth0 up");
    assert_true(owns(&namespace_, "10.77.0.5"));
    assert_true(owns(&namespace_, "fd77::5"));
    assert_false(owns(&namespace_, "10.77.0.6"));
    assert_false(owns(&namespace_, "127.0.0.1"));
    assert_false(owns(&namespace_, "10.77.9.9"));
    network_namespace_close(&namespace_);
}

static void test_the_addresses_include_loopback_and_are_not_those_of_another_namespace(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace namespace_ = make_namespace();
    struct ip_address *addresses;
    struct ip_address loopback = ip_of_text("127.0.0.1");
    size_t count, found = 0;
    assert_ok(network_namespace_addresses(&namespace_, &addresses, &count));
    for (size_t i = 0; i < count; i++) {
        assert_true(ip_is_loopback(&addresses[i]));
        found += ip_equal(&addresses[i], &loopback);
    }
    assert_int_equal(found, 1);
    memory_free(addresses);
    network_namespace_close(&namespace_);
}

static void ask_for_ipv6_loopback(void *context)
{
    *(bool *)context = network_namespace_here_has_ipv6_loopback();
}

static void test_ipv6_switched_off_on_lo_is_noticed_inside(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace namespace_ = make_namespace();
    bool has_ipv6 = false;
    run_command_inside(&namespace_, "sysctl -qw net.ipv6.conf.lo.disable_ipv6=0");
    assert_ok(network_namespace_run(&namespace_, NULL, ask_for_ipv6_loopback, &has_ipv6));
    assert_true(has_ipv6);
    run_command_inside(&namespace_, "sysctl -qw net.ipv6.conf.lo.disable_ipv6=1");
    assert_ok(network_namespace_run(&namespace_, NULL, ask_for_ipv6_loopback, &has_ipv6));
    assert_false(has_ipv6);
    network_namespace_close(&namespace_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_a_network_namespace_is_accepted),
        cmocka_unit_test(test_a_refused_descriptor_is_closed),
        cmocka_unit_test(test_two_ways_to_one_namespace_are_equal_and_another_is_not),
        cmocka_unit_test(test_a_function_runs_inside_and_the_thread_comes_back),
        cmocka_unit_test(test_a_namespace_owns_the_addresses_of_its_interfaces_but_lo),
        cmocka_unit_test(test_the_addresses_include_loopback_and_are_not_those_of_another_namespace),
        cmocka_unit_test(test_ipv6_switched_off_on_lo_is_noticed_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
