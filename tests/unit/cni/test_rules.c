/* The capture rules: the script, the check of what is in force, and both against a real kernel. */
#include "base/writer.h"
#include "cni/rules.h"
#include "cni/subprocess.h"
#include "unit/cni/support.h"

#include <string.h>

#define NFT "/usr/sbin/nft"

static const struct rules_choice EVERYTHING = { .with_ipv6 = true, .with_dns = true };
static const struct rules_choice WITHOUT_DNS = { .with_ipv6 = true };
static const struct rules_choice WITHOUT_IPV6 = { .with_dns = true };

static size_t count_of(const char *text, const char *needle)
{
    size_t count = 0;
    for (const char *at = strstr(text, needle); at != NULL; at = strstr(at + 1, needle)) {
        count++;
    }
    return count;
}

static void the_script_replaces_all_tables_in_one_go(void **state)
{
    (void)state;
    struct writer script = writer_growing();
    rules_write_script(&EVERYTHING, &script);
    const char *text = writer_string(&script);
    assert_int_equal(count_of(text, "add table"), 3);
    assert_int_equal(count_of(text, "flush table"), 3);
    assert_int_equal(count_of(text, "add rule"), 24);
    assert_int_equal(count_of(text, "jump"), 6);
    /* Every rule but the jumps counts. */
    assert_int_equal(count_of(text, "counter"), 18);
    assert_non_null(
        strstr(text, "add chain inet istio-ambient-mangle output { type route hook output priority -150; }"));
    writer_free(&script);
}

static void dns_is_captured_before_what_stays_inside_the_pod_is_left_alone(void **state)
{
    (void)state;
    struct writer script = writer_growing();
    rules_write_script(&EVERYTHING, &script);
    const char *text = writer_string(&script);
    const char *udp =
        strstr(text, "oifname != \"lo\" meta mark and 0xfff != 0x539 udp dport 53 counter redirect to :15053");
    const char *tcp =
        strstr(text, "ip daddr != 127.0.0.1/32 tcp dport 53 meta mark and 0xfff != 0x539 counter redirect to :15053");
    const char *inside = strstr(text, "oifname \"lo\" ip daddr != 127.0.0.1/32 counter accept");
    assert_true(udp != NULL && udp < tcp && tcp < inside);
    assert_int_equal(count_of(text, "ct zone set 1"), 2);
    writer_free(&script);
}

static void switched_off_no_rule_for_dns_is_left(void **state)
{
    (void)state;
    struct writer script = writer_growing();
    rules_write_script(&WITHOUT_DNS, &script);
    const char *text = writer_string(&script);
    assert_int_equal(count_of(text, "add rule"), 17);
    assert_null(strstr(text, "15053"));
    assert_non_null(strstr(text, "add table inet istio-ambient-raw\ndelete table inet istio-ambient-raw\n"));
    writer_free(&script);
}

static void without_ipv6_no_rule_mentions_it(void **state)
{
    (void)state;
    struct writer script = writer_growing();
    rules_write_script(&WITHOUT_IPV6, &script);
    assert_null(strstr(writer_string(&script), "ip6"));
    assert_int_equal(count_of(writer_string(&script), "add rule"), 18);
    writer_free(&script);
}

static void the_removal_deletes_every_table_whether_or_not_it_exists(void **state)
{
    (void)state;
    struct writer script = writer_growing();
    rules_write_removal(&script);
    assert_string_equal(writer_string(&script), "add table inet istio-ambient-nat\n"
                                                "delete table inet istio-ambient-nat\n"
                                                "add table inet istio-ambient-mangle\n"
                                                "delete table inet istio-ambient-mangle\n"
                                                "add table inet istio-ambient-raw\n"
                                                "delete table inet istio-ambient-raw\n");
    writer_free(&script);
}

static void run_nft(const struct network_namespace *namespace_, const char *script)
{
    const char *const arguments[] = { NFT, "-f", "-", NULL };
    struct writer output = writer_growing();
    const struct subprocess nft = {
        .arguments = arguments,
        .namespace_ = namespace_,
        .input = bytes_of_string(script),
        .timeout_ms = RULES_TIMEOUT_MS,
        .output = &output,
    };
    assert_ok(subprocess_run(&nft));
    writer_free(&output);
}

