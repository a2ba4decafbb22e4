#include "unit/mesh/mesh_fixture.h"

#include "mesh/load_balancing.h"

#include <stdio.h>

static struct workload *placed(const char *network, const char *region, const char *zone)
{
    struct workload_spec spec = pod_spec("w", NULL);
    spec.texts[WORKLOAD_NETWORK] = TEXT(network);
    spec.texts[WORKLOAD_REGION] = TEXT(region);
    spec.texts[WORKLOAD_ZONE] = TEXT(zone);
    return workload_of(&spec);
}

static uint32_t rank(const struct service_spec *spec, const char *network, const char *region, const char *zone)
{
    struct service *service = service_of(spec);
    struct workload *source = placed("n1", "r1", "z1");
    struct workload *endpoint = placed(network, region, zone);
    uint32_t value = load_balancing_rank(service, source, endpoint);
    service_release(service);
    workload_release(source);
    workload_release(endpoint);
    return value;
}

static void ranks_are_those_of_the_example(void **state)
{
    (void)state;
    struct service_spec spec = { .scopes = { SCOPE_NETWORK, SCOPE_REGION, SCOPE_ZONE }, .scope_count = 3 };
    assert_int_equal(rank(&spec, "n1", "r1", "z1"), 5);
    assert_int_equal(rank(&spec, "n1", "r1", "z2"), 4);
    assert_int_equal(rank(&spec, "n1", "r2", "z1"), 3);
    assert_int_equal(rank(&spec, "n2", "r1", "z1"), 2);
    assert_int_equal(rank(&spec, "n2", "r1", "z2"), 1);
    assert_int_equal(rank(&spec, "n2", "r2", "z1"), 0);
}

static void without_network_first_the_walk_stops_at_the_first_mismatch(void **state)
{
    (void)state;
    struct service_spec spec = { .scopes = { SCOPE_REGION, SCOPE_NETWORK, SCOPE_ZONE }, .scope_count = 3 };
    assert_int_equal(rank(&spec, "n1", "r1", "z1"), 3);
    assert_int_equal(rank(&spec, "n2", "r1", "z1"), 1);
    assert_int_equal(rank(&spec, "n1", "r2", "z1"), 0);
}

/* One service with the given endpoints, and draws from it. */
struct balance_fixture {
    struct mesh_fixture mesh;
    struct workload *source;
    struct service_spec service;
    struct port_mapping ports[2];
};

static struct balance_fixture balance_fixture_new(void)
{
    struct workload_spec source = pod_spec("source", "10.9.0.1");
    source.texts[WORKLOAD_NODE] = TEXT("n1");
    struct balance_fixture fixture = { .mesh = mesh_fixture_new(), .source = workload_of(&source) };
    fixture.ports[0] = (struct port_mapping){ 80, 8080 };
    fixture.service =
        (struct service_spec){ .name = TEXT("s"), .namespace_ = TEXT("d"), .hostname = TEXT("s"), .port_count = 1 };
    return fixture;
}

static void balance_fixture_free(struct balance_fixture *fixture)
{
    mesh_fixture_free(&fixture->mesh);
    workload_release(fixture->source);
}

static void add_endpoint(struct balance_fixture *fixture, struct workload_spec *spec, uint16_t own_target)
{
    struct port_mapping port = { 80, own_target };
    struct workload_service_spec membership = { TEXT("d/s"), &port, own_target != 0 };
    spec->services = &membership;
    spec->service_count = 1;
    mesh_fixture_add_workload(&fixture->mesh, spec);
    spec->services = NULL;
    spec->service_count = 0;
}

static bool choose(struct balance_fixture *fixture, uint16_t port, enum endpoint_selection selection, uint64_t seed,
    struct balanced_endpoint *chosen)
{
    fixture->service.ports = fixture->ports;
    const struct service *service = mesh_service_by_key(mesh_fixture_version(&fixture->mesh), TEXT("d/s"));
    if (service == NULL) {
        mesh_fixture_add_service(&fixture->mesh, &fixture->service);
        service = mesh_service_by_key(mesh_fixture_version(&fixture->mesh), TEXT("d/s"));
    }
    struct decision_random random = { seed };
    return load_balancing_choose(fixture->mesh.version, fixture->source, service, port, selection, &random, chosen);
}

