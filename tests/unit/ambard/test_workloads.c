/* control-plane §2: pods, entries, endpoints and slices as workloads; §18's vector; what a change touches. */
#include "unit/ambard/objects.h"

#include "ambard/workload_naming.h"
#include "base/clock.h"
#include "kube/pod.h"

static void the_wire_vector_of_a_workload_is_met(void **state)
{
    (void)state;
    /* wire-protocols §18 no. 1 */
    struct ambient_index *made =
        index_of("apiVersion: v1\nkind: Pod\n"
                 "metadata:\n  name: web-1\n  labels: {app: web}\n"
                 "  annotations: {ambient.istio.io/redirection: enabled}\n"
                 "  generateName: web-\n"
                 "  ownerReferences: [{kind: StatefulSet, name: web, controller: true}]\n"
                 "spec: {nodeName: n1, serviceAccountName: web}\n"
                 "status: {podIPs: [{ip: 10.0.0.5}], conditions: [{type: Ready, status: \"True\"}]}\n"
                 "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
                 "spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n"
                 "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                 "metadata: {name: x, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n");
    assert_body_equal(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/default/web-1",
        "0ac2010a057765622d31120764656661756c741a040a00000528013a037765624a026e3152037765625a066c617465737460"
        "026a0377656282012a697374696f2d73797374656d2f697374696f5f636f6e7665727465645f7374617469635f7374726963"
        "7492010a4b756265726e65746573a2011d4b756265726e657465732f2f506f642f64656661756c742f7765622d31b201300a"
        "2564656661756c742f7765622e64656661756c742e7376632e636c75737465722e6c6f63616c12070a05085010903f");
    assert_string_equal(
        ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/default/web-1")->version, "b98fc29277397031");
    ambient_index_free(made);
}

/* A pod `p` of namespace `d`; the parts of its bytes that are given must be there. */
static struct ambient_index *index_of_pod(const char *metadata, const char *spec, const char *status)
{
    char *AUTO_FREE yaml = string_format(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d%s}\nspec: {%s}\nstatus: {podIP: 10.0.0.1%s}\n",
        metadata, spec, status);
    return index_of(yaml);
}

static void assert_pod_has(const char *metadata, const char *spec, const char *status, const char *part, bool is_there)
{
    struct ambient_index *made = index_of_pod(metadata, spec, status);
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/d/p");
    assert_int_equal(strstr(body, part) != NULL, is_there);
    ambient_index_free(made);
}

#define HBONE "2801"
#define UNHEALTHY "8801019201"
#define NATIVE "7001"
#define HOST_NETWORK "c80101"
#define READY ", conditions: [{type: Ready, status: \"True\"}]"

static void capture_is_what_makes_hbone(void **state)
{
    (void)state;
    assert_pod_has("", "", "", HBONE, false);
    assert_pod_has(", annotations: {ambient.istio.io/redirection: enabled}", "", "", "0a000001" HBONE, true);
    assert_pod_has(", annotations: {ambient.istio.io/redirection: pending}", "", "", "0a000001" HBONE, false);
    assert_pod_has(", labels: {networking.istio.io/tunnel: \"x,http\"}", "", "", "0a000001" HBONE, true);
    assert_pod_has(", labels: {networking.istio.io/tunnel: \"x,http\"}", "", "", NATIVE, true);
    assert_pod_has(", labels: {istio.io/dataplane-mode: ambient}", "", "", "0a000001" HBONE, false);
}

static void readiness_is_the_condition_and_no_deletion(void **state)
{
    (void)state;
    assert_pod_has("", "", READY, UNHEALTHY, false);
    assert_pod_has("", "", "", UNHEALTHY, true);
    assert_pod_has("", "", ", conditions: [{type: Ready, status: \"False\"}]", UNHEALTHY, true);
    assert_pod_has(", deletionTimestamp: 2026-01-01T00:00:00Z", "", READY, UNHEALTHY, true);
}

static void host_network_is_told(void **state)
{
    (void)state;
    assert_pod_has("", "hostNetwork: true", "", HOST_NETWORK, true);
    assert_pod_has("", "", "", HOST_NETWORK, false);
}

static void pods_without_address_or_at_their_end_are_not_sent(void **state)
{
    (void)state;
    struct ambient_index *made = index_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: n1}\n---\n"
                                          "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\n"
                                          "status: {podIP: 10.0.0.1, phase: Succeeded}\n---\n"
                                          "apiVersion: v1\nkind: Pod\nmetadata: {name: c}\nspec: {nodeName: n2}\n"
                                          "status: {podIP: 10.0.0.1, phase: Failed}\n---\n"
                                          "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\n"
                                          "status: {podIP: 10.0.0.1, phase: Pending}\n");
    assert_int_equal(ambient_index_list(made, AMBIENT_WORKLOAD).count, 1);
    assert_non_null(ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/default/e"));
    assert_true(ambient_index_identity_is_on_node(made, "default", "default", "n1"));
    assert_false(ambient_index_identity_is_on_node(made, "default", "default", "n2"));
    ambient_index_free(made);
}

static void workload_names_lose_what_controllers_add(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *expected;
    } rows[] = {
        { "name: x-7d9-abc", "x-7d9-abc" },
        { "name: x-7d9-abc, generateName: x-7d9-, ownerReferences: [{kind: ReplicaSet, name: x-7d9, controller: "
          "true}], "
          "labels: {pod-template-hash: 7d9}",
            "x" },
        { "name: x-7d9-abc, generateName: x-7d9-, ownerReferences: [{kind: ReplicaSet, name: x-7d9, controller: "
          "true}], "
          "labels: {rollouts-pod-template-hash: 7d9}",
            "x" },
        { "name: x-7d9-abc, generateName: x-7d9-, ownerReferences: [{kind: ReplicaSet, name: x-7d9, controller: true}]",
            "x-7d9" },
        { "name: x-7d9-abc, generateName: x-7d9-, ownerReferences: [{kind: ReplicaSet, name: x-7d9}], "
          "labels: {pod-template-hash: 7d9}",
            "x-7d9-abc" },
        { "name: j-1, generateName: j-, ownerReferences: [{kind: Job, name: nightly-28412345, controller: true}]",
            "nightly" },
        { "name: j-1, generateName: j-, ownerReferences: [{kind: Job, name: nightly-2841234, controller: true}]",
            "nightly-2841234" },
        { "name: r-1, generateName: r-, ownerReferences: [{kind: ReplicationController, name: r-3, controller: true}], "
          "labels: {deploymentconfig: r}",
            "r" },
        { "name: d-1, generateName: d-, ownerReferences: [{kind: DaemonSet, name: d, controller: true}]", "d" },
        { "name: d-1, labels: {service.istio.io/workload-name: given}", "given" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char *AUTO_FREE yaml = string_format("apiVersion: v1\nkind: Pod\nmetadata: {%s}\n", rows[i].metadata);
        struct kube_store *store = store_of(yaml);
        struct arena arena = { 0 };
        const struct kube_pod *pod = kube_as_pod(kube_store_list(store, KUBE_POD).items[0]);
        assert_string_equal(workload_name_of_pod(pod, &arena), rows[i].expected);
        arena_free(&arena);
        kube_store_free(store);
    }
}

static void canonical_names_come_from_labels_in_order(void **state)
{
    (void)state;
    struct kube_label items[] = { { "app", "c" }, { "app.kubernetes.io/name", "b" },
        { "service.istio.io/canonical-name", "a" } };
    for (size_t count = 0; count <= 3; count++) {
        static const char *const expected[] = { "fallback", "c", "b", "a" };
        const struct kube_labels labels = { items, count };
        assert_string_equal(workload_canonical_name(&labels, "fallback"), expected[count]);
        assert_string_equal(workload_canonical_revision(&labels), "latest");
    }
}

static void a_named_target_port_that_is_missing_leaves_the_service_without_it(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d, labels: {a: b}}\n"
                 "status: {podIP: 10.0.0.1}\n---\n"
                 "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}\n"
                 "spec: {selector: {a: b}, ports: [{port: 80, targetPort: web}]}\n");
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/d/p");
    /* services { "d/s.d.svc.cluster.local": {} }, the value written although it is empty */
    assert_non_null(strstr(body, "b2011b0a17642f732e642e7376632e636c75737465722e6c6f63616c1200"));
    ambient_index_free(made);
}

