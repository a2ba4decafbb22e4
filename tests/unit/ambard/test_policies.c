/* control-plane §§4.3, 5.1, 5.3: authorization policies, their bytes and their conditions. */
#include "unit/ambard/objects.h"

/* An AuthorizationPolicy p of the namespace. */
static struct ambient_index *index_of_policy(const char *namespace_, const char *annotations, const char *spec)
{
    char *AUTO_FREE yaml = string_format("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                                         "metadata: {name: p, namespace: %s, annotations: {%s}}\nspec:\n%s",
        namespace_, annotations, spec);
    return index_of(yaml);
}

static void assert_policy(const char *spec, const char *expected)
{
    struct ambient_index *made = index_of_policy("ns", "", spec);
    assert_body_equal(made, AMBIENT_AUTHORIZATION, "ns/p", expected);
    ambient_index_free(made);
}

static void assert_condition(const char *annotations, const char *spec, const char *expected)
{
    struct ambient_index *made = index_of_policy("ns", annotations, spec);
    char *AUTO_FREE condition = condition_of(made, "AuthorizationPolicy/ns/p", "ZtunnelAccepted");
    assert_string_equal(condition == NULL ? "(none)" : condition, expected);
    ambient_index_free(made);
}

static void assert_sent(const char *annotations, const char *spec, size_t count)
{
    struct ambient_index *made = index_of_policy("ns", annotations, spec);
    assert_int_equal(ambient_index_list(made, AMBIENT_AUTHORIZATION).count, count);
    ambient_index_free(made);
}

#define HEAD "0a017012026e731801"
#define HEAD_DENY "0a017012026e7318012001"

static void the_scope_depends_on_selector_and_namespace(void **state)
{
    (void)state;
    assert_policy("  action: ALLOW\n", HEAD);
    assert_policy("  selector: {matchLabels: {a: b}}\n", "0a017012026e731802");
    struct ambient_index *global = index_of_policy("istio-system", "", "  action: ALLOW\n");
    assert_body_equal(global, AMBIENT_AUTHORIZATION, "istio-system/p", "0a0170120c697374696f2d73797374656d");
    ambient_index_free(global);
}

static void an_empty_rule_matches_everything(void **state)
{
    (void)state;
    assert_policy("  rules: [{}]\n", HEAD "2a00");
    assert_policy("  action: DENY\n  rules: [{}]\n", HEAD_DENY "2a00");
}

static void values_become_exact_prefix_suffix_or_presence(void **state)
{
    (void)state;
    assert_policy("  rules: [{from: [{source: {namespaces: [a, b*, \"*c\", \"*\"]}}]}]\n", HEAD "2a170a151213"
                                                                                                "0a030a0161"
                                                                                                "0a03120162"
                                                                                                "0a031a0163"
                                                                                                "0a022200");
}

static void the_wire_vector_of_a_policy_is_met(void **state)
{
    (void)state;
    /* wire-protocols §18 no. 6 */
    assert_policy("  rules:\n"
                  "  - to: [{operation: {ports: [\"80\", \"443\"]}}]\n"
                  "    from:\n"
                  "    - source: {principals: [\"cluster.local/ns/a/*\"], ipBlocks: [10.0.0.0/8]}\n"
                  "    - source: {serviceAccounts: [b/c]}\n",
        "0a017012026e7318012a380a0712054a0350bb030a2d12211a151213636c75737465722e6c6f63616c2f6e732f612f2a080a"
        "040a000000100812085a060a0162120163");
}

static void clauses_come_in_order_to_from_when(void **state)
{
    (void)state;
    assert_policy("  rules:\n"
                  "  - when: [{key: destination.port, notValues: [\"1\"]}, {key: source.ip, values: [1.2.3.4]}]\n"
                  "    from: [{source: {notNamespaces: [x]}}]\n"
                  "    to: [{operation: {notPorts: [\"2\"]}}]\n",
        HEAD "2a25"
             "0a051203520102"
             "0a07120512030a0178"
             "0a051203520101"
             "0a0c120a2a080a04010203041020");
}

static void http_rules_of_allow_are_dropped_whole(void **state)
{
    (void)state;
    assert_policy("  rules:\n  - to: [{operation: {methods: [GET], ports: [\"80\"]}}]\n  - to: [{operation: {ports: "
                  "[\"80\"]}}]\n",
        HEAD "2a070a0512034a0150");
    assert_policy("  rules:\n  - when: [{key: \"request.headers[x]\", values: [a]}]\n", HEAD);
}

static void http_attributes_of_deny_are_dropped_alone(void **state)
{
    (void)state;
    assert_policy("  action: DENY\n  rules:\n  - to: [{operation: {methods: [GET], ports: [\"80\"]}}]\n",
        HEAD_DENY "2a070a0512034a0150");
    assert_policy(
        "  action: DENY\n  rules:\n  - when: [{key: remote.ip, values: [1.2.3.4]}]\n", HEAD_DENY "2a040a021200");
}

static void policies_for_others_are_not_sent(void **state)
{
    (void)state;
    assert_sent("", "  action: AUDIT\n  rules: [{}]\n", 0);
    assert_sent("", "  action: CUSTOM\n  provider: {name: x}\n  rules: [{}]\n", 0);
    assert_sent("istio.io/dry-run: \"true\"", "  rules: [{}]\n", 0);
    assert_sent("istio.io/dry-run: \"perhaps\"", "  rules: [{}]\n", 1);
    assert_sent("", "  targetRefs: [{kind: Service, name: s}]\n", 0);
}

