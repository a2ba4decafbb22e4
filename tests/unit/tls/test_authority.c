/* The certificate authority, read by the openssl command. */
#include "unit/tls/support.h"

#include <openssl/x509.h>

static struct certificate_authority *authority;
static int64_t now_s;

static int set_up(void **state)
{
    now_s = clock_wall_s();
    authority = certificate_authority_new("cluster.local", now_s);
    return make_directory(state);
}

static int tear_down(void **state)
{
    certificate_authority_free(authority);
    return remove_directory(state);
}

static struct issued_chain issue(const struct certificate_authority *by, const struct leaf_request *wanted)
{
    struct evp_pkey_st *key = private_key_new();
    struct leaf_request request = *wanted;
    struct issued_chain chain;
    request.public_key = key;
    request.now_s = now_s;
    assert_ok(certificate_authority_issue(by, &request, &chain));
    private_key_free(key);
    return chain;
}

/* Issues a leaf to leaf.pem and returns openssl's text of it. */
static char *issued_text(const char *const *names, size_t count, bool has_common_name)
{
    struct leaf_request request = {
        .names = names, .name_count = count, .lifetime_s = 7200, .has_common_name = has_common_name
    };
    struct issued_chain chain = issue(authority, &request);
    write_text("leaf.pem", chain.elements[0]);
    issued_chain_clear(&chain);
    return shell("openssl x509 -in leaf.pem -noout -text");
}

static void test_the_root_is_self_signed_for_the_trust_domain_and_ten_years(void **state)
{
    (void)state;
    write_text("root.pem", certificate_authority_root_pem(authority));
    char *text AUTO_FREE = shell("openssl verify -CAfile root.pem root.pem && openssl x509 -in root.pem -noout -text");
    assert_contains(text, "root.pem: OK");
    assert_contains(text, "Subject: O = cluster.local\n");
    assert_contains(text, "Issuer: O = cluster.local\n");
    assert_contains(text, "ASN1 OID: prime256v1");
    assert_contains(text, "X509v3 Key Usage: critical\n                Certificate Sign\n");
    assert_contains(text, "X509v3 Basic Constraints: critical\n                CA:TRUE\n");
    assert_contains(text, "X509v3 Subject Key Identifier");
    int64_t not_before_s, not_after_s;
    certificate_validity(certificate_authority_signer(authority), &not_before_s, &not_after_s);
    assert_int_equal(not_after_s - now_s, 3650LL * 86400);
}

static void test_a_leaf_has_exactly_the_fields_of_the_contract(void **state)
{
    (void)state;
    const char *name = WEB;
    char *text AUTO_FREE = issued_text(&name, 1, false);
    assert_contains(text, "Version: 3 (0x2)");
    assert_contains(text, "Subject: \n");
    assert_contains(text, "Issuer: O = cluster.local\n");
    assert_contains(text, "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment\n");
    assert_contains(text, "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client "
                          "Authentication\n");
    assert_contains(text, "X509v3 Basic Constraints: critical\n                CA:FALSE\n");
    assert_contains(text, "X509v3 Authority Key Identifier");
    assert_contains(text, "X509v3 Subject Alternative Name: critical\n                URI:" WEB "\n");
    assert_contains(text, "Signature Algorithm: ecdsa-with-SHA256");
    assert_lacks(text, "Subject Key Identifier");
    write_text("root.pem", certificate_authority_root_pem(authority));
    char *verdict AUTO_FREE = shell("openssl verify -x509_strict -purpose sslserver -CAfile root.pem leaf.pem && "
                                    "openssl verify -x509_strict -purpose sslclient -CAfile root.pem leaf.pem");
    assert_contains(verdict, "leaf.pem: OK\nleaf.pem: OK\n");
}

static void test_a_serving_certificate_has_dns_names_and_addresses(void **state)
{
    (void)state;
    const char *names[] = { "istiod.istio-system.svc", "127.0.0.1", "fd00::1" };
    char *text AUTO_FREE = issued_text(names, 3, false);
    assert_contains(text, "DNS:istiod.istio-system.svc, IP Address:127.0.0.1, IP Address:FD00:0:0:0:0:0:0:1");
}

static void test_the_common_name_is_set_only_when_asked_for_and_short(void **state)
{
    (void)state;
    const char *name = WEB;
    char *text AUTO_FREE = issued_text(&name, 1, true);
    assert_contains(text, "Subject: CN = " WEB "\n");
    const char *long_name = "spiffe://cluster.local/ns/a-namespace-with-a-long-name/sa/an-account-with-one";
    char *long_text AUTO_FREE = issued_text(&long_name, 1, true);
    assert_contains(long_text, "Subject: \n");
}

