#include "unit/mesh/mesh_fixture.h"

static const struct workload *at(const struct mesh_version *version, const char *ip)
{
    struct ip_address address = ip_of(ip);
    return mesh_workload_by_address(version, "", &address);
}

static const char *uid_at(const struct mesh_version *version, const char *ip)
{
    const struct workload *workload = at(version, ip);
    return workload != NULL ? workload_text(workload, WORKLOAD_UID) : "none";
}

static const char *service_at(const struct mesh_version *version, const char *network, const char *ip, const char *ns)
{
    struct ip_address address = ip_of(ip);
    const struct service *service = mesh_service_by_address(version, network, &address, ns);
    return service != NULL ? service->key : "none";
}

static struct service_spec service_named(const char *namespace_, const char *hostname, struct service_vip_spec *vip)
{
    return (struct service_spec){ .name = TEXT(hostname),
        .namespace_ = TEXT(namespace_),
        .hostname = TEXT(hostname),
        .vips = vip,
        .vip_count = vip != NULL };
}

static void a_pods_uid_and_hbone_win_a_shared_address_and_the_latest_a_tie(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct workload_spec entry = pod_spec("c/networking.istio.io/WorkloadEntry/a/e", "10.0.0.1");
    struct workload_spec pod = pod_spec("c//Pod/a/p", "10.0.0.1");
    struct workload_spec later = pod_spec("c//Pod/a/q", "10.0.0.1");
    pod.protocol = WORKLOAD_TCP;
    later.protocol = WORKLOAD_TCP;
    mesh_fixture_add_workload(&mesh, &pod);
    mesh_fixture_add_workload(&mesh, &entry);
    assert_string_equal(uid_at(mesh_fixture_version(&mesh), "10.0.0.1"), "c//Pod/a/p");
    mesh_fixture_add_workload(&mesh, &later);
    assert_string_equal(uid_at(mesh_fixture_version(&mesh), "10.0.0.1"), "c//Pod/a/q");
    mesh_fixture_add_workload(&mesh, &pod); /* sent again: now the latest */
    assert_string_equal(uid_at(mesh_fixture_version(&mesh), "10.0.0.1"), "c//Pod/a/p");
    mesh_change_remove_address(mesh_fixture_change(&mesh), TEXT("c//Pod/a/p"));
    mesh_change_remove_address(mesh_fixture_change(&mesh), TEXT("c//Pod/a/q"));
    assert_string_equal(uid_at(mesh_fixture_version(&mesh), "10.0.0.1"), "c/networking.istio.io/WorkloadEntry/a/e");
    mesh_fixture_free(&mesh);
}

static void a_host_network_workload_is_never_found_by_address(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct workload_spec spec = pod_spec("c//Pod/a/p", "10.0.0.1");
    spec.network_mode = WORKLOAD_HOST_NETWORK;
    mesh_fixture_add_workload(&mesh, &spec);
    assert_null(at(mesh_fixture_version(&mesh), "10.0.0.1"));
    assert_non_null(mesh_workload_by_uid(mesh_fixture_version(&mesh), TEXT("c//Pod/a/p")));
    mesh_fixture_free(&mesh);
}

static void an_update_forgets_the_old_addresses(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct workload_spec before = pod_spec("c//Pod/a/p", "10.0.0.1");
    struct workload_spec after = pod_spec("c//Pod/a/p", "10.0.0.2");
    mesh_fixture_add_workload(&mesh, &before);
    mesh_fixture_version(&mesh);
    mesh_fixture_add_workload(&mesh, &after);
    assert_null(at(mesh_fixture_version(&mesh), "10.0.0.1"));
    assert_string_equal(uid_at(mesh_fixture_version(&mesh), "10.0.0.2"), "c//Pod/a/p");
    mesh_fixture_free(&mesh);
}

static void only_workloads_of_this_node_are_local(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_on("", "n1");
    struct workload_spec here = pod_spec("c//Pod/a/here", "10.0.0.1");
    struct workload_spec there = pod_spec("c//Pod/a/there", "10.0.0.2");
    here.texts[WORKLOAD_NODE] = TEXT("n1");
    there.texts[WORKLOAD_NODE] = TEXT("n2");
    mesh_fixture_add_workload(&mesh, &here);
    mesh_fixture_add_workload(&mesh, &there);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_non_null(mesh_local_workload(version, "here", "default", "default"));
    assert_null(mesh_local_workload(version, "here", "default", "other"));
    assert_null(mesh_local_workload(version, "there", "default", "default"));
    mesh_fixture_free(&mesh);
}

