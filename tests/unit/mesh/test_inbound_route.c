/* ztunnel-dataplane §10 steps 2, 4, 5; §12 step 1; the service label guess. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/inbound_route.h"

static const struct illegal_ports illegal = { .ports = { 15001, 15006, 15008 }, .count = 3 };

/* The local workload is 10.0.0.2, endpoint of default/s.example (80 -> 8080 by the service, 81 named: 9091 here). */
struct inbound_fixture {
    struct mesh_fixture mesh;
    struct workload_spec local;
    struct workload_service_spec membership;
    struct port_mapping ports[2], own_ports[1];
    struct service_spec service;
    struct service_vip_spec vip;
};

static int set_up(void **state)
{
    struct inbound_fixture *fixture = NEW(struct inbound_fixture);
    fixture->mesh = mesh_fixture_on("net1", NULL);
    fixture->own_ports[0] = (struct port_mapping){ 81, 9091 };
    fixture->ports[0] = (struct port_mapping){ 80, 8080 };
    fixture->ports[1] = (struct port_mapping){ 81, 0 };
    fixture->membership = (struct workload_service_spec){ TEXT("default/s.example"), fixture->own_ports, 1 };
    fixture->local = pod_spec("c//Pod/default/local", "10.0.0.2");
    fixture->local.texts[WORKLOAD_NETWORK] = TEXT("net1");
    fixture->local.services = &fixture->membership;
    fixture->local.service_count = 1;
    fixture->vip = vip_of("net1", "10.1.0.1");
    fixture->service = (struct service_spec){ .name = TEXT("s"),
        .namespace_ = TEXT("default"),
        .hostname = TEXT("s.example"),
        .ports = fixture->ports,
        .port_count = 2,
        .vips = &fixture->vip,
        .vip_count = 1 };
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct inbound_fixture *fixture = *state;
    mesh_fixture_free(&fixture->mesh);
    memory_free(fixture);
    return 0;
}

static struct inbound_route route_by(struct inbound_fixture *fixture, const char *authority, bool tunnels_by_loopback)
{
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    mesh_fixture_add_workload(&fixture->mesh, &fixture->local);
    const struct mesh_version *version = mesh_fixture_version(&fixture->mesh);
    struct inbound_request request = { .local = mesh_workload_by_uid(version, TEXT("c//Pod/default/local")),
        .destination_ip = ip_of("10.0.0.2"),
        .authority = TEXT(authority),
        .illegal_ports = &illegal,
        .tunnels_by_loopback = tunnels_by_loopback };
    struct inbound_route decided;
    mesh_route_inbound(version, &request, &decided);
    return decided;
}

static struct inbound_route route(struct inbound_fixture *fixture, const char *authority)
{
    return route_by(fixture, authority, true);
}

static void assert_address(struct socket_address address, const char *expected)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    assert_string_equal(socket_address_format(&address, text), expected);
}

static void assert_upstream(const struct inbound_route *decided, const char *expected)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    assert_string_equal(decided->error.message, "");
    assert_int_equal(decided->status, 200);
    assert_string_equal(socket_address_format(&decided->upstream, text), expected);
}

static void assert_refused(const struct inbound_route *decided, int status, const char *sentence)
{
    assert_int_equal(decided->status, status);
    assert_string_equal(decided->error.message, sentence);
}

static void the_own_address_is_reached_at_the_port_asked_for(void **state)
{
    struct inbound_route decided = route(*state, "10.0.0.2:8080");
    assert_upstream(&decided, "10.0.0.2:8080");
    assert_string_equal(decided.service->hostname, "s.example");
}

static void an_authority_without_port_is_no_authority(void **state)
{
    struct inbound_route decided = route(*state, "10.0.0.2");
    assert_refused(&decided, 400, "no valid authority pseudo header: 10.0.0.2");
    decided = route(*state, "");
    assert_refused(&decided, 400, "no valid authority pseudo header: ");
    decided = route(*state, ":80");
    assert_refused(&decided, 400, "no valid authority pseudo header: :80");
    decided = route(*state, "s.example:http");
    assert_refused(&decided, 400, "no valid authority pseudo header: s.example:http");
}

static void another_address_is_a_mismatch(void **state)
{
    struct inbound_route decided = route(*state, "10.0.0.3:8080");
    assert_refused(&decided, 400, "ip mismatch: 10.0.0.2 != 10.0.0.3");
}

