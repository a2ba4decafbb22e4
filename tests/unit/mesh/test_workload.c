#include "unit/mesh/mesh_fixture.h"

#include "mesh/interned.h"

#include <pthread.h>

static struct workload *replica(const char *uid, const char *name, const char *application, const char *node)
{
    struct workload_service_spec service = { .key = TEXT("default/web") };
    struct bytes policy = TEXT("default/deny");
    struct workload_spec spec = workload_spec_initial();
    spec.texts[WORKLOAD_UID] = TEXT(uid);
    spec.texts[WORKLOAD_NAME] = TEXT(name);
    spec.texts[WORKLOAD_NAMESPACE] = TEXT("default");
    spec.texts[WORKLOAD_CANONICAL_NAME] = TEXT(application);
    spec.texts[WORKLOAD_OWNER_NAME] = TEXT(application);
    spec.texts[WORKLOAD_NODE] = TEXT(node);
    spec.services = &service;
    spec.service_count = 1;
    spec.policy_keys = &policy;
    spec.policy_count = 1;
    spec.waypoint = (struct gateway_spec){
        .kind = GATEWAY_HOSTNAME, .namespace_ = TEXT("default"), .hostname = TEXT("waypoint"), .hbone_mtls_port = 15008
    };
    return workload_of(&spec);
}

static void what_workloads_have_in_common_is_kept_once_and_no_longer_than_they(void **state)
{
    (void)state;
    size_t before = interned_count();
    struct workload *first = replica("c//Pod/default/web-1", "web-1", "web", "n1");
    struct workload *second = replica("c//Pod/default/web-2", "web-2", "web", "n2");
    struct workload *other = replica("c//Pod/default/api-1", "api-1", "api", "n1");
    assert_ptr_equal(first->kind, second->kind);
    assert_ptr_equal(first->place, other->place);
    assert_ptr_not_equal(first->place, second->place);
    assert_ptr_not_equal(first->kind, other->kind);
    assert_int_equal(interned_count() - before, 4);
    workload_release(first);
    assert_string_equal(workload_text(second, WORKLOAD_NAME), "web-2");
    assert_string_equal(workload_text(second, WORKLOAD_CANONICAL_NAME), "web");
    assert_string_equal(workload_text(second, WORKLOAD_NODE), "n2");
    assert_string_equal(second->waypoint->hostname, "waypoint");
    assert_string_equal(second->services[0].key, "default/web");
    assert_string_equal(second->policy_keys[0], "default/deny");
    workload_release(second);
    workload_release(other);
    assert_int_equal(interned_count(), before);
}

static void workloads_that_bear_their_own_name_as_their_applications_are_of_one_kind(void **state)
{
    (void)state;
    struct workload *first = replica("c//Pod/default/a", "a", "a", "n1");
    struct workload *second = replica("c//Pod/default/b", "b", "b", "n1");
    struct workload *named = replica("c//Pod/default/c", "c", "a", "n1");
    assert_ptr_equal(first->kind, second->kind);
    assert_ptr_not_equal(first->kind, named->kind);
    assert_string_equal(workload_text(first, WORKLOAD_CANONICAL_NAME), "a");
    assert_string_equal(workload_text(second, WORKLOAD_OWNER_NAME), "b");
    assert_string_equal(workload_text(named, WORKLOAD_OWNER_NAME), "a");
    workload_release(first);
    workload_release(second);
    workload_release(named);
}

#define THREADS 4

static void *come_and_go(void *unused)
{
    for (int i = 0; i < 3000; i++) {
        struct workload *workload = replica("c//Pod/default/web-1", "web-1", i % 3 == 0 ? "web" : "api", "n1");
        assert_string_equal(workload_text(workload, WORKLOAD_NODE), "n1");
        workload_release(workload);
    }
    return unused;
}

static void threads_may_make_and_release_the_same_parts(void **state)
{
    (void)state;
    size_t before = interned_count();
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(interned_count(), before);
}

static void every_text_is_kept_though_shared_ends_are_stored_once(void **state)
{
    (void)state;
    struct workload_spec spec = workload_spec_initial();
    spec.texts[WORKLOAD_UID] = TEXT("Kubernetes//Pod/default/web-1");
    spec.texts[WORKLOAD_NAME] = TEXT("web-1");
    spec.texts[WORKLOAD_CANONICAL_NAME] = TEXT("web");
    spec.texts[WORKLOAD_OWNER_NAME] = TEXT("web");
    struct workload *workload = workload_of(&spec);
    assert_string_equal(workload_text(workload, WORKLOAD_UID), "Kubernetes//Pod/default/web-1");
    assert_string_equal(workload_text(workload, WORKLOAD_NAME), "web-1");
    assert_string_equal(workload_text(workload, WORKLOAD_CANONICAL_NAME), "web");
    assert_string_equal(workload_text(workload, WORKLOAD_OWNER_NAME), "web");
    assert_string_equal(workload_text(workload, WORKLOAD_NODE), "");
    assert_true(workload_text(workload, WORKLOAD_NAME) == workload_text(workload, WORKLOAD_UID) + 24);
    workload_release(workload);
}

static void a_text_with_a_nul_is_refused_by_name(void **state)
{
    (void)state;
    struct workload_spec spec = workload_spec_initial();
    struct workload *workload = NULL;
    spec.texts[WORKLOAD_SERVICE_ACCOUNT] = bytes_of("admin\0x", 7);
    struct result made = workload_new(&spec, &workload);
    assert_string_equal(made.message, "service_account contains a NUL character");
    assert_null(workload);
}

