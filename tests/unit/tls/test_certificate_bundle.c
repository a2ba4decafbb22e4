/* What a certificate authority answers is checked before it is used. */
#include "unit/tls/support.h"

#include "tls/signing_request.h"

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

struct exchange {
    struct evp_pkey_st *key;
    struct issued_chain chain;
    struct bytes elements[8];
    struct certificate_request_answer answer;
};

static void exchange_begin(struct exchange *exchange, const char *name)
{
    *exchange = (struct exchange){ .key = private_key_new() };
    struct leaf_request request = {
        .public_key = exchange->key, .names = &name, .name_count = 1, .lifetime_s = 3600, .now_s = now_s
    };
    assert_ok(certificate_authority_issue(authority, &request, &exchange->chain));
    for (size_t i = 0; i < exchange->chain.count; i++) {
        exchange->elements[i] = bytes_of_string(exchange->chain.elements[i]);
    }
    exchange->answer = (struct certificate_request_answer){
        .elements = exchange->elements,
        .element_count = exchange->chain.count,
        .key = exchange->key,
        .identity = WEB,
        .requires_identity = true,
        .now_s = now_s,
    };
}

static void exchange_end(struct exchange *exchange)
{
    private_key_free(exchange->key);
    issued_chain_clear(&exchange->chain);
}

static void refuse(const struct exchange *exchange, const char *part)
{
    struct certificate_bundle *bundle = NULL;
    assert_refused(certificate_bundle_from_answer(&exchange->answer, &bundle), RESULT_INVALID, part);
    assert_null(bundle);
}

static void test_a_good_answer_becomes_a_bundle(void **state)
{
    (void)state;
    struct exchange exchange;
    struct certificate_bundle *bundle = NULL;
    exchange_begin(&exchange, WEB);
    assert_ok(certificate_bundle_from_answer(&exchange.answer, &bundle));
    exchange_end(&exchange);
    assert_string_equal(certificate_bundle_identity(bundle)->uri, WEB);
    assert_int_equal(bundle->not_before_s, now_s - 120);
    assert_int_equal(bundle->not_after_s, now_s + 3600);
    assert_int_equal(bundle->intermediates.count, 0);
    assert_int_equal(bundle->roots.count, 1);
    certificate_bundle_release(certificate_bundle_reference(bundle));
    certificate_bundle_release(bundle);
}

static void test_an_empty_answer_is_refused_with_the_identity(void **state)
{
    (void)state;
    struct exchange exchange;
    exchange_begin(&exchange, WEB);
    exchange.answer.element_count = 0;
    refuse(&exchange, "chain returned from CA is empty for: " WEB);
    exchange_end(&exchange);
}

static void test_an_answer_without_roots_is_refused(void **state)
{
    (void)state;
    struct exchange exchange;
    exchange_begin(&exchange, WEB);
    exchange.answer.element_count = 1;
    refuse(&exchange, "failed to create CSR: invalid root certificate: no root certificate present");
    exchange_end(&exchange);
}

static void test_a_leaf_for_another_identity_is_refused_only_when_it_matters(void **state)
{
    (void)state;
    struct exchange exchange;
    struct certificate_bundle *bundle = NULL;
    exchange_begin(&exchange, CATALOGUE);
    refuse(&exchange, "did not find expected SAN: " WEB);
    exchange.answer.requires_identity = false;
    assert_ok(certificate_bundle_from_answer(&exchange.answer, &bundle));
    assert_string_equal(certificate_bundle_identity(bundle)->uri, CATALOGUE);
    certificate_bundle_release(bundle);
    exchange_end(&exchange);
}

static void test_a_leaf_for_another_key_is_refused(void **state)
{
    (void)state;
    struct exchange exchange;
    struct evp_pkey_st *other = private_key_new();
    exchange_begin(&exchange, WEB);
    exchange.answer.key = other;
    refuse(&exchange, "not for the private key at hand");
    private_key_free(other);
    exchange_end(&exchange);
}

