/* The policy route in a real namespace, seen with the eyes of `ip`. */
#include "base/writer.h"
#include "cni/routing.h"
#include "cni/subprocess.h"
#include "unit/cni/support.h"

#include <string.h>

/* True when the output of `ip FAMILY WHAT...` has `needle`. */
static bool ip_shows(const struct network_namespace *pod, const char *const *arguments, const char *needle)
{
    struct writer output = writer_growing();
    const struct subprocess ip = { .arguments = arguments, .namespace_ = pod, .timeout_ms = 10000, .output = &output };
    (void)subprocess_run(&ip); /* listing a table that does not exist fails */
    bool shows = strstr(writer_string(&output), needle) != NULL;
    writer_free(&output);
    return shows;
}

static bool has_rule(const struct network_namespace *pod, const char *family)
{
    const char *const arguments[] = { "/usr/sbin/ip", family, "rule", NULL };
    return ip_shows(pod, arguments, "32764:\tfrom all fwmark 0x111/0xfff lookup 100");
}

static bool has_route(const struct network_namespace *pod, const char *family)
{
    const char *const arguments[] = { "/usr/sbin/ip", family, "route", "show", "table", "100", NULL };
    return ip_shows(pod, arguments, "local default dev lo");
}

static void run_ip(const struct network_namespace *pod, const char *const *arguments)
{
    struct writer output = writer_growing();
    const struct subprocess ip = { .arguments = arguments, .namespace_ = pod, .timeout_ms = 10000, .output = &output };
    assert_ok(subprocess_run(&ip));
    writer_free(&output);
}

static struct network_namespace new_pod(void)
{
    static const char *const up[] = { "/usr/sbin/ip", "link", "set", "lo", "up", NULL };
    struct network_namespace pod = new_namespace();
    run_ip(&pod, up);
    return pod;
}

static void both_families_are_routed_and_released(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_pod();
    assert_ok(routing_apply(&pod, true));
    assert_true(has_rule(&pod, "-4") && has_route(&pod, "-4"));
    assert_true(has_rule(&pod, "-6") && has_route(&pod, "-6"));
    assert_ok(routing_verify(&pod, true));
    assert_ok(routing_remove(&pod));
    assert_false(has_rule(&pod, "-4") || has_route(&pod, "-4"));
    assert_false(has_rule(&pod, "-6") || has_route(&pod, "-6"));
    network_namespace_close(&pod);
}

static void doing_it_twice_is_doing_it_once(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_pod();
    assert_ok(routing_apply(&pod, true));
    assert_ok(routing_apply(&pod, true));
    assert_ok(routing_verify(&pod, true));
    assert_ok(routing_remove(&pod));
    assert_false(has_rule(&pod, "-4"));
    assert_ok(routing_remove(&pod));
    network_namespace_close(&pod);
}

static void without_ipv6_only_ipv4_is_touched(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_pod();
    assert_ok(routing_apply(&pod, false));
    assert_true(has_rule(&pod, "-4"));
    assert_false(has_rule(&pod, "-6"));
    network_namespace_close(&pod);
}

static void what_is_missing_is_seen_and_stays_missing(void **state)
{
    (void)state;
    skip_without_root();
    static const char *const delete_rule[] = { "/usr/sbin/ip", "rule", "del", "pref", "32764", NULL };
    struct network_namespace pod = new_pod();
    assert_ok(routing_apply(&pod, true));
    run_ip(&pod, delete_rule);
    struct result result = routing_verify(&pod, true);
    assert_non_null(strstr(result.message, "looking for the rule for marked packets (IPv4)"));
    assert_false(has_rule(&pod, "-4"));
    network_namespace_close(&pod);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_families_are_routed_and_released),
        cmocka_unit_test(doing_it_twice_is_doing_it_once),
        cmocka_unit_test(without_ipv6_only_ipv4_is_touched),
        cmocka_unit_test(what_is_missing_is_seen_and_stays_missing),
    };
    return cmocka_run_group_tests_name("routing", tests, NULL, NULL);
}