static void a_text_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char text[MESH_TEXT_MAXIMUM + 1];
    memset(text, 'x', sizeof text);
    struct workload_spec spec = workload_spec_initial();
    struct workload *workload = NULL;
    for (size_t i = 0; i < WORKLOAD_TEXT_COUNT; i++) {
        text[0] = (char)('a' + i);
        spec.texts[i] = bytes_of(text, MESH_TEXT_MAXIMUM);
    }
    struct result made = workload_new(&spec, &workload);
    assert_true(result_is_ok(&made));
    assert_int_equal(strlen(workload_text(workload, WORKLOAD_SUBZONE)), MESH_TEXT_MAXIMUM);
    workload_release(workload);
    spec.texts[WORKLOAD_NODE] = bytes_of(text, sizeof text);
    made = workload_new(&spec, &workload);
    assert_int_equal(made.code, RESULT_LIMIT);
}

static void a_service_key_without_slash_is_refused(void **state)
{
    (void)state;
    struct workload_service_spec service = { .key = TEXT("web") };
    struct workload_spec spec = workload_spec_initial();
    struct workload *workload = NULL;
    spec.services = &service;
    spec.service_count = 1;
    struct result made = workload_new(&spec, &workload);
    assert_string_equal(made.message, "failed to parse namespaced hostname: web");
}

static void everything_of_a_full_workload_comes_back(void **state)
{
    (void)state;
    struct port_mapping ports[] = { { 80, 8080 }, { 443, 0 }, { 80, 9090 } };
    struct workload_service_spec services[] = { { TEXT("a/web"), ports, 3 }, { TEXT("a/other"), ports, 1 } };
    struct bytes policies[] = { TEXT("a/p"), TEXT("b/q") };
    struct workload_spec spec = pod_spec("c//Pod/a/x", "2001:db8::1");
    spec.services = services;
    spec.service_count = 2;
    spec.policy_keys = policies;
    spec.policy_count = 2;
    spec.waypoint = gateway_named("a", "wp", 15008);
    spec.network_gateway = gateway_at("n2", "10.9.9.9", 15009);
    spec.capacity = 7;
    struct workload *workload = workload_of(&spec);
    uint16_t target;
    const struct workload_service *web = workload_find_service(workload, TEXT("a/web"));
    assert_non_null(web);
    assert_true(port_mapping_find(web->ports, web->port_count, 80, &target));
    assert_int_equal(target, 9090); /* the last of equal keys, as in a map */
    assert_null(workload_find_service(workload, TEXT("a/we")));
    assert_string_equal(workload->policy_keys[1], "b/q");
    assert_string_equal(workload->waypoint->hostname, "wp");
    assert_string_equal(workload->network_gateway->network, "n2");
    assert_int_equal(workload->network_gateway->hbone_mtls_port, 15009);
    struct ip_address ip = ip_of("2001:db8::1");
    assert_true(workload_has_address(workload, &ip));
    assert_int_equal(workload->capacity, 7);
    workload_release(workload);
}

static void identity_and_description_read_as_in_the_reference(void **state)
{
    (void)state;
    struct workload_spec spec = pod_spec("c//Pod/default/x", "10.0.0.1");
    struct workload *workload = workload_of(&spec);
    struct writer out = writer_growing();
    workload_add_identity(workload, &out);
    assert_string_equal(writer_string(&out), "spiffe://cluster.local/ns/default/sa/default");
    writer_clear(&out);
    workload_describe(workload, &out);
    assert_string_equal(writer_string(&out), "Workload{x with uid c//Pod/default/x (HBONE)}");
    writer_free(&out);
    workload_release(workload);
}

static void host_and_cidr_addresses_of_a_service_are_told_apart(void **state)
{
    (void)state;
    struct service_vip_spec vips[] = { vip_of("n", "10.0.0.0/24"), vip_of("", "10.1.0.1"), vip_of("", "fd00::1") };
    struct service_spec spec = {
        .name = TEXT("s"), .namespace_ = TEXT("ns"), .hostname = TEXT("s.example"), .vips = vips, .vip_count = 3
    };
    struct service *service = service_of(&spec);
    assert_string_equal(service->key, "ns/s.example");
    assert_string_equal(service->hostname, "s.example");
    assert_int_equal(service->vip_count, 2);
    assert_int_equal(service->cidr_vip_count, 1);
    assert_string_equal(service->cidr_vips[0].network, "n");
    assert_int_equal(service->cidr_vips[0].cidr.prefix_bits, 24);
    service_release(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_workloads_have_in_common_is_kept_once_and_no_longer_than_they),
        cmocka_unit_test(workloads_that_bear_their_own_name_as_their_applications_are_of_one_kind),
        cmocka_unit_test(threads_may_make_and_release_the_same_parts),
        cmocka_unit_test(every_text_is_kept_though_shared_ends_are_stored_once),
        cmocka_unit_test(a_text_with_a_nul_is_refused_by_name),
        cmocka_unit_test(a_text_that_is_too_long_is_refused),
        cmocka_unit_test(a_service_key_without_slash_is_refused),
        cmocka_unit_test(everything_of_a_full_workload_comes_back),
        cmocka_unit_test(identity_and_description_read_as_in_the_reference),
        cmocka_unit_test(host_and_cidr_addresses_of_a_service_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