static void a_vip_goes_to_the_clients_namespace_then_the_last_canonical_then_the_first(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct service_vip_spec vip = vip_of("", "10.1.0.1");
    struct service_spec first = service_named("a", "s", &vip);
    struct service_spec second = service_named("b", "s", &vip);
    struct service_spec canonical = service_named("c", "s", &vip);
    struct service_spec last_canonical = service_named("d", "s", &vip);
    canonical.is_canonical = last_canonical.is_canonical = true;
    mesh_fixture_add_service(&mesh, &first);
    mesh_fixture_add_service(&mesh, &second);
    assert_string_equal(service_at(mesh_fixture_version(&mesh), "", "10.1.0.1", "z"), "a/s");
    mesh_fixture_add_service(&mesh, &canonical);
    mesh_fixture_add_service(&mesh, &last_canonical);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_string_equal(service_at(version, "", "10.1.0.1", "b"), "b/s");
    assert_string_equal(service_at(version, "", "10.1.0.1", "z"), "d/s");
    assert_string_equal(service_at(version, "", "10.1.0.1", NULL), "d/s");
    assert_string_equal(service_at(version, "other", "10.1.0.1", "b"), "none");
    assert_string_equal(mesh_service_by_hostname(version, TEXT("s"), "b")->key, "b/s");
    assert_null(mesh_service_by_hostname(version, TEXT("t"), "b"));
    mesh_fixture_free(&mesh);
}

static void a_private_service_is_hidden_from_other_namespaces(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct service_vip_spec vip = vip_of("", "10.1.0.1");
    struct service_spec spec = service_named("a", "s", &vip);
    spec.is_namespace_private = true;
    mesh_fixture_add_service(&mesh, &spec);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_string_equal(service_at(version, "", "10.1.0.1", "a"), "a/s");
    assert_string_equal(service_at(version, "", "10.1.0.1", "b"), "none");
    assert_string_equal(service_at(version, "", "10.1.0.1", NULL), "a/s");
    mesh_fixture_free(&mesh);
}

static void cidr_addresses_rank_namespace_before_prefix_before_canonical(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct service_vip_spec wide = vip_of("", "10.0.0.0/8");
    struct service_vip_spec narrow = vip_of("", "10.2.0.0/16");
    struct service_vip_spec elsewhere = vip_of("n2", "10.2.3.0/24");
    struct service_vip_spec exact = vip_of("", "10.2.9.9");
    struct service_spec own = service_named("own", "w", &wide);
    struct service_spec other = service_named("x", "n", &narrow);
    struct service_spec canonical = service_named("y", "c", &narrow);
    struct service_spec far = service_named("own", "f", &elsewhere);
    struct service_spec host = service_named("z", "h", &exact);
    canonical.is_canonical = true;
    mesh_fixture_add_service(&mesh, &own);
    mesh_fixture_add_service(&mesh, &other);
    mesh_fixture_add_service(&mesh, &canonical);
    mesh_fixture_add_service(&mesh, &far);
    mesh_fixture_add_service(&mesh, &host);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_string_equal(service_at(version, "", "10.2.3.4", "own"), "own/w");
    assert_string_equal(service_at(version, "", "10.2.3.4", "q"), "y/c");
    assert_string_equal(service_at(version, "n2", "10.2.3.4", "q"), "own/f");
    assert_string_equal(service_at(version, "", "10.2.9.9", "own"), "z/h");
    assert_string_equal(service_at(version, "", "11.0.0.1", "own"), "none");
    mesh_change_remove_address(mesh_fixture_change(&mesh), TEXT("y/c"));
    assert_string_equal(service_at(mesh_fixture_version(&mesh), "", "10.2.3.4", "q"), "x/n");
    mesh_fixture_free(&mesh);
}

static size_t count_endpoints(const struct mesh_version *version, const char *key)
{
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint endpoint;
    size_t count = 0;
    mesh_endpoints_begin(version, TEXT(key), &iterator);
    while (mesh_endpoints_next(&iterator, &endpoint)) {
        count++;
    }
    return count;
}

static void endpoints_wait_for_their_service_and_outlive_its_updates(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct port_mapping ports[] = { { 80, 8080 } };
    struct workload_service_spec membership = { TEXT("a/s"), ports, 1 };
    struct workload_spec pod = pod_spec("c//Pod/a/p", "10.0.0.1");
    struct service_spec spec = service_named("a", "s", NULL);
    struct persistent_map_iterator iterator;
    struct bytes key;
    pod.services = &membership;
    pod.service_count = 1;
    mesh_fixture_add_workload(&mesh, &pod);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    mesh_staged_services_begin(version, &iterator);
    assert_true(mesh_staged_services_next(version, &iterator, &key));
    assert_true(bytes_equal_string(key, "a/s"));
    assert_false(mesh_staged_services_next(version, &iterator, &key));

    mesh_fixture_add_service(&mesh, &spec);
    version = mesh_fixture_version(&mesh);
    mesh_staged_services_begin(version, &iterator);
    assert_false(mesh_staged_services_next(version, &iterator, &key));
    assert_int_equal(count_endpoints(version, "a/s"), 1);

    mesh_fixture_add_service(&mesh, &spec);
    assert_int_equal(count_endpoints(mesh_fixture_version(&mesh), "a/s"), 1);
    mesh_change_remove_address(mesh_fixture_change(&mesh), TEXT("c//Pod/a/p"));
    assert_int_equal(count_endpoints(mesh_fixture_version(&mesh), "a/s"), 0);
    mesh_fixture_free(&mesh);
}