static void empty_selectors_and_other_namespaces_select_nothing(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d, labels: {a: b}}\n"
                 "status: {podIP: 10.0.0.1}\n---\n"
                 "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}\n---\n"
                 "apiVersion: v1\nkind: Service\nmetadata: {name: t, namespace: e}\n"
                 "spec: {selector: {a: b}}\n");
    assert_int_equal(ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/d/p")->service_count, 0);
    ambient_index_free(made);
}

static void a_slice_attaches_a_pod_by_name_and_uid(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: v1\nkind: Pod\nmetadata: {name: p, uid: u1}\nstatus: {podIP: 10.0.0.1}\n---\n"
                 "apiVersion: v1\nkind: Pod\nmetadata: {name: q, uid: u2}\nstatus: {podIP: 10.0.0.2}\n---\n"
                 "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{name: x, port: 80, targetPort: "
                 "8080}]}\n---\n"
                 "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                 "metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}\naddressType: IPv4\n"
                 "endpoints:\n- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: p, uid: u1}}\n"
                 "- {addresses: [10.0.0.2], targetRef: {kind: Pod, name: q, uid: other}}\n"
                 "- {addresses: [192.0.2.1], conditions: {ready: false}}\n"
                 "ports: [{name: x, port: 9090, protocol: TCP}]\n");
    assert_int_equal(ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/default/p")->service_count, 1);
    assert_int_equal(ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/default/q")->service_count, 0);
    const char *name = "Kubernetes/discovery.k8s.io/EndpointSlice/default/s-1/192.0.2.1";
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_WORKLOAD, name);
    assert_non_null(strstr(body, "12070a0508501082"
                                 "47"));
    assert_non_null(strstr(body, UNHEALTHY));
    assert_non_null(strstr(body, HOST_NETWORK));
    assert_int_equal(ambient_index_list(made, AMBIENT_WORKLOAD).count, 3);
    ambient_index_free(made);
}