static int draws_of(struct balance_fixture *fixture, const char *uid, int draws)
{
    int hits = 0;
    for (int i = 0; i < draws; i++) {
        struct balanced_endpoint chosen;
        assert_true(choose(fixture, 80, SELECT_ENDPOINT, (uint64_t)i * 7919, &chosen));
        hits += strcmp(chosen.endpoint.workload_uid, uid) == 0;
    }
    return hits;
}

static void capacity_weighs_and_zero_is_never_chosen(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct workload_spec light = pod_spec("light", "10.0.0.1");
    struct workload_spec heavy = pod_spec("heavy", "10.0.0.2");
    struct workload_spec none = pod_spec("none", "10.0.0.3");
    heavy.capacity = 3;
    none.capacity = 0;
    add_endpoint(&fixture, &light, 8080);
    add_endpoint(&fixture, &heavy, 8080);
    add_endpoint(&fixture, &none, 8080);
    int heavy_draws = draws_of(&fixture, "heavy", 4000);
    int light_draws = draws_of(&fixture, "light", 4000);
    assert_in_range(heavy_draws, 2800, 3200);
    assert_int_equal(heavy_draws + light_draws, 4000);
    balance_fixture_free(&fixture);
}

static void all_zero_capacities_leave_nothing(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct workload_spec none = pod_spec("none", "10.0.0.3");
    struct balanced_endpoint chosen;
    none.capacity = 0;
    add_endpoint(&fixture, &none, 8080);
    assert_false(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    balance_fixture_free(&fixture);
}

static void failover_takes_the_nearest_and_strict_nothing_else(void **state)
{
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        struct balance_fixture fixture = balance_fixture_new();
        struct balanced_endpoint chosen;
        struct workload_spec far = pod_spec("far", "10.0.0.1");
        struct workload_spec near = pod_spec("near", "10.0.0.2");
        far.texts[WORKLOAD_NODE] = TEXT("n2");
        near.texts[WORKLOAD_NODE] = TEXT("n1");
        fixture.service.mode = strict ? BALANCE_STRICT : BALANCE_FAILOVER;
        fixture.service.scopes[0] = SCOPE_NODE;
        fixture.service.scope_count = 1;
        add_endpoint(&fixture, &far, 8080);
        assert_int_equal(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen), !strict);
        add_endpoint(&fixture, &near, 8080);
        assert_int_equal(draws_of(&fixture, "near", 50), 50);
        balance_fixture_free(&fixture);
    }
}

static void unhealthy_endpoints_are_left_out_unless_allowed(void **state)
{
    (void)state;
    for (int allowed = 0; allowed < 2; allowed++) {
        struct balance_fixture fixture = balance_fixture_new();
        struct balanced_endpoint chosen;
        struct workload_spec sick = pod_spec("sick", "10.0.0.1");
        sick.is_healthy = false;
        fixture.service.allows_unhealthy = allowed;
        add_endpoint(&fixture, &sick, 8080);
        assert_int_equal(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen), allowed);
        balance_fixture_free(&fixture);
    }
}

static void a_port_the_service_does_not_have_has_no_endpoint(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct balanced_endpoint chosen;
    struct workload_spec pod = pod_spec("pod", "10.0.0.1");
    add_endpoint(&fixture, &pod, 8080);
    assert_false(choose(&fixture, 81, SELECT_ENDPOINT, 1, &chosen));
    assert_false(choose(&fixture, 81, SELECT_WAYPOINT, 1, &chosen));
    balance_fixture_free(&fixture);
}

