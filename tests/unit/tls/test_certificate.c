/* Certificates made by the openssl command, read by us. */
#include "unit/tls/support.h"

static const char *const many_names =
    "subjectAltName=critical,DNS:web.local,URI:https://example.org/x,URI:" WEB ",URI:" FOREIGN "\n"
    "basicConstraints=critical,CA:false\n";

static int set_up(void **state)
{
    if (make_directory(state) != 0) {
        return -1;
    }
    openssl_root("root");
    openssl_leaf("root", "leaf", many_names);
    return 0;
}

static struct certificate_list read_list(const char *name)
{
    char *path AUTO_FREE = path_of(name);
    struct certificate_list list;
    assert_ok(certificate_list_read_file(path, &list));
    return list;
}

static void test_all_uri_names_are_kept_and_the_first_identity_that_parses_is_found(void **state)
{
    (void)state;
    struct certificate_list list = read_list("leaf.pem");
    struct certificate_names names = certificate_names_of(list.items[0]);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.items[0].uri, "https://example.org/x");
    assert_null(names.items[0].identity);
    assert_string_equal(names.items[2].identity->trust_domain, "other.domain");
    assert_string_equal(certificate_names_first_identity(&names)->uri, WEB);
    certificate_names_clear(&names);
    certificate_list_clear(&list);
}

static void test_a_certificate_without_names_has_none(void **state)
{
    (void)state;
    struct certificate_list list = read_list("root.pem");
    struct certificate_names names = certificate_names_of(list.items[0]);
    assert_int_equal(names.count, 0);
    assert_null(certificate_names_first_identity(&names));
    certificate_names_clear(&names);
    certificate_list_clear(&list);
}

static void test_the_serial_number_is_the_decimal_form_of_what_openssl_prints(void **state)
{
    (void)state;
    struct certificate_list list = read_list("leaf.pem");
    char *serial AUTO_FREE = certificate_serial(list.items[0]);
    /* 0x1234567890abcdef1234 */
    assert_string_equal(serial, "85968058272638546416180");
    certificate_list_clear(&list);
}

static void test_the_validity_is_what_openssl_says(void **state)
{
    (void)state;
    struct certificate_list list = read_list("leaf.pem");
    int64_t not_before_s, not_after_s;
    certificate_validity(list.items[0], &not_before_s, &not_after_s);
    char *start AUTO_FREE = shell("date -u -d \"$(openssl x509 -in leaf.pem -noout -startdate | cut -d= -f2)\" +%%s");
    assert_int_equal(not_before_s, strtoll(start, NULL, 10));
    assert_int_equal(not_after_s - not_before_s, 2 * 86400);
    certificate_list_clear(&list);
}

static void test_a_bundle_of_several_blocks_is_read_in_order_and_other_blocks_are_skipped(void **state)
{
    (void)state;
    run("cat leaf.pem leaf.key root.pem > mixed.pem");
    struct certificate_list mixed = read_list("mixed.pem");
    struct certificate_list leaf = read_list("leaf.pem");
    assert_int_equal(mixed.count, 2);
    struct writer first = writer_growing(), alone = writer_growing();
    certificate_write_der(mixed.items[0], &first);
    certificate_write_der(leaf.items[0], &alone);
    assert_true(bytes_equal(writer_bytes(&first), writer_bytes(&alone)));
    writer_free(&first);
    writer_free(&alone);
    certificate_list_clear(&mixed);
    certificate_list_clear(&leaf);
}

static void test_pem_and_der_output_is_what_openssl_writes(void **state)
{
    (void)state;
    struct certificate_list list = read_list("leaf.pem");
    struct writer pem = writer_growing(), der = writer_growing();
    certificate_write_pem(list.items[0], &pem);
    char *expected AUTO_FREE = read_text("leaf.pem");
    assert_string_equal(writer_string(&pem), expected);
    certificate_write_der(list.items[0], &der);
    struct x509_st *again = NULL;
    assert_ok(certificate_parse_der(writer_bytes(&der), &again));
    certificate_release(again);
    writer_add_u8(&der, 0);
    assert_refused(certificate_parse_der(writer_bytes(&der), &again), RESULT_INVALID, "after the end");
    writer_free(&pem);
    writer_free(&der);
    certificate_list_clear(&list);
}

