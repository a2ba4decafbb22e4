#include "ztunnel/configuration.h"

#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int clear_environment(void **state)
{
    (void)state;
    clearenv();
    return 0;
}

static struct result read_with(struct configuration *configuration, const char *const *pairs)
{
    for (; pairs[0] != NULL; pairs += 2) {
        setenv(pairs[0], pairs[1], 1);
    }
    return configuration_read(configuration);
}

static void the_defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct configuration configuration;
    struct result outcome = configuration_read(&configuration);
    assert_string_equal(outcome.message, "");
    assert_int_equal(configuration.proxy_mode, PROXY_MODE_SHARED);
    assert_int_equal(configuration.packet_mark, 1337);
    assert_string_equal(configuration.xds_address, "https://localhost:15012");
    assert_string_equal(configuration.cluster_id, "Kubernetes");
    assert_int_equal(configuration.stream_window_bytes, 4194304);
    assert_int_equal(configuration.connection_window_bytes, 16777216);
    assert_int_equal(configuration.pool_maximum_streams, 100);
    assert_int_equal(configuration.termination_deadline_ns, 5 * NANOSECONDS_PER_SECOND);
    assert_int_equal(configuration.keepalive_time_ns, 180 * NANOSECONDS_PER_SECOND);
    assert_int_equal(configuration.original_source, ORIGINAL_SOURCE_TRY);
    configuration_free(&configuration);
}

static void the_cluster_is_found_where_kubernetes_puts_it(void **state)
{
    (void)state;
    struct configuration configuration;
    const char *const pairs[] = { "KUBERNETES_SERVICE_HOST", "10.0.0.1", "CLUSTER_ID", "a", "ISTIO_META_CLUSTER_ID",
        "b", NULL };
    struct result outcome = read_with(&configuration, pairs);
    assert_string_equal(outcome.message, "");
    assert_string_equal(configuration.xds_address, "https://istiod.istio-system.svc:15012");
    assert_string_equal(configuration.cluster_id, "b");
    configuration_free(&configuration);
}

static void the_grace_period_gives_the_deadline(void **state)
{
    (void)state;
    static const struct {
        const char *grace;
        uint64_t seconds;
    } table[] = { { "30", 25 }, { "11", 6 }, { "10", 9 }, { "2", 1 }, { "0", 1 } };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        struct configuration configuration;
        setenv("TERMINATION_GRACE_PERIOD_SECONDS", table[i].grace, 1);
        struct result outcome = configuration_read(&configuration);
        assert_string_equal(outcome.message, "");
        assert_int_equal(configuration.termination_deadline_ns, table[i].seconds * NANOSECONDS_PER_SECOND);
        configuration_free(&configuration);
    }
}

static void workers_follow_the_table(void **state)
{
    (void)state;
    static const struct {
        const char *threads, *limit, *request;
        uint32_t processors, workers;
    } table[] = {
        { NULL, NULL, NULL, 32, 8 },
        { NULL, "1", NULL, 32, 1 },
        { NULL, "4", "8", 32, 8 },
        { "30%", NULL, NULL, 16, 5 },
        { "0", NULL, NULL, 6, 6 },
        { "3", NULL, NULL, 6, 3 },
        { NULL, "500m", NULL, 6, 1 },
        { NULL, NULL, NULL, 1, 2 },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        const struct configuration configuration = { .worker_threads_text = (char *)(uintptr_t)table[i].threads,
            .cpu_resource_limit_text = (char *)(uintptr_t)table[i].limit,
            .cpu_resource_request_text = (char *)(uintptr_t)table[i].request };
        uint32_t workers = 0;
        struct result outcome = configuration_worker_count(&configuration, table[i].processors, &workers);
        assert_string_equal(outcome.message, "");
        assert_int_equal(workers, table[i].workers);
    }
}