static void a_workload_entry_can_stand_for_a_plain_host(void **state)
{
    (void)state;
    struct ambient_index *made = index_of("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
                                          "metadata:\n  name: vm\n  namespace: d\n"
                                          "  annotations: {ambar.io/node: n9, ambient.istio.io/redirection: enabled}\n"
                                          "spec:\n  address: 192.0.2.7\n  serviceAccount: vm\n  weight: 3\n"
                                          "  locality: r/z\n  labels: {app: db}\n  ports: {http: 8888}\n---\n"
                                          "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}\n"
                                          "spec:\n  selector: {app: db}\n  ports:\n"
                                          "  - {name: http, port: 80, targetPort: 8080}\n"
                                          "  - {name: x, port: 81, targetPort: none}\n"
                                          "  - {name: y1, port: 82, targetPort: http}\n");
    const struct ambient_resource *vm =
        ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes/networking.istio.io/WorkloadEntry/d/vm");
    assert_string_equal(vm->node, "n9");
    assert_int_equal(ambient_index_workloads_on_node(made, "n9").count, 1);
    assert_true(ambient_index_identity_is_on_node(made, "d", "vm", "n9"));
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_WORKLOAD, vm->name);
    /* ports 80->8888 by the port's name, 81 left out, 82->8888 by the target's name */
    assert_non_null(strstr(body, "120e0a05085010b8450a05085210b845"));
    /* locality r/z, capacity 3 */
    assert_non_null(strstr(body, "c201060a017212017ada01020803"));
    ambient_index_free(made);
}

