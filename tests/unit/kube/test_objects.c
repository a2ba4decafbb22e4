/* Files to objects: what is read, what is refused and where. */
#include "base/memory.h"
#include "base/writer.h"
#include "kube/authorization_policy.h"
#include "kube/mesh_config.h"
#include "kube/object.h"
#include "kube/peer_authentication.h"
#include "kube/pod.h"
#include "kube/problem.h"
#include "kube/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct kube_read_file file;
static struct kube_problems problems;

static void read_yaml(const char *yaml)
{
    kube_read_file_parse("f.yaml", bytes_of_string(yaml), &file, &problems);
}

static int tear_down(void **state)
{
    (void)state;
    kube_read_file_free(&file);
    kube_problems_free(&problems);
    return 0;
}

static char *problem_text(size_t i)
{
    struct writer text = writer_growing();
    kube_problem_format(&problems.items[i], &text);
    return writer_take_string(&text);
}

/* Exactly one error, and no object. */
static void assert_refused(const char *yaml, const char *expected)
{
    read_yaml(yaml);
    char *AUTO_FREE text = problem_text(0);
    assert_string_equal(text, expected);
    assert_int_equal(problems.error_count, 1);
    for (size_t i = 0; i < file.count; i++) {
        assert_null(file.items[i].object);
    }
    tear_down(NULL);
}

static const struct kube_object *only_object(const char *yaml)
{
    read_yaml(yaml);
    if (problems.count > 0) {
        char *AUTO_FREE text = problem_text(0);
        assert_string_equal(text, "");
    }
    assert_int_equal(file.count, 1);
    assert_non_null(file.items[0].object);
    return file.items[0].object;
}

static void a_pod_is_read(void **state)
{
    (void)state;
    const struct kube_object *object = only_object("apiVersion: v1\n"
                                                   "kind: Pod\n"
                                                   "metadata:\n"
                                                   "  name: web\n"
                                                   "  labels: {b: \"2\", a: \"1\"}\n"
                                                   "  creationTimestamp: 2026-01-02T03:04:05Z\n"
                                                   "  unheardOf: {x: y}\n"
                                                   "spec:\n"
                                                   "  nodeName: n1\n"
                                                   "  tolerations: [{key: whatever}]\n"
                                                   "  containers:\n"
                                                   "  - name: c\n"
                                                   "    image: nginx\n"
                                                   "    ports: [{name: http, containerPort: 8080}]\n"
                                                   "  initContainers:\n"
                                                   "  - ports: [{name: init, containerPort: 1}]\n"
                                                   "  - restartPolicy: Always\n"
                                                   "    ports: [{name: side, containerPort: 2}]\n"
                                                   "status: {podIPs: [{ip: 10.0.0.1}, {ip: \"fd00::1\"}]}\n");
    const struct kube_pod *pod = kube_as_pod(object);
    assert_string_equal(object->key, "Pod/default/web");
    assert_int_equal(object->metadata.labels.count, 2);
    assert_string_equal(kube_labels_text(&object->metadata.labels, "a"), "1");
    assert_true(object->metadata.creation_ns > 0);
    assert_string_equal(pod->spec.service_account, "default");
    assert_int_equal(kube_pod_named_port(pod, "http"), 8080);
    assert_int_equal(kube_pod_named_port(pod, "side"), 2);
    assert_int_equal(kube_pod_named_port(pod, "init"), 0);
    assert_int_equal(pod->status.pod_ips.count, 2);
    assert_false(kube_pod_is_ready(pod));
}