static void a_mapped_address_does_not_equal_its_ipv4_form(void **state)
{
    struct inbound_route decided = route(*state, "[::ffff:10.0.0.2]:8080");
    assert_refused(&decided, 400, "ip mismatch: 10.0.0.2 != ::ffff:10.0.0.2");
}

static void a_port_of_ours_is_refused(void **state)
{
    struct inbound_route decided = route(*state, "10.0.0.2:15006");
    assert_refused(&decided, 503, "attempted recursive call to ourselves");
}

static void a_hostname_is_mapped_by_the_endpoint_then_the_service(void **state)
{
    struct inbound_route decided = route(*state, "s.example:80");
    assert_upstream(&decided, "10.0.0.2:8080");
    assert_int_equal(decided.requested_port, 80);
    decided = route(*state, "s.example:81");
    assert_upstream(&decided, "10.0.0.2:9091");
}

static void a_hostname_or_port_nobody_has_is_refused_by_name(void **state)
{
    struct inbound_route decided = route(*state, "x.example:80");
    assert_refused(&decided, 503, "no service or workload for hostname: x.example");
    decided = route(*state, "s.example:82");
    assert_refused(&decided, 503, "requested service s.example:82 found, but cannot resolve port");
}

static void a_hostname_that_maps_to_a_port_of_ours_is_refused(void **state)
{
    struct inbound_fixture *fixture = *state;
    fixture->own_ports[0].target_port = 15001;
    struct inbound_route decided = route(*state, "s.example:81");
    assert_refused(&decided, 503, "attempted recursive call to ourselves");
}

static void an_application_tunnel_takes_any_address_to_its_own_port(void **state)
{
    struct inbound_fixture *fixture = *state;
    fixture->local.has_application_tunnel = true;
    fixture->local.application_tunnel_port = 15088;
    fixture->local.tunnel_protocol = TUNNEL_PROXY;
    struct inbound_route decided = route(*state, "10.1.0.1:80");
    assert_upstream(&decided, "10.0.0.2:15088");
    assert_true(decided.uses_application_tunnel);
    assert_true(decided.wants_proxy_protocol);
    assert_int_equal(decided.requested_port, 80);
    decided = route(*state, "10.1.0.1:15001");
    assert_refused(&decided, 503, "attempted recursive call to ourselves");
}

static void give_application_tunnel(struct inbound_fixture *fixture, enum tunnel_protocol protocol, uint16_t port)
{
    fixture->local.has_application_tunnel = true;
    fixture->local.application_tunnel_port = port;
    fixture->local.tunnel_protocol = protocol;
}

static void a_proxy_tunnel_is_dialled_at_the_loopback_and_names_what_was_asked_for(void **state)
{
    give_application_tunnel(*state, TUNNEL_PROXY, 15088);
    struct inbound_route decided = route(*state, "10.1.0.1:80");
    assert_upstream(&decided, "10.0.0.2:15088");
    assert_address(decided.dial, "127.0.0.1:15088");
    assert_true(decided.is_loopback);
    assert_address(decided.proxied, "10.1.0.1:80");
}

static void without_localhost_app_tunnel_the_pods_own_address_is_dialled(void **state)
{
    give_application_tunnel(*state, TUNNEL_PROXY, 15088);
    struct inbound_route decided = route_by(*state, "10.1.0.1:80", false);
    assert_address(decided.dial, "10.0.0.2:15088");
    assert_false(decided.is_loopback);
    assert_true(decided.wants_proxy_protocol);
}

static void a_tunnel_without_protocol_or_port_changes_only_the_other(void **state)
{
    give_application_tunnel(*state, TUNNEL_NONE, 15088);
    struct inbound_route decided = route(*state, "10.1.0.1:80");
    assert_address(decided.dial, "10.0.0.2:15088");
    assert_false(decided.wants_proxy_protocol);
    give_application_tunnel(*state, TUNNEL_PROXY, 0);
    decided = route(*state, "10.1.0.1:80");
    assert_address(decided.dial, "127.0.0.1:80");
    assert_false(decided.uses_application_tunnel);
    assert_true(decided.wants_proxy_protocol);
}

