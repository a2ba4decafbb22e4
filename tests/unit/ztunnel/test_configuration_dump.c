#include "base/json_writer.h"
#include "base/memory.h"
#include "cmocka_all.h"
#include "ztunnel/configuration.h"

#include <jansson.h>
#include <stdlib.h>

struct fixture {
    struct configuration configuration;
    json_t *dump;
};

static int setup(void **state)
{
    clearenv();
    *state = NEW(struct fixture);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    json_decref(fixture->dump);
    configuration_free(&fixture->configuration);
    memory_free(fixture);
    return 0;
}

static void dump(struct fixture *fixture)
{
    struct result outcome = configuration_read(&fixture->configuration);
    assert_string_equal(outcome.message, "");
    struct writer text = writer_growing();
    struct json_writer json = json_writer_of(&text, false);
    configuration_dump(&fixture->configuration, &json);
    fixture->dump = json_loads(writer_string(&text), 0, NULL);
    assert_non_null(fixture->dump);
    writer_free(&text);
}

/* The value of a key as compact JSON is `expected`. */
static void assert_value(const struct fixture *fixture, const char *key, const char *expected)
{
    const json_t *value = json_object_get(fixture->dump, key);
    if (value == NULL) {
        fail_msg("no key %s", key);
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
}

static void every_key_of_the_contract_is_there_with_its_default(void **state)
{
    struct fixture *fixture = *state;
    setenv("IPV6_ENABLED", "false", 1);
    dump(fixture);
    static const struct {
        const char *key, *value;
    } table[] = {
        { "adminAddr", "{\"Localhost\":[false,15000]}" },
        { "altCaHostname", "null" },
        { "altXdsHostname", "null" },
        { "caAddress", "\"https://localhost:15012\"" },
        { "caHeaders", "[]" },
        { "caRootCert", "{\"File\":\"./var/run/secrets/istio/root-cert.pem\"}" },
        { "clusterDomain", "\"cluster.local\"" },
        { "clusterId", "\"Kubernetes\"" },
        { "connectionWindowSize", "16777216" },
        { "crlPath", "null" },
        { "dnsProxy", "true" },
        { "dnsProxyAddr", "{\"Localhost\":[false,15053]}" },
        { "enableEnhancedBaggage", "true" },
        { "fakeCa", "false" },
        { "fakeSelfInbound", "false" },
        { "frameSize", "1048576" },
        { "illegalPorts", "[15001,15006,15008]" },
        { "inboundAddr", "\"0.0.0.0:15008\"" },
        { "inboundPlaintextAddr", "\"0.0.0.0:15006\"" },
        { "inpodPortReuse", "true" },
        { "inpodUds", "\"/var/run/ztunnel/ztunnel.sock\"" },
        { "ipv6Enabled", "false" },
        { "localNode", "null" },
        { "localhostAppTunnel", "true" },
        { "network", "\"\"" },
        { "outboundAddr", "\"0.0.0.0:15001\"" },
        { "packetMark", "1337" },
        { "poolMaxStreamsPerConn", "100" },
        { "poolUnusedReleaseTimeout", "{\"nanos\":0,\"secs\":300}" },
        { "preferedServiceNamespace", "null" },
        { "proxy", "true" },
        { "proxyArgs", "\"\"" },
        { "proxyMetadata", "{}" },
        { "proxyMode", "\"Shared\"" },
        { "proxyWorkloadInformation", "null" },
        { "readinessAddr", "{\"SocketAddr\":\"0.0.0.0:15021\"}" },
        { "requireOriginalSource", "null" },
        { "secretTtl", "{\"nanos\":0,\"secs\":86400}" },
        { "selfTerminationDeadline", "{\"nanos\":0,\"secs\":5}" },
        { "socketConfig",
            "{\"keepaliveEnabled\":true,\"keepaliveInterval\":{\"nanos\":0,\"secs\":180},\"keepaliveRetries\":9,"
            "\"keepaliveTime\":{\"nanos\":0,\"secs\":180},\"userTimeoutEnabled\":false}" },
        { "socks5Addr", "null" },
        { "statsAddr", "{\"SocketAddr\":\"0.0.0.0:15020\"}" },
        { "windowSize", "4194304" },
        { "xdsAddress", "\"https://localhost:15012\"" },
        { "xdsHeaders", "[]" },
        { "xdsOnDemand", "false" },
        { "xdsRootCert", "{\"File\":\"./var/run/secrets/istio/root-cert.pem\"}" },
        { "ztunnelIdentity", "null" },
        { "ztunnelWorkload", "null" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        assert_value(fixture, table[i].key, table[i].value);
    }
    static const char *const others[] = { "dnsResolverCfg", "dnsResolverOpts", "numWorkerThreads" };
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++) {
        assert_non_null(json_object_get(fixture->dump, others[i]));
    }
}

static void what_was_set_is_shown(void **state)
{
    struct fixture *fixture = *state;
    static const char *const pairs[][2] = {
        { "PROXY_MODE", "dedicated" },
        { "PROXY_WORKLOAD_INFO", "shop/web-1/web" },
        { "XDS_ADDRESS", "" },
        { "XDS_ROOT_CA", "SYSTEM" },
        { "XDS_HEADER_Foo", "Bar" },
        { "ENABLE_ORIG_SRC", "false" },
        { "ISTIO_META_A", "b" },
        { "POD_NAME", "z" },
        { "POD_NAMESPACE", "istio-system" },
        { "SERVICE_ACCOUNT", "ztunnel" },
        { "CRL_PATH", "/crl/ca-crl.pem" },
        { "AUTH_TOKEN", "very-secret" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        setenv(pairs[i][0], pairs[i][1], 1);
    }
    dump(fixture);
    assert_value(fixture, "proxyMode", "\"Dedicated\"");
    assert_value(
        fixture, "proxyWorkloadInformation", "{\"name\":\"web-1\",\"namespace\":\"shop\",\"serviceAccount\":\"web\"}");
    assert_value(fixture, "xdsAddress", "null");
    assert_value(fixture, "xdsRootCert", "\"Default\"");
    assert_value(fixture, "xdsHeaders", "[[\"foo\",\"<redacted>\"]]");
    assert_value(fixture, "packetMark", "null");
    assert_value(fixture, "requireOriginalSource", "false");
    assert_value(fixture, "proxyMetadata", "{\"A\":\"b\"}");
    assert_value(fixture, "ztunnelIdentity", "\"spiffe://cluster.local/ns/istio-system/sa/ztunnel\"");
    assert_value(
        fixture, "ztunnelWorkload", "{\"name\":\"z\",\"namespace\":\"istio-system\",\"serviceAccount\":\"ztunnel\"}");
    assert_value(fixture, "crlPath", "\"/crl/ca-crl.pem\"");
    char *text = json_dumps(fixture->dump, 0);
    assert_null(strstr(text, "very-secret"));
    free(text);
}

static void keys_are_sorted(void **state)
{
    struct fixture *fixture = *state;
    dump(fixture);
    const char *before = "";
    for (void *at = json_object_iter(fixture->dump); at != NULL; at = json_object_iter_next(fixture->dump, at)) {
        assert_true(strcmp(before, json_object_iter_key(at)) < 0);
        before = json_object_iter_key(at);
    }
}

static void the_yaml_says_the_same(void **state)
{
    struct fixture *fixture = *state;
    setenv("ISTIO_META_A", "two\nlines", 1);
    setenv("CA_HEADER_Authorization", "very-secret", 1);
    dump(fixture);
    struct writer yaml = writer_growing();
    configuration_write_yaml(&fixture->configuration, &yaml);
    const char *text = writer_string(&yaml);
    assert_non_null(strstr(text, "\nproxyMetadata:\n  A: \"two\\nlines\"\n"));
    assert_non_null(strstr(text, "\nillegalPorts:\n  - 15001\n"));
    assert_non_null(strstr(text, "\nxdsHeaders: []\n"));
    assert_non_null(strstr(text, "authorization"));
    assert_non_null(strstr(text, "<redacted>"));
    assert_null(strstr(text, "very-secret"));
    writer_free(&yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_key_of_the_contract_is_there_with_its_default, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_set_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_sorted, setup, teardown),
        cmocka_unit_test_setup_teardown(the_yaml_says_the_same, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
