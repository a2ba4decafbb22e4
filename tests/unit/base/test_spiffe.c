#include "base/spiffe.h"

#include "base/memory.h"
#include "cmocka_all.h"

static void an_identity_has_three_parts(void **state)
{
    (void)state;
    const char *uri = "spiffe://cluster.local/ns/default/sa/curl";
    struct spiffe_identity *identity = spiffe_identity_parse(bytes_of_string(uri));
    assert_non_null(identity);
    assert_string_equal(identity->trust_domain, "cluster.local");
    assert_string_equal(identity->namespace_, "default");
    assert_string_equal(identity->service_account, "curl");
    assert_string_equal(identity->uri, uri);
    spiffe_identity_free(identity);
}

static void an_identity_is_made_from_its_parts(void **state)
{
    (void)state;
    struct spiffe_identity *identity = spiffe_identity_new("td", "ns1", "sa1");
    assert_string_equal(identity->uri, "spiffe://td/ns/ns1/sa/sa1");
    spiffe_identity_free(identity);
    /* The local file of the Rust ztunnel gives workloads an empty trust domain. */
    identity = spiffe_identity_new("", "default", "local");
    assert_string_equal(identity->uri, "spiffe:///ns/default/sa/local");
    spiffe_identity_free(identity);
}

static void other_shapes_are_refused(void **state)
{
    (void)state;
    const char *const refused[] = { "", "spiffe://", "spiffe://td", "spiffe://td/ns/n/sa", "spiffe://td/ns/n/sa/",
        "spiffe://td/ns//sa/s", "spiffe:///ns/n/sa/s", "spiffe://td/ns/n/sa/s/", "spiffe://td/ns/n/sa/s/x",
        "spiffe://td/sa/n/ns/s", "SPIFFE://td/ns/n/sa/s", "https://td/ns/n/sa/s", "spiffe://td/ns/n/sa/s?q",
        "spiffe://td/ns/n/sa/s#f", "spiffe://td/ns/n/sa/%73", "spiffe://td/ns/n/sa/a b", " spiffe://td/ns/n/sa/s",
        "spiffe://td/ns/n/sa/s\n", "spiffe://td/ns/n/sa/\x7F", "spiffe://td/ns/n/sa/\xC3\xA9" };
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        struct spiffe_parts parts;
        assert_false(spiffe_parse(bytes_of_string(refused[i]), &parts));
        assert_null(spiffe_identity_parse(bytes_of_string(refused[i])));
    }
}

static void a_nul_inside_ends_nothing(void **state)
{
    (void)state;
    static const char uri[] = "spiffe://td/ns/n/sa/admin\0evil";
    struct spiffe_parts parts;
    assert_false(spiffe_parse(bytes_of(uri, sizeof uri - 1), &parts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identity_has_three_parts),
        cmocka_unit_test(an_identity_is_made_from_its_parts),
        cmocka_unit_test(other_shapes_are_refused),
        cmocka_unit_test(a_nul_inside_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
