/* control-plane §5.2: what workloads list, and what is made of ports. */
#include "unit/ambard/objects.h"

#define STRICT "STRICT"
#define PERMISSIVE "PERMISSIVE"
#define DISABLE "DISABLE"
#define UNSET "UNSET"

static void add_policy(struct writer *yaml, const char *namespace_, const char *name, const char *selector,
    const char *mode, const char *ports)
{
    writer_print(yaml,
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: %s}\nspec:\n"
        "  mtls: {mode: %s}\n",
        name, namespace_, mode);
    if (selector != NULL) {
        writer_print(yaml, "  selector: {matchLabels: {%s}}\n", selector);
    }
    if (ports != NULL) {
        writer_print(yaml, "  portLevelMtls: {%s}\n", ports);
    }
}

/* A pod `app: a` of namespace `shop` under a mesh, a namespace and a workload policy; NULL leaves one out. */
static struct ambient_index *index_under(
    const char *mesh, const char *namespace_, const char *workload, const char *ports)
{
    struct writer yaml = writer_growing();
    writer_add_string(&yaml, "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: a}}\n"
                             "status: {podIP: 10.0.0.1}\n");
    if (mesh != NULL) {
        add_policy(&yaml, "istio-system", "mesh", NULL, mesh, NULL);
    }
    if (namespace_ != NULL) {
        add_policy(&yaml, "shop", "default", NULL, namespace_, NULL);
    }
    if (workload != NULL) {
        add_policy(&yaml, "shop", "p", "app: a", workload, ports);
    }
    struct ambient_index *made = index_of(writer_string(&yaml));
    writer_free(&yaml);
    return made;
}

/* The policies of the pod, read back from its bytes: field 16, each a string. */
static char *listed(const struct ambient_index *index_)
{
    const struct ambient_resource *pod = ambient_index_get(index_, AMBIENT_WORKLOAD, "Kubernetes//Pod/shop/a");
    struct bytes bytes = ambient_resource_workload_bytes(pod);
    static const char *const names[] = { "istio-system/istio_converted_static_strict",
        "shop/converted_peer_authentication_p" };
    struct writer text = writer_growing();
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (memmem(bytes.data, bytes.length, names[i], strlen(names[i])) != NULL) {
            writer_add_string(&text, i == 0 ? "static" : "converted");
        }
    }
    return writer_take_string(&text);
}

static void assert_lists(
    const char *mesh, const char *namespace_, const char *workload, const char *ports, const char *expected)
{
    struct ambient_index *made = index_under(mesh, namespace_, workload, ports);
    char *AUTO_FREE text = listed(made);
    assert_string_equal(text, expected);
    ambient_index_free(made);
}

static void modes_are_inherited_from_mesh_to_namespace_to_workload(void **state)
{
    (void)state;
    assert_lists(NULL, NULL, NULL, NULL, "");
    assert_lists(STRICT, NULL, NULL, NULL, "static");
    assert_lists(STRICT, UNSET, NULL, NULL, "static");
    assert_lists(STRICT, PERMISSIVE, NULL, NULL, "");
    assert_lists(PERMISSIVE, STRICT, NULL, NULL, "static");
    assert_lists(STRICT, STRICT, PERMISSIVE, NULL, "");
    assert_lists(STRICT, STRICT, DISABLE, NULL, "");
    assert_lists(STRICT, STRICT, UNSET, NULL, "static");
    assert_lists(NULL, NULL, STRICT, NULL, "static");
}

static void ports_decide_what_the_workload_lists(void **state)
{
    (void)state;
    assert_lists(NULL, NULL, STRICT, "80: {mode: PERMISSIVE}", "converted");
    assert_lists(NULL, NULL, STRICT, "80: {mode: DISABLE}", "converted");
    assert_lists(NULL, NULL, STRICT, "80: {mode: STRICT}", "static");
    assert_lists(NULL, NULL, PERMISSIVE, "80: {mode: STRICT}", "converted");
    assert_lists(STRICT, NULL, DISABLE, "80: {mode: STRICT}", "converted");
    assert_lists(STRICT, NULL, PERMISSIVE, "80: {mode: PERMISSIVE}", "");
    assert_lists(STRICT, NULL, UNSET, "80: {mode: PERMISSIVE}", "converted");
    assert_lists(STRICT, NULL, UNSET, "80: {mode: DISABLE}", "static");
    assert_lists(STRICT, NULL, UNSET, "80: {mode: STRICT}", "static");
    assert_lists(NULL, NULL, UNSET, "80: {mode: STRICT}", "converted");
    assert_lists(NULL, NULL, UNSET, "80: {mode: PERMISSIVE}", "");
}

/* Parts of the wire: a = {not_principals:[presence]}. */
#define A "0a06120422022200"

