/* What names mean to a pod: the tables of ztunnel-dataplane §18.2 and §18.3. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/name_service.h"

#include <stdio.h>

#define SHARED_SEARCH                                                                                                  \
    {                                                                                                                  \
        "ns1.svc.cluster.local", "svc.cluster.local", "cluster.local"                                                  \
    }

struct fixture {
    struct mesh_fixture mesh;
    struct workload *client; /* of namespace ns1 */
};

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    struct workload_spec client = pod_spec("c//Pod/ns1/client", "10.9.0.1");
    client.texts[WORKLOAD_NAMESPACE] = TEXT("ns1");
    fixture->mesh = mesh_fixture_new();
    fixture->client = workload_of(&client);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mesh_fixture_free(&fixture->mesh);
    workload_release(fixture->client);
    memory_free(fixture);
    return 0;
}

/* A service; `address` NULL: headless. */
static struct service_spec spec_of(const char *namespace_, const char *hostname)
{
    return (struct service_spec){ .name = TEXT("s"), .namespace_ = TEXT(namespace_), .hostname = TEXT(hostname) };
}

static void add(struct fixture *fixture, struct service_spec spec, const char *address)
{
    struct service_vip_spec vip;
    if (address != NULL) {
        vip = vip_of("", address);
        spec.vips = &vip;
        spec.vip_count = 1;
    }
    (void)mesh_fixture_add_service(&fixture->mesh, &spec);
}

static struct name_question question_for(const struct fixture *fixture, const char *name)
{
    return (struct name_question){ .name = name,
        .family = IP_V4,
        .client = fixture->client,
        .domain = "cluster.local",
        .search = SHARED_SEARCH,
        .search_count = 3 };
}

/* "OUTCOME ALIAS ADDRESS", the parts that there are; of several addresses how many. */
static const char *answer_to(struct fixture *fixture, const struct name_question *question)
{
    static char text[512];
    static const char *const OUTCOMES[] = { "unknown", "found", "no records", "other family" };
    struct name_finding finding;
    enum name_outcome outcome = mesh_find_name(mesh_fixture_version(&fixture->mesh), question, &finding);
    size_t count = name_finding_address_count(&finding);
    int length =
        snprintf(text, sizeof text, "%s%s%s", OUTCOMES[outcome], finding.alias[0] != '\0' ? " " : "", finding.alias);
    if (count == 1) {
        char ip[IP_TEXT_SIZE];
        snprintf(text + length, sizeof text - (size_t)length, " %s", ip_format(name_finding_addresses(&finding), ip));
    } else if (count > 1) {
        snprintf(text + length, sizeof text - (size_t)length, " %zu", count);
    }
    name_finding_free(&finding);
    return text;
}

static void expect(struct fixture *fixture, const char *name, const char *expected)
{
    struct name_question question = question_for(fixture, name);
    const char *answer = answer_to(fixture, &question);
    if (strcmp(answer, expected) != 0) {
        fail_msg("%s: \"%s\", expected \"%s\"", name, answer, expected);
    }
}

static void test_names_are_expanded_as_kubernetes_would(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, spec_of("ns1", "productpage.ns1.svc.cluster.local"), "9.9.9.9");
    add(fixture, spec_of("ns2", "reviews.ns2.svc.cluster.local"), "9.9.9.8");
    expect(fixture, "productpage", "found 9.9.9.9");
    expect(fixture, "productpage.ns1", "found 9.9.9.9");
    expect(fixture, "productpage.ns1.svc", "found 9.9.9.9");
    expect(fixture, "productpage.ns1.svc.cluster.local", "found 9.9.9.9");
    expect(fixture, "reviews", "unknown");
    expect(fixture, "reviews.ns2", "found 9.9.9.8");
    expect(fixture, "reviews.ns2.svc.cluster.local", "found 9.9.9.8");
    expect(fixture, "productpage.ns1.svc.cluster", "unknown");
    expect(fixture, "productpage.ns1.cluster.local", "found productpage.ns1 9.9.9.9");
    expect(fixture, "", "unknown");
    expect(fixture, ".", "unknown");
}

static void test_names_of_three_and_four_labels_that_end_in_svc(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, spec_of("ns1", "pod.web.ns1.svc.cluster.local"), "9.9.9.7");
    expect(fixture, "pod.web.ns1", "found 9.9.9.7");
    expect(fixture, "pod.web.ns1.svc", "found 9.9.9.7");
    add(fixture, spec_of("ns1", "a.b.svc.cluster.local"), "9.9.9.6");
    expect(fixture, "a.b.svc", "found 9.9.9.6");
}

