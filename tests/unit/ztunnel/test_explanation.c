#include "ztunnel/explanation.h"

#include "unit/mesh/mesh_fixture.h"

#include <jansson.h>

#define CLIENT "c/Pod/default/client"
#define SERVER "c/Pod/default/server"
#define SICK "c/Pod/default/sick"

static const struct illegal_ports PORTS = { { 15008 }, 1 };

/* A client, a service with one good and one sick endpoint, a policy that denies port 9999. */
struct question {
    struct mesh_fixture mesh;
    struct explanation_request request;
    json_t *answer;
    struct result problem;
};

static void add_server(struct question *question, const char *uid, const char *ip, bool is_healthy)
{
    static const struct port_mapping PORT = { 80, 8080 };
    const struct workload_service_spec service = { TEXT("default/web.default.svc.cluster.local"), &PORT, 1 };
    struct workload_spec spec = pod_spec(uid, ip);
    spec.services = &service;
    spec.service_count = 1;
    spec.is_healthy = is_healthy;
    mesh_fixture_add_workload(&question->mesh, &spec);
}

static void add_policy(struct question *question)
{
    struct policy_builder *builder = policy_builder_new();
    policy_builder_begin_rule(builder);
    policy_builder_begin_clause(builder);
    policy_builder_begin_match(builder);
    policy_builder_add_port(builder, POLICY_DESTINATION_PORTS, 9999);
    const struct policy_header header = { TEXT("default/no-9999"), TEXT("no-9999"), TEXT("default"), POLICY_NAMESPACE,
        POLICY_DENY, false };
    struct policy *policy;
    struct result made = policy_builder_finish(builder, &header, &policy);
    assert_true(result_is_ok(&made));
    policy_builder_free(builder);
    mesh_change_upsert_policy(mesh_fixture_change(&question->mesh), policy);
}

static int set_up(void **state)
{
    static const struct port_mapping PORT = { 80, 8080 };
    struct question *question = NEW(struct question);
    question->mesh = mesh_fixture_new();
    struct workload_spec client = pod_spec(CLIENT, "10.0.0.1");
    mesh_fixture_add_workload(&question->mesh, &client);
    add_server(question, SERVER, "10.0.0.2", true);
    add_server(question, SICK, "10.0.0.3", false);
    const struct service_vip_spec vip = vip_of("", "10.96.0.1/32");
    const struct service_spec web = { .name = TEXT("web"),
        .namespace_ = TEXT("default"),
        .hostname = TEXT("web.default.svc.cluster.local"),
        .vips = &vip,
        .vip_count = 1,
        .ports = &PORT,
        .port_count = 1 };
    mesh_fixture_add_service(&question->mesh, &web);
    add_policy(question);
    question->request =
        (struct explanation_request){ .cluster_domain = "cluster.local", .illegal_ports = &PORTS, .seed = 1 };
    *state = question;
    return 0;
}

static int tear_down(void **state)
{
    struct question *question = *state;
    json_decref(question->answer);
    mesh_fixture_free(&question->mesh);
    memory_free(question);
    return 0;
}

static void ask(struct question *question, const char *source, const char *destination)
{
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, false);
    question->request.version = mesh_fixture_version(&question->mesh);
    question->request.source = source;
    question->request.destination = destination;
    json_decref(question->answer);
    question->answer = NULL;
    if (explanation_write(&question->request, &json, &question->problem)) {
        question->answer = json_loadb((const char *)out.data, out.length, 0, NULL);
        assert_non_null(question->answer);
    }
    writer_free(&out);
}

static const char *text_at(const struct question *question, const char *object, const char *key)
{
    const json_t *from = object != NULL ? json_object_get(question->answer, object) : question->answer;
    return json_string_value(json_object_get(from, key));
}

static void a_service_is_found_by_every_form_of_its_name(void **state)
{
    struct question *question = *state;
    static const char *const NAMES[] = { "web:80", "web.default:80", "web.default.svc:80",
        "web.default.svc.cluster.local:80", "default/web.default.svc.cluster.local:80", "10.96.0.1:80" };
    for (size_t i = 0; i < ARRAY_LENGTH(NAMES); i++) {
        ask(question, "client", NAMES[i]);
        assert_non_null(question->answer);
        assert_string_equal(text_at(question, "destination", "address"), "10.96.0.1:80");
        assert_string_equal(text_at(question, "destination", "service"), "default/web.default.svc.cluster.local");
    }
}

static void a_source_is_found_by_address_uid_and_name(void **state)
{
    struct question *question = *state;
    static const char *const NAMES[] = { "10.0.0.1", CLIENT, "client", "default/client", "client.default" };
    for (size_t i = 0; i < ARRAY_LENGTH(NAMES); i++) {
        ask(question, NAMES[i], "web:80");
        assert_non_null(question->answer);
        const json_t *source = json_object_get(question->answer, "source");
        assert_string_equal(json_string_value(json_object_get(source, "address")), "10.0.0.1");
        assert_string_equal(json_string_value(json_object_get(json_object_get(source, "workload"), "uid")), CLIENT);
    }
}

