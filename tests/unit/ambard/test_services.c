/* control-plane §3: services, service entries, waypoints of services. */
#include "unit/ambard/objects.h"

#include "ambard/service_conversion.h"

static void the_wire_vector_of_a_service_is_met(void **state)
{
    (void)state;
    /* wire-protocols §18 no. 2 */
    struct ambient_index *made =
        index_of("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
                 "metadata: {name: wp, namespace: default}\n"
                 "spec: {listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n"
                 "status: {addresses: [{type: Hostname, value: wp.default.svc.cluster.local}]}\n"
                 "---\n"
                 "apiVersion: v1\nkind: Service\n"
                 "metadata: {name: web, labels: {istio.io/use-waypoint: wp}}\n"
                 "spec:\n  clusterIPs: [10.96.0.10]\n  ipFamilies: [IPv4]\n"
                 "  ports: [{name: http, port: 80, targetPort: 8080}]\n");
    assert_body_equal(made, AMBIENT_SERVICE, "default/web.default.svc.cluster.local",
        "12700a03776562120764656661756c741a1d7765622e64656661756c742e7376632e636c75737465722e6c6f63616c220612040a60000a"
        "2a070850"
        "10903f18013a2c0a270a0764656661756c74121c77702e64656661756c742e7376632e636c75737465722e6c6f63616c18a0754801580"
        "1");
    assert_string_equal(
        ambient_index_get(made, AMBIENT_SERVICE, "default/web.default.svc.cluster.local")->version, "118a8ddb07a9b754");
    ambient_index_free(made);
}

static void application_protocols_follow_the_table(void **state)
{
    (void)state;
    enum { UNKNOWN, HTTP11, HTTP2, GRPC, TCP, TLS };
    static const struct {
        const char *name, *app_protocol;
        uint32_t port, expected;
        int protocol;
    } rows[] = {
        { "http", "", 80, HTTP11, KUBE_PROTOCOL_TCP },
        { "HTTP-admin", "", 80, HTTP11, KUBE_PROTOCOL_TCP },
        { "http2-x", "", 80, HTTP2, KUBE_PROTOCOL_TCP },
        { "grpc", "", 80, GRPC, KUBE_PROTOCOL_TCP },
        { "grpc-web", "", 80, UNKNOWN, KUBE_PROTOCOL_TCP },
        { "grpc-web-x", "", 80, UNKNOWN, KUBE_PROTOCOL_TCP },
        { "tcp-redis", "", 6379, TCP, KUBE_PROTOCOL_TCP },
        { "tls", "", 443, TLS, KUBE_PROTOCOL_TCP },
        { "https-x", "", 443, TLS, KUBE_PROTOCOL_TCP },
        { "httpx", "", 80, UNKNOWN, KUBE_PROTOCOL_TCP },
        { "", "", 80, UNKNOWN, KUBE_PROTOCOL_TCP },
        { "db", "", 3306, TCP, KUBE_PROTOCOL_TCP },
        { "", "", 25, TCP, KUBE_PROTOCOL_TCP },
        { "http", "", 53, UNKNOWN, KUBE_PROTOCOL_UDP },
        { "dns", "", 53, UNKNOWN, KUBE_PROTOCOL_UDP },
        { "x", "kubernetes.io/h2c", 80, HTTP2, KUBE_PROTOCOL_TCP },
        { "x", "kubernetes.io/ws", 80, HTTP11, KUBE_PROTOCOL_TCP },
        { "x", "kubernetes.io/wss", 80, TLS, KUBE_PROTOCOL_TCP },
        { "http", "tcp", 80, TCP, KUBE_PROTOCOL_TCP },
        { "http", "mystery", 80, UNKNOWN, KUBE_PROTOCOL_TCP },
        { "kubernetes.io/h2c", "", 80, UNKNOWN, KUBE_PROTOCOL_TCP },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        const struct kube_service_port port = { .name = rows[i].name,
            .app_protocol = rows[i].app_protocol,
            .port = rows[i].port,
            .protocol = rows[i].protocol };
        assert_int_equal(service_app_protocol(&port), rows[i].expected);
    }
    assert_int_equal(service_entry_app_protocol("HTTPS"), TLS);
    assert_int_equal(service_entry_app_protocol("grpc-web"), UNKNOWN);
    assert_int_equal(service_entry_app_protocol("tcp-x"), UNKNOWN);
}