static void test_a_search_domain_that_is_taken_off_makes_an_alias(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, spec_of("ns1", "productpage.ns1.svc.cluster.local"), "9.9.9.9");
    add(fixture, spec_of("ns1", "www.google.com"), "1.1.1.1");
    expect(fixture, "productpage.ns1.ns1.svc.cluster.local", "found productpage.ns1 9.9.9.9");
    expect(fixture, "www.google.com.ns1.svc.cluster.local", "found www.google.com 1.1.1.1");
    expect(fixture, "www.google.com.svc.cluster.local", "found www.google.com 1.1.1.1");
    expect(fixture, "www.google.com.cluster.local", "found www.google.com 1.1.1.1");
    expect(fixture, "www.google.com", "found 1.1.1.1");
    expect(fixture, "www.google.com.other", "unknown");
    expect(fixture, "ns1.svc.cluster.local", "unknown");
    expect(fixture, "xns1.svc.cluster.local", "unknown");
}

static void test_the_narrowest_wildcard_answers_without_an_alias(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, spec_of("ns1", "*.wildcard"), "1.0.0.1");
    add(fixture, spec_of("ns1", "*.b.wildcard"), "1.0.0.2");
    expect(fixture, "a.b.wildcard", "found 1.0.0.2");
    expect(fixture, "b.wildcard", "found 1.0.0.1");
    expect(fixture, "x.y.z.wildcard", "found 1.0.0.1");
    expect(fixture, "wildcard", "unknown");
    expect(fixture, "a.b.wildcard.ns1.svc.cluster.local", "found 1.0.0.2");
}

static void test_the_name_itself_comes_before_its_expansions(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, spec_of("ns1", "api.ns2"), "1.0.0.1");
    add(fixture, spec_of("ns2", "api.ns2.svc.cluster.local"), "1.0.0.2");
    expect(fixture, "api.ns2", "found 1.0.0.1");
    expect(fixture, "api.ns2.svc.cluster.local", "found 1.0.0.2");
}

static void test_the_clients_namespace_then_canonical_then_preferred_then_the_first(void **state)
{
    struct fixture *fixture = *state;
    struct service_spec third = spec_of("ns3", "example.com");
    add(fixture, spec_of("ns2", "example.com"), "1.0.0.2");
    add(fixture, third, "1.0.0.3");
    expect(fixture, "example.com", "found 1.0.0.2");
    struct name_question question = question_for(fixture, "example.com");
    question.preferred_namespace = "ns3";
    assert_string_equal(answer_to(fixture, &question), "found 1.0.0.3");
    struct service_spec canonical = spec_of("ns4", "example.com");
    canonical.is_canonical = true;
    add(fixture, canonical, "1.0.0.4");
    assert_string_equal(answer_to(fixture, &question), "found 1.0.0.4");
    add(fixture, spec_of("ns1", "example.com"), "1.0.0.1");
    assert_string_equal(answer_to(fixture, &question), "found 1.0.0.1");
}

static void test_a_service_private_to_another_namespace_is_not_seen(void **state)
{
    struct fixture *fixture = *state;
    struct service_spec private = spec_of("ns2", "example.com");
    private.is_namespace_private = true;
    add(fixture, private, "1.0.0.2");
    expect(fixture, "example.com", "unknown");
    private = spec_of("ns1", "own.example.com");
    private.is_namespace_private = true;
    add(fixture, private, "1.0.0.1");
    expect(fixture, "own.example.com", "found 1.0.0.1");
}