static void lists_and_documents_are_unfolded(void **state)
{
    (void)state;
    read_yaml("apiVersion: v1\nkind: List\nitems:\n"
              "- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n"
              "- {apiVersion: v1, kind: Node, metadata: {name: n2}}\n"
              "---\n"
              "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    assert_int_equal(problems.count, 0);
    assert_int_equal(file.count, 3);
    assert_string_equal(file.items[1].key, "Node//n2");
    assert_string_equal(
        kube_labels_text(&file.items[2].object->metadata.labels, "kubernetes.io/metadata.name"), "shop");
}

static void kinds_of_others_are_passed_over_with_a_notice(void **state)
{
    (void)state;
    read_yaml("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\n"
              "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {anything: 1}\n");
    assert_int_equal(file.count, 0);
    assert_int_equal(problems.count, 2);
    assert_int_equal(problems.error_count, 0);
    char *AUTO_FREE text = problem_text(0);
    assert_string_equal(text, "f.yaml:1: notice: kind: Deployment of apps/v1 is not read here");
}

static void an_unknown_field_of_an_istio_object_is_an_error(void **state)
{
    (void)state;
    assert_refused("apiVersion: security.istio.io/v1\n"
                   "kind: AuthorizationPolicy\n"
                   "metadata: {name: p, namespace: shop}\n"
                   "spec:\n"
                   "  rules:\n"
                   "  - from:\n"
                   "    - source:\n"
                   "        principal: [a]\n",
        "f.yaml:8: error: AuthorizationPolicy shop/p: spec.rules[0].from[0].source.principal: unknown field");
    assert_refused("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nsepc: {}\n",
        "f.yaml:4: error: PeerAuthentication default/p: sepc: unknown field");
}

static void misspelt_istio_kinds_are_errors(void **state)
{
    (void)state;
    assert_refused("apiVersion: security.istio.io/v1\nkind: AuthorisationPolicy\nmetadata: {name: p}\n",
        "f.yaml:1: error: kind: AuthorisationPolicy of security.istio.io/v1 does not exist");
    assert_refused("apiVersion: security.istio.io/v3\nkind: AuthorizationPolicy\nmetadata: {name: p}\n",
        "f.yaml:1: error: apiVersion: AuthorizationPolicy of security.istio.io/v3 does not exist");
}

static void wrong_types_and_values_are_named(void **state)
{
    (void)state;
    assert_refused("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports:\n  - port: 70000\n",
        "f.yaml:6: error: Service default/s: spec.ports[0].port: 70000 is out of range: it must be between 1 and "
        "65535");
    assert_refused("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: {port: 80}\n",
        "f.yaml:5: error: Service default/s: spec.ports: must be a list, not a mapping");
    assert_refused("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels:\n    version: 1\n",
        "f.yaml:6: error: Pod default/p: metadata.labels.version: must be a string, but 1 is an integer (put it in "
        "quotes)");
    assert_refused("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {debug: yes}\n",
        "f.yaml:5: error: Pod default/p: metadata.labels.debug: must be a string, but yes is a boolean (put it in "
        "quotes)");
    assert_refused("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus:\n  podIPs:\n  - ip: 10.0.0.300\n",
        "f.yaml:6: error: Pod default/p: status.podIPs[0].ip: \"10.0.0.300\" is no IP address");
    assert_refused("apiVersion: v1\nkind: Pod\nmetadata: {name: Web_1}\n",
        "f.yaml:3: error: Pod default/Web_1: metadata.name: \"Web_1\" is no name (small letters, digits, hyphens and "
        "dots)");
    assert_refused("apiVersion: v1\nkind: Pod\nmetadata: {namespace: a}\n",
        "f.yaml:1: error: Pod: metadata.name: is required and must be a string");
    assert_refused("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  name: q\n",
        "f.yaml:5: error: Pod default/p: the key name is there twice");
    assert_refused("- a\n", "f.yaml:1: error: an object must be a mapping, not a list");
}

/* A policy whose spec is the given lines, which begin at line 5. */
static void assert_policy_refused(const char *spec, const char *expected)
{
    char *AUTO_FREE yaml = string_format("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                                         "metadata: {name: p, namespace: ns}\nspec:\n%s",
        spec);
    char *AUTO_FREE line = string_format("f.yaml:%s", expected);
    assert_refused(yaml, line);
}

#define P "error: AuthorizationPolicy ns/p: spec"

static void policies_that_contradict_themselves_are_errors(void **state)
{
    (void)state;
    assert_policy_refused("  selector: {matchLabels: {a: b}}\n  targetRefs: [{kind: Service, name: s}]\n",
        "6: " P ".targetRefs: cannot stand beside a selector: a policy is for workloads or for a waypoint");
    assert_policy_refused("  action: DENY\n",
        "5: " P ".rules: a DENY policy without rules never acts; add an empty rule {} to match every request");
    assert_policy_refused("  rules:\n  - from: []\n",
        "6: " P ".rules[0].from: must not be an empty list; leave it out to match everything");
    assert_policy_refused("  rules:\n  - from:\n    - source: {}\n",
        "7: " P ".rules[0].from[0].source: must say at least one thing about the source");
    assert_policy_refused("  rules:\n  - from:\n    - {}\n", "7: " P ".rules[0].from[0].source: is required");
    assert_policy_refused(
        "  rules:\n  - from:\n    - source:\n        ipBlocks:\n        - 10.0.0.0/8\n        - 10.0.0.0/33\n",
        "10: " P ".rules[0].from[0].source.ipBlocks[1]: \"10.0.0.0/33\" is neither an IP address nor a CIDR block");
    assert_policy_refused("  rules:\n  - to:\n    - operation: {ports: [\"80\", \"http\"]}\n",
        "7: " P ".rules[0].to[0].operation.ports[1]: \"http\" is no port number");
    assert_policy_refused("  rules:\n  - to:\n    - operation: {ports: [80]}\n",
        "7: " P ".rules[0].to[0].operation.ports[0]: must be a string, but 80 is an integer (put it in quotes)");
    assert_policy_refused(
        "  rules:\n  - when: [{key: source.ip}]\n", "6: " P ".rules[0].when[0]: must have values or notValues");
    assert_policy_refused("  rules:\n  - when: [{key: sourceip, values: [a]}]\n",
        "6: " P ".rules[0].when[0].key: \"sourceip\" is no attribute that a condition can test");
    assert_policy_refused("  rules:\n  - from: [{source: {serviceAccounts: [a], namespaces: [b]}}]\n",
        "6: " P ".rules[0].from[0].source.serviceAccounts: cannot stand beside principals or namespaces in one source");
    assert_policy_refused("  action: PERMIT\n", "5: " P ".action: \"PERMIT\" is not one of ALLOW, DENY, AUDIT, CUSTOM");
    assert_policy_refused("  provider: {name: x}\n", "5: " P ".provider: is for the action CUSTOM only");
    assert_policy_refused("  targetRefs: [{kind: Service, name: s, namespace: m}]\n",
        "5: " P ".targetRefs[0]: a target in another namespace is not allowed");
}

static void port_level_mtls_needs_a_selector_and_ports(void **state)
{
    (void)state;
    static const char head[] =
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec:\n";
    char *AUTO_FREE without = string_format("%s  portLevelMtls: {80: {mode: STRICT}}\n", head);
    assert_refused(without,
        "f.yaml:5: error: PeerAuthentication default/p: spec.portLevelMtls: needs a selector: ports belong to "
        "workloads, not to a namespace");
    char *AUTO_FREE bad =
        string_format("%s  selector: {matchLabels: {a: b}}\n  portLevelMtls:\n    70000: {mode: STRICT}\n", head);
    assert_refused(bad, "f.yaml:7: error: PeerAuthentication default/p: spec: portLevelMtls: 70000 is no port number");
    char *AUTO_FREE good = string_format(
        "%s  selector: {matchLabels: {a: b}}\n  portLevelMtls: {9090: {mode: DISABLE}, \"80\": {mode: STRICT}}\n",
        head);
    const struct kube_peer_authentication *policy = kube_as_peer_authentication(only_object(good));
    assert_int_equal(policy->ports.count, 2);
    assert_int_equal(policy->ports.items[0].port, 80);
    assert_int_equal(policy->ports.items[0].mode, KUBE_MTLS_STRICT);
    assert_int_equal(policy->ports.items[1].port, 9090);
}

static void service_entries_are_checked(void **state)
{
    (void)state;
    static const char head[] = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec:\n";
    char *AUTO_FREE both =
        string_format("%s  hosts: [a.example]\n  resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]\n"
                      "  workloadSelector: {labels: {a: b}}\n",
            head);
    assert_refused(
        both, "f.yaml:7: error: ServiceEntry default/e: spec.endpoints: cannot stand beside a workloadSelector");
    char *AUTO_FREE block = string_format("%s  hosts: [a.example]\n  addresses: [10.0.0.0/40]\n", head);
    assert_refused(block,
        "f.yaml:6: error: ServiceEntry default/e: spec.addresses[0]: \"10.0.0.0/40\" is neither an IP address "
        "nor a CIDR block");
    char *AUTO_FREE hosts = string_format("%s  resolution: DNS\n", head);
    assert_refused(hosts, "f.yaml:5: error: ServiceEntry default/e: spec.hosts: is required");
}

static void the_mesh_config_is_read_from_its_string(void **state)
{
    (void)state;
    const struct kube_object *object = only_object("apiVersion: v1\n"
                                                   "kind: ConfigMap\n"
                                                   "metadata: {name: istio, namespace: istio-system}\n"
                                                   "data:\n"
                                                   "  mesh: |\n"
                                                   "    trustDomain: example.org\n"
                                                   "    accessLogFile: /dev/stdout\n"
                                                   "    discoverySelectors:\n"
                                                   "    - matchLabels: {mesh: \"yes\"}\n");
    const struct kube_mesh_config *config = kube_as_mesh_config(object);
    assert_string_equal(config->settings.trust_domain, "example.org");
    assert_string_equal(config->settings.root_namespace, "");
    assert_int_equal(config->settings.discovery_selectors.count, 1);
    tear_down(NULL);
    assert_refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n    a: 1\n",
        "f.yaml:6: error: ConfigMap default/istio: data.mesh.a: unknown field");
    assert_refused(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n    rootNamespace: x\n    b: {\n",
        "f.yaml:8: error: ConfigMap default/istio: data.mesh: is not YAML: did not find expected node content");
}

static void other_config_maps_are_passed_over_silently(void **state)
{
    (void)state;
    read_yaml("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-ca-root-cert}\ndata: {root-cert.pem: x}\n");
    assert_int_equal(file.count + problems.count, 0);
}

static void an_invalid_object_keeps_its_key(void **state)
{
    (void)state;
    read_yaml("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: 1\n---\napiVersion: v1\nkind: Pod\nmetadata: "
              "{name: b}\n");
    assert_int_equal(file.count, 2);
    assert_string_equal(file.items[0].key, "Pod/default/a");
    assert_null(file.items[0].object);
    assert_non_null(file.items[1].object);
}

static void text_that_is_no_yaml_makes_the_file_unreadable(void **state)
{
    (void)state;
    read_yaml("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\na: b: c\n");
    assert_true(file.is_unreadable);
    assert_int_equal(file.count, 0);
    assert_int_equal(problems.items[0].line, 5);
}

static void an_overlay_adds_labels_and_annotations(void **state)
{
    (void)state;
    read_yaml("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: x}, annotations: {k: old}}\n"
              "spec: {nodeName: n1}\n---\n"
              "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {k: new, l: more}}\n");
    struct kube_object *both = kube_object_overlay(file.items[0].object, file.items[1].object);
    uint64_t hash = file.items[0].object->content_hash;
    tear_down(NULL); /* the overlay outlives what it was made of */
    assert_string_equal(kube_as_pod(both)->spec.node_name, "n1");
    assert_string_equal(kube_labels_text(&both->metadata.labels, "app"), "x");
    assert_string_equal(kube_labels_text(&both->metadata.annotations, "k"), "new");
    assert_string_equal(kube_labels_text(&both->metadata.annotations, "l"), "more");
    assert_true(both->content_hash != hash);
    kube_object_release(both);
}

static void problems_without_end_are_cut(void **state)
{
    (void)state;
    struct writer text = writer_growing();
    for (int i = 0; i < 3000; i++) {
        writer_print(&text, "---\nkind: Pod\n");
    }
    read_yaml(writer_string(&text));
    writer_free(&text);
    assert_int_equal(problems.count, KUBE_PROBLEMS_MAXIMUM);
    assert_int_equal(problems.error_count, 3000);
    assert_string_equal(problems.items[problems.count - 1].message, "too many problems; the rest is not shown");
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pod_is_read),
        TEST(lists_and_documents_are_unfolded),
        TEST(kinds_of_others_are_passed_over_with_a_notice),
        TEST(an_unknown_field_of_an_istio_object_is_an_error),
        TEST(misspelt_istio_kinds_are_errors),
        TEST(wrong_types_and_values_are_named),
        TEST(policies_that_contradict_themselves_are_errors),
        TEST(port_level_mtls_needs_a_selector_and_ports),
        TEST(service_entries_are_checked),
        TEST(the_mesh_config_is_read_from_its_string),
        TEST(other_config_maps_are_passed_over_silently),
        TEST(an_invalid_object_keeps_its_key),
        TEST(text_that_is_no_yaml_makes_the_file_unreadable),
        TEST(an_overlay_adds_labels_and_annotations),
        TEST(problems_without_end_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
