/* control-plane §12, byte for byte. */
#include "unit/ambard/objects.h"

static const char example[] =
    "apiVersion: v1\n"
    "kind: Namespace\n"
    "metadata:\n"
    "  name: shop\n"
    "  labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Node\n"
    "metadata:\n"
    "  name: n1\n"
    "  labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}\n"
    "---\n"
    "apiVersion: gateway.networking.k8s.io/v1\n"
    "kind: Gateway\n"
    "metadata: {name: waypoint, namespace: shop}\n"
    "spec:\n"
    "  gatewayClassName: istio-waypoint\n"
    "  listeners: [{name: mesh, port: 15008, protocol: HBONE}]\n"
    "status:\n"
    "  addresses:\n"
    "  - {type: IPAddress, value: 10.96.0.50}\n"
    "  - {type: Hostname, value: waypoint.shop.svc.cluster.local}\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: cart, namespace: shop}\n"
    "spec:\n"
    "  clusterIPs: [10.96.12.3]\n"
    "  ipFamilies: [IPv4]\n"
    "  trafficDistribution: PreferClose\n"
    "  selector: {app: cart}\n"
    "  ports: [{name: http, port: 80, targetPort: http}]\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Pod\n"
    "metadata:\n"
    "  name: cart-7d9f8c6b5-x2k4p\n"
    "  namespace: shop\n"
    "  generateName: cart-7d9f8c6b5-\n"
    "  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: cart-7d9f8c6b5, controller: true, uid: u}]\n"
    "  labels: {app: cart, version: v1, pod-template-hash: 7d9f8c6b5}\n"
    "  annotations: {ambient.istio.io/redirection: enabled}\n"
    "spec:\n"
    "  serviceAccountName: cart\n"
    "  nodeName: n1\n"
    "  containers: [{name: cart, ports: [{name: http, containerPort: 8080}]}]\n"
    "status:\n"
    "  phase: Running\n"
    "  podIPs: [{ip: 10.244.1.7}]\n"
    "  conditions: [{type: Ready, status: \"True\"}]\n"
    "---\n"
    "apiVersion: security.istio.io/v1\n"
    "kind: AuthorizationPolicy\n"
    "metadata: {name: cart-allow, namespace: shop}\n"
    "spec:\n"
    "  selector: {matchLabels: {app: cart}}\n"
    "  action: ALLOW\n"
    "  rules:\n"
    "  - from: [{source: {serviceAccounts: [web, ops/admin]}}]\n"
    "    to: [{operation: {ports: [\"8080\"]}}]\n"
    "---\n"
    "apiVersion: security.istio.io/v1\n"
    "kind: AuthorizationPolicy\n"
    "metadata: {name: deny-mixed, namespace: shop}\n"
    "spec:\n"
    "  action: DENY\n"
    "  rules:\n"
    "  - from: [{source: {notPrincipals: [\"*\"]}}]\n"
    "    to: [{operation: {methods: [DELETE]}}]\n"
    "---\n"
    "apiVersion: security.istio.io/v1\n"
    "kind: PeerAuthentication\n"
    "metadata: {name: default, namespace: istio-system}\n"
    "spec: {mtls: {mode: STRICT}}\n";

static int set_up(void **state)
{
    *state = index_of(example);
    return 0;
}

static int tear_down(void **state)
{
    ambient_index_free(*state);
    return 0;
}

static void the_service_has_the_given_size_and_version(void **state)
{
    const struct ambient_resource *service =
        ambient_index_get(*state, AMBIENT_SERVICE, "shop/cart.shop.svc.cluster.local");
    assert_non_null(service);
    assert_int_equal(service->body.length, 116);
    assert_string_equal(service->version, "c9989cf04d912de8");
    assert_int_equal(service->alias_count, 1);
    assert_string_equal(service->aliases[0], "/10.96.12.3");
}

static void the_workload_has_the_given_size_and_version(void **state)
{
    const struct ambient_resource *workload =
        ambient_index_get(*state, AMBIENT_WORKLOAD, "Kubernetes//Pod/shop/cart-7d9f8c6b5-x2k4p");
    assert_non_null(workload);
    assert_int_equal(workload->body.length, 244);
    assert_string_equal(workload->version, "7844ce5057d6a955");
    assert_string_equal(workload->node, "n1");
    assert_string_equal(workload->aliases[0], "/10.244.1.7");
    assert_int_equal(workload->service_count, 1);
    assert_string_equal(workload->services[0], "shop/cart.shop.svc.cluster.local");
}

