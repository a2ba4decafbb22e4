/* Signing requests: ours read by the openssl command, the openssl command's read by us. */
#include "unit/tls/support.h"

#include "tls/signing_request.h"

static void write_request(const char *name)
{
    struct evp_pkey_st *key = private_key_new();
    struct writer pem = writer_growing();
    signing_request_write(key, WEB, &pem);
    write_text(name, writer_string(&pem));
    writer_free(&pem);
    private_key_free(key);
}

static void test_our_request_reads_as_the_contract_says(void **state)
{
    (void)state;
    write_request("ours.csr");
    char *text AUTO_FREE = shell("openssl req -in ours.csr -verify -noout -text");
    assert_contains(text, "verify OK");
    assert_contains(text, "Version: 1 (0x0)");
    assert_contains(text, "Subject: \n");
    assert_contains(text, "ASN1 OID: prime256v1");
    assert_contains(text, "Requested Extensions:\n                X509v3 Subject Alternative Name: critical\n"
                          "                    URI:" WEB "\n");
    assert_contains(text, "Signature Algorithm: ecdsa-with-SHA256");
    assert_lacks(text, "Key Usage");
}

static struct result parse_file(const char *name, struct signing_request *request)
{
    char *pem AUTO_FREE = read_text(name);
    return signing_request_parse(bytes_of_string(pem), request);
}

static void test_our_request_is_read_back(void **state)
{
    (void)state;
    struct signing_request request;
    write_request("back.csr");
    assert_ok(parse_file("back.csr", &request));
    assert_non_null(request.public_key);
    assert_false(request.has_common_name);
    signing_request_clear(&request);
}

static void test_requests_made_by_openssl_with_any_key_are_read(void **state)
{
    (void)state;
    const char *keys[] = { "ec -pkeyopt ec_paramgen_curve:P-384", "rsa:2048", "ed25519" };
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        struct signing_request request;
        run("openssl req -new -newkey %s -nodes -keyout theirs.key -out theirs.csr -subj /CN=web", keys[i]);
        assert_ok(parse_file("theirs.csr", &request));
        assert_true(request.has_common_name);
        signing_request_clear(&request);
    }
}

static void refuse(const char *pem, const char *part)
{
    struct signing_request request;
    assert_refused(signing_request_parse(bytes_of_string(pem), &request), RESULT_INVALID, part);
    assert_null(request.public_key);
}

static void test_what_is_no_request_is_refused(void **state)
{
    (void)state;
    refuse("", "certificate signing request is not properly encoded");
    refuse("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n",
        "certificate signing request is not properly encoded");
    char *endless AUTO_FREE = memory_allocate(SIGNING_REQUEST_MAXIMUM_BYTES + 2);
    memset(endless, 'A', SIGNING_REQUEST_MAXIMUM_BYTES + 1);
    endless[SIGNING_REQUEST_MAXIMUM_BYTES + 1] = '\0';
    refuse(endless, "certificate signing request is not properly encoded");
}

static void test_a_request_with_a_changed_name_fails_its_signature(void **state)
{
    (void)state;
    write_request("honest.csr");
    run("openssl req -in honest.csr -outform DER -out honest.der && "
        "sed 's#/ns/shop/#/ns/shot/#' honest.der > forged.der && ! cmp -s honest.der forged.der && "
        "{ echo '-----BEGIN CERTIFICATE REQUEST-----'; base64 forged.der; echo '-----END CERTIFICATE REQUEST-----'; } "
        "> "
        "forged.csr");
    char *forged AUTO_FREE = read_text("forged.csr");
    refuse(forged, "CSR signature check failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_our_request_reads_as_the_contract_says),
        cmocka_unit_test(test_our_request_is_read_back),
        cmocka_unit_test(test_requests_made_by_openssl_with_any_key_are_read),
        cmocka_unit_test(test_what_is_no_request_is_refused),
        cmocka_unit_test(test_a_request_with_a_changed_name_fails_its_signature),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