static void the_endpoints_own_port_wins_over_the_services(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct balanced_endpoint chosen;
    struct workload_spec pod = pod_spec("pod", "10.0.0.1");
    add_endpoint(&fixture, &pod, 9090);
    assert_true(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    assert_int_equal(chosen.target_port, 9090);
    add_endpoint(&fixture, &pod, 0);
    assert_true(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    assert_int_equal(chosen.target_port, 8080);
    balance_fixture_free(&fixture);
}

static void a_named_port_needs_an_endpoint_that_maps_it(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct balanced_endpoint chosen;
    struct workload_spec without = pod_spec("without", "10.0.0.1");
    struct workload_spec with = pod_spec("with", "10.0.0.2");
    fixture.ports[0].target_port = 0;
    add_endpoint(&fixture, &without, 0);
    assert_false(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    add_endpoint(&fixture, &with, 9090);
    assert_int_equal(draws_of(&fixture, "with", 50), 50);
    balance_fixture_free(&fixture);
}

static void a_waypoint_with_an_application_tunnel_takes_any_port(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct balanced_endpoint chosen;
    struct workload_spec waypoint = pod_spec("waypoint", "10.0.0.1");
    waypoint.has_application_tunnel = true;
    waypoint.application_tunnel_port = 15088;
    add_endpoint(&fixture, &waypoint, 0);
    assert_true(choose(&fixture, 15008, SELECT_WAYPOINT, 1, &chosen));
    assert_int_equal(chosen.target_port, 15008);
    balance_fixture_free(&fixture);
}

static void an_endpoint_without_address_needs_a_gateway_of_another_network(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    struct balanced_endpoint chosen;
    struct workload_spec hidden = pod_spec("hidden", NULL);
    hidden.network_gateway = gateway_at("n2", "10.9.9.9", 15009);
    add_endpoint(&fixture, &hidden, 8080);
    assert_false(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    hidden.texts[WORKLOAD_NETWORK] = TEXT("n2");
    add_endpoint(&fixture, &hidden, 8080);
    assert_true(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    hidden.network_gateway.kind = GATEWAY_NONE;
    hidden.texts[WORKLOAD_HOSTNAME] = TEXT("db.example");
    add_endpoint(&fixture, &hidden, 8080);
    assert_true(choose(&fixture, 80, SELECT_ENDPOINT, 1, &chosen));
    balance_fixture_free(&fixture);
}

static void the_same_seed_makes_the_same_choice(void **state)
{
    (void)state;
    struct balance_fixture fixture = balance_fixture_new();
    for (int i = 0; i < 20; i++) {
        char uid[16];
        snprintf(uid, sizeof uid, "pod-%d", i);
        struct workload_spec pod = pod_spec(uid, "10.0.0.1");
        add_endpoint(&fixture, &pod, 8080);
    }
    struct balanced_endpoint first;
    struct balanced_endpoint second;
    for (uint64_t seed = 0; seed < 100; seed++) {
        assert_true(choose(&fixture, 80, SELECT_ENDPOINT, seed, &first));
        assert_true(choose(&fixture, 80, SELECT_ENDPOINT, seed, &second));
        assert_ptr_equal(first.endpoint.workload, second.endpoint.workload);
    }
    balance_fixture_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_those_of_the_example),
        cmocka_unit_test(without_network_first_the_walk_stops_at_the_first_mismatch),
        cmocka_unit_test(capacity_weighs_and_zero_is_never_chosen),
        cmocka_unit_test(all_zero_capacities_leave_nothing),
        cmocka_unit_test(failover_takes_the_nearest_and_strict_nothing_else),
        cmocka_unit_test(unhealthy_endpoints_are_left_out_unless_allowed),
        cmocka_unit_test(a_port_the_service_does_not_have_has_no_endpoint),
        cmocka_unit_test(the_endpoints_own_port_wins_over_the_services),
        cmocka_unit_test(a_named_port_needs_an_endpoint_that_maps_it),
        cmocka_unit_test(a_waypoint_with_an_application_tunnel_takes_any_port),
        cmocka_unit_test(an_endpoint_without_address_needs_a_gateway_of_another_network),
        cmocka_unit_test(the_same_seed_makes_the_same_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
