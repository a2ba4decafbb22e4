/* The table of ztunnel-dataplane §5, row by row, and the branches around it. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/outbound_route.h"

static const struct illegal_ports illegal = { .ports = { 15001, 15006, 15008 }, .count = 3 };

/* The source is 10.9.0.1, service account "client" of namespace "default". */
struct route_fixture {
    struct mesh_fixture mesh;
    struct workload *source;
    struct port_mapping ports[1];
    struct service_vip_spec vip;
    struct service_spec service; /* d/s at 127.0.0.3, 80 -> 8080 */
};

static int set_up(void **state)
{
    struct route_fixture *fixture = NEW(struct route_fixture);
    struct workload_spec source = pod_spec("c//Pod/default/client", "10.9.0.1");
    source.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("client");
    fixture->mesh = mesh_fixture_new();
    fixture->source = workload_of(&source);
    fixture->ports[0] = (struct port_mapping){ 80, 8080 };
    fixture->vip = vip_of("", "127.0.0.3");
    fixture->service = (struct service_spec){ .name = TEXT("s"),
        .namespace_ = TEXT("d"),
        .hostname = TEXT("s.example"),
        .ports = fixture->ports,
        .port_count = 1,
        .vips = &fixture->vip,
        .vip_count = 1 };
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct route_fixture *fixture = *state;
    mesh_fixture_free(&fixture->mesh);
    workload_release(fixture->source);
    memory_free(fixture);
    return 0;
}

static struct outbound_route route_with(
    struct route_fixture *fixture, const char *target, uint64_t seed, const struct resolved_name *resolved)
{
    struct outbound_request request = { .source = fixture->source,
        .downstream_ip = ip_of("10.9.0.1"),
        .target = target_of(target),
        .illegal_ports = &illegal,
        .seed = seed,
        .resolved = resolved };
    struct outbound_route route;
    mesh_route_outbound(mesh_fixture_version(&fixture->mesh), &request, &route);
    return route;
}

static struct outbound_route route_to(struct route_fixture *fixture, const char *target)
{
    return route_with(fixture, target, 1, NULL);
}

static void assert_address(struct socket_address address, const char *expected)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    assert_string_equal(socket_address_format(&address, text), expected);
}

static void assert_hbone(const struct outbound_route *route, const char *next_hop, const char *authority)
{
    assert_string_equal(route->error.message, "");
    assert_int_equal(route->kind, OUTBOUND_HBONE);
    assert_address(route->next_hop, next_hop);
    assert_address(route->authority, authority);
}

static void assert_refused(const struct outbound_route *route, const char *sentence)
{
    assert_int_equal(route->kind, OUTBOUND_REFUSED);
    assert_string_equal(route->error.message, sentence);
}

static void assert_identities(const struct outbound_route *route, const char *expected, size_t expected_length)
{
    struct writer out = writer_growing();
    outbound_route_expected_identities(route, &out);
    assert_int_equal(out.length, expected_length);
    assert_memory_equal(out.data, expected, expected_length);
    writer_free(&out);
}

/* `services`: the one key "d/s.example", or none. */
static void add_pod(struct route_fixture *fixture, struct workload_spec *spec, bool is_member)
{
    struct workload_service_spec membership = { TEXT("d/s.example"), NULL, 0 };
    spec->services = &membership;
    spec->service_count = is_member;
    mesh_fixture_add_workload(&fixture->mesh, spec);
}

static void an_unknown_target_passes_through(void **state)
{
    struct outbound_route route = route_to(*state, "1.2.3.4:80");
    assert_int_equal(route.kind, OUTBOUND_PASSTHROUGH);
    assert_address(route.next_hop, "1.2.3.4:80");
    assert_null(route.destination);
    assert_null(route.service);
}

static void a_loopback_target_on_a_port_of_ours_is_refused_early(void **state)
{
    struct outbound_route route = route_to(*state, "127.0.0.1:15001");
    assert_int_equal(route.kind, OUTBOUND_REFUSED_EARLY);
    assert_string_equal(route.error.message, "attempted recursive call to ourselves");
    route = route_to(*state, "127.0.0.1:15002");
    assert_int_equal(route.kind, OUTBOUND_PASSTHROUGH);
    route = route_to(*state, "1.2.3.4:15001");
    assert_int_equal(route.kind, OUTBOUND_PASSTHROUGH);
}