static void the_meshs_concurrency_counts_where_no_threads_are_asked_for(void **state)
{
    (void)state;
    static const struct {
        const char *threads;
        uint16_t concurrency;
        uint32_t workers;
    } table[] = { { NULL, 0, 6 }, { NULL, 3, 3 }, { "2", 3, 2 }, { "50%", 0, 3 } };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        const struct configuration configuration = {
            .proxy = { .has_concurrency = true, .concurrency = table[i].concurrency },
            .worker_threads_text = (char *)(uintptr_t)table[i].threads,
        };
        uint32_t workers = 0;
        struct result outcome = configuration_worker_count(&configuration, 6, &workers);
        assert_string_equal(outcome.message, "");
        assert_int_equal(workers, table[i].workers);
    }
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *message;
    } table[] = {
        { "PROXY_MODE", "both", "invalid env var PROXY_MODE=both (PROXY_MODE must be one of dedicated, shared)" },
        { "HTTP2_FRAME_SIZE", "100", "invalid env var HTTP2_FRAME_SIZE=100 (expected 16384 to 16777215 bytes)" },
        { "KEEPALIVE_TIME", "soon", "invalid env var KEEPALIVE_TIME=soon" },
        { "IPV6_ENABLED", "yes", "invalid env var IPV6_ENABLED=yes" },
        { "ZTUNNEL_WORKER_THREADS", "200%", "invalid env var ZTUNNEL_WORKER_THREADS=200%" },
        { "UNSTABLE_ENABLE_SOCKS5", "yes", "invalid env var UNSTABLE_ENABLE_SOCKS5=yes" },
        { "XDS_ON_DEMAND", "true", "DNS proxy does not currently support on-demand mode" },
        { "ISTIO_META_DNS_PROXY_ADDR", "nowhere", "invalid env var DNS_PROXY_ADDR=nowhere" },
        { "TLS_KEY_FILE", "/nonexistent", "TLS_CERTIFICATE_FILE is missing" },
        { "PROXY_CONFIG", "concurrency: 2", "failed parsing proxy config env: " },
        { "CA_ADDRESS", "", "invalid env var CA_ADDRESS=" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        clearenv();
        setenv(table[i].name, table[i].value, 1);
        struct configuration configuration;
        struct result outcome = configuration_read(&configuration);
        assert_false(result_is_ok(&outcome));
        assert_non_null(strstr(outcome.message, table[i].message));
        configuration_free(&configuration);
    }
}

static void a_proxy_without_any_server_is_refused(void **state)
{
    (void)state;
    const char *const pairs[] = { "ENABLE_PROXY", "false", "ISTIO_META_DNS_CAPTURE", "false", NULL };
    struct configuration configuration;
    struct result outcome = read_with(&configuration, pairs);
    assert_string_equal(outcome.message, "ztunnel run without any servers enabled");
    configuration_free(&configuration);
}

static void the_dns_proxy_follows_the_metadata(void **state)
{
    (void)state;
    const char *const pairs[] = { "PROXY_CONFIG",
        "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'no', DNS_PROXY_ADDR: '127.0.0.2:53'}", NULL };
    struct configuration configuration;
    struct result outcome = read_with(&configuration, pairs);
    assert_string_equal(outcome.message, "");
    assert_false(configuration.dns_proxy_enabled);
    assert_false(configuration.dns_proxy_address.is_localhost);
    assert_int_equal(configuration.dns_proxy_address.address.port, 53);
    configuration_free(&configuration);
}

static void the_environment_wins_over_the_mesh(void **state)
{
    (void)state;
    const char *const pairs[] = { "PROXY_CONFIG",
        "{discoveryAddress: 'mesh:1', proxyAdminPort: 7, statsPort: 8, concurrency: 3, proxyMetadata: {}}",
        "STATS_PORT", "9", NULL };
    struct configuration configuration;
    struct result outcome = read_with(&configuration, pairs);
    assert_string_equal(outcome.message, "");
    assert_string_equal(configuration.xds_address, "mesh:1");
    assert_string_equal(configuration.ca_address, "https://localhost:15012");
    assert_int_equal(configuration.admin_port, 7);
    assert_int_equal(configuration.metrics_port, 9);
    assert_int_equal(configuration.worker_count, 3);
    configuration_free(&configuration);
}

static void what_other_proxies_ignore_is_ignored(void **state)
{
    (void)state;
    const char *const pairs[] = { "COMPLIANCE_POLICY", "fips-140-2", "TLS12_ENABLED", "1", "LOG_FORMAT", "text",
        "ADMIN_PORT", "tcp://10.0.0.1:80", NULL };
    struct configuration configuration;
    struct result outcome = read_with(&configuration, pairs);
    assert_string_equal(outcome.message, "");
    assert_int_equal(configuration.compliance_policy, 0);
    assert_false(configuration.tls12_enabled);
    assert_int_equal(configuration.log_format, 0);
    assert_int_equal(configuration.admin_port, 15000);
    configuration_free(&configuration);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_defaults_are_those_of_the_contract, clear_environment),
        cmocka_unit_test_setup(the_cluster_is_found_where_kubernetes_puts_it, clear_environment),
        cmocka_unit_test_setup(the_grace_period_gives_the_deadline, clear_environment),
        cmocka_unit_test_setup(workers_follow_the_table, clear_environment),
        cmocka_unit_test_setup(the_meshs_concurrency_counts_where_no_threads_are_asked_for, clear_environment),
        cmocka_unit_test_setup(what_is_wrong_is_named, clear_environment),
        cmocka_unit_test_setup(a_proxy_without_any_server_is_refused, clear_environment),
        cmocka_unit_test_setup(the_dns_proxy_follows_the_metadata, clear_environment),
        cmocka_unit_test_setup(the_environment_wins_over_the_mesh, clear_environment),
        cmocka_unit_test_setup(what_other_proxies_ignore_is_ignored, clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