/* A service `a` of namespace `b` with the given spec and metadata, from its field 4 on. */
static void assert_service_tail(const char *metadata, const char *spec, const char *expected)
{
    /* service { name: a namespace: b hostname: a.b.svc.cluster.local */
    static const char head[] = "0a016112016"
                               "21a15612e622e7376632e636c75737465722e6c6f63616c";
    char *AUTO_FREE yaml = string_format(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b%s}\nspec: {%s}\n", metadata, spec);
    struct ambient_index *made = index_of(yaml);
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_SERVICE, "b/a.b.svc.cluster.local");
    assert_true(strlen(body) > 4 + strlen(head));
    assert_memory_equal(body + 4, head, strlen(head));
    assert_string_equal(body + 4 + strlen(head), expected);
    ambient_index_free(made);
}

#define CANONICAL "5801"

static void load_balancing_follows_policy_distribution_and_readiness(void **state)
{
    (void)state;
    assert_service_tail("", "", CANONICAL);
    assert_service_tail(
        "", "internalTrafficPolicy: Local, trafficDistribution: PreferClose", "42050a01041001" CANONICAL);
    assert_service_tail("", "trafficDistribution: PreferSameZone", "42070a030601021002" CANONICAL);
    assert_service_tail("", "trafficDistribution: PreferSameNode", "42090a0506010203041002" CANONICAL);
    assert_service_tail("", "publishNotReadyAddresses: true", "42021801" CANONICAL);
    assert_service_tail(
        ", annotations: {networking.istio.io/traffic-distribution: preferclose}", "", "42070a030601021002" CANONICAL);
    assert_service_tail(", annotations: {networking.istio.io/traffic-distribution: Whatever}", "", CANONICAL);
}

static void addresses_and_families_are_those_of_the_service(void **state)
{
    (void)state;
    assert_service_tail("", "clusterIP: None, clusterIPs: [None]", CANONICAL);
    assert_service_tail("", "clusterIP: 10.0.0.1", "220612040a000001" CANONICAL);
    assert_service_tail("", "clusterIPs: [10.0.0.1, \"fd00::1\"], ipFamilies: [IPv4, IPv6]",
        "220612040a00000122121210fd0000000000000000000000000000014803" CANONICAL);
    assert_service_tail("", "ipFamilies: [IPv6]", "4802" CANONICAL);
}

static void udp_ports_are_sent_and_named_targets_are_zero(void **state)
{
    (void)state;
    assert_service_tail("", "ports: [{name: dns, port: 53, protocol: UDP}, {name: http, port: 80, targetPort: web}]",
        "2a0408351035"
        "2a0408501801" CANONICAL);
}

static void external_names_are_not_sent(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ExternalName, externalName: b.example}\n");
    assert_int_equal(ambient_index_list(made, AMBIENT_SERVICE).count, 0);
    ambient_index_free(made);
}

static void a_host_of_an_entry_is_a_service_and_blocks_are_masked(void **state)
{
    (void)state;
    struct ambient_index *made = index_of("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
                                          "metadata: {name: e, namespace: d}\n"
                                          "spec:\n  hosts: [h.example]\n  addresses: [10.0.0.7/24, 10.1.0.1]\n"
                                          "  ports: [{name: x, number: 80, protocol: HTTP, targetPort: 8080}]\n");
    /* name e, namespace d, hostname; {10.0.0.0 length 24}, {10.1.0.1}; port 80->8080 HTTP11; PASSTHROUGH + ALLOW_ALL; canonical */
    assert_body_equal(made, AMBIENT_SERVICE, "d/h.example",
        "12340a016512016"
        "41a09682e6578616d706c65"
        "220812040a0000001818"
        "220612040a010001"
        "2a07085010903f1801"
        "420410031801"
        "5801");
    assert_string_equal(ambient_index_at_alias(made, "/10.0.0.0/24").items[0]->name, "d/h.example");
    assert_string_equal(ambient_index_at_alias(made, "/10.1.0.1").items[0]->name, "d/h.example");
    ambient_index_free(made);
}