static void test_serial_numbers_are_random_and_wide(void **state)
{
    (void)state;
    const char *name = WEB;
    struct leaf_request request = { .names = &name, .name_count = 1, .lifetime_s = 60 };
    char *serials[2];
    for (int i = 0; i < 2; i++) {
        struct issued_chain chain = issue(authority, &request);
        struct certificate_list list;
        assert_ok(certificate_list_parse_pem(bytes_of_string(chain.elements[0]), "leaf", &list));
        serials[i] = certificate_serial(list.items[0]);
        certificate_list_clear(&list);
        issued_chain_clear(&chain);
    }
    assert_string_not_equal(serials[0], serials[1]);
    assert_true(strlen(serials[0]) > 30);
    memory_free(serials[0]);
    memory_free(serials[1]);
}

static void test_a_leaf_never_outlives_its_signer(void **state)
{
    (void)state;
    const char *name = WEB;
    struct leaf_request request = { .names = &name, .name_count = 1, .lifetime_s = 20LL * 365 * 86400 };
    struct issued_chain chain = issue(authority, &request);
    assert_int_equal(chain.not_after_s, now_s + AUTHORITY_ROOT_LIFETIME_S);
    issued_chain_clear(&chain);
}

static void test_an_expired_signer_issues_nothing(void **state)
{
    (void)state;
    struct evp_pkey_st *key = private_key_new();
    const char *name = WEB;
    struct issued_chain chain;
    struct leaf_request request = {
        .public_key = key,
        .names = &name,
        .name_count = 1,
        .lifetime_s = 60,
        .now_s = now_s + AUTHORITY_ROOT_LIFETIME_S + 1,
    };
    assert_refused(certificate_authority_issue(authority, &request, &chain), RESULT_UNAVAILABLE, "expired");
    assert_int_equal(chain.count, 0);
    private_key_free(key);
}

static void test_names_that_cannot_stand_in_a_certificate_are_refused(void **state)
{
    (void)state;
    struct evp_pkey_st *key = private_key_new();
    const char *bad[] = { "", "spiffe://cluster.local/ns/a b/sa/c", "spiffe://t\xc3\xa9/ns/a/sa/b", "line\nbreak" };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct issued_chain chain;
        struct leaf_request request = {
            .public_key = key, .names = &bad[i], .name_count = 1, .lifetime_s = 60, .now_s = now_s
        };
        assert_refused(
            certificate_authority_issue(authority, &request, &chain), RESULT_INVALID, "visible ASCII characters");
    }
    private_key_free(key);
}

static void test_what_is_saved_is_private_and_loads_again(void **state)
{
    (void)state;
    assert_ok(certificate_authority_save(authority, support_directory));
    char *modes AUTO_FREE = shell("stat -c %%a ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem | sort -u");
    assert_string_equal(modes, "600\n");
    struct certificate_authority *loaded = NULL;
    assert_ok(certificate_authority_load(support_directory, now_s, &loaded));
    assert_string_equal(certificate_authority_root_pem(loaded), certificate_authority_root_pem(authority));
    const char *name = WEB;
    struct leaf_request request = { .names = &name, .name_count = 1, .lifetime_s = 60 };
    struct issued_chain chain = issue(loaded, &request);
    assert_int_equal(chain.count, 2);
    assert_string_equal(chain.elements[1], certificate_authority_root_pem(authority));
    issued_chain_clear(&chain);
    certificate_authority_free(loaded);
    run("rm ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem");
}

static void refuse_load(enum result_code code, const char *part)
{
    struct certificate_authority *loaded = NULL;
    assert_refused(certificate_authority_load(support_directory, now_s, &loaded), code, part);
    assert_null(loaded);
}

static void test_a_directory_without_an_authority_is_told_apart_from_an_incomplete_one(void **state)
{
    (void)state;
    run("mkdir -p empty");
    char *empty AUTO_FREE = path_of("empty");
    struct certificate_authority *loaded = NULL;
    assert_refused(certificate_authority_load(empty, now_s, &loaded), RESULT_NOT_FOUND, "no certificate authority");
    assert_ok(certificate_authority_save(authority, support_directory));
    run("rm cert-chain.pem");
    refuse_load(RESULT_INVALID, "cert-chain.pem: missing");
    run("rm ca-cert.pem ca-key.pem root-cert.pem");
}

/* Istio's plugged-in intermediate, made with the openssl command; the chain repeats the root as usual. */
static void make_intermediate(void)
{
    openssl_root("org");
    openssl_leaf("org", "mesh",
        "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n"
        "subjectKeyIdentifier=hash\n");
    now_s = clock_wall_s(); /* these are valid from the second they were made in */
}