static void an_hbone_pod_is_reached_through_its_port_15008(void **state)
{
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    add_pod(*state, &pod, false);
    struct outbound_route route = route_to(*state, "127.0.0.2:80");
    assert_hbone(&route, "127.0.0.2:15008", "127.0.0.2:80");
    assert_string_equal(workload_text(route.destination, WORKLOAD_NAME), "server");
    assert_identities(&route, "spiffe://cluster.local/ns/default/sa/default", 45);
}

static void a_plain_pod_is_reached_by_tcp(void **state)
{
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    pod.protocol = WORKLOAD_TCP;
    add_pod(*state, &pod, false);
    struct outbound_route route = route_to(*state, "127.0.0.2:80");
    assert_int_equal(route.kind, OUTBOUND_TCP);
    assert_address(route.next_hop, "127.0.0.2:80");
    assert_non_null(route.destination);
}

static void a_vip_is_balanced_and_its_port_mapped(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    struct bytes names[] = { TEXT("spiffe://cluster.local/ns/x/sa/y"), TEXT("not an identity") };
    fixture->service.subject_alt_names = names;
    fixture->service.subject_alt_name_count = 2;
    add_pod(fixture, &pod, true);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_hbone(&route, "127.0.0.2:15008", "127.0.0.2:8080");
    assert_string_equal(route.service->hostname, "s.example");
    assert_identities(
        &route, "spiffe://cluster.local/ns/x/sa/y\0spiffe://cluster.local/ns/default/sa/default", 33 + 45);
}

static void a_service_waypoint_gets_the_untranslated_target(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "127.0.0.10");
    waypoint.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("wp");
    add_pod(fixture, &waypoint, false);
    fixture->service.waypoint = gateway_at("", "127.0.0.10", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_hbone(&route, "127.0.0.10:15008", "127.0.0.3:80");
    assert_true(route.is_to_waypoint);
    assert_identities(&route, "spiffe://cluster.local/ns/default/sa/wp", 40);
    assert_string_equal(route.service->hostname, "s.example");
}

static void a_workload_waypoint_gets_workload_addressed_traffic(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "127.0.0.11");
    struct workload_spec pod = pod_spec("c//Pod/default/server", "ff06::c3");
    pod.waypoint = gateway_at("", "127.0.0.11", 15008);
    add_pod(fixture, &waypoint, false);
    add_pod(fixture, &pod, false);
    struct outbound_route route = route_to(fixture, "[ff06::c3]:80");
    assert_hbone(&route, "127.0.0.11:15008", "[ff06::c3]:80");
    assert_true(route.is_to_waypoint);
}

static void service_addressed_traffic_never_uses_a_workload_waypoint(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "127.0.0.11");
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    pod.waypoint = gateway_at("", "127.0.0.11", 15008);
    add_pod(fixture, &waypoint, false);
    add_pod(fixture, &pod, true);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_hbone(&route, "127.0.0.2:15008", "127.0.0.2:8080");
}

static void a_vip_without_endpoints_is_refused(void **state)
{
    struct route_fixture *fixture = *state;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_refused(&route, "no healthy upstream: 127.0.0.3:80");
    assert_string_equal(route.service->hostname, "s.example");
}

static void a_port_the_vip_does_not_have_is_refused(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    add_pod(fixture, &pod, true);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:81");
    assert_refused(&route, "no healthy upstream: 127.0.0.3:81");
}

static void a_host_network_pod_addressed_directly_passes_through(void **state)
{
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    pod.network_mode = WORKLOAD_HOST_NETWORK;
    add_pod(*state, &pod, false);
    struct outbound_route route = route_to(*state, "127.0.0.2:80");
    assert_int_equal(route.kind, OUTBOUND_PASSTHROUGH);
    assert_null(route.destination);
}

static void a_passthrough_service_keeps_the_original_target(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    add_pod(fixture, &pod, true);
    fixture->service.mode = BALANCE_PASSTHROUGH;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_int_equal(route.kind, OUTBOUND_PASSTHROUGH);
    assert_address(route.next_hop, "127.0.0.3:80");
}

static void a_passthrough_service_with_a_waypoint_still_uses_it(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "127.0.0.10");
    add_pod(fixture, &waypoint, false);
    fixture->service.mode = BALANCE_PASSTHROUGH;
    fixture->service.waypoint = gateway_at("", "127.0.0.10", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_hbone(&route, "127.0.0.10:15008", "127.0.0.3:80");
}