#define ENTRY(name, namespace_, created, spec)                                                                         \
    "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " name ", namespace: " namespace_   \
    ", creationTimestamp: " created "}\nspec: {" spec "}\n"

static bool is_canonical(const struct ambient_index *index_, const char *name)
{
    char *AUTO_FREE body = hexadecimal_of(index_, AMBIENT_SERVICE, name);
    size_t length = strlen(body);
    return length > 4 && strcmp(body + length - 4, CANONICAL) == 0;
}

static void one_object_of_a_namespace_wins_a_hostname(void **state)
{
    (void)state;
    struct ambient_index *made = index_of("apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}\n" ENTRY(
        "newer", "d", "2026-02-01T00:00:00Z", "hosts: [h.example, s.d.svc.cluster.local], resolution: DNS")
            ENTRY("older", "d", "2026-01-01T00:00:00Z", "hosts: [h.example], resolution: DNS")
                ENTRY("other", "f", "2026-03-01T00:00:00Z", "hosts: [h.example], resolution: DNS"));
    assert_int_equal(ambient_index_list(made, AMBIENT_SERVICE).count, 3);
    assert_true(is_canonical(made, "d/h.example"));
    assert_false(is_canonical(made, "f/h.example"));
    assert_true(is_canonical(made, "d/s.d.svc.cluster.local"));
    /* The implicit endpoint belongs to the entry that won; the loser, left without a host, sends nothing. */
    assert_non_null(
        ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes/networking.istio.io/ServiceEntry/d/older/h.example"));
    assert_null(
        ambient_index_get(made, AMBIENT_WORKLOAD, "Kubernetes/networking.istio.io/ServiceEntry/d/newer/h.example"));
    ambient_index_free(made);
}

static void visibility_limits_or_hides_entries(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: d, labels: {team: x}}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n"
        "    serviceEntryVisibility:\n      defaultVisibility: NONE\n      policies:\n"
        "      - visibility: NAMESPACE\n        matchingRules: [{namespaceSelector: {matchLabels: {team: x}}}]\n" ENTRY(
            "e", "d", "2026-01-01T00:00:00Z", "hosts: [h.example], addresses: [10.0.0.1]")
            ENTRY("e", "f", "2026-01-01T00:00:00Z", "hosts: [h.example], addresses: [10.0.0.1]"));
    assert_int_equal(ambient_index_list(made, AMBIENT_SERVICE).count, 1);
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_SERVICE, "d/h.example");
    assert_string_equal(body + strlen(body) - 4, "7001"); /* NAMESPACE, and not canonical */
    char *AUTO_FREE condition = condition_of(made, "ServiceEntry/d/e", "istio.io/VisibilityApplied");
    assert_memory_equal(condition, "True Namespace: ", 16);
    ambient_index_free(made);
}

static void entries_without_addresses_are_given_some(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(ENTRY("e", "d", "2026-01-01T00:00:00Z",
        "hosts: [a.example, b.example, \"*.c.example\"], resolution: DNS, endpoints: [{address: x.example}]")
            ENTRY("none", "d", "2026-01-01T00:00:00Z", "hosts: [n.example]"));
    assert_string_equal(ambient_index_at_alias(made, "/240.240.0.1").items[0]->name, "d/a.example");
    assert_string_equal(ambient_index_at_alias(made, "/2001:2::1").items[0]->name, "d/a.example");
    assert_string_equal(ambient_index_at_alias(made, "/240.240.0.2").items[0]->name, "d/b.example");
    assert_int_equal(ambient_index_at_alias(made, "/240.240.0.3").count, 0);
    ambient_index_free(made);
}

#define WAYPOINT(name, labels, from)                                                                                   \
    "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: " name                             \
    ", namespace: g, labels: {" labels                                                                                 \
    "}}\nspec: {listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {" from "}}}]}\n"   \
    "status: {addresses: [{value: 10.9.9.9}]}\n"