static void endpoints_of_an_entry_are_workloads(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: d}\n"
        "spec:\n  hosts: [h.example]\n  resolution: STATIC\n  addresses: [10.1.0.1]\n"
        "  ports: [{name: http, number: 80, targetPort: 8080}]\n"
        "  endpoints:\n  - {address: 192.0.2.1, network: net2, ports: {http: 9090}}\n  - {address: 192.0.2.2}\n"
        "  - {address: 192.0.2.2}\n");
    assert_int_equal(ambient_index_list(made, AMBIENT_WORKLOAD).count, 2);
    assert_int_equal(ambient_index_workloads_of_service(made, "d/h.example").count, 2);
    /* the second is in the network of the first, as in istiod */
    assert_string_equal(ambient_index_at_alias(made, "net2/192.0.2.2").items[0]->name,
        "Kubernetes/networking.istio.io/ServiceEntry/d/e/192.0.2.2");
    ambient_index_free(made);
}

static void an_entry_resolved_by_dns_is_its_own_endpoint(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: d}\n"
                 "spec: {hosts: [h.example], resolution: DNS, addresses: [10.1.0.1], ports: [{name: tls, number: 443, "
                 "protocol: TLS}]}\n");
    char *AUTO_FREE body =
        hexadecimal_of(made, AMBIENT_WORKLOAD, "Kubernetes/networking.istio.io/ServiceEntry/d/e/h.example");
    assert_non_null(strstr(body, "aa0109682e6578616d706c65")); /* hostname */
    ambient_index_free(made);
}

static void workload_waypoints_bind_pods(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
                 "metadata:\n  name: w\n  namespace: d\n  labels: {istio.io/waypoint-for: workload}\n"
                 "  annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/15088}\n"
                 "spec: {listeners: [{name: m, port: 15088, protocol: istio.io/PROXY}]}\nstatus: {addresses: [{value: "
                 "10.9.9.9}]}\n---\n"
                 "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d, labels: {istio.io/use-waypoint: w}}\n"
                 "status: {podIP: 10.0.0.1}\n---\n"
                 "apiVersion: v1\nkind: Pod\nmetadata: {name: w-1, namespace: d, labels: {istio.io/use-waypoint: w, "
                 "gateway.networking.k8s.io/gateway-name: w}}\nstatus: {podIP: 10.0.0.2}\n");
    char *AUTO_FREE bound = hexadecimal_of(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/d/p");
    char *AUTO_FREE instance = hexadecimal_of(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/d/w-1");
    static const char address[] = "420b120612040a09090918a075";
    assert_non_null(strstr(bound, address));
    assert_null(strstr(instance, address));
    assert_non_null(strstr(instance, "ba0105080110f075"));
    ambient_index_free(made);
}

static void the_network_and_trust_domain_of_the_mesh_are_used(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: "
                 "net1}}\n---\n"
                 "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
                 "data: {mesh: \"trustDomain: example.org\\nrootNamespace: root\"}\n---\n"
                 "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d}\nstatus: {podIP: 10.0.0.1}\n");
    assert_string_equal(ambient_index_trust_domain(made), "example.org");
    assert_string_equal(ambient_index_root_namespace(made), "root");
    assert_int_equal(ambient_index_at_alias(made, "net1/10.0.0.1").count, 1);
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/d/p");
    assert_non_null(strstr(body, "22046e657431320b6578616d706c652e6f7267"));
    ambient_index_free(made);
}

static void discovery_selectors_hide_namespaces(void **state)
{
    (void)state;
    struct ambient_index *made =
        index_of("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n"
                 "    discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: d}}]\n---\n"
                 "apiVersion: v1\nkind: Namespace\nmetadata: {name: d}\n---\n"
                 "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d}\nstatus: {podIP: 10.0.0.1}\n---\n"
                 "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: e}\nstatus: {podIP: 10.0.0.2}\n");
    assert_int_equal(ambient_index_list(made, AMBIENT_WORKLOAD).count, 1);
    ambient_index_free(made);
}

/* ---- changes ---- */

#define POD(name, ip)                                                                                                  \
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " name ", labels: {a: b}}\nstatus: {podIP: " ip "}\n"
#define SERVICE(ip)                                                                                                    \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: " ip ", selector: {a: b}}\n"

