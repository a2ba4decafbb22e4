#include "ztunnel/control_target.h"

#include "base/memory.h"
#include "cmocka_all.h"

#include <stdlib.h>

struct fixture {
    struct configuration configuration;
    struct arena arena;
    struct control_plane_settings settings;
};

static int setup(void **state)
{
    clearenv();
    setenv("XDS_ROOT_CA", "SYSTEM", 1);
    struct fixture *fixture = NEW(struct fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    configuration_free(&fixture->configuration);
    arena_free(&fixture->arena);
    memory_free(fixture);
    return 0;
}

static struct result target(struct fixture *fixture)
{
    struct result outcome = configuration_read(&fixture->configuration);
    assert_string_equal(outcome.message, "");
    return control_target_settings(&fixture->configuration, CONTROL_TARGET_XDS, &fixture->arena, &fixture->settings);
}

static void a_missing_scheme_is_https(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_ADDRESS", "istiod.istio-system.svc:15012", 1);
    struct result outcome = target(fixture);
    assert_string_equal(outcome.message, "");
    assert_string_equal(fixture->settings.host, "istiod.istio-system.svc");
    assert_int_equal(fixture->settings.port, 15012);
    assert_false(fixture->settings.is_plaintext);
    assert_null(fixture->settings.root_file);
    assert_int_equal(fixture->settings.root_pem.length, 0);
}

static void plaintext_is_for_loopback_only(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_ADDRESS", "http://10.0.0.1:15010", 1);
    struct result outcome = target(fixture);
    assert_non_null(strstr(outcome.message, "invalid env var XDS_ADDRESS=http://10.0.0.1:15010 (only https://"));
}

static void plaintext_to_loopback_is_spoken(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_ADDRESS", "http://127.0.0.1:15010", 1);
    struct result outcome = target(fixture);
    assert_string_equal(outcome.message, "");
    assert_true(fixture->settings.is_plaintext);
}

static void an_address_without_a_port_is_refused_by_name(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_ADDRESS", "https://istiod", 1);
    struct result outcome = target(fixture);
    assert_string_equal(outcome.message, "invalid env var XDS_ADDRESS=https://istiod (expected https://HOST:PORT)");
}

static void inline_certificates_are_checked(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_ROOT_CA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 1);
    struct result outcome = target(fixture);
    assert_non_null(strstr(outcome.message, "invalid env var XDS_ROOT_CA (inline PEM: "));
}

static void a_missing_root_file_is_refused_by_name(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_ROOT_CA", "/nonexistent/root.pem", 1);
    struct result outcome = target(fixture);
    assert_non_null(strstr(outcome.message, "invalid env var XDS_ROOT_CA=/nonexistent/root.pem"));
}

static void extra_headers_are_lower_case(void **state)
{
    struct fixture *fixture = *state;
    setenv("XDS_HEADER_X-Extra", "some value", 1);
    setenv("XDS_HEADER_Grpc-Timeout", "1S", 1);
    setenv("CA_HEADER_OTHER", "no", 1);
    setenv("AUTH_TOKEN", "literal", 1);
    struct result outcome = target(fixture);
    assert_string_equal(outcome.message, "");
    assert_int_equal(fixture->settings.header_count, 2);
    assert_string_equal(fixture->settings.headers[0].value, "Bearer literal");
    assert_string_equal(fixture->settings.headers[1].name, "x-extra");
    assert_string_equal(fixture->settings.headers[1].value, "some value");
}

static void an_illegal_header_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *reason;
    } table[] = {
        { "XDS_HEADER_A B", "x", "`a b` cannot be the name of a header" },
        { "XDS_HEADER_A", "x\ny", "the value of a header is visible ASCII" },
        { "XDS_HEADER_", "x", "cannot be the name of a header" },
        { "XDS_HEADER_DATA-BIN", "x", "cannot be the name of a header" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        setenv(table[i].name, table[i].value, 1);
        struct result outcome = control_target_check_headers();
        assert_non_null(strstr(outcome.message, "invalid env var XDS_HEADER_"));
        assert_non_null(strstr(outcome.message, table[i].reason));
        unsetenv(table[i].name);
    }
}

static void illegal_headers_are_refused_for_a_control_plane_that_is_not_asked(void **state)
{
    (void)state;
    setenv("XDS_HEADER_Good", "x", 1);
    struct result outcome = control_target_check_headers();
    assert_string_equal(outcome.message, "");
    setenv("CA_HEADER_A B", "x", 1);
    outcome = control_target_check_headers();
    assert_non_null(strstr(outcome.message, "invalid env var CA_HEADER_A B=x (`a b` cannot be the name of a header)"));
    unsetenv("CA_HEADER_A B");
    unsetenv("XDS_HEADER_Good");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_missing_scheme_is_https, setup, teardown),
        cmocka_unit_test_setup_teardown(plaintext_is_for_loopback_only, setup, teardown),
        cmocka_unit_test_setup_teardown(plaintext_to_loopback_is_spoken, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_without_a_port_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(inline_certificates_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_root_file_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(extra_headers_are_lower_case, setup, teardown),
        cmocka_unit_test(an_illegal_header_is_refused_by_name),
        cmocka_unit_test(illegal_headers_are_refused_for_a_control_plane_that_is_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