#define USER(namespace_, labels)                                                                                       \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: " namespace_ ", labels: {" labels "}}\n"

static void assert_binding(const char *yaml, const char *key, const char *expected)
{
    struct ambient_index *made = index_of(yaml);
    char *AUTO_FREE condition = condition_of(made, key, "istio.io/WaypointBound");
    assert_string_equal(condition == NULL ? "(none)" : condition, expected);
    ambient_index_free(made);
}

static void bindings_say_why_they_fail(void **state)
{
    (void)state;
    assert_binding(USER("g", "istio.io/use-waypoint: w"), "Service/g/s",
        "False WaypointIsNotReady: waypoint \"g/w\" is not ready");
    assert_binding(WAYPOINT("w", "", "from: Same")
                       USER("h", "istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: g"),
        "Service/h/s",
        "False AttachmentDenied: we are not permitted to attach to waypoint \"g/w\" (missing allowedRoutes?)");
    assert_binding(WAYPOINT("w", "istio.io/waypoint-for: workload", "") USER("g", "istio.io/use-waypoint: w"),
        "Service/g/s",
        "False UnsupportedTrafficType: attempting to bind to traffic type \"service\" which the waypoint \"g/w\" does "
        "not support");
    assert_binding(WAYPOINT("w", "", "from: All")
                       USER("h", "istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: g"),
        "Service/h/s", "True WaypointAccepted: Successfully attached to waypoint g/w");
    assert_binding(WAYPOINT("w", "", "") USER("g", "istio.io/use-waypoint: w, istio.io/ingress-use-waypoint: \"true\""),
        "Service/g/s",
        "True WaypointAccepted: Successfully attached to waypoint g/w. Ingress traffic will traverse the waypoint");
    assert_binding(WAYPOINT("w", "", "") USER("g", "istio.io/use-waypoint: w, istio.io/use-waypoint-canary: x"),
        "Service/g/s",
        "True WaypointAccepted: Successfully attached to waypoint g/w. Canary waypoint not attached: waypoint \"g/x\" "
        "is not ready");
    assert_binding(WAYPOINT("w", "", "") USER("g", "istio.io/use-waypoint: none"), "Service/g/s", "(none)");
}

static void a_canary_is_weighed(void **state)
{
    (void)state;
    struct ambient_index *made = index_of(WAYPOINT("w", "", "")
            WAYPOINT("x", "", "") "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s\n  namespace: g\n"
                                  "  labels: {istio.io/use-waypoint: w, istio.io/use-waypoint-canary: x}\n"
                                  "  annotations: {istio.io/use-waypoint-canary-weight: \"10\"}\n");
    char *AUTO_FREE body = hexadecimal_of(made, AMBIENT_SERVICE, "g/s.g.svc.cluster.local");
    /* waypoint, canonical, then {w, 90}, {x, 10} */
    static const char tail[] = "3a0b120612040a09090918a075"
                               "5801"
                               "6a0f0a0b120612040a09090918a075105a"
                               "6a0f0a0b120612040a09090918a075100a";
    assert_string_equal(body + strlen(body) - strlen(tail), tail);
    ambient_index_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wire_vector_of_a_service_is_met),
        cmocka_unit_test(application_protocols_follow_the_table),
        cmocka_unit_test(load_balancing_follows_policy_distribution_and_readiness),
        cmocka_unit_test(addresses_and_families_are_those_of_the_service),
        cmocka_unit_test(udp_ports_are_sent_and_named_targets_are_zero),
        cmocka_unit_test(external_names_are_not_sent),
        cmocka_unit_test(a_host_of_an_entry_is_a_service_and_blocks_are_masked),
        cmocka_unit_test(one_object_of_a_namespace_wins_a_hostname),
        cmocka_unit_test(visibility_limits_or_hides_entries),
        cmocka_unit_test(entries_without_addresses_are_given_some),
        cmocka_unit_test(bindings_say_why_they_fail),
        cmocka_unit_test(a_canary_is_weighed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
