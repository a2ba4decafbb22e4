/* The key set of ztunnel-management §4, its example, and what is said about mistakes. */
#include "unit/mesh/mesh_fixture.h"

#include "base/writer.h"
#include "mesh/authorization.h"
#include "xds/local_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct result load(struct mesh_fixture *mesh, const char *text, struct local_file_counts *counts)
{
    return local_file_load(TEXT(text), "mesh.yaml", mesh_fixture_change(mesh), counts);
}

static void assert_loads(struct mesh_fixture *mesh, const char *text)
{
    struct local_file_counts counts;
    struct result result = load(mesh, text, &counts);
    assert_string_equal(result.message, "");
}

static void assert_fails(const char *text, const char *sentence)
{
    struct mesh_fixture mesh = mesh_fixture_new();
    struct local_file_counts counts;
    struct result result = load(&mesh, text, &counts);
    assert_string_equal(result.message, sentence);
    assert_true(mesh_change_is_empty(mesh_fixture_change(&mesh)));
    mesh_fixture_free(&mesh);
}

static void the_example_of_the_contract_loads(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    assert_loads(&mesh,
        "workloads:\n"
        "- {uid: c1//v1/Pod/default/a, name: a, namespace: default, serviceAccount: a, trustDomain: cluster.local,\n"
        "   workloadIps: [\"10.0.0.1\"], protocol: HBONE, node: n1, services: {\"default/a.example\": {80: 8080}}}\n"
        "services:\n"
        "- {name: a, namespace: default, hostname: a.example, vips: [\"/10.1.0.1\"], ports: {80: 8080}}\n"
        "policies:\n"
        "- {name: p, namespace: default, scope: Namespace, action: Allow, dryRun: false,\n"
        "   rules: [[[{notDestinationPorts: [9999]}]]]}\n");
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    struct ip_address ip = ip_of("10.0.0.1");
    struct ip_address vip = ip_of("10.1.0.1");
    const struct workload *workload = mesh_workload_by_address(version, "", &ip);
    const struct service *service = mesh_service_by_address(version, "", &vip, NULL);
    const struct policy *policy = mesh_policy_by_key(version, TEXT("default/p"));
    struct mesh_endpoint endpoint;
    assert_non_null(workload);
    assert_int_equal(workload->protocol, WORKLOAD_HBONE);
    assert_string_equal(workload_text(workload, WORKLOAD_NODE), "n1");
    assert_string_equal(workload_text(workload, WORKLOAD_CLUSTER_ID), ""); /* no defaults of xDS here */
    assert_non_null(service);
    assert_true(mesh_find_endpoint(version, service, TEXT("c1//v1/Pod/default/a"), &endpoint));
    assert_int_equal(endpoint.ports[0].target_port, 8080);
    assert_non_null(policy);
    struct authorization_request request = { .source_ip = ip, .destination = target_of("10.0.0.1:80") };
    assert_true(policy_matches(policy, &request));
    request.destination.port = 9999;
    assert_false(policy_matches(policy, &request));
    mesh_fixture_free(&mesh);
}