static void refuse_text(const char *text, const char *part)
{
    struct certificate_list list;
    assert_refused(certificate_list_parse_pem(bytes_of_string(text), "roots.pem", &list), RESULT_INVALID, part);
    assert_int_equal(list.count, 0);
}

static void test_text_without_a_certificate_is_refused_by_name(void **state)
{
    (void)state;
    refuse_text("", "roots.pem: no certificate");
    refuse_text("hello\n", "roots.pem: no certificate");
}

static void test_a_damaged_block_is_refused_even_behind_a_good_one(void **state)
{
    (void)state;
    char *good AUTO_FREE = read_text("leaf.pem");
    char *damaged AUTO_FREE =
        string_format("%s-----BEGIN CERTIFICATE-----\nMIIB!!!!\n-----END CERTIFICATE-----\n", good);
    refuse_text(damaged, "roots.pem: damaged PEM block");
    char *cut AUTO_FREE = string_format("%s-----BEGIN CERTIFICATE-----\nMIIBAAAA\n", good);
    refuse_text(cut, "roots.pem: damaged PEM block");
    char *other AUTO_FREE = string_format("%s-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", good);
    refuse_text(other, "roots.pem: not an X.509 certificate");
}

static void test_more_certificates_than_the_bound_are_refused(void **state)
{
    (void)state;
    char *one AUTO_FREE = read_text("leaf.pem");
    struct writer many = writer_growing();
    for (int i = 0; i <= CERTIFICATE_LIST_MAXIMUM; i++) {
        writer_add_string(&many, one);
    }
    refuse_text(writer_string(&many), "more than 256");
    writer_free(&many);
}

static void test_a_missing_file_is_named(void **state)
{
    (void)state;
    struct certificate_list list;
    assert_refused(
        certificate_list_read_file("/nonexistent/root.pem", &list), RESULT_NOT_FOUND, "/nonexistent/root.pem");
}

static void test_keys_of_each_pem_type_are_read_and_encrypted_ones_refused(void **state)
{
    (void)state;
    run("openssl ecparam -name prime256v1 -genkey -noout -out sec1.key && openssl genrsa -traditional -out rsa.key "
        "2048 && "
        "openssl genpkey -algorithm ed25519 -out ed.key && "
        "openssl pkcs8 -topk8 -in sec1.key -passout pass:secret -out locked.key");
    const char *names[] = { "sec1.key", "rsa.key", "ed.key" };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char *path AUTO_FREE = path_of(names[i]);
        struct evp_pkey_st *key = NULL;
        assert_ok(private_key_read_file(path, &key));
        private_key_free(key);
    }
    char *locked AUTO_FREE = path_of("locked.key");
    struct evp_pkey_st *key = NULL;
    assert_refused(private_key_read_file(locked, &key), RESULT_INVALID, "locked.key: no private key");
    assert_null(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_uri_names_are_kept_and_the_first_identity_that_parses_is_found),
        cmocka_unit_test(test_a_certificate_without_names_has_none),
        cmocka_unit_test(test_the_serial_number_is_the_decimal_form_of_what_openssl_prints),
        cmocka_unit_test(test_the_validity_is_what_openssl_says),
        cmocka_unit_test(test_a_bundle_of_several_blocks_is_read_in_order_and_other_blocks_are_skipped),
        cmocka_unit_test(test_pem_and_der_output_is_what_openssl_writes),
        cmocka_unit_test(test_text_without_a_certificate_is_refused_by_name),
        cmocka_unit_test(test_a_damaged_block_is_refused_even_behind_a_good_one),
        cmocka_unit_test(test_more_certificates_than_the_bound_are_refused),
        cmocka_unit_test(test_a_missing_file_is_named),
        cmocka_unit_test(test_keys_of_each_pem_type_are_read_and_encrypted_ones_refused),
    };
    return cmocka_run_group_tests(tests, set_up, remove_directory);
}