static void applied_rules_are_verified_and_removed(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_namespace();
    assert_ok(rules_apply(NFT, &pod, &EVERYTHING));
    assert_ok(rules_verify(NFT, &pod, &EVERYTHING));
    assert_ok(rules_apply(NFT, &pod, &EVERYTHING)); /* again, with the same outcome */
    assert_ok(rules_verify(NFT, &pod, &EVERYTHING));
    assert_ok(rules_remove(NFT, &pod));
    assert_ok(rules_remove(NFT, &pod));
    struct result result = rules_verify(NFT, &pod, &EVERYTHING);
    assert_string_equal(result.message, "table istio-ambient-nat is missing");
    network_namespace_close(&pod);
}

static void dns_is_switched_off_and_on_again_by_applying(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_namespace();
    assert_ok(rules_apply(NFT, &pod, &EVERYTHING));
    struct result result = rules_verify(NFT, &pod, &WITHOUT_DNS);
    assert_false(result_is_ok(&result));
    assert_ok(rules_apply(NFT, &pod, &WITHOUT_DNS));
    assert_ok(rules_verify(NFT, &pod, &WITHOUT_DNS));
    result = rules_verify(NFT, &pod, &EVERYTHING);
    assert_non_null(strstr(result.message, "istio-ambient-nat, chain istio-output: missing or out of order"));
    assert_ok(rules_apply(NFT, &pod, &EVERYTHING));
    assert_ok(rules_verify(NFT, &pod, &EVERYTHING));
    network_namespace_close(&pod);
}

static void rules_of_other_tables_do_not_matter(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_namespace();
    assert_ok(rules_apply(NFT, &pod, &WITHOUT_IPV6));
    run_nft(&pod, "add table inet mine\nadd chain inet mine output\nadd rule inet mine output accept\n");
    assert_ok(rules_verify(NFT, &pod, &WITHOUT_IPV6));
    network_namespace_close(&pod);
}

static void assert_tampering_is_seen(const char *script, const char *expected)
{
    struct network_namespace pod = new_namespace();
    assert_ok(rules_apply(NFT, &pod, &EVERYTHING));
    run_nft(&pod, script);
    struct result result = rules_verify(NFT, &pod, &EVERYTHING);
    if (strstr(result.message, expected) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", result.message, expected);
    }
    network_namespace_close(&pod);
}

static void missing_added_and_reordered_rules_are_seen(void **state)
{
    (void)state;
    skip_without_root();
    assert_tampering_is_seen("flush chain inet istio-ambient-nat istio-output\n", "chain istio-output: missing");
    assert_tampering_is_seen(
        "flush chain inet istio-ambient-mangle output\n", "istio-ambient-mangle, chain output: missing");
    assert_tampering_is_seen("insert rule inet istio-ambient-nat istio-output accept\n", "chain istio-output: missing");
    assert_tampering_is_seen(
        "add rule inet istio-ambient-nat istio-output accept\n", "a rule that is not ours: accept");
    assert_tampering_is_seen("delete table inet istio-ambient-mangle\n", "table istio-ambient-mangle is missing");
    assert_tampering_is_seen("delete table inet istio-ambient-raw\n", "table istio-ambient-raw is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_script_replaces_all_tables_in_one_go),
        cmocka_unit_test(dns_is_captured_before_what_stays_inside_the_pod_is_left_alone),
        cmocka_unit_test(switched_off_no_rule_for_dns_is_left),
        cmocka_unit_test(without_ipv6_no_rule_mentions_it),
        cmocka_unit_test(the_removal_deletes_every_table_whether_or_not_it_exists),
        cmocka_unit_test(applied_rules_are_verified_and_removed),
        cmocka_unit_test(dns_is_switched_off_and_on_again_by_applying),
        cmocka_unit_test(rules_of_other_tables_do_not_matter),
        cmocka_unit_test(missing_added_and_reordered_rules_are_seen),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