static void every_key_of_a_workload_is_read(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    assert_loads(&mesh,
        "workloads:\n"
        "- uid: u\n  name: n\n  namespace: ns\n  trustDomain: td\n  serviceAccount: sa\n  network: net\n"
        "  workloadName: wn\n  workloadType: job\n  canonicalName: cn\n  canonicalRevision: cr\n"
        "  hostname: h.example\n  node: no\n  clusterId: c\n  protocol: TCP\n  networkMode: HostNetwork\n"
        "  status: Unhealthy\n  workloadIps: [10.0.0.1, 'fd00::1']\n  services: {}\n"
        "  waypoint: {destination: net/10.0.0.9, hboneMtlsPort: 15008}\n"
        "  networkGateway: {destination: ns/gw.example, hboneMtlsPort: 15009}\n"
        "  applicationTunnel: {protocol: PROXY, port: null}\n  nativeTunnel: true\n"
        "  authorizationPolicies: [ns/p, ns/q]\n  locality: {region: r, zone: z, subzone: s, more: x}\n"
        "  capacity: 5\n");
    const struct workload *workload = mesh_workload_by_uid(mesh_fixture_version(&mesh), TEXT("u"));
    static const char *const expected[WORKLOAD_TEXT_COUNT] = { [WORKLOAD_UID] = "u",
        [WORKLOAD_NAME] = "n",
        [WORKLOAD_NAMESPACE] = "ns",
        [WORKLOAD_NETWORK] = "net",
        [WORKLOAD_TRUST_DOMAIN] = "td",
        [WORKLOAD_SERVICE_ACCOUNT] = "sa",
        [WORKLOAD_NODE] = "no",
        [WORKLOAD_CANONICAL_NAME] = "cn",
        [WORKLOAD_CANONICAL_REVISION] = "cr",
        [WORKLOAD_TYPE] = "job",
        [WORKLOAD_OWNER_NAME] = "wn",
        [WORKLOAD_CLUSTER_ID] = "c",
        [WORKLOAD_HOSTNAME] = "h.example",
        [WORKLOAD_REGION] = "r",
        [WORKLOAD_ZONE] = "z",
        [WORKLOAD_SUBZONE] = "s" };
    for (size_t i = 0; i < WORKLOAD_TEXT_COUNT; i++) {
        assert_string_equal(workload_text(workload, (enum workload_text)i), expected[i]);
    }
    assert_int_equal(workload->network_mode, WORKLOAD_HOST_NETWORK);
    assert_false(workload->is_healthy);
    assert_int_equal(workload->address_count, 2);
    assert_int_equal(workload->waypoint->kind, GATEWAY_ADDRESS);
    assert_string_equal(workload->waypoint->network, "net");
    assert_int_equal(workload->network_gateway->kind, GATEWAY_HOSTNAME);
    assert_string_equal(workload->network_gateway->hostname, "gw.example");
    assert_true(workload->has_application_tunnel);
    assert_int_equal(workload->tunnel_protocol, TUNNEL_PROXY);
    assert_int_equal(workload->application_tunnel_port, 0);
    assert_true(workload->has_native_tunnel);
    assert_int_equal(workload->policy_count, 2);
    assert_int_equal(workload->capacity, 5);
    mesh_fixture_free(&mesh);
}

static void every_key_of_a_service_is_read(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    assert_loads(&mesh,
        "services:\n"
        "- name: s\n  namespace: ns\n  hostname: s.example\n  vips: [net/10.1.0.1, '/fd00::1']\n"
        "  ports: {80: 8080, 443: 0}\n  endpoints: {e: {workloadUid: e, port: {80: 81}, status: Unhealthy}}\n"
        "  subjectAltNames: ['spiffe://td/ns/a/sa/b']\n  cidrVips: [{network: net, cidr: 10.2.0.0/16}]\n"
        "  waypoint: {destination: ns/wp.example, hboneMtlsPort: 15008}\n"
        "  weightedWaypoints: [{destination: {destination: net/10.0.0.9, hboneMtlsPort: 15008}, weight: 3}]\n"
        "  loadBalancer: {routingPreferences: [Network, Region], mode: Failover, healthPolicy: AllowAll}\n"
        "  ipFamilies: Dual\n  canonical: true\n  visibility: Namespace\n");
    const struct service *service = mesh_service_by_key(mesh_fixture_version(&mesh), TEXT("ns/s.example"));
    assert_int_equal(service->vip_count, 2);
    assert_string_equal(service->vips[0].network, "net");
    assert_string_equal(service->vips[1].network, "");
    assert_int_equal(service->cidr_vip_count, 1);
    assert_int_equal(service->port_count, 2);
    assert_int_equal(service->endpoint_count, 1);
    assert_false(service->endpoints[0].is_healthy);
    assert_int_equal(service->endpoints[0].ports[0].target_port, 81);
    assert_string_equal(service->subject_alt_names[0], "spiffe://td/ns/a/sa/b");
    assert_string_equal(service->waypoint->hostname, "wp.example");
    assert_int_equal(service->weighted_waypoints[0].weight, 3);
    assert_int_equal(service->mode, BALANCE_FAILOVER);
    assert_int_equal(service->scopes[0], SCOPE_NETWORK);
    assert_true(service->allows_unhealthy && service->has_load_balancing);
    assert_int_equal(service->ip_families, FAMILIES_DUAL);
    assert_true(service->is_canonical && service->is_namespace_private);
    mesh_fixture_free(&mesh);
}