static void test_families(void **state)
{
    struct fixture *fixture = *state;
    struct service_vip_spec vips[] = { vip_of("", "1.0.0.1"), vip_of("", "fd00::1") };
    struct service_spec spec = spec_of("ns1", "dual.example.com");
    spec.vips = vips;
    spec.vip_count = 2;
    (void)mesh_fixture_add_service(&fixture->mesh, &spec);
    spec.hostname = TEXT("four.example.com");
    spec.ip_families = FAMILIES_IPV4;
    (void)mesh_fixture_add_service(&fixture->mesh, &spec);
    spec.hostname = TEXT("six.example.com");
    spec.ip_families = FAMILIES_IPV6;
    (void)mesh_fixture_add_service(&fixture->mesh, &spec);
    add(fixture, spec_of("ns1", "only.example.com"), "1.0.0.9");
    static const struct {
        const char *name;
        enum ip_family family;
        bool is_ipv6_disabled;
        const char *expected;
    } CASES[] = {
        { "dual.example.com", IP_V4, false, "found 1.0.0.1" },
        { "dual.example.com", IP_V6, false, "found fd00::1" },
        { "dual.example.com", IP_V6, true, "other family" },
        { "dual.example.com", IP_V4, true, "found 1.0.0.1" },
        { "four.example.com", IP_V4, false, "found 1.0.0.1" },
        { "four.example.com", IP_V6, false, "other family" },
        { "six.example.com", IP_V4, false, "other family" },
        { "six.example.com", IP_V6, false, "found fd00::1" },
        { "only.example.com", IP_V6, false, "no records" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct name_question question = question_for(fixture, CASES[i].name);
        question.family = CASES[i].family;
        question.is_ipv6_disabled = CASES[i].is_ipv6_disabled;
        assert_string_equal(answer_to(fixture, &question), CASES[i].expected);
    }
}

static void test_an_address_on_another_network_is_no_answer_and_no_error(void **state)
{
    struct fixture *fixture = *state;
    struct service_vip_spec vip = vip_of("elsewhere", "1.0.0.1");
    struct service_spec spec = spec_of("ns1", "away.ns1.svc.cluster.local");
    spec.vips = &vip;
    spec.vip_count = 1;
    (void)mesh_fixture_add_service(&fixture->mesh, &spec);
    expect(fixture, "away", "no records");
}

static void add_endpoint(
    struct fixture *fixture, const char *uid, const char *key, const char *addresses[2], bool is_healthy)
{
    struct workload_service_spec member = { .key = TEXT(key) };
    struct workload_spec spec = pod_spec(uid, NULL);
    struct ip_address ips[2] = { ip_of(addresses[0]), ip_of(addresses[1]) };
    spec.addresses = ips;
    spec.address_count = 2;
    spec.services = &member;
    spec.service_count = 1;
    spec.is_healthy = is_healthy;
    (void)mesh_fixture_add_workload(&fixture->mesh, &spec);
}

static void test_a_headless_service_is_its_healthy_endpoints(void **state)
{
    struct fixture *fixture = *state;
    static const char KEY[] = "ns1/db.ns1.svc.cluster.local";
    add(fixture, spec_of("ns1", "db.ns1.svc.cluster.local"), NULL);
    expect(fixture, "db", "no records");
    add_endpoint(fixture, "c//Pod/ns1/db-0", KEY, (const char *[]){ "10.1.0.1", "fd01::1" }, true);
    expect(fixture, "db", "found 10.1.0.1");
    add_endpoint(fixture, "c//Pod/ns1/db-1", KEY, (const char *[]){ "10.1.0.2", "10.1.0.3" }, true);
    add_endpoint(fixture, "c//Pod/ns1/db-2", KEY, (const char *[]){ "10.1.0.4", "fd01::4" }, false);
    expect(fixture, "db", "found 2");
    struct name_question question = question_for(fixture, "db");
    question.family = IP_V6;
    assert_string_equal(answer_to(fixture, &question), "found fd01::1");
    struct service_spec all = spec_of("ns1", "db.ns1.svc.cluster.local");
    all.allows_unhealthy = true;
    add(fixture, all, NULL);
    expect(fixture, "db", "found 3");
}

static void test_a_name_outside_the_cluster_without_an_address_is_upstreams(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, spec_of("ns1", "example.com"), NULL);
    expect(fixture, "example.com", "unknown");
    add(fixture, spec_of("ns1", "wide.example.com"), "10.0.0.0/8");
    expect(fixture, "wide.example.com", "unknown");
    add(fixture, spec_of("ns1", "svc.cluster.local"), NULL);
    expect(fixture, "svc.cluster.local", "unknown");
}

static void test_addresses_come_in_random_order(void **state)
{
    struct fixture *fixture = *state;
    struct service_vip_spec vips[] = { vip_of("", "1.0.0.1"), vip_of("", "1.0.0.2") };
    struct service_spec spec = spec_of("ns1", "two.example.com");
    spec.vips = vips;
    spec.vip_count = 2;
    (void)mesh_fixture_add_service(&fixture->mesh, &spec);
    struct name_question question = question_for(fixture, "two.example.com");
    bool has_been_first[2] = { false };
    for (int i = 0; i < 200; i++) {
        struct name_finding finding;
        assert_int_equal(mesh_find_name(mesh_fixture_version(&fixture->mesh), &question, &finding), NAME_FOUND);
        assert_int_equal(name_finding_address_count(&finding), 2);
        has_been_first[name_finding_addresses(&finding)[0].bytes[3] - 1] = true;
        name_finding_free(&finding);
    }
    assert_true(has_been_first[0] && has_been_first[1]);
}

static void test_the_longest_name_there_is_finds_nothing_and_breaks_nothing(void **state)
{
    struct fixture *fixture = *state;
    char name[1024];
    memset(name, 'a', sizeof name);
    for (size_t i = 1; i < 252; i += 2) {
        name[i] = '.';
    }
    name[253] = '\0';
    expect(fixture, name, "unknown");
    name[253] = 'a';
    name[1023] = '\0';
    expect(fixture, name, "unknown");
    strcpy(name + 200, ".ns1.svc.cluster.local");
    expect(fixture, name, "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_are_expanded_as_kubernetes_would, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_of_three_and_four_labels_that_end_in_svc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_search_domain_that_is_taken_off_makes_an_alias, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_narrowest_wildcard_answers_without_an_alias, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_name_itself_comes_before_its_expansions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_the_clients_namespace_then_canonical_then_preferred_then_the_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_service_private_to_another_namespace_is_not_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_families, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_an_address_on_another_network_is_no_answer_and_no_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_headless_service_is_its_healthy_endpoints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_name_outside_the_cluster_without_an_address_is_upstreams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_addresses_come_in_random_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_the_longest_name_there_is_finds_nothing_and_breaks_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