static void test_a_chain_to_another_root_is_refused(void **state)
{
    (void)state;
    struct exchange exchange;
    struct certificate_authority *stranger = certificate_authority_new("cluster.local", now_s);
    exchange_begin(&exchange, WEB);
    exchange.elements[1] = bytes_of_string(certificate_authority_root_pem(stranger));
    refuse(&exchange, "the certificate chain does not verify");
    certificate_authority_free(stranger);
    exchange_end(&exchange);
}

static void test_a_leaf_out_of_its_time_is_refused(void **state)
{
    (void)state;
    struct exchange exchange;
    exchange_begin(&exchange, WEB);
    exchange.answer.now_s = now_s + 3601;
    refuse(&exchange, "the certificate expired at ");
    exchange.answer.now_s = now_s - 121;
    refuse(&exchange, "the certificate is not valid before ");
    exchange_end(&exchange);
}

static void test_garbage_in_any_place_is_refused(void **state)
{
    (void)state;
    struct exchange exchange;
    exchange_begin(&exchange, WEB);
    struct bytes leaf = exchange.elements[0];
    exchange.elements[0] = bytes_of_string("no certificate");
    refuse(&exchange, "the certificate: no certificate in PEM form");
    exchange.elements[0] = leaf;
    exchange.elements[1] = bytes_of_string("no certificate");
    refuse(&exchange, "invalid root certificate: the roots: no certificate in PEM form");
    exchange_end(&exchange);
}

static void test_several_roots_in_the_last_element_are_all_trusted_and_a_repeated_root_is_not_sent(void **state)
{
    (void)state;
    struct exchange exchange;
    struct certificate_bundle *bundle = NULL;
    struct certificate_authority *old = certificate_authority_new("cluster.local", now_s);
    exchange_begin(&exchange, WEB);
    char *roots AUTO_FREE =
        string_format("%s%s", certificate_authority_root_pem(old), certificate_authority_root_pem(authority));
    exchange.elements[1] = bytes_of_string(certificate_authority_root_pem(authority));
    exchange.elements[2] = bytes_of_string(roots);
    exchange.answer.element_count = 3;
    assert_ok(certificate_bundle_from_answer(&exchange.answer, &bundle));
    assert_int_equal(bundle->roots.count, 2);
    assert_int_equal(bundle->intermediates.count, 0);
    certificate_bundle_release(bundle);
    certificate_authority_free(old);
    exchange_end(&exchange);
}

static void test_files_with_an_intermediate_made_by_openssl_are_taken(void **state)
{
    (void)state;
    openssl_root("root");
    openssl_leaf("root", "middle", "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n");
    openssl_leaf("middle", "leaf", "subjectAltName=critical,URI:" WEB "\n");
    run("cat leaf.pem middle.pem root.pem > chain.pem");
    char *key AUTO_FREE = path_of("leaf.key");
    char *chain AUTO_FREE = path_of("chain.pem");
    char *lone AUTO_FREE = path_of("leaf.pem");
    char *root AUTO_FREE = path_of("root.pem");
    struct certificate_bundle *bundle = NULL;
    assert_ok(certificate_bundle_from_files(key, chain, root, clock_wall_s(), &bundle));
    assert_int_equal(bundle->intermediates.count, 1);
    certificate_bundle_release(bundle);
    assert_refused(certificate_bundle_from_files(key, lone, root, clock_wall_s(), &bundle), RESULT_INVALID,
        "leaf.pem: the certificate chain does not verify");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_answer_becomes_a_bundle),
        cmocka_unit_test(test_an_empty_answer_is_refused_with_the_identity),
        cmocka_unit_test(test_an_answer_without_roots_is_refused),
        cmocka_unit_test(test_a_leaf_for_another_identity_is_refused_only_when_it_matters),
        cmocka_unit_test(test_a_leaf_for_another_key_is_refused),
        cmocka_unit_test(test_a_chain_to_another_root_is_refused),
        cmocka_unit_test(test_a_leaf_out_of_its_time_is_refused),
        cmocka_unit_test(test_garbage_in_any_place_is_refused),
        cmocka_unit_test(test_several_roots_in_the_last_element_are_all_trusted_and_a_repeated_root_is_not_sent),
        cmocka_unit_test(test_files_with_an_intermediate_made_by_openssl_are_taken),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