static void only_what_changed_is_reported(void **state)
{
    (void)state;
    struct ambient_index *made = index_new();
    struct ambient_changes changes = index_apply(made, POD("p", "10.0.0.1") POD("q", "10.0.0.2") SERVICE("10.1.0.1"));
    assert_int_equal(changes.count, 3);
    changes = index_apply(made, POD("p", "10.0.0.1") POD("q", "10.0.0.2") SERVICE("10.1.0.1"));
    assert_int_equal(changes.count, 0);
    changes = index_apply(made, POD("p", "10.0.0.1") POD("r", "10.0.0.3") SERVICE("10.1.0.2"));
    assert_int_equal(changes.count, 3);
    assert_string_equal(changes.items[0].name, "Kubernetes//Pod/default/q");
    assert_null(changes.items[0].resource);
    assert_string_equal(changes.items[1].name, "Kubernetes//Pod/default/r");
    assert_non_null(changes.items[1].resource);
    assert_string_equal(changes.items[2].name, "default/s.default.svc.cluster.local");
    assert_int_equal(ambient_index_workloads_of_service(made, changes.items[2].name).count, 2);
    ambient_index_free(made);
}

static void a_referenced_resource_outlives_its_index(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(POD("p", "10.0.0.1"));
    struct ambient_resource *kept =
        ambient_resource_reference(ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes//Pod/default/p"));
    ambient_index_free(made);
    assert_string_equal(kept->name, "Kubernetes//Pod/default/p");
    ambient_resource_release(kept);
}

static void ten_thousand_pods_convert_in_well_under_a_second(void **state)
{
    (void)state;
    struct writer yaml = writer_growing();
    for (int i = 0; i < 500; i++) {
        writer_print(
            &yaml, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {selector: {app: a%d}}\n", i, i);
    }
    for (int i = 0; i < 10000; i++) {
        writer_print(&yaml,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d, labels: {app: a%d}}\nstatus: {podIP: 10.1.%d.%d}\n",
            i, i % 500, i / 250, i % 250);
    }
    struct kube_store *store = store_of(writer_string(&yaml));
    writer_free(&yaml);
    struct ambient_index *made = index_new();
    struct ambient_changes changes;
    uint64_t begin_ns = clock_monotonic_ns();
    ambient_index_update(made, store, &changes);
    uint64_t middle_ns = clock_monotonic_ns();
    assert_int_equal(changes.count, 10500);
    ambient_index_update(made, store, &changes);
    assert_int_equal(changes.count, 0);
    print_message("first %llu ms, again %llu ms\n", (unsigned long long)((middle_ns - begin_ns) / 1000000),
        (unsigned long long)((clock_monotonic_ns() - middle_ns) / 1000000));
    ambient_index_free(made);
    kube_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wire_vector_of_a_workload_is_met),
        cmocka_unit_test(capture_is_what_makes_hbone),
        cmocka_unit_test(readiness_is_the_condition_and_no_deletion),
        cmocka_unit_test(host_network_is_told),
        cmocka_unit_test(pods_without_address_or_at_their_end_are_not_sent),
        cmocka_unit_test(workload_names_lose_what_controllers_add),
        cmocka_unit_test(canonical_names_come_from_labels_in_order),
        cmocka_unit_test(a_named_target_port_that_is_missing_leaves_the_service_without_it),
        cmocka_unit_test(empty_selectors_and_other_namespaces_select_nothing),
        cmocka_unit_test(a_slice_attaches_a_pod_by_name_and_uid),
        cmocka_unit_test(a_workload_entry_can_stand_for_a_plain_host),
        cmocka_unit_test(endpoints_of_an_entry_are_workloads),
        cmocka_unit_test(an_entry_resolved_by_dns_is_its_own_endpoint),
        cmocka_unit_test(workload_waypoints_bind_pods),
        cmocka_unit_test(the_network_and_trust_domain_of_the_mesh_are_used),
        cmocka_unit_test(discovery_selectors_hide_namespaces),
        cmocka_unit_test(only_what_changed_is_reported),
        cmocka_unit_test(a_referenced_resource_outlives_its_index),
        cmocka_unit_test(ten_thousand_pods_convert_in_well_under_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