static void assert_converted(
    const char *mesh, const char *namespace_, const char *workload, const char *ports, const char *groups)
{
    /* name, namespace, WORKLOAD_SELECTOR, DENY */
    static const char head[] = "0a1f636f6e7665727465645f706565725f61757468656e7469636174696f6e5f70"
                               "120473686f70"
                               "18022001";
    struct ambient_index *made = index_under(mesh, namespace_, workload, ports);
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_AUTHORIZATION, "shop/converted_peer_authentication_p");
    if (groups == NULL) {
        assert_string_equal(body, "(none)");
    } else {
        char *AUTO_FREE expected = string_format("%s%s", head, groups);
        assert_string_equal(body, expected);
    }
    ambient_index_free(made);
}

static void strict_with_an_open_port_is_one_group(void **state)
{
    (void)state;
    /* [a, {not_destination_ports:[8080]}] */
    assert_converted(NULL, NULL, STRICT, "8080: {mode: PERMISSIVE}", "2a10" A "0a0612045202903f");
}

static void an_open_port_under_a_strict_mesh_ends_with_the_requirement(void **state)
{
    (void)state;
    /* [{not_destination_ports:[9090]}, a] */
    assert_converted(STRICT, NULL, UNSET, "9090: {mode: PERMISSIVE}",
        "2a10"
        "0a06120452028247" A);
    assert_converted(NULL, STRICT, UNSET, "9090: {mode: DISABLE}",
        "2a10"
        "0a06120452028247" A);
}

static void a_strict_policy_under_a_strict_mesh_requires_twice(void **state)
{
    (void)state;
    assert_converted(STRICT, NULL, STRICT, "9090: {mode: PERMISSIVE}", "2a18" A "0a06120452028247" A);
}

static void strict_ports_are_groups_of_their_own_in_ascending_order(void **state)
{
    (void)state;
    /* {not_principals:[presence], destination_ports:[80]} then 443 */
    assert_converted(NULL, NULL, PERMISSIVE, "443: {mode: STRICT}, 80: {mode: STRICT}",
        "2a0b0a09120722022200"
        "4a0150"
        "2a0c0a0a120822022200"
        "4a02bb03");
}

static void ports_that_change_nothing_make_no_policy(void **state)
{
    (void)state;
    assert_converted(NULL, NULL, STRICT, "80: {mode: STRICT}", NULL);
    assert_converted(NULL, NULL, PERMISSIVE, "80: {mode: PERMISSIVE}", NULL);
    assert_converted(NULL, NULL, UNSET, "80: {mode: PERMISSIVE}", NULL);
    assert_converted(NULL, STRICT, UNSET, "80: {mode: STRICT}", NULL);
    /* Quirks of istiod's: a namespace policy that is UNSET hides the strict mesh from open ports, and a strict mesh hides
     * strict ports of a PERMISSIVE workload. */
    assert_converted(STRICT, UNSET, UNSET, "80: {mode: PERMISSIVE}", NULL);
    assert_converted(STRICT, NULL, PERMISSIVE, "80: {mode: STRICT}", NULL);
}

static void the_static_policy_is_sent_as_soon_as_any_policy_exists(void **state)
{
    (void)state;
    struct ambient_index *without = index_under(NULL, NULL, NULL, NULL);
    assert_int_equal(ambient_index_list(without, AMBIENT_AUTHORIZATION).count, 0);
    ambient_index_free(without);
    struct ambient_index *with = index_under(NULL, PERMISSIVE, NULL, NULL);
    assert_int_equal(ambient_index_list(with, AMBIENT_AUTHORIZATION).count, 1);
    ambient_index_free(with);
}

static void the_oldest_of_a_level_counts(void **state)
{
    (void)state;
    struct writer yaml = writer_growing();
    writer_add_string(
        &yaml, "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nstatus: {podIP: 10.0.0.1}\n");
    writer_add_string(&yaml, "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                             "metadata: {name: a, namespace: shop, creationTimestamp: 2026-02-01T00:00:00Z}\n"
                             "spec: {mtls: {mode: PERMISSIVE}}\n"
                             "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                             "metadata: {name: b, namespace: shop, creationTimestamp: 2026-01-01T00:00:00Z}\n"
                             "spec: {mtls: {mode: STRICT}}\n");
    struct ambient_index *made = index_of(writer_string(&yaml));
    char *AUTO_FREE text = listed(made);
    assert_string_equal(text, "static");
    ambient_index_free(made);
    writer_free(&yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_are_inherited_from_mesh_to_namespace_to_workload),
        cmocka_unit_test(ports_decide_what_the_workload_lists),
        cmocka_unit_test(strict_with_an_open_port_is_one_group),
        cmocka_unit_test(an_open_port_under_a_strict_mesh_ends_with_the_requirement),
        cmocka_unit_test(a_strict_policy_under_a_strict_mesh_requires_twice),
        cmocka_unit_test(strict_ports_are_groups_of_their_own_in_ascending_order),
        cmocka_unit_test(ports_that_change_nothing_make_no_policy),
        cmocka_unit_test(the_static_policy_is_sent_as_soon_as_any_policy_exists),
        cmocka_unit_test(the_oldest_of_a_level_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