static void the_route_and_the_judgement_of_every_endpoint_are_told(void **state)
{
    struct question *question = *state;
    ask(question, "client", "web:80");
    assert_string_equal(text_at(question, "route", "kind"), "HBONE");
    assert_string_equal(text_at(question, "route", "nextHop"), "10.0.0.2:15008");
    assert_string_equal(text_at(question, "route", "authority"), "10.0.0.2:8080");
    assert_string_equal(text_at(question, NULL, "application"), "10.0.0.2:8080");
    const json_t *endpoints = json_object_get(question->answer, "endpoints");
    assert_int_equal(json_array_size(endpoints), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *endpoint = json_array_get(endpoints, i);
        bool is_server = strcmp(json_string_value(json_object_get(endpoint, "uid")), SERVER) == 0;
        assert_string_equal(
            json_string_value(json_object_get(endpoint, "verdict")), is_server ? "eligible" : "unhealthy");
        assert_int_equal(json_is_true(json_object_get(endpoint, "isChosen")), is_server);
    }
    assert_string_equal(text_at(question, NULL, "verdict"), "allowed");
    assert_string_equal(text_at(question, "tunnel", "identity"), "spiffe://cluster.local/ns/default/sa/default");
}

static void a_denial_names_the_policy_as_the_log_does(void **state)
{
    struct question *question = *state;
    ask(question, "client", "10.0.0.2:9999");
    assert_string_equal(text_at(question, NULL, "verdict"), "denied");
    assert_string_equal(text_at(question, NULL, "reason"),
        "connection closed due to policy rejection: explicitly denied by: default/no-9999");
    const json_t *policy = json_array_get(json_object_get(question->answer, "policies"), 0);
    assert_true(json_is_true(json_object_get(policy, "matches")));
}

static void a_rule_that_does_not_match_says_which_value_is_in_the_way(void **state)
{
    struct question *question = *state;
    ask(question, "client", "web:80");
    const json_t *policy = json_array_get(json_object_get(question->answer, "policies"), 0);
    const json_t *rule = json_array_get(json_object_get(policy, "rules"), 0);
    assert_string_equal(
        json_string_value(json_object_get(rule, "because")), "clause 1: destinationPorts [9999] does not match 8080");
}

static void a_port_that_the_service_lacks_is_missing(void **state)
{
    struct question *question = *state;
    ask(question, "client", "web:81");
    assert_string_equal(text_at(question, NULL, "verdict"), "refused");
    assert_string_equal(text_at(question, NULL, "reason"), "no healthy upstream: 10.96.0.1:81");
    const json_t *missing = json_object_get(question->answer, "missing");
    assert_string_equal(
        json_string_value(json_array_get(missing, 0)), "service default/web.default.svc.cluster.local has no port 81");
}

static void an_outsider_arrives_in_plain_text_without_an_identity(void **state)
{
    struct question *question = *state;
    ask(question, "192.0.2.1", "10.0.0.2:8080");
    assert_string_equal(text_at(question, "route", "kind"), "plain");
    assert_string_equal(text_at(question, NULL, "verdict"), "allowed");
    assert_null(json_object_get(question->answer, "tunnel"));
}

static void what_cannot_be_looked_for_is_a_sentence(void **state)
{
    struct question *question = *state;
    ask(question, "nobody", "web:80");
    assert_null(question->answer);
    assert_string_equal(question->problem.message, "no workload is called nobody in the model of this ztunnel");
    ask(question, "client", "web");
    assert_string_equal(question->problem.message, "invalid destination web; expected HOST:PORT");
    ask(question, "client", "nothing:80");
    assert_string_equal(
        question->problem.message, "neither a service nor a workload is called nothing in the model of this ztunnel");
}

static void a_name_that_two_workloads_have_is_not_guessed(void **state)
{
    struct question *question = *state;
    struct workload_spec twin = pod_spec("c/Pod/other/client", "10.0.0.9");
    twin.texts[WORKLOAD_NAMESPACE] = TEXT("other");
    mesh_fixture_add_workload(&question->mesh, &twin);
    ask(question, "client", "web:80");
    assert_null(question->answer);
    assert_int_equal(question->problem.code, RESULT_INVALID);
    ask(question, "other/client", "default/server:80");
    assert_non_null(question->answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_service_is_found_by_every_form_of_its_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_source_is_found_by_address_uid_and_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_route_and_the_judgement_of_every_endpoint_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_denial_names_the_policy_as_the_log_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rule_that_does_not_match_says_which_value_is_in_the_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_port_that_the_service_lacks_is_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_outsider_arrives_in_plain_text_without_an_identity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_looked_for_is_a_sentence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_two_workloads_have_is_not_guessed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
