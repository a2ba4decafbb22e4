#include "ztunnel/proxy_configuration.h"

#include "base/memory.h"
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char mesh_file[64];

static int setup(void **state)
{
    (void)state;
    clearenv();
    snprintf(mesh_file, sizeof mesh_file, "/tmp/ambar-mesh-%d", (int)getpid());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(mesh_file);
    return 0;
}

static void write_mesh_file(const char *text)
{
    FILE *file = fopen(mesh_file, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void without_any_source_nothing_is_said(void **state)
{
    (void)state;
    struct proxy_configuration configuration;
    struct result outcome = proxy_configuration_read(mesh_file, &configuration);
    assert_string_equal(outcome.message, "");
    assert_null(configuration.discovery_address);
    assert_false(configuration.has_concurrency);
    assert_int_equal(configuration.metadata_count, 0);
    proxy_configuration_free(&configuration);
}

static void scalars_are_replaced_and_metadata_is_joined(void **state)
{
    (void)state;
    write_mesh_file("trustDomain: ignored\n"
                    "defaultConfig:\n"
                    "  discoveryAddress: first:15012\n"
                    "  concurrency: 4\n"
                    "  tracing: {}\n"
                    "  proxyMetadata:\n"
                    "    ISTIO_META_A: mesh\n"
                    "    B: mesh\n"
                    "    C: mesh\n");
    setenv("PROXY_CONFIG",
        "{\"discoveryAddress\": \"second:15012\", \"proxyMetadata\": {\"B\": \"env\", \"C\": \"env\"}}", 1);
    setenv("ISTIO_META_C", "variable=1", 1);
    struct proxy_configuration configuration;
    struct result outcome = proxy_configuration_read(mesh_file, &configuration);
    assert_string_equal(outcome.message, "");
    assert_string_equal(configuration.discovery_address, "second:15012");
    assert_true(configuration.has_concurrency);
    assert_int_equal(configuration.concurrency, 4);
    assert_int_equal(configuration.metadata_count, 3);
    assert_string_equal(proxy_configuration_metadata(&configuration, "A"), "mesh");
    assert_string_equal(proxy_configuration_metadata(&configuration, "B"), "env");
    assert_string_equal(proxy_configuration_metadata(&configuration, "C"), "variable=1");
    assert_null(proxy_configuration_metadata(&configuration, "D"));
    proxy_configuration_free(&configuration);
}

static void an_empty_mesh_file_and_an_empty_variable_are_nothing(void **state)
{
    (void)state;
    write_mesh_file("# nothing yet\n");
    setenv("PROXY_CONFIG", "", 1);
    struct proxy_configuration configuration;
    struct result outcome = proxy_configuration_read(mesh_file, &configuration);
    assert_string_equal(outcome.message, "");
    proxy_configuration_free(&configuration);
}

static void a_bad_mesh_file_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } table[] = {
        { "defaultConfig: {concurrency: 2}", "missing key `proxyMetadata`" },
        { "defaultConfig: {proxyMetadata: {}, statsPort: 70000}", "`70000` is not a number from 0 to 65535" },
        { "defaultConfig: [", "" },
        { "defaultConfig: {proxyMetadata: {A: [1]}}", "a string is expected here" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        write_mesh_file(table[i].text);
        struct proxy_configuration configuration;
        struct result outcome = proxy_configuration_read(mesh_file, &configuration);
        assert_false(result_is_ok(&outcome));
        assert_non_null(strstr(outcome.message, "failed parsing mesh config file /tmp/ambar-mesh-"));
        assert_non_null(strstr(outcome.message, table[i].reason));
        proxy_configuration_free(&configuration);
    }
}

static void a_bad_variable_is_named(void **state)
{
    (void)state;
    setenv("PROXY_CONFIG", "discoveryAddress: x", 1);
    struct proxy_configuration configuration;
    struct result outcome = proxy_configuration_read(mesh_file, &configuration);
    assert_non_null(strstr(outcome.message, "failed parsing proxy config env: "));
    assert_non_null(strstr(outcome.message, "missing key `proxyMetadata`"));
    proxy_configuration_free(&configuration);
}

static void anchors_and_merge_keys_of_the_mesh_file_are_followed(void **state)
{
    (void)state;
    write_mesh_file("common: &common\n"
                    "  A: &name shared\n"
                    "  B: b\n"
                    "defaultConfig:\n"
                    "  discoveryAddress: &address istiod:15012\n"
                    "  proxyMetadata:\n"
                    "    <<: *common\n"
                    "    C: *name\n"
                    "rootNamespace: *address\n");
    struct proxy_configuration configuration;
    struct result outcome = proxy_configuration_read(mesh_file, &configuration);
    assert_string_equal(outcome.message, "");
    assert_string_equal(configuration.discovery_address, "istiod:15012");
    assert_int_equal(configuration.metadata_count, 3);
    size_t seen = 0;
    for (size_t i = 0; i < configuration.metadata_count; i++) {
        const char *key = configuration.metadata[i].key, *value = configuration.metadata[i].value;
        seen += (strcmp(key, "A") == 0 || strcmp(key, "C") == 0) && strcmp(value, "shared") == 0;
        seen += strcmp(key, "B") == 0 && strcmp(value, "b") == 0;
    }
    assert_int_equal(seen, 3);
    proxy_configuration_free(&configuration);
}

static void assert_refused(const char *text, const char *reason)
{
    write_mesh_file(text);
    struct proxy_configuration configuration;
    struct result outcome = proxy_configuration_read(mesh_file, &configuration);
    assert_false(result_is_ok(&outcome));
    assert_non_null(strstr(outcome.message, reason));
    proxy_configuration_free(&configuration);
}

static void aliases_that_multiply_or_go_in_circles_are_refused(void **state)
{
    (void)state;
    assert_refused("a: &a [x, x, x, x, x, x, x, x, x, x]\n"
                   "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
                   "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
                   "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n",
        "aliases stand for more than 1000 values");
    assert_refused("defaultConfig: &a\n  tracing: *a\n", "an alias refers to the value it stands in");
    assert_refused("defaultConfig: *nowhere\n", "an alias refers to an anchor that does not exist");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_any_source_nothing_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(scalars_are_replaced_and_metadata_is_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_mesh_file_and_an_empty_variable_are_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_mesh_file_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_variable_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(anchors_and_merge_keys_of_the_mesh_file_are_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(aliases_that_multiply_or_go_in_circles_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