#define POLICY(rules_)                                                                                                 \
    "policies:\n- {name: p, namespace: d, scope: Global, action: Deny, dryRun: true, rules: " rules_ "}\n"

static void every_key_of_a_match_is_read(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    assert_loads(
        &mesh, POLICY("[[[{namespaces: [!Exact a, !Prefix b], notNamespaces: [!Suffix c], principals: [!Presence []],\n"
                      "  notPrincipals: [!Exact x], serviceAccounts: [{namespace: a, serviceAccount: b}],\n"
                      "  notServiceAccounts: [{namespace: c, serviceAccount: d}], sourceIps: [10.0.0.0/8],\n"
                      "  notSourceIps: ['fd00::/8'], destinationIps: [0.0.0.0/0], notDestinationIps: [1.2.3.4/32],\n"
                      "  destinationPorts: [80, 443], notDestinationPorts: [81]}]]]"));
    const struct policy *policy = mesh_policy_by_key(mesh_fixture_version(&mesh), TEXT("d/p"));
    assert_int_equal(policy->scope, POLICY_GLOBAL);
    assert_int_equal(policy->action, POLICY_DENY);
    assert_true(policy->is_dry_run);
    const struct policy_match *match = &policy->matches[0];
    for (unsigned field = POLICY_NAMESPACES; field < POLICY_FIELD_END; field++) {
        bool has_two = field == POLICY_NAMESPACES || field == POLICY_DESTINATION_PORTS;
        assert_int_equal(match->lists[field - 1].count, has_two ? 2 : 1);
    }
    assert_false(match->has_unknown_field);
    const union policy_value *first = &policy->values[match->lists[POLICY_NAMESPACES - 1].first];
    assert_string_equal(first[0].text.text, "a");
    assert_int_equal(first[1].text.kind, POLICY_PREFIX);
    mesh_fixture_free(&mesh);
}

static void an_unknown_key_of_a_match_can_only_deny_more(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    assert_loads(&mesh, POLICY("[[[{paths: [/admin]}]]]"));
    const struct policy *policy = mesh_policy_by_key(mesh_fixture_version(&mesh), TEXT("d/p"));
    assert_true(policy->matches[0].has_unknown_field);
    mesh_fixture_free(&mesh);
}

static void an_empty_document_is_an_empty_mesh(void **state)
{
    (void)state;
    static const char *const texts[] = { "", "\n", "# nothing yet\n", "---\n", "{}", "null\n", "workloads: []\n",
        "workloads:\n" };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct mesh_fixture mesh = mesh_fixture_new();
        assert_loads(&mesh, texts[i]);
        assert_true(mesh_change_is_empty(mesh_fixture_change(&mesh)));
        mesh_fixture_free(&mesh);
    }
}