static void a_hostname_is_proxied_as_the_services_address_and_port(void **state)
{
    struct inbound_fixture *fixture = *state;
    struct service_vip_spec vips[] = { vip_of("net2", "10.2.0.1"), vip_of("net1", "fd00::1"),
        vip_of("net1", "10.1.0.1") };
    give_application_tunnel(fixture, TUNNEL_PROXY, 15088);
    fixture->service.vips = vips;
    fixture->service.vip_count = 3;
    struct inbound_route decided = route(fixture, "s.example:80");
    assert_address(decided.proxied, "10.1.0.1:80");
    fixture->service.vip_count = 2;
    decided = route(fixture, "s.example:80");
    assert_address(decided.proxied, "[fd00::1]:80");
    fixture->service.vip_count = 0;
    decided = route(fixture, "s.example:80");
    assert_refused(&decided, 503, "requested service s.example found, but has no IP addresses");
}

static void a_waypoint_takes_what_names_it_as_its_waypoint(void **state)
{
    struct inbound_fixture *fixture = *state;
    struct service_vip_spec vip = vip_of("net1", "10.1.0.9");
    struct service_spec other = { .name = TEXT("o"),
        .namespace_ = TEXT("x"),
        .hostname = TEXT("o.example"),
        .vips = &vip,
        .vip_count = 1,
        .waypoint = gateway_named("default", "s.example", 15008) };
    mesh_fixture_add_service(&fixture->mesh, &other);
    struct inbound_route decided = route(*state, "10.1.0.9:80");
    assert_upstream(&decided, "10.0.0.2:80");
    other.waypoint = gateway_at("net1", "10.0.0.2", 15008);
    mesh_fixture_add_service(&fixture->mesh, &other);
    decided = route(*state, "10.1.0.9:80");
    assert_upstream(&decided, "10.0.0.2:80");
    other.waypoint = gateway_at("net1", "10.0.0.77", 15008);
    mesh_fixture_add_service(&fixture->mesh, &other);
    decided = route(*state, "10.1.0.9:80");
    assert_refused(&decided, 400, "ip mismatch: 10.0.0.2 != 10.1.0.9");
}

static void assert_unknown(struct inbound_fixture *fixture, const struct inbound_route *decided, const char *expected)
{
    struct writer name = writer_growing();
    assert_int_equal(inbound_route_unknown_name(fixture->mesh.version, decided, &name), expected != NULL);
    assert_string_equal(writer_string(&name), expected != NULL ? expected : "");
    writer_free(&name);
}

static void what_the_sandwich_check_does_not_know_may_be_asked_for(void **state)
{
    struct inbound_fixture *fixture = *state;
    struct inbound_route decided = route(fixture, "10.1.0.9:80");
    assert_unknown(fixture, &decided, "net1/10.1.0.9");
    struct service_vip_spec vip = vip_of("net1", "10.1.0.9");
    struct service_spec other = { .name = TEXT("o"),
        .namespace_ = TEXT("x"),
        .hostname = TEXT("o.example"),
        .vips = &vip,
        .vip_count = 1,
        .waypoint = gateway_named("wp", "wp.example", 15008) };
    mesh_fixture_add_service(&fixture->mesh, &other);
    decided = route(fixture, "10.1.0.9:80");
    assert_unknown(fixture, &decided, "wp/wp.example");
    other.waypoint = gateway_at("net1", "10.0.0.77", 15008);
    mesh_fixture_add_service(&fixture->mesh, &other);
    decided = route(fixture, "10.1.0.9:80");
    assert_unknown(fixture, &decided, "net1/10.0.0.77");
    other.waypoint = gateway_at("net1", "10.0.0.2", 15008);
    mesh_fixture_add_service(&fixture->mesh, &other);
    decided = route(fixture, "10.1.0.9:80");
    assert_unknown(fixture, &decided, NULL);
}

static void a_weighted_waypoint_alone_is_not_enough(void **state)
{
    struct inbound_fixture *fixture = *state;
    struct service_vip_spec vip = vip_of("net1", "10.1.0.9");
    struct weighted_waypoint_spec weighted = { gateway_named("default", "s.example", 15008), 1 };
    struct service_spec other = { .name = TEXT("o"),
        .namespace_ = TEXT("x"),
        .hostname = TEXT("o.example"),
        .vips = &vip,
        .vip_count = 1,
        .weighted_waypoints = &weighted,
        .weighted_waypoint_count = 1 };
    mesh_fixture_add_service(&fixture->mesh, &other);
    struct inbound_route decided = route(*state, "10.1.0.9:80");
    assert_refused(&decided, 400, "ip mismatch: 10.0.0.2 != 10.1.0.9");
}