static void conditions_say_what_became_of_the_policy(void **state)
{
    (void)state;
    assert_condition("", "  rules: [{}]\n", "True Accepted: attached to ztunnel");
    assert_condition(
        "", "  action: AUDIT\n  rules: [{}]\n", "False UnsupportedValue: ztunnel does not support the AUDIT action");
    assert_condition("istio.io/dry-run: \"true\"", "  rules: [{}]\n",
        "False UnsupportedValue: found policy \"ns/p\" using dry-run annotation, but support for ambient dry-run "
        "authorizationPolicies isn't enabled");
    assert_condition("", "  rules: [{to: [{operation: {paths: [/], methods: [GET]}}]}]\n",
        "True UnsupportedValue: ztunnel does not support HTTP attributes (found: methods, paths). In ambient mode you "
        "must use a "
        "waypoint proxy to enforce HTTP rules. Within an ALLOW policy, rules matching HTTP attributes are omitted. "
        "This will be "
        "more restrictive than requested.");
    assert_condition("", "  action: DENY\n  rules: [{to: [{operation: {ports: [\"1\"], methods: [GET]}}]}]\n",
        "True UnsupportedValue: ztunnel does not support HTTP attributes (found: methods). In ambient mode you must "
        "use a "
        "waypoint proxy to enforce HTTP rules. DENY policy with HTTP attributes is enforced without the HTTP rules. "
        "This will be "
        "more restrictive than requested.");
}

static char *policies_of_pod(const char *pod_namespace, const char *policies)
{
    char *AUTO_FREE yaml =
        string_format("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: %s, labels: {app: a}}\n"
                      "status: {podIP: 10.0.0.1}\n%s",
            pod_namespace, policies);
    struct ambient_index *made = index_of(yaml);
    const struct ambient_resource *pod = ambient_index_list(made, AMBIENT_WORKLOAD).items[0];
    struct writer text = writer_growing();
    /* Field 16: a tag of two bytes, a length of one, then the name. */
    for (size_t i = 0; i + 3 < pod->body.length; i++) {
        const uint8_t *at = pod->body.data + i;
        if (at[0] == 0x82 && at[1] == 0x01 && i + 3 + at[2] <= pod->body.length) {
            writer_print(&text, "%.*s ", at[2], (const char *)at + 3);
        }
    }
    ambient_index_free(made);
    return writer_take_string(&text);
}

#define POLICY(name, namespace_, selector)                                                                             \
    "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " name                         \
    ", namespace: " namespace_ "}\nspec: {" selector "}\n"

static void workloads_list_selector_policies_sorted(void **state)
{
    (void)state;
    static const char policies[] = POLICY("z", "ns", "selector: {matchLabels: {app: a}}") POLICY(
        "b", "ns", "selector: {matchLabels: {app: a}}") POLICY("other", "ns", "selector: {matchLabels: {app: b}}")
        POLICY("whole", "ns", "") POLICY("root", "istio-system", "selector: {matchLabels: {app: a}}")
            POLICY("elsewhere", "other", "selector: {matchLabels: {app: a}}") POLICY("every", "ns", "selector: {}");
    char *AUTO_FREE listed = policies_of_pod("ns", policies);
    assert_string_equal(listed, "istio-system/root ns/b ns/every ns/z ");
}

#define SERVICE(labels) "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns, labels: {" labels "}}\n"
#define WAYPOINT                                                                                                       \
    "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: ns}\n"               \
    "spec: {listeners: [{port: 15008, protocol: HBONE}]}\nstatus: {addresses: [{value: 10.9.9.9}]}\n"

static void assert_target(const char *yaml, const char *expected)
{
    struct ambient_index *made = index_of(yaml);
    char *AUTO_FREE condition = condition_of(made, "AuthorizationPolicy/ns/p", "WaypointAccepted");
    assert_string_equal(condition == NULL ? "(none)" : condition, expected);
    ambient_index_free(made);
}

static void targets_say_whether_a_waypoint_enforces_them(void **state)
{
    (void)state;
#define TO_SERVICE POLICY("p", "ns", "targetRefs: [{kind: Service, name: s}]")
    assert_target(TO_SERVICE, "False TargetNotFound: Service ns/s was not found");
    assert_target(TO_SERVICE SERVICE(""), "False AncestorNotBound: Service ns/s is not bound to a waypoint");
    assert_target(TO_SERVICE SERVICE("istio.io/use-waypoint: w") WAYPOINT, "True Accepted: bound to ns/w");
    assert_target(POLICY("p", "ns", "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: w}]")
                      WAYPOINT,
        "True Accepted: bound to ns/w");
    assert_target(
        POLICY("p", "ns",
            "targetRefs: [{kind: Service, name: s}, {group: gateway.networking.k8s.io, kind: Gateway, name: w}]")
            SERVICE("") WAYPOINT,
        "True PartiallyInvalid: Invalid targetRefs: Service.core:ns/s");
    assert_target(POLICY("p", "ns", "targetRefs: [{kind: Service, name: s}, {kind: Service, name: t}]"),
        "False Invalid: Invalid targetRefs: Service.core:ns/s, Service.core:ns/t");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scope_depends_on_selector_and_namespace),
        cmocka_unit_test(an_empty_rule_matches_everything),
        cmocka_unit_test(values_become_exact_prefix_suffix_or_presence),
        cmocka_unit_test(the_wire_vector_of_a_policy_is_met),
        cmocka_unit_test(clauses_come_in_order_to_from_when),
        cmocka_unit_test(http_rules_of_allow_are_dropped_whole),
        cmocka_unit_test(http_attributes_of_deny_are_dropped_alone),
        cmocka_unit_test(policies_for_others_are_not_sent),
        cmocka_unit_test(conditions_say_what_became_of_the_policy),
        cmocka_unit_test(workloads_list_selector_policies_sorted),
        cmocka_unit_test(targets_say_whether_a_waypoint_enforces_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