static void an_unhealthy_endpoint_counts_only_where_the_service_allows_it(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct port_mapping ports[] = { { 80, 8080 } };
    struct workload_service_spec membership = { TEXT("a/s"), ports, 1 };
    struct workload_spec pod = pod_spec("c//Pod/a/p", "10.0.0.1");
    struct service_spec spec = service_named("a", "s", NULL);
    struct mesh_endpoint endpoint;
    pod.services = &membership;
    pod.service_count = 1;
    pod.is_healthy = false;
    mesh_fixture_add_workload(&mesh, &pod);
    const struct service *service = mesh_fixture_add_service(&mesh, &spec);
    assert_false(mesh_find_endpoint(mesh_fixture_version(&mesh), service, TEXT("c//Pod/a/p"), &endpoint));
    spec.allows_unhealthy = true;
    service = mesh_fixture_add_service(&mesh, &spec);
    assert_true(mesh_find_endpoint(mesh_fixture_version(&mesh), service, TEXT("c//Pod/a/p"), &endpoint));
    assert_int_equal(endpoint.ports[0].target_port, 8080);
    mesh_fixture_free(&mesh);
}

static void endpoints_a_service_lists_itself_are_joined_with_those_of_workloads(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct port_mapping ports[] = { { 80, 8080 } };
    struct workload_service_spec membership = { TEXT("a/s"), ports, 1 };
    struct workload_spec member = pod_spec("member", "10.0.0.1");
    struct workload_spec listed = pod_spec("listed", "10.0.0.2");
    struct service_endpoint_spec endpoints[] = { { TEXT("listed"), ports, 1, true }, { TEXT("member"), ports, 1, true },
        { TEXT("unknown"), ports, 1, true } };
    struct service_spec spec = service_named("a", "s", NULL);
    member.services = &membership;
    member.service_count = 1;
    spec.endpoints = endpoints;
    spec.endpoint_count = 3;
    mesh_fixture_add_workload(&mesh, &member);
    mesh_fixture_add_workload(&mesh, &listed);
    mesh_fixture_add_service(&mesh, &spec);
    assert_int_equal(count_endpoints(mesh_fixture_version(&mesh), "a/s"), 3);
    mesh_fixture_free(&mesh);
}

static void removals_say_what_they_were(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct workload_spec pod = pod_spec("c//Pod/a/p", "10.0.0.1");
    struct service_spec spec = service_named("a", "s", NULL);
    mesh_fixture_add_workload(&mesh, &pod);
    mesh_fixture_add_service(&mesh, &spec);
    mesh_fixture_version(&mesh);
    struct mesh_change *change = mesh_fixture_change(&mesh);
    assert_int_equal(mesh_change_remove_address(change, TEXT("a/unknown")), MESH_REMOVAL_UNKNOWN);
    assert_int_equal(mesh_change_remove_address(change, TEXT("nothing")), MESH_REMOVAL_MALFORMED);
    assert_int_equal(mesh_change_remove_address(change, TEXT("")), MESH_REMOVAL_MALFORMED);
    assert_int_equal(mesh_change_remove_address(change, TEXT("c//Pod/a/x")), MESH_REMOVAL_IGNORED);
    assert_true(mesh_change_is_empty(change));
    assert_int_equal(mesh_change_remove_address(change, TEXT("c//Pod/a/p")), MESH_REMOVED_WORKLOAD);
    assert_int_equal(mesh_change_remove_address(change, TEXT("a/s")), MESH_REMOVED_SERVICE);
    assert_false(mesh_change_remove_policy(change, TEXT("a/p")));
    assert_false(mesh_change_is_empty(change));
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_int_equal(mesh_version_workload_count(version), 0);
    assert_int_equal(mesh_version_service_count(version), 0);
    mesh_fixture_free(&mesh);
}

static struct policy *policy_named(const char *key, enum policy_scope scope, const char *namespace_)
{
    struct policy_builder *builder = policy_builder_new();
    struct policy_header header = {
        .key = TEXT(key), .name = TEXT("p"), .namespace_ = TEXT(namespace_), .scope = scope
    };
    struct policy *policy = NULL;
    policy_builder_begin_rule(builder);
    struct result made = policy_builder_finish(builder, &header, &policy);
    assert_true(result_is_ok(&made));
    policy_builder_free(builder);
    return policy;
}