/* Adds the service d/wp.example, 15008 -> 15008, with one pod at 127.0.0.20. */
static void add_waypoint_service(struct route_fixture *fixture, struct port_mapping *port, struct bytes *name)
{
    struct workload_service_spec membership = { TEXT("d/wp.example"), NULL, 0 };
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "127.0.0.20");
    waypoint.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("wp");
    waypoint.services = &membership;
    waypoint.service_count = 1;
    struct service_spec service = { .name = TEXT("wp"),
        .namespace_ = TEXT("d"),
        .hostname = TEXT("wp.example"),
        .ports = port,
        .port_count = 1,
        .subject_alt_names = name,
        .subject_alt_name_count = 1 };
    mesh_fixture_add_workload(&fixture->mesh, &waypoint);
    mesh_fixture_add_service(&fixture->mesh, &service);
}

static void a_waypoint_by_hostname_is_balanced_and_its_services_names_accepted(void **state)
{
    struct route_fixture *fixture = *state;
    struct port_mapping port = { 15008, 15008 };
    struct bytes name = TEXT("spiffe://cluster.local/ns/wps/sa/any");
    add_waypoint_service(fixture, &port, &name);
    fixture->service.waypoint = gateway_named("d", "wp.example", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_hbone(&route, "127.0.0.20:15008", "127.0.0.3:80");
    assert_identities(&route, "spiffe://cluster.local/ns/wps/sa/any\0spiffe://cluster.local/ns/default/sa/wp", 37 + 40);
}

static void an_unknown_waypoint_is_refused_by_name(void **state)
{
    struct route_fixture *fixture = *state;
    fixture->service.waypoint = gateway_named("d", "gone.example", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_refused(&route, "unknown waypoint: waypoint gone.example not found");
    fixture->service.waypoint = gateway_at("", "127.0.0.99", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    route = route_to(fixture, "127.0.0.3:80");
    assert_refused(&route, "unknown waypoint: waypoint /127.0.0.99 not found");
}

static void weighted_waypoints_are_drawn_by_weight(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec first = pod_spec("c//Pod/default/wp1", "127.0.0.31");
    struct workload_spec second = pod_spec("c//Pod/default/wp2", "127.0.0.32");
    struct weighted_waypoint_spec weighted[] = { { gateway_at("", "127.0.0.31", 15008), 1 },
        { gateway_at("", "127.0.0.32", 15008), 3 } };
    add_pod(fixture, &first, false);
    add_pod(fixture, &second, false);
    fixture->service.weighted_waypoints = weighted;
    fixture->service.weighted_waypoint_count = 2;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    int hits = 0;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct outbound_route route = route_with(fixture, "127.0.0.3:80", seed, NULL);
        assert_int_equal(route.kind, OUTBOUND_HBONE);
        hits += strcmp(workload_text(route.destination, WORKLOAD_NAME), "wp2") == 0;
    }
    assert_in_range(hits, 1350, 1650);
}

static void weights_of_zero_fall_back_to_the_single_waypoint(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "127.0.0.10");
    struct weighted_waypoint_spec weighted[] = { { gateway_at("", "127.0.0.31", 15008), 0 } };
    add_pod(fixture, &waypoint, false);
    fixture->service.weighted_waypoints = weighted;
    fixture->service.weighted_waypoint_count = 1;
    fixture->service.waypoint = gateway_at("", "127.0.0.10", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_hbone(&route, "127.0.0.10:15008", "127.0.0.3:80");
}

static void traffic_from_the_waypoint_itself_goes_direct(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/client", "10.9.0.1"); /* the source of the connection */
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    waypoint.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("client");
    pod.waypoint = gateway_at("", "10.9.0.1", 15008);
    add_pod(fixture, &waypoint, false);
    add_pod(fixture, &pod, false);
    struct outbound_route route = route_to(fixture, "127.0.0.2:80");
    assert_hbone(&route, "127.0.0.2:15008", "127.0.0.2:80");
    assert_false(route.is_to_waypoint);
}

static void the_waypoints_identity_alone_does_not_make_traffic_its_own(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec waypoint = pod_spec("c//Pod/default/wp", "10.9.0.2");
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    waypoint.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("client");
    pod.waypoint = gateway_at("", "10.9.0.2", 15008);
    add_pod(fixture, &waypoint, false);
    add_pod(fixture, &pod, false);
    struct outbound_route route = route_to(fixture, "127.0.0.2:80");
    assert_hbone(&route, "10.9.0.2:15008", "127.0.0.2:80");
}

static void traffic_from_a_pod_of_a_waypoint_service_goes_direct(void **state)
{
    struct route_fixture *fixture = *state;
    struct port_mapping port = { 15008, 15008 };
    struct bytes name = TEXT("x");
    struct workload_service_spec membership = { TEXT("d/wp.example"), NULL, 0 };
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    struct workload_spec self = pod_spec("c//Pod/default/client", "10.9.0.1");
    add_waypoint_service(fixture, &port, &name);
    self.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("client");
    self.services = &membership;
    self.service_count = 1;
    mesh_fixture_add_workload(&fixture->mesh, &self);
    pod.waypoint = gateway_named("d", "wp.example", 15008);
    add_pod(fixture, &pod, false);
    struct outbound_route route = route_to(fixture, "127.0.0.2:80");
    assert_hbone(&route, "127.0.0.2:15008", "127.0.0.2:80");
}

/* An endpoint of d/s.example on net2, behind the given gateway, and that gateway as a workload of net2 at 192.168.0.1. */
static void add_remote(struct route_fixture *fixture, const struct gateway_spec *gateway)
{
    struct workload_spec remote = pod_spec("net2/SplitHorizonWorkload/g", NULL);
    struct workload_spec east_west = pod_spec("c2//Pod/istio-system/gateway", "192.168.0.1");
    remote.texts[WORKLOAD_NETWORK] = TEXT("net2");
    remote.network_gateway = *gateway;
    east_west.texts[WORKLOAD_NETWORK] = TEXT("net2");
    east_west.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("gateway");
    add_pod(fixture, &remote, true);
    mesh_fixture_add_workload(&fixture->mesh, &east_west);
}

static void assert_double_hbone(const struct outbound_route *route, const char *next_hop)
{
    assert_string_equal(route->error.message, "");
    assert_int_equal(route->kind, OUTBOUND_DOUBLE_HBONE);
    assert_address(route->next_hop, next_hop);
    assert_string_equal(route->authority_hostname, "s.example");
    assert_int_equal(route->authority.port, 80);
}

static void an_endpoint_of_another_network_is_reached_through_its_gateway(void **state)
{
    struct route_fixture *fixture = *state;
    struct gateway_spec gateway = gateway_at("net2", "192.168.0.1", 15008);
    struct bytes name = TEXT("spiffe://cluster.local/ns/x/sa/y");
    add_remote(fixture, &gateway);
    fixture->service.subject_alt_names = &name;
    fixture->service.subject_alt_name_count = 1;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_double_hbone(&route, "192.168.0.1:15008");
    assert_string_equal(workload_text(route.destination, WORKLOAD_NAME), "gateway");
    assert_string_equal(workload_text(route.inner_destination, WORKLOAD_UID), "net2/SplitHorizonWorkload/g");
    assert_identities(&route, "spiffe://cluster.local/ns/default/sa/gateway", 45);
    struct writer inner = writer_growing();
    assert_int_equal(outbound_route_inner_identities(&route, &inner), 1);
    assert_string_equal((const char *)inner.data, "spiffe://cluster.local/ns/x/sa/y");
    writer_free(&inner);
}

static void a_gateway_by_name_is_balanced_and_its_port_mapped(void **state)
{
    struct route_fixture *fixture = *state;
    struct gateway_spec gateway = gateway_named("istio-system", "ew.example", 15009);
    struct port_mapping port = { 15009, 15008 };
    struct bytes name = TEXT("spiffe://cluster.local/ns/istio-system/sa/any");
    struct workload_service_spec membership = { TEXT("istio-system/ew.example"), NULL, 0 };
    struct workload_spec east_west = pod_spec("c2//Pod/istio-system/gateway2", "192.168.0.2");
    struct service_spec service = { .name = TEXT("ew"),
        .namespace_ = TEXT("istio-system"),
        .hostname = TEXT("ew.example"),
        .ports = &port,
        .port_count = 1,
        .subject_alt_names = &name,
        .subject_alt_name_count = 1 };
    east_west.texts[WORKLOAD_NETWORK] = TEXT("net2");
    east_west.services = &membership;
    east_west.service_count = 1;
    mesh_fixture_add_workload(&fixture->mesh, &east_west);
    mesh_fixture_add_service(&fixture->mesh, &service);
    add_remote(fixture, &gateway);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_double_hbone(&route, "192.168.0.2:15008");
    assert_identities(
        &route, "spiffe://cluster.local/ns/istio-system/sa/any\0spiffe://cluster.local/ns/default/sa/default", 46 + 45);
    struct writer inner = writer_growing();
    assert_int_equal(outbound_route_inner_identities(&route, &inner), 0);
    writer_free(&inner);
}

static void a_waypoint_of_another_network_is_reached_through_its_gateway(void **state)
{
    struct route_fixture *fixture = *state;
    struct gateway_spec gateway = gateway_at("net2", "192.168.0.1", 15008);
    struct port_mapping port = { 15008, 15008 };
    struct bytes name = TEXT("spiffe://cluster.local/ns/wps/sa/wp");
    struct workload_service_spec membership = { TEXT("d/wp.example"), NULL, 0 };
    struct workload_spec waypoint = pod_spec("net2/SplitHorizonWorkload/wp", NULL);
    struct service_spec service = { .name = TEXT("wp"),
        .namespace_ = TEXT("d"),
        .hostname = TEXT("wp.example"),
        .ports = &port,
        .port_count = 1,
        .subject_alt_names = &name,
        .subject_alt_name_count = 1 };
    waypoint.texts[WORKLOAD_NETWORK] = TEXT("net2");
    waypoint.network_gateway = gateway;
    waypoint.services = &membership;
    waypoint.service_count = 1;
    mesh_fixture_add_workload(&fixture->mesh, &waypoint);
    mesh_fixture_add_service(&fixture->mesh, &service);
    add_remote(fixture, &gateway);
    fixture->service.waypoint = gateway_named("d", "wp.example", 15008);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_double_hbone(&route, "192.168.0.1:15008");
    struct writer inner = writer_growing();
    assert_int_equal(outbound_route_inner_identities(&route, &inner), 1);
    assert_string_equal((const char *)inner.data, "spiffe://cluster.local/ns/wps/sa/wp");
    writer_free(&inner);
}

static void an_unknown_network_gateway_is_refused_by_name(void **state)
{
    struct route_fixture *fixture = *state;
    struct gateway_spec gateway = gateway_named("istio-system", "gone.example", 15008);
    add_remote(fixture, &gateway);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_refused(&route, "unknown network gateway: network gateway gone.example not found");
}

static void an_endpoint_of_another_network_without_gateway_has_no_destination(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec remote = pod_spec("c2//Pod/default/far", "192.168.0.9");
    remote.texts[WORKLOAD_NETWORK] = TEXT("net2");
    add_pod(fixture, &remote, true);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_refused(
        &route, "no valid routing destination for workload: Workload{far with uid c2//Pod/default/far (HBONE)}");
}

static void the_address_dialled_is_kept_when_the_workload_owns_it(void **state)
{
    struct workload_spec pod = pod_spec("c//Pod/default/server", NULL);
    struct ip_address addresses[] = { ip_of("127.0.0.2"), ip_of("fd00::2") };
    pod.addresses = addresses;
    pod.address_count = 2;
    add_pod(*state, &pod, false);
    struct outbound_route route = route_to(*state, "[fd00::2]:80");
    assert_hbone(&route, "[fd00::2]:15008", "[fd00::2]:80");
}

static void the_family_follows_the_target_within_what_the_service_has(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec pod = pod_spec("c//Pod/default/server", NULL);
    struct ip_address addresses[] = { ip_of("127.0.0.2"), ip_of("fd00::2") };
    struct service_vip_spec vips[] = { vip_of("", "127.0.0.3"), vip_of("", "fd00::3") };
    pod.addresses = addresses;
    pod.address_count = 2;
    add_pod(fixture, &pod, true);
    fixture->service.vips = vips;
    fixture->service.vip_count = 2;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "[fd00::3]:80");
    assert_hbone(&route, "[fd00::2]:15008", "[fd00::2]:8080");
    fixture->service.ip_families = FAMILIES_IPV4;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    route = route_to(fixture, "[fd00::3]:80");
    assert_hbone(&route, "127.0.0.2:15008", "127.0.0.2:8080");
}

static void a_workload_with_nowhere_to_go_is_refused_with_its_description(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec pod = pod_spec("c//Pod/default/server", "127.0.0.2");
    add_pod(fixture, &pod, true);
    fixture->service.ip_families = FAMILIES_IPV6;
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_refused(
        &route, "no valid routing destination for workload: Workload{server with uid c//Pod/default/server (HBONE)}");
}

static void a_hostname_is_resolved_and_the_decision_made_again(void **state)
{
    struct route_fixture *fixture = *state;
    struct workload_spec pod = pod_spec("external", NULL);
    pod.protocol = WORKLOAD_TCP;
    pod.texts[WORKLOAD_HOSTNAME] = TEXT("db.example");
    add_pod(fixture, &pod, true);
    mesh_fixture_add_service(&fixture->mesh, &fixture->service);
    struct outbound_route route = route_to(fixture, "127.0.0.3:80");
    assert_int_equal(route.kind, OUTBOUND_NEEDS_RESOLUTION);
    assert_string_equal(route.hostname, "db.example");
    struct ip_address addresses[] = { ip_of("fd00::9"), ip_of("192.0.2.7") };
    struct resolved_name resolved = { "db.example", addresses, 2, true };
    route = route_with(fixture, "127.0.0.3:80", 1, &resolved);
    assert_int_equal(route.kind, OUTBOUND_TCP);
    assert_address(route.next_hop, "192.0.2.7:8080");
    resolved.address_count = 1;
    route = route_with(fixture, "127.0.0.3:80", 1, &resolved);
    assert_address(route.next_hop, "[fd00::9]:8080");
    resolved.address_count = 0;
    route = route_with(fixture, "127.0.0.3:80", 1, &resolved);
    assert_refused(
        &route, "ip addresses were resolved for workload external, but valid dns response had no A/AAAA records");
    resolved.has_answer = false;
    route = route_with(fixture, "127.0.0.3:80", 1, &resolved);
    assert_refused(&route, "no ip addresses were resolved for workload: external");
}

int main(void)
{
#define ROUTE_TEST(test_) cmocka_unit_test_setup_teardown(test_, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ROUTE_TEST(an_unknown_target_passes_through),
        ROUTE_TEST(a_loopback_target_on_a_port_of_ours_is_refused_early),
        ROUTE_TEST(an_hbone_pod_is_reached_through_its_port_15008),
        ROUTE_TEST(a_plain_pod_is_reached_by_tcp),
        ROUTE_TEST(a_vip_is_balanced_and_its_port_mapped),
        ROUTE_TEST(a_service_waypoint_gets_the_untranslated_target),
        ROUTE_TEST(a_workload_waypoint_gets_workload_addressed_traffic),
        ROUTE_TEST(service_addressed_traffic_never_uses_a_workload_waypoint),
        ROUTE_TEST(a_vip_without_endpoints_is_refused),
        ROUTE_TEST(a_port_the_vip_does_not_have_is_refused),
        ROUTE_TEST(a_host_network_pod_addressed_directly_passes_through),
        ROUTE_TEST(a_passthrough_service_keeps_the_original_target),
        ROUTE_TEST(a_passthrough_service_with_a_waypoint_still_uses_it),
        ROUTE_TEST(a_waypoint_by_hostname_is_balanced_and_its_services_names_accepted),
        ROUTE_TEST(an_unknown_waypoint_is_refused_by_name),
        ROUTE_TEST(weighted_waypoints_are_drawn_by_weight),
        ROUTE_TEST(weights_of_zero_fall_back_to_the_single_waypoint),
        ROUTE_TEST(traffic_from_the_waypoint_itself_goes_direct),
        ROUTE_TEST(the_waypoints_identity_alone_does_not_make_traffic_its_own),
        ROUTE_TEST(traffic_from_a_pod_of_a_waypoint_service_goes_direct),
        ROUTE_TEST(an_endpoint_of_another_network_is_reached_through_its_gateway),
        ROUTE_TEST(a_gateway_by_name_is_balanced_and_its_port_mapped),
        ROUTE_TEST(a_waypoint_of_another_network_is_reached_through_its_gateway),
        ROUTE_TEST(an_unknown_network_gateway_is_refused_by_name),
        ROUTE_TEST(an_endpoint_of_another_network_without_gateway_has_no_destination),
        ROUTE_TEST(the_address_dialled_is_kept_when_the_workload_owns_it),
        ROUTE_TEST(the_family_follows_the_target_within_what_the_service_has),
        ROUTE_TEST(a_workload_with_nowhere_to_go_is_refused_with_its_description),
        ROUTE_TEST(a_hostname_is_resolved_and_the_decision_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