static void the_policies_have_the_given_bytes(void **state)
{
    assert_body_equal(*state, AMBIENT_AUTHORIZATION, "istio-system/istio_converted_static_strict",
        "0a1d697374696f5f636f6e7665727465645f7374617469635f737472696374120c697374696f2d73797374656d180220012a080a061204"
        "22022200");
    assert_body_equal(*state, AMBIENT_AUTHORIZATION, "shop/cart-allow",
        "0a0a636172742d616c6c6f77120473686f7018022a270a0612044a02903f0a1d121b5a0b0a0473686f7012037765625a0c0a036f707312"
        "0561646d"
        "696e");
    /* groups[rules[{matches:[{}]}, {matches:[{not_principals:[presence]}]}]], NAMESPACE, DENY */
    assert_body_equal(*state, AMBIENT_AUTHORIZATION, "shop/deny-mixed",
        "0a0a64656e792d6d69786564120473686f70180120012a0c0a0212000a06120422022200");
    assert_int_equal(ambient_index_list(*state, AMBIENT_AUTHORIZATION).count, 3);
}

static void the_conditions_are_the_given_ones(void **state)
{
    char *AUTO_FREE service = condition_of(*state, "Service/shop/cart", "istio.io/WaypointBound");
    assert_string_equal(service, "True WaypointAccepted: Successfully attached to waypoint shop/waypoint");
    char *AUTO_FREE allow = condition_of(*state, "AuthorizationPolicy/shop/cart-allow", "ZtunnelAccepted");
    assert_string_equal(allow, "True Accepted: attached to ztunnel");
    char *AUTO_FREE deny = condition_of(*state, "AuthorizationPolicy/shop/deny-mixed", "ZtunnelAccepted");
    assert_string_equal(deny, "True UnsupportedValue: ztunnel does not support HTTP attributes (found: methods). In "
                              "ambient mode you must use a "
                              "waypoint proxy to enforce HTTP rules. After omitting unsupported HTTP attributes, this "
                              "DENY policy has no enforceable "
                              "rules at ztunnel and will have no effect. Deploy a waypoint proxy and use a targetRef "
                              "to enforce this policy.");
}

static void the_identity_is_known_on_its_node_only(void **state)
{
    assert_true(ambient_index_has_node(*state, "n1"));
    assert_false(ambient_index_has_node(*state, "n2"));
    assert_true(ambient_index_identity_is_on_node(*state, "shop", "cart", "n1"));
    assert_false(ambient_index_identity_is_on_node(*state, "shop", "cart", "n2"));
    assert_false(ambient_index_identity_is_on_node(*state, "shop", "web", "n1"));
    assert_false(ambient_index_identity_is_on_node(*state, "shop", "cart/n1", ""));
}

static void look_ups_find_the_workload(void **state)
{
    assert_int_equal(ambient_index_at_alias(*state, "/10.244.1.7").count, 1);
    assert_string_equal(
        ambient_index_at_alias(*state, "/10.96.12.3").items[0]->name, "shop/cart.shop.svc.cluster.local");
    assert_int_equal(ambient_index_workloads_of_service(*state, "shop/cart.shop.svc.cluster.local").count, 1);
    assert_int_equal(ambient_index_workloads_on_node(*state, "n1").count, 1);
    assert_int_equal(ambient_index_at_alias(*state, "/10.0.0.1").count, 0);
}

static void the_bare_workload_is_inside_the_address(void **state)
{
    const struct ambient_resource *workload =
        ambient_index_get(*state, AMBIENT_WORKLOAD, "Kubernetes//Pod/shop/cart-7d9f8c6b5-x2k4p");
    struct bytes bare = ambient_resource_workload_bytes(workload);
    assert_int_equal(bare.length, 244 - 3);
    assert_ptr_equal(bare.data + bare.length, workload->body.data + workload->body.length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_service_has_the_given_size_and_version),
        cmocka_unit_test(the_workload_has_the_given_size_and_version),
        cmocka_unit_test(the_policies_have_the_given_bytes),
        cmocka_unit_test(the_conditions_are_the_given_ones),
        cmocka_unit_test(the_identity_is_known_on_its_node_only),
        cmocka_unit_test(look_ups_find_the_workload),
        cmocka_unit_test(the_bare_workload_is_inside_the_address),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