static void policies_are_found_by_name_namespace_and_scope(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct mesh_change *change = mesh_fixture_change(&mesh);
    mesh_change_upsert_policy(change, policy_named("a/p", POLICY_NAMESPACE, "a"));
    mesh_change_upsert_policy(change, policy_named("a/q", POLICY_NAMESPACE, "a"));
    mesh_change_upsert_policy(change, policy_named("r/g", POLICY_GLOBAL, "r"));
    mesh_change_upsert_policy(change, policy_named("a/s", POLICY_WORKLOAD_SELECTOR, "a"));
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_int_equal(mesh_policies_of_namespace(version, "a").count, 2);
    assert_int_equal(mesh_policies_of_namespace(version, "r").count, 0);
    assert_int_equal(mesh_global_policies(version).count, 1);
    assert_non_null(mesh_policy_by_key(version, TEXT("a/s")));
    /* The scope may change with an update. */
    change = mesh_fixture_change(&mesh);
    mesh_change_upsert_policy(change, policy_named("a/p", POLICY_WORKLOAD_SELECTOR, "a"));
    assert_true(mesh_change_remove_policy(change, TEXT("r/g")));
    version = mesh_fixture_version(&mesh);
    assert_int_equal(mesh_policies_of_namespace(version, "a").count, 1);
    assert_int_equal(mesh_global_policies(version).count, 0);
    assert_int_equal(mesh_version_policy_count(version), 3);
    mesh_fixture_free(&mesh);
}

static void the_policy_generation_moves_only_when_a_new_check_is_due(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_on("", "n1");
    struct bytes policies[] = { TEXT("a/s") };
    struct workload_spec here = pod_spec("c//Pod/a/here", "10.0.0.1");
    struct workload_spec there = pod_spec("c//Pod/a/there", "10.0.0.2");
    here.texts[WORKLOAD_NODE] = TEXT("n1");
    mesh_fixture_add_workload(&mesh, &here);
    uint64_t generation = mesh_version_policy_generation(mesh_fixture_version(&mesh));

    mesh_fixture_add_workload(&mesh, &there);
    here.is_healthy = false;
    mesh_fixture_add_workload(&mesh, &here);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    assert_int_equal(mesh_version_policy_generation(version), generation);
    assert_true(mesh_version_generation(version) > generation);

    here.policy_keys = policies;
    here.policy_count = 1;
    mesh_fixture_add_workload(&mesh, &here);
    assert_true(mesh_version_policy_generation(mesh_fixture_version(&mesh)) > generation);
    generation = mesh_version_policy_generation(mesh.version);
    mesh_change_upsert_policy(mesh_fixture_change(&mesh), policy_named("x/y", POLICY_GLOBAL, "x"));
    assert_true(mesh_version_policy_generation(mesh_fixture_version(&mesh)) > generation);
    mesh_fixture_free(&mesh);
}

static void a_discarded_change_leaves_the_base_alone(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct workload_spec pod = pod_spec("c//Pod/a/p", "10.0.0.1");
    mesh_fixture_add_workload(&mesh, &pod);
    mesh_fixture_version(&mesh);
    struct mesh_change *change = mesh_change_begin(mesh.version);
    mesh_change_remove_address(change, TEXT("c//Pod/a/p"));
    mesh_change_discard(change);
    assert_non_null(at(mesh.version, "10.0.0.1"));
    mesh_fixture_free(&mesh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pods_uid_and_hbone_win_a_shared_address_and_the_latest_a_tie),
        cmocka_unit_test(a_host_network_workload_is_never_found_by_address),
        cmocka_unit_test(an_update_forgets_the_old_addresses),
        cmocka_unit_test(only_workloads_of_this_node_are_local),
        cmocka_unit_test(a_vip_goes_to_the_clients_namespace_then_the_last_canonical_then_the_first),
        cmocka_unit_test(a_private_service_is_hidden_from_other_namespaces),
        cmocka_unit_test(cidr_addresses_rank_namespace_before_prefix_before_canonical),
        cmocka_unit_test(endpoints_wait_for_their_service_and_outlive_its_updates),
        cmocka_unit_test(an_unhealthy_endpoint_counts_only_where_the_service_allows_it),
        cmocka_unit_test(endpoints_a_service_lists_itself_are_joined_with_those_of_workloads),
        cmocka_unit_test(removals_say_what_they_were),
        cmocka_unit_test(policies_are_found_by_name_namespace_and_scope),
        cmocka_unit_test(the_policy_generation_moves_only_when_a_new_check_is_due),
        cmocka_unit_test(a_discarded_change_leaves_the_base_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
