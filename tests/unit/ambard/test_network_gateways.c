/* control-plane §8: Gateways of class istio-remote as the entrances of other networks. */
#include "unit/ambard/objects.h"

#define GATEWAY(class_, labels_, protocol_, addresses_)                                                                \
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"                                                        \
    "metadata: {name: east, namespace: istio-system, labels: {" labels_ "}}\n"                                         \
    "spec: {gatewayClassName: " class_ ", listeners: [{name: mesh, port: 15008, protocol: " protocol_ "}]}\n"          \
    "status: {addresses: [" addresses_ "]}\n"

#define ON_NET2 "topology.istio.io/network: net2"
#define AT "{type: IPAddress, value: 192.0.2.7}"

/* A machine of net2 without an address of its own, and one of our own network. */
#define MACHINES                                                                                                       \
    "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: far, namespace: d}\n"              \
    "spec: {network: net2, serviceAccount: far}\n"                                                                     \
    "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: near, namespace: d}\n"             \
    "spec: {address: 10.0.0.1}\n"

#define FAR "Kubernetes/networking.istio.io/WorkloadEntry/d/far"
#define NEAR "Kubernetes/networking.istio.io/WorkloadEntry/d/near"
#define ENTRANCE "NetworkGateway/net2/192.0.2.7/15008"

/* GatewayAddress in field 19: {address {network "net2", 192.0.2.7}, hbone_mtls_port 15008}. */
#define GATEWAY_OF_NET2                                                                                                \
    "9a01"                                                                                                             \
    "11"                                                                                                               \
    "120c"                                                                                                             \
    "0a046e657432"                                                                                                     \
    "1204c0000207"                                                                                                     \
    "18a075"

static bool has(const struct ambient_index *made, const char *uid, const char *part)
{
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_WORKLOAD, uid);
    return strstr(body, part) != NULL;
}

static void workloads_of_another_network_are_told_its_gateway(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(GATEWAY("istio-remote", ON_NET2, "HBONE", AT) MACHINES);
    assert_true(has(made, FAR, GATEWAY_OF_NET2));
    assert_false(has(made, NEAR, GATEWAY_OF_NET2));
    ambient_index_free(made);
}

static void each_address_is_a_workload_of_that_network(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of(GATEWAY("istio-remote", ON_NET2, "HBONE", AT ", {type: Hostname, value: ew.example}, " AT));
    assert_true(has(made, ENTRANCE, "22046e6574322801"));                       /* network, HBONE */
    assert_true(has(made, ENTRANCE, "3a11656173742d697374696f2d72656d6f7465")); /* east-istio-remote */
    assert_false(has(made, ENTRANCE, GATEWAY_OF_NET2));
    assert_true(has(made, "NetworkGateway/net2/ew.example/15008", "aa010a65772e6578616d706c65"));
    ambient_index_free(made);
}

static void the_annotation_names_the_service_account(void **state)
{
    (void)state;
    struct ambient_index *made = index_of("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
                                          "metadata:\n  name: east\n  namespace: istio-system\n"
                                          "  labels: {" ON_NET2 "}\n"
                                          "  annotations: {gateway.istio.io/service-account: ew}\n"
                                          "spec: {gatewayClassName: istio-remote,"
                                          " listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n"
                                          "status: {addresses: [" AT "]}\n");
    assert_true(has(made, ENTRANCE, "3a026577"));
    ambient_index_free(made);
}

static void what_is_no_entrance_gives_nothing(void **state)
{
    (void)state;
    static const char *const NONE[] = { GATEWAY("istio-waypoint", ON_NET2, "HBONE", AT) MACHINES,
        GATEWAY("istio-remote", "app: x", "HBONE", AT) MACHINES, GATEWAY("istio-remote", ON_NET2, "TLS", AT) MACHINES,
        GATEWAY("istio-remote", ON_NET2, "HBONE", "") MACHINES };
    for (size_t i = 0; i < sizeof NONE / sizeof NONE[0]; i++) {
        struct ambient_index *made = index_of(NONE[i]);
        assert_false(has(made, FAR, GATEWAY_OF_NET2));
        assert_null(ambient_index_get(made, AMBIENT_WORKLOAD, ENTRANCE));
        ambient_index_free(made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workloads_of_another_network_are_told_its_gateway),
        cmocka_unit_test(each_address_is_a_workload_of_that_network),
        cmocka_unit_test(the_annotation_names_the_service_account),
        cmocka_unit_test(what_is_no_entrance_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
