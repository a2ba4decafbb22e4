/* Keys from secrets: RFC 8448's, and the lines they come in. */
#include "unit/tls/record_support.h"

#include "tls/handshake_secrets.h"

static void check_keys(const char *secret_digits, const char *key, const char *iv)
{
    uint8_t secret[TRAFFIC_SECRET_MAXIMUM_BYTES];
    struct traffic_keys keys;
    from_hexadecimal(secret_digits, secret, sizeof secret);
    key_schedule_traffic_keys(RECORD_AES_128_GCM, secret, &keys);
    assert_hexadecimal(keys.key, 16, key);
    assert_hexadecimal(keys.iv, sizeof keys.iv, iv);
}

static void test_traffic_keys_are_those_of_rfc_8448(void **state)
{
    (void)state;
    check_keys(RFC8448_CLIENT_SECRET, RFC8448_CLIENT_KEY, RFC8448_CLIENT_IV);
    check_keys(RFC8448_SERVER_SECRET, RFC8448_SERVER_KEY, RFC8448_SERVER_IV);
}

static void test_an_update_changes_the_secret_and_only_depends_on_it(void **state)
{
    (void)state;
    for (enum record_suite suite = RECORD_AES_128_GCM; suite <= RECORD_AES_256_GCM; suite++) {
        uint8_t first[TRAFFIC_SECRET_MAXIMUM_BYTES] = { 1 }, second[TRAFFIC_SECRET_MAXIMUM_BYTES] = { 1 };
        const uint8_t before[TRAFFIC_SECRET_MAXIMUM_BYTES] = { 1 };
        key_schedule_advance(suite, first);
        key_schedule_advance(suite, second);
        assert_memory_equal(first, second, sizeof first);
        assert_memory_not_equal(first, before, record_suite_secret_bytes(suite));
        key_schedule_advance(suite, second);
        assert_memory_not_equal(first, second, record_suite_secret_bytes(suite));
    }
}

#define RANDOM_DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void test_secrets_are_read_from_the_two_lines_that_matter(void **state)
{
    (void)state;
    struct handshake_secrets *secrets = handshake_secrets_new();
    handshake_secrets_read(secrets, "CLIENT_HANDSHAKE_TRAFFIC_SECRET " RANDOM_DIGITS " 0102");
    handshake_secrets_read(secrets, "EXPORTER_SECRET " RANDOM_DIGITS " 0102");
    handshake_secrets_read(secrets, "CLIENT_RANDOM " RANDOM_DIGITS " 0102");
    assert_int_equal(secrets->client_length, 0);
    assert_int_equal(secrets->server_length, 0);
    handshake_secrets_read(secrets, "CLIENT_TRAFFIC_SECRET_0 " RANDOM_DIGITS " " RFC8448_CLIENT_SECRET);
    handshake_secrets_read(secrets, "SERVER_TRAFFIC_SECRET_0 " RANDOM_DIGITS " " RFC8448_SERVER_SECRET);
    assert_int_equal(secrets->client_length, 32);
    assert_hexadecimal(secrets->client, 32, RFC8448_CLIENT_SECRET);
    assert_hexadecimal(secrets->server, 32, RFC8448_SERVER_SECRET);
    handshake_secrets_free(secrets);
}

static void test_lines_that_are_not_whole_give_no_secret(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "CLIENT_TRAFFIC_SECRET_0",
        "CLIENT_TRAFFIC_SECRET_0 " RANDOM_DIGITS,
        "CLIENT_TRAFFIC_SECRET_0 " RANDOM_DIGITS " ",
        "CLIENT_TRAFFIC_SECRET_0 " RANDOM_DIGITS " 010",
        "CLIENT_TRAFFIC_SECRET_0 " RANDOM_DIGITS " 01xx",
        "CLIENT_TRAFFIC_SECRET_0 " RANDOM_DIGITS " " RFC8448_CLIENT_SECRET RFC8448_CLIENT_SECRET,
    };
    struct handshake_secrets *secrets = handshake_secrets_new();
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        handshake_secrets_read(secrets, lines[i]);
        assert_int_equal(secrets->client_length, 0);
    }
    handshake_secrets_free(secrets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traffic_keys_are_those_of_rfc_8448),
        cmocka_unit_test(test_an_update_changes_the_secret_and_only_depends_on_it),
        cmocka_unit_test(test_secrets_are_read_from_the_two_lines_that_matter),
        cmocka_unit_test(test_lines_that_are_not_whole_give_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
