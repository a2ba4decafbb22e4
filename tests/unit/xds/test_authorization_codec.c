/* Vectors 5 and 6 of wire-protocols §18, and our own rule on what cannot be read. */
#include "unit/mesh/mesh_fixture.h"

#include "base/text.h"
#include "mesh/authorization.h"
#include "xds/authorization_codec.h"

static struct result decode_result(const char *hexadecimal, struct policy **policy)
{
    uint8_t raw[1024];
    size_t length;
    assert_true(text_from_hexadecimal(hexadecimal, raw, sizeof raw, &length));
    return authorization_decode(bytes_of(raw, length), TEXT("resource/name"), policy);
}

static struct policy *decode(const char *hexadecimal)
{
    struct policy *policy = NULL;
    struct result result = decode_result(hexadecimal, &policy);
    assert_string_equal(result.message, "");
    return policy;
}

static bool matches(const struct policy *policy, const char *uri, const char *source, const char *destination)
{
    struct spiffe_identity *identity = uri != NULL ? spiffe_identity_parse(TEXT(uri)) : NULL;
    struct authorization_request request = {
        .identity = identity, .source_ip = ip_of(source), .destination = target_of(destination)
    };
    bool does_match = policy_matches(policy, &request);
    spiffe_identity_free(identity);
    return does_match;
}

#define CLIENT "spiffe://cluster.local/ns/a/sa/client"

static void vector_5_denies_what_has_no_identity(void **state)
{
    (void)state;
    struct policy *policy =
        decode("0a1d697374696f5f636f6e7665727465645f7374617469635f737472696374120c697374696f2d7379737465"
               "6d180220012a080a06120422022200");
    assert_string_equal(policy->key, "resource/name");
    assert_string_equal(policy->name, "istio_converted_static_strict");
    assert_string_equal(policy->namespace_, "istio-system");
    assert_int_equal(policy->scope, POLICY_WORKLOAD_SELECTOR);
    assert_int_equal(policy->action, POLICY_DENY);
    assert_false(policy->is_dry_run);
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, CLIENT, "10.0.0.1", "10.0.0.2:80"));
    policy_release(policy);
}

static void vector_6_allows_by_port_and_by_principal_or_account(void **state)
{
    (void)state;
    struct policy *policy =
        decode("0a017012026e7318012a380a0712054a0350bb030a2d12211a151213636c75737465722e6c6f63616c2f6e73"
               "2f612f2a080a040a000000100812085a060a0162120163");
    assert_int_equal(policy->scope, POLICY_NAMESPACE);
    assert_int_equal(policy->action, POLICY_ALLOW);
    assert_int_equal(policy->rule_count, 1);
    assert_int_equal(policy->clause_count, 2);
    assert_int_equal(policy->match_count, 3);
    assert_true(matches(policy, CLIENT, "10.0.0.1", "10.0.0.2:80"));
    assert_true(matches(policy, CLIENT, "10.0.0.1", "10.0.0.2:443"));
    assert_false(matches(policy, CLIENT, "10.0.0.1", "10.0.0.2:81"));
    assert_false(matches(policy, CLIENT, "11.0.0.1", "10.0.0.2:80"));
    assert_true(matches(policy, "spiffe://cluster.local/ns/b/sa/c", "11.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, "spiffe://cluster.local/ns/b/sa/d", "11.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    policy_release(policy);
}

static void ports_may_be_unpacked(void **state)
{
    (void)state;
    struct policy *policy = decode("2a080a0612044850"
                                   "4851");
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:81"));
    assert_false(matches(policy, NULL, "10.0.0.1", "10.0.0.2:82"));
    policy_release(policy);
}

/* One match in an ALLOW (`match_length` bytes of it), then the same in a DENY. */
static void assert_unreadable(const char *match)
{
    for (int deny = 0; deny < 2; deny++) {
        struct writer hexadecimal = writer_growing();
        size_t length = strlen(match) / 2;
        writer_print(
            &hexadecimal, "%s2a%02zx0a%02zx12%02zx%s", deny ? "2001" : "", length + 4, length + 2, length, match);
        struct policy *policy = decode(writer_string(&hexadecimal));
        assert_int_equal(matches(policy, CLIENT, "10.0.0.1", "10.0.0.2:80"), deny);
        policy_release(policy);
        writer_free(&hexadecimal);
    }
}

static void unreadable_values_can_only_deny_more(void **state)
{
    (void)state;
    assert_unreadable("1a00");                     /* principals: a StringMatch without a type */
    assert_unreadable("1a032a0178");               /* a type we do not know */
    assert_unreadable("2a050a030a0000");           /* an address of 3 bytes */
    assert_unreadable("2a080a040a0000001021");     /* a prefix of 33 */
    assert_unreadable("2a00");                     /* no address */
    assert_unreadable("2a0a0a040a00000010081801"); /* a field of the address we do not know */
    assert_unreadable("48d08004");                 /* port 65616, which 16 bits would make 80 */
    assert_unreadable("7201ff");                   /* field 14 */
    assert_unreadable("a00601");                   /* field 100 */
    assert_unreadable("1a050a03610062");           /* a NUL inside */
}

static void extensions_do_not_disturb(void **state)
{
    (void)state;
    struct policy *policy = decode("2a090a0712054a01506a00");
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "10.0.0.1", "10.0.0.2:81"));
    policy_release(policy);
}

static void an_absent_prefix_length_is_all_addresses(void **state)
{
    (void)state;
    struct policy *policy = decode("2a0c0a0a12082a060a040a000000");
    assert_true(matches(policy, NULL, "99.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "fd00::1", "10.0.0.2:80"));
    policy_release(policy);
}

static void a_mapped_block_is_read_as_ipv4(void **state)
{
    (void)state;
    struct policy *policy = decode("2a1a0a18121"
                                   "62a140a1000000000000000000000ffff0a00000010"
                                   "68");
    assert_true(matches(policy, NULL, "10.1.2.3", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "11.1.2.3", "10.0.0.2:80"));
    policy_release(policy);
}

static void rejects_say_why(void **state)
{
    (void)state;
    struct policy *policy = NULL;
    struct result result = decode_result("1803", &policy);
    assert_string_equal(result.message, "decode error: unknown enumeration value 3");
    result = decode_result("2002", &policy);
    assert_string_equal(result.message, "decode error: unknown enumeration value 2");
    result = decode_result("0a01ff", &policy);
    assert_string_equal(result.message, "decode: Authorization.name: not UTF-8");
    result = decode_result("2a080a0612042202", &policy);
    assert_false(result_is_ok(&result));
    assert_null(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_5_denies_what_has_no_identity),
        cmocka_unit_test(vector_6_allows_by_port_and_by_principal_or_account),
        cmocka_unit_test(ports_may_be_unpacked),
        cmocka_unit_test(unreadable_values_can_only_deny_more),
        cmocka_unit_test(extensions_do_not_disturb),
        cmocka_unit_test(an_absent_prefix_length_is_all_addresses),
        cmocka_unit_test(a_mapped_block_is_read_as_ipv4),
        cmocka_unit_test(rejects_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
