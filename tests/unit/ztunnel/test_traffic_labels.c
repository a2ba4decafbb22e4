/* The labels of the connection metrics (ztunnel-management §8.1) and the flag that follows from an error's text. */
#include "ztunnel/traffic_labels.h"

#include "mesh/baggage.h"
#include "telemetry_fixture.h"

static void assert_label(const struct traffic_labels *labels, enum traffic_label label, const char *expected)
{
    const char *value = labels->values[label];
    if (expected == NULL) {
        assert_true(value == NULL || value[0] == '\0'); /* printed as "unknown" */
    } else {
        assert_string_equal(value != NULL ? value : "(null)", expected);
    }
}

static void a_tunnelled_connection_has_both_workloads_and_identities(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    struct traffic_labels labels;
    traffic_labels_fill(&labels, &connection, RESPONSE_NONE);
    assert_label(&labels, TRAFFIC_REPORTER, "source");
    assert_label(&labels, TRAFFIC_SOURCE_WORKLOAD, "curl"); /* the owner, not the pod */
    assert_label(&labels, TRAFFIC_SOURCE_PRINCIPAL, "spiffe://cluster.local/ns/shop/sa/curl");
    assert_label(&labels, TRAFFIC_SOURCE_APP, "curl");
    assert_label(&labels, TRAFFIC_SOURCE_VERSION, "v1");
    assert_label(&labels, TRAFFIC_DESTINATION_WORKLOAD, "web");
    assert_label(&labels, TRAFFIC_DESTINATION_PRINCIPAL, "spiffe://cluster.local/ns/shop/sa/web");
    assert_label(&labels, TRAFFIC_DESTINATION_SERVICE, NULL);
    assert_label(&labels, TRAFFIC_RESPONSE_FLAGS, "-");
    assert_label(&labels, TRAFFIC_SECURITY_POLICY, "mutual_tls");
    assert_label(&labels, TRAFFIC_REQUEST_PROTOCOL, "tcp");
    assert_label(&labels, TRAFFIC_SOURCE_REGION, "eu");
    assert_label(&labels, TRAFFIC_SOURCE_ZONE, NULL);
    telemetry_connection_free(&connection);
}

static void plaintext_has_no_source_principal_but_the_destinations(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    spiffe_identity_free(connection.source_identity);
    connection.source_identity = NULL;
    connection.protocol = CONNECTION_TCP;
    connection.direction = CONNECTION_INBOUND;
    struct traffic_labels labels;
    traffic_labels_fill(&labels, &connection, RESPONSE_DENY);
    assert_label(&labels, TRAFFIC_REPORTER, "destination");
    assert_label(&labels, TRAFFIC_SOURCE_PRINCIPAL, NULL);
    assert_label(&labels, TRAFFIC_DESTINATION_PRINCIPAL, "spiffe://cluster.local/ns/shop/sa/web");
    assert_label(&labels, TRAFFIC_SECURITY_POLICY, "unknown");
    assert_label(&labels, TRAFFIC_RESPONSE_FLAGS, "DENY");
    telemetry_connection_free(&connection);
}

static void a_source_known_by_its_baggage_only_is_an_app_by_its_workloads_name(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    struct baggage baggage = { 0 };
    assert_true(baggage_parse(bytes_of_string("k8s.cluster.name=c2,k8s.namespace.name=far,k8s.deployment.name=api,"
                                              "service.name=api-service,service.version=v7"),
        &baggage));
    workload_release(connection.source_workload);
    connection.source_workload = NULL;
    connection.described_source = described_peer_new(&baggage);
    struct traffic_labels labels;
    traffic_labels_fill(&labels, &connection, RESPONSE_NONE);
    assert_label(&labels, TRAFFIC_SOURCE_WORKLOAD, "api");
    assert_label(&labels, TRAFFIC_SOURCE_APP, "api");
    assert_label(&labels, TRAFFIC_SOURCE_CANONICAL_SERVICE, "api-service");
    assert_label(&labels, TRAFFIC_SOURCE_VERSION, "v7");
    assert_label(&labels, TRAFFIC_SOURCE_CLUSTER, "c2");
    assert_label(&labels, TRAFFIC_SOURCE_WORKLOAD_NAMESPACE, "far");
    memory_free(connection.described_source);
    telemetry_connection_free(&connection);
}

static void the_flag_follows_from_the_text_of_the_error(void **state)
{
    (void)state;
    static const struct {
        const char *error, *flag;
    } cases[] = {
        { "tls error: no certificate", "TLS_FAILURE" },
        { "http2 handshake failed: x", "H2_HANDSHAKE_FAILURE" },
        { "h2 failed: stream reset", "H2_HANDSHAKE_FAILURE" },
        { "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed",
            "NETWORK_POLICY" },
        { "identity error: signing", "IDENTITY_ERROR" },
        { "connection closed due to policy rejection: workload mismatch", "DENY" },
        { "connection closed due to policy change", "DENY" },
        { "connection closed: peer certificate revoked by CRL", "CERT_REVOKED" },
        { "connection closed due to connection drain", "-" },
        { "io error: Connection refused (os error 111)", "CONNECT" },
        { "http status: 401 Unauthorized", "CONNECT" },
        { "pool draining", "CONNECT" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_string_equal(response_flag_name(response_flag_of_error(cases[i].error)), cases[i].flag);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tunnelled_connection_has_both_workloads_and_identities),
        cmocka_unit_test(plaintext_has_no_source_principal_but_the_destinations),
        cmocka_unit_test(a_source_known_by_its_baggage_only_is_an_app_by_its_workloads_name),
        cmocka_unit_test(the_flag_follows_from_the_text_of_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