static void check_plugged_in(size_t chain_count)
{
    struct certificate_authority *loaded = NULL;
    assert_ok(certificate_authority_load(support_directory, now_s, &loaded));
    const char *name = WEB;
    struct certificate_bundle *bundle = bundle_at(loaded, name, now_s);
    assert_int_equal(bundle->intermediates.count, 1);
    certificate_bundle_release(bundle);
    struct leaf_request request = { .names = &name, .name_count = 1, .lifetime_s = 60 };
    struct issued_chain chain = issue(loaded, &request);
    assert_int_equal(chain.count, chain_count);
    char *org AUTO_FREE = read_text("org.pem");
    assert_string_equal(chain.elements[chain.count - 1], org);
    issued_chain_clear(&chain);
    certificate_authority_free(loaded);
}

static void test_a_plugged_in_intermediate_of_either_form_issues_with_its_chain(void **state)
{
    (void)state;
    make_intermediate();
    run("cp mesh.pem ca-cert.pem; cp mesh.key ca-key.pem; cat mesh.pem org.pem > cert-chain.pem; cp org.pem "
        "root-cert.pem");
    check_plugged_in(4);
    run("rm ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem; cp mesh.pem tls.crt; cp mesh.key tls.key; cp org.pem "
        "ca.crt");
    check_plugged_in(4);
    run("rm tls.key");
    refuse_load(RESULT_INVALID, "tls.key: missing");
    run("cp org.key tls.key");
    refuse_load(RESULT_INVALID, "tls.key: not the key of ");
    run("rm tls.crt tls.key ca.crt");
}

static void test_a_signer_that_is_no_ca_is_refused(void **state)
{
    (void)state;
    openssl_root("org");
    openssl_leaf("org", "mesh", "basicConstraints=critical,CA:false\n");
    now_s = clock_wall_s();
    run("cp mesh.pem tls.crt; cp mesh.key tls.key; cp org.pem ca.crt");
    refuse_load(RESULT_INVALID, "tls.crt: not the certificate of a CA");
    run("rm tls.crt tls.key ca.crt");
}

static void test_an_rsa_signer_and_a_p384_signer_sign_with_their_digests(void **state)
{
    (void)state;
    const struct {
        const char *key;
        const char *algorithm;
    } signers[] = {
        { "rsa:2048", "sha256WithRSAEncryption" },
        { "ec -pkeyopt ec_paramgen_curve:P-384", "ecdsa-with-SHA384" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(signers); i++) {
        run("openssl req -x509 -newkey %s -nodes -keyout tls.key -out tls.crt -days 10 -subj /O=x "
            "-addext keyUsage=critical,keyCertSign && cp tls.crt ca.crt",
            signers[i].key);
        struct certificate_authority *loaded = NULL;
        assert_ok(certificate_authority_load(support_directory, clock_wall_s(), &loaded));
        const char *name = WEB;
        struct leaf_request request = { .names = &name, .name_count = 1, .lifetime_s = 60 };
        struct issued_chain chain = issue(loaded, &request);
        write_text("leaf.pem", chain.elements[0]);
        char *text AUTO_FREE = shell("openssl x509 -in leaf.pem -noout -text");
        assert_contains(text, signers[i].algorithm);
        issued_chain_clear(&chain);
        certificate_authority_free(loaded);
    }
    run("rm tls.crt tls.key ca.crt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_root_is_self_signed_for_the_trust_domain_and_ten_years),
        cmocka_unit_test(test_a_leaf_has_exactly_the_fields_of_the_contract),
        cmocka_unit_test(test_a_serving_certificate_has_dns_names_and_addresses),
        cmocka_unit_test(test_the_common_name_is_set_only_when_asked_for_and_short),
        cmocka_unit_test(test_serial_numbers_are_random_and_wide),
        cmocka_unit_test(test_a_leaf_never_outlives_its_signer),
        cmocka_unit_test(test_an_expired_signer_issues_nothing),
        cmocka_unit_test(test_names_that_cannot_stand_in_a_certificate_are_refused),
        cmocka_unit_test(test_what_is_saved_is_private_and_loads_again),
        cmocka_unit_test(test_a_directory_without_an_authority_is_told_apart_from_an_incomplete_one),
        cmocka_unit_test(test_a_plugged_in_intermediate_of_either_form_issues_with_its_chain),
        cmocka_unit_test(test_a_signer_that_is_no_ca_is_refused),
        cmocka_unit_test(test_an_rsa_signer_and_a_p384_signer_sign_with_their_digests),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