static void mistakes_are_named_with_line_and_key(void **state)
{
    (void)state;
    assert_fails("workload: []\n", "mesh.yaml:1: unknown key `workload`");
    assert_fails(
        "workloads:\n- {namespace: a, services: {}}\n", "mesh.yaml:2: workloads[0]: missing key `workloadIps`");
    assert_fails("workloads:\n- {namespace: a, services: {}, workloadIps: []}\n"
                 "- namespace: a\n  services: {}\n  workloadIps: []\n  weight: 1\n",
        "mesh.yaml:6: workloads[1]: unknown key `weight`");
    assert_fails("workloads:\n- {namespace: a, services: {}, workloadIps: [10.0.0]}\n",
        "mesh.yaml:2: workloads[0]: `10.0.0` is not an IP address");
    assert_fails("workloads:\n- {namespace: a, services: {}, workloadIps: [], protocol: hbone}\n",
        "mesh.yaml:2: workloads[0]: `hbone` is none of TCP, HBONE");
    assert_fails("workloads:\n- {namespace: a, services: {a: {}}, workloadIps: []}\n",
        "mesh.yaml:2: workloads[0]: failed to parse namespaced hostname: a");
    assert_fails("workloads:\n- {namespace: a, services: {a/b: {80: 65536}}, workloadIps: []}\n",
        "mesh.yaml:2: workloads[0]: `65536` is not a number from 0 to 65535");
    assert_fails("workloads:\n- {namespace: a, services: {}, workloadIps: [], nativeTunnel: yes}\n",
        "mesh.yaml:2: workloads[0]: `yes` is neither true nor false");
    assert_fails(
        "workloads:\n- {namespace: a, services: {}, workloadIps: [], waypoint: {destination: x, hboneMtlsPort: 1}}\n",
        "mesh.yaml:2: workloads[0]: `x` is neither network/ip nor namespace/hostname");
    assert_fails("services:\n- {name: a, namespace: b, hostname: c, vips: [10.0.0.1], ports: {}}\n",
        "mesh.yaml:2: services[0]: `10.0.0.1` is not network/ip");
    assert_fails(POLICY("[[[{principals: [{Exact: a}]}]]]"),
        "mesh.yaml:2: policies[0]: a string match is written !Exact s, !Prefix s, !Suffix s or !Presence []");
    assert_fails(
        POLICY("[[[{sourceIps: [10.0.0.0/33]}]]]"), "mesh.yaml:2: policies[0]: `10.0.0.0/33` is not a CIDR block");
    assert_fails("workloads: 7\n", "mesh.yaml:1: a list is expected here");
    assert_fails("- a\n", "mesh.yaml:1: a mapping is expected here");
}

static void aliases_are_refused(void **state)
{
    (void)state;
    assert_fails("workloads: &w []\nservices: *w\n", "mesh.yaml:2: aliases are not supported");
}

/* Several pieces of each section, in the styles that are allowed there; `spoil` stands in the last item. */
static void write_large_file(struct writer *text, const char *spoil)
{
    writer_add_string(text, "---\n# a large mesh\nworkloads:   # all of them\n\n");
    for (int i = 0; i < 2000; i++) {
        writer_print(text,
            "  - uid: \"u%d\"\n    name: |\n     - not: an item\n# nor the end of it\n    namespace: a\n"
            "    workloadIps: [\"10.1.%d.%d\",\n      ]\n    services: {}\n",
            i, i >> 8, i & 255);
    }
    writer_add_string(text, "services:\n");
    for (int i = 0; i < 2000; i++) {
        writer_print(text, "- name: s%d\n  namespace: b\n  hostname: s%d.example\n  vips: []\n  ports: {}\n", i, i);
    }
    writer_print(text, "%s", spoil);
    writer_add_string(text, "\npolicies: []\n");
}

static void a_large_file_is_read_in_pieces(void **state)
{
    (void)state;
    struct writer text = writer_growing();
    write_large_file(&text, "");
    struct mesh_fixture mesh = mesh_fixture_new();
    struct local_file_counts counts;
    struct result result = load(&mesh, writer_string(&text), &counts);
    assert_string_equal(result.message, "");
    assert_int_equal(counts.workloads, 2000);
    assert_int_equal(counts.services, 2000);
    const struct workload *last = mesh_workload_by_uid(mesh_fixture_version(&mesh), TEXT("u1999"));
    assert_non_null(last);
    assert_string_equal(workload_text(last, WORKLOAD_NAME), "- not: an item\n");
    assert_non_null(mesh_service_by_key(mesh_fixture_version(&mesh), TEXT("b/s1999.example")));
    mesh_fixture_free(&mesh);
    writer_free(&text);
}

