#include "ztunnel/model_dump.h"

#include "unit/mesh/mesh_fixture.h"

static const struct port_mapping PORTS[] = { { 80, 8080 }, { 443, 8443 } };

/* wire-protocols §17, vector 1. */
static struct workload *vector_workload(void)
{
    static const struct workload_service_spec SERVICE = {
        { (const uint8_t *)"default/web.default.svc.cluster.local", 37 }, PORTS, 2
    };
    static const struct bytes POLICY = { (const uint8_t *)"istio-system/istio_converted_static_strict", 42 };
    struct workload_spec spec = pod_spec("Kubernetes//Pod/default/web-1", "10.0.0.5");
    spec.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("web");
    spec.texts[WORKLOAD_NODE] = TEXT("n1");
    spec.texts[WORKLOAD_OWNER_NAME] = TEXT("web");
    spec.texts[WORKLOAD_CANONICAL_NAME] = TEXT("web");
    spec.texts[WORKLOAD_CANONICAL_REVISION] = TEXT("latest");
    spec.texts[WORKLOAD_CLUSTER_ID] = TEXT("Kubernetes");
    spec.services = &SERVICE;
    spec.service_count = 1;
    spec.policy_keys = &POLICY;
    spec.policy_count = 1;
    return workload_of(&spec);
}

static void a_workload_is_the_vector_of_the_contract(void **state)
{
    (void)state;
    struct workload *workload = vector_workload();
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, false);
    dump_workload(workload, &json);
    assert_string_equal(writer_string(&out),
        "{\"authorizationPolicies\":[\"istio-system/istio_converted_static_strict\"],\"canonicalName\":\"web\","
        "\"canonicalRevision\":\"latest\",\"capacity\":1,\"clusterId\":\"Kubernetes\",\"name\":\"web-1\","
        "\"namespace\":\"default\",\"networkMode\":\"Standard\",\"node\":\"n1\",\"protocol\":\"HBONE\","
        "\"serviceAccount\":\"web\",\"services\":[\"default/web.default.svc.cluster.local\"],\"status\":\"Healthy\","
        "\"trustDomain\":\"cluster.local\",\"uid\":\"Kubernetes//Pod/default/web-1\",\"workloadIps\":[\"10.0.0.5\"],"
        "\"workloadName\":\"web\",\"workloadType\":\"pod\"}");
    writer_free(&out);
    workload_release(workload);
}

static void a_local_workload_has_the_ports_of_its_services_in_the_order_of_texts(void **state)
{
    (void)state;
    struct workload *workload = vector_workload();
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, false);
    dump_local_workload(workload, &json);
    assert_non_null(strstr(
        writer_string(&out), "\"services\":{\"default/web.default.svc.cluster.local\":{\"443\":8443,\"80\":8080}}"));
    writer_free(&out);
    workload_release(workload);
}

static void a_service_is_written_around_its_endpoints(void **state)
{
    (void)state;
    const struct service_vip_spec vip = vip_of("", "10.96.0.9/32");
    const struct service_spec spec = { .name = TEXT("web"),
        .namespace_ = TEXT("default"),
        .hostname = TEXT("web.example"),
        .vips = &vip,
        .vip_count = 1,
        .ports = PORTS,
        .port_count = 2 };
    struct service *service = service_of(&spec);
    const struct mesh_endpoint endpoint = { "a", NULL, PORTS, 1, true };
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, false);
    dump_service_begin(service, &json);
    json_write_key(&json, "a");
    dump_endpoint(&endpoint, &json);
    dump_service_end(service, &json);
    assert_string_equal(writer_string(&out),
        "{\"canonical\":false,\"endpoints\":{\"a\":{\"port\":{\"80\":8080},\"status\":\"Healthy\",\"workloadUid\":"
        "\"a\"}},"
        "\"hostname\":\"web.example\",\"name\":\"web\",\"namespace\":\"default\",\"ports\":{\"443\":8443,\"80\":8080},"
        "\"subjectAltNames\":[],\"vips\":[\"/10.96.0.9\"],\"visibility\":\"Public\"}");
    writer_free(&out);
    service_release(service);
}

static void a_policy_has_three_levels_of_rules(void **state)
{
    (void)state;
    struct policy_builder *builder = policy_builder_new();
    policy_builder_begin_rule(builder);
    policy_builder_begin_clause(builder);
    policy_builder_begin_match(builder);
    policy_builder_add_text(builder, POLICY_NOT_PRINCIPALS, POLICY_PRESENCE, TEXT(""));
    const struct policy_header header = { TEXT("n/p"), TEXT("p"), TEXT("n"), POLICY_WORKLOAD_SELECTOR, POLICY_DENY,
        false };
    struct policy *policy;
    struct result made = policy_builder_finish(builder, &header, &policy);
    assert_true(result_is_ok(&made));
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, false);
    dump_policy(policy, &json);
    assert_string_equal(writer_string(&out),
        "{\"action\":\"Deny\",\"dryRun\":false,\"name\":\"p\",\"namespace\":\"n\","
        "\"rules\":[[[{\"notPrincipals\":[{\"Presence\":[]}]}]]],\"scope\":\"WorkloadSelector\"}");
    writer_free(&out);
    policy_release(policy);
    policy_builder_free(builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_is_the_vector_of_the_contract),
        cmocka_unit_test(a_local_workload_has_the_ports_of_its_services_in_the_order_of_texts),
        cmocka_unit_test(a_service_is_written_around_its_endpoints),
        cmocka_unit_test(a_policy_has_three_levels_of_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
