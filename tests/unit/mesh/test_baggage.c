#include "unit/mesh/mesh_fixture.h"

#include "mesh/baggage.h"

static void a_workload_is_described_in_the_order_of_the_contract(void **state)
{
    (void)state;
    struct workload_spec spec = pod_spec("c//Pod/default/web-1", "10.0.0.1");
    struct writer out = writer_growing();
    spec.texts[WORKLOAD_CLUSTER_ID] = TEXT("Kubernetes");
    spec.texts[WORKLOAD_OWNER_NAME] = TEXT("web");
    spec.texts[WORKLOAD_CANONICAL_NAME] = TEXT("shop-web");
    spec.texts[WORKLOAD_CANONICAL_REVISION] = TEXT("v1");
    spec.texts[WORKLOAD_REGION] = TEXT("r1");
    spec.texts[WORKLOAD_ZONE] = TEXT("z1");
    struct workload *workload = workload_of(&spec);
    baggage_format(workload, &out);
    assert_string_equal(writer_string(&out),
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.pod.name=web,service.name=shop-web,"
        "service.version=v1,cloud.region=r1,cloud.availability_zone=z1");
    struct baggage baggage = { 0 };
    assert_true(baggage_parse(TEXT(writer_string(&out)), &baggage));
    assert_true(bytes_equal_string(baggage.workload_name, "web"));
    assert_true(bytes_equal_string(baggage.workload_type, "pod"));
    assert_true(bytes_equal_string(baggage.zone, "z1"));
    writer_free(&out);
    workload_release(workload);
}

static void empty_values_are_left_out(void **state)
{
    (void)state;
    struct workload_spec spec = workload_spec_initial();
    struct writer out = writer_growing();
    struct workload *workload = workload_of(&spec);
    baggage_format(workload, &out);
    assert_int_equal(out.length, 0);
    workload_release(workload);
    spec.texts[WORKLOAD_CANONICAL_NAME] = TEXT("web");
    workload = workload_of(&spec);
    baggage_format(workload, &out);
    assert_string_equal(writer_string(&out), "service.name=web");
    writer_free(&out);
    workload_release(workload);
}

static void every_workload_type_and_several_lines_are_understood(void **state)
{
    (void)state;
    struct baggage baggage = { 0 };
    assert_true(baggage_parse(TEXT("k8s.deployment.name=a,k8s.namespace.name=n"), &baggage));
    assert_true(baggage_parse(TEXT("k8s.cronjob.name=b,unknown=1"), &baggage));
    assert_true(bytes_equal_string(baggage.workload_name, "b"));
    assert_true(bytes_equal_string(baggage.workload_type, "cronjob"));
    assert_true(bytes_equal_string(baggage.namespace_, "n"));
    assert_true(baggage_parse(TEXT("k8s.daemonset.name=c"), &baggage));
    assert_true(bytes_equal_string(baggage.workload_name, "b"));
}

static void nothing_is_trimmed_and_a_second_equals_sign_ends_the_value(void **state)
{
    (void)state;
    struct baggage baggage = { 0 };
    assert_true(baggage_parse(TEXT("service.name=a=b, service.version=v,cloud.region=,,x,=y,service.name"), &baggage));
    assert_true(bytes_equal_string(baggage.canonical_name, "a"));
    assert_int_equal(baggage.canonical_revision.length, 0);
    assert_int_equal(baggage.region.length, 0);
}

static void a_value_that_is_not_visible_ascii_spoils_all(void **state)
{
    (void)state;
    struct baggage baggage = { 0 };
    assert_true(baggage_parse(TEXT("service.name=a"), &baggage));
    assert_false(baggage_parse(TEXT("service.version=\xc3\xa9"), &baggage));
    assert_int_equal(baggage.canonical_name.length, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_is_described_in_the_order_of_the_contract),
        cmocka_unit_test(empty_values_are_left_out),
        cmocka_unit_test(every_workload_type_and_several_lines_are_understood),
        cmocka_unit_test(nothing_is_trimmed_and_a_second_equals_sign_ends_the_value),
        cmocka_unit_test(a_value_that_is_not_visible_ascii_spoils_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