static void a_mistake_in_a_late_piece_is_named_with_its_own_line(void **state)
{
    (void)state;
    struct writer text = writer_growing();
    write_large_file(&text, "- name: s\n  nonsense: x\n");
    /* 4 lines of head, 8 a workload, 1, 5 a service, 2. */
    assert_fails(writer_string(&text), "mesh.yaml:26007: services[2000]: unknown key `nonsense`");
    writer_free(&text);
    text = writer_growing();
    write_large_file(&text, "- name: [unfinished\n");
    struct mesh_fixture mesh = mesh_fixture_new();
    struct local_file_counts counts;
    struct result result = load(&mesh, writer_string(&text), &counts);
    assert_false(result_is_ok(&result));
    assert_memory_equal(result.message, "mesh.yaml:2600", 14);
    mesh_fixture_free(&mesh);
    writer_free(&text);
}

static void a_section_that_comes_twice_is_refused(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct local_file_counts counts;
    const char *item = "workloads:\n- {uid: u, namespace: a, services: {}, workloadIps: []}\n";
    char text[256];
    snprintf(text, sizeof text, "%s%s", item, item);
    struct result result = load(&mesh, text, &counts);
    assert_false(result_is_ok(&result));
    mesh_fixture_free(&mesh);
}

static void what_the_parser_cannot_bear_is_refused_before_it(void **state)
{
    (void)state;
    assert_fails("# comment\n%  directive: , \nx, ", "mesh.yaml:2: directives are not supported");
    assert_fails("workloads: \"\xff\"\n", "mesh.yaml: not UTF-8");
}

static void what_is_not_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct local_file_counts counts;
    struct result result = load(&mesh, "workloads:\n- {namespace: a\n", &counts);
    assert_false(result_is_ok(&result));
    assert_memory_equal(result.message, "mesh.yaml:", 10);
    mesh_fixture_free(&mesh);
}

static void a_file_or_an_inline_document_is_read_not_both(void **state)
{
    (void)state;
    char path[] = "/tmp/ambar-test-local-file-XXXXXX";
    const char *text = "workloads:\n- {uid: u, namespace: a, services: {}, workloadIps: []}\n";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    struct mesh_fixture mesh = mesh_fixture_new();
    struct result result = local_file_initialise(path, NULL, mesh_fixture_change(&mesh));
    assert_string_equal(result.message, "");
    assert_non_null(mesh_workload_by_uid(mesh_fixture_version(&mesh), TEXT("u")));
    mesh_change_remove_address(mesh_fixture_change(&mesh), TEXT("u"));
    result = local_file_initialise(NULL, text, mesh_fixture_change(&mesh));
    assert_string_equal(result.message, "");
    assert_non_null(mesh_workload_by_uid(mesh_fixture_version(&mesh), TEXT("u")));
    result = local_file_initialise(path, text, mesh_fixture_change(&mesh));
    assert_string_equal(result.message, "only one of LOCAL_XDS_PATH or LOCAL_XDS may be set");
    unlink(path);
    result = local_file_initialise(path, NULL, mesh_fixture_change(&mesh));
    assert_int_equal(result.code, RESULT_SYSTEM);
    mesh_fixture_free(&mesh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_contract_loads),
        cmocka_unit_test(every_key_of_a_workload_is_read),
        cmocka_unit_test(every_key_of_a_service_is_read),
        cmocka_unit_test(every_key_of_a_match_is_read),
        cmocka_unit_test(an_unknown_key_of_a_match_can_only_deny_more),
        cmocka_unit_test(an_empty_document_is_an_empty_mesh),
        cmocka_unit_test(mistakes_are_named_with_line_and_key),
        cmocka_unit_test(aliases_are_refused),
        cmocka_unit_test(a_large_file_is_read_in_pieces),
        cmocka_unit_test(a_mistake_in_a_late_piece_is_named_with_its_own_line),
        cmocka_unit_test(a_section_that_comes_twice_is_refused),
        cmocka_unit_test(what_the_parser_cannot_bear_is_refused_before_it),
        cmocka_unit_test(what_is_not_yaml_is_refused_with_its_line),
        cmocka_unit_test(a_file_or_an_inline_document_is_read_not_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