static void the_forwarded_host_decides_the_service_label_before_the_port(void **state)
{
    struct inbound_fixture *fixture = *state;
    struct port_mapping ports[] = { { 80, 8080 } };
    struct workload_service_spec memberships[] = { fixture->membership, { TEXT("default/t.example"), NULL, 0 } };
    struct service_spec second = {
        .name = TEXT("t"), .namespace_ = TEXT("default"), .hostname = TEXT("t.example"), .ports = ports, .port_count = 1
    };
    fixture->local.services = memberships;
    fixture->local.service_count = 2;
    mesh_fixture_add_service(&fixture->mesh, &second);
    route(fixture, "10.0.0.2:8080");
    const struct mesh_version *version = fixture->mesh.version;
    const struct workload *local = mesh_workload_by_uid(version, TEXT("c//Pod/default/local"));
    assert_string_equal(mesh_guess_service(version, local, TEXT(""), 8080)->hostname, "s.example");
    assert_string_equal(mesh_guess_service(version, local, TEXT("t.example"), 8080)->hostname, "t.example");
    assert_string_equal(mesh_guess_service(version, local, TEXT("u.example"), 9091)->hostname, "s.example");
    assert_null(mesh_guess_service(version, local, TEXT(""), 1234));
}

static void a_peer_behind_another_networks_gateway_is_not_looked_up(void **state)
{
    struct inbound_fixture *fixture = *state;
    route(fixture, "10.0.0.2:8080");
    const struct mesh_version *version = fixture->mesh.version;
    struct ip_address ip = ip_of("10.0.0.2");
    assert_non_null(mesh_source_workload(version, &ip, (struct bytes){ 0 }));
    assert_non_null(mesh_source_workload(version, &ip, TEXT("NET1")));
    assert_null(mesh_source_workload(version, &ip, TEXT("net2")));
    assert_null(mesh_source_workload(version, &ip, TEXT("")));
}

static void plaintext_to_a_port_of_ours_is_refused(void **state)
{
    (void)state;
    struct socket_address ours = target_of("10.0.0.2:15008");
    struct socket_address theirs = target_of("10.0.0.2:8080");
    assert_false(mesh_route_inbound_plaintext(&ours, &illegal));
    assert_true(mesh_route_inbound_plaintext(&theirs, &illegal));
}

int main(void)
{
#define ROUTE_TEST(test_) cmocka_unit_test_setup_teardown(test_, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ROUTE_TEST(the_own_address_is_reached_at_the_port_asked_for),
        ROUTE_TEST(an_authority_without_port_is_no_authority),
        ROUTE_TEST(another_address_is_a_mismatch),
        ROUTE_TEST(a_mapped_address_does_not_equal_its_ipv4_form),
        ROUTE_TEST(a_port_of_ours_is_refused),
        ROUTE_TEST(a_hostname_is_mapped_by_the_endpoint_then_the_service),
        ROUTE_TEST(a_hostname_or_port_nobody_has_is_refused_by_name),
        ROUTE_TEST(a_hostname_that_maps_to_a_port_of_ours_is_refused),
        ROUTE_TEST(an_application_tunnel_takes_any_address_to_its_own_port),
        ROUTE_TEST(a_proxy_tunnel_is_dialled_at_the_loopback_and_names_what_was_asked_for),
        ROUTE_TEST(without_localhost_app_tunnel_the_pods_own_address_is_dialled),
        ROUTE_TEST(a_tunnel_without_protocol_or_port_changes_only_the_other),
        ROUTE_TEST(a_hostname_is_proxied_as_the_services_address_and_port),
        ROUTE_TEST(a_waypoint_takes_what_names_it_as_its_waypoint),
        ROUTE_TEST(what_the_sandwich_check_does_not_know_may_be_asked_for),
        ROUTE_TEST(a_weighted_waypoint_alone_is_not_enough),
        ROUTE_TEST(the_forwarded_host_decides_the_service_label_before_the_port),
        ROUTE_TEST(a_peer_behind_another_networks_gateway_is_not_looked_up),
        ROUTE_TEST(plaintext_to_a_port_of_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
