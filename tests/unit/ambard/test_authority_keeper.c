/* The CA's own certificate over time: made once, kept, completed after a crash, renewed with its key, replaced by the operator. */
#include "ambard/authority_keeper.h"

#include "base/memory.h"
#include "base/text.h"
#include "tls/certificate_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/x509.h>

#define NOW_S 1800000000LL
#define DAY_S 86400LL

static char directory[] = "/tmp/ambar-keeper-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static void remove_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    (void)unlink(path);
}

static int remove_directory(void **state)
{
    (void)state;
    remove_file("ca-cert.pem");
    remove_file("ca-key.pem");
    remove_file("cert-chain.pem");
    remove_file("root-cert.pem");
    return rmdir(directory);
}

static struct authority_keeper *open_at(int64_t now_s)
{
    struct authority_keeper *keeper = NULL;
    struct result opened = authority_keeper_open(NULL, directory, "cluster.local", now_s, &keeper);
    assert_true(result_is_ok(&opened));
    return keeper;
}

static char *root_of(const struct authority_keeper *keeper)
{
    return string_duplicate(certificate_authority_root_pem(authority_keeper_current(keeper)));
}

static int64_t root_end_s(const struct authority_keeper *keeper)
{
    int64_t begin_s;
    int64_t end_s;
    certificate_validity(certificate_authority_signer(authority_keeper_current(keeper)), &begin_s, &end_s);
    return end_s;
}

static EVP_PKEY *key_of(const struct authority_keeper *keeper)
{
    return X509_get0_pubkey(certificate_authority_signer(authority_keeper_current(keeper)));
}

static void root_is_made_once_and_kept_over_restarts(void **state)
{
    (void)state;
    struct authority_keeper *first = open_at(NOW_S);
    struct authority_keeper *second = open_at(NOW_S + DAY_S);
    char *made AUTO_FREE = root_of(first);
    char *kept AUTO_FREE = root_of(second);
    assert_string_equal(made, kept);
    authority_keeper_free(first);
    authority_keeper_free(second);
}

static void save_that_was_cut_short_is_completed_with_the_key_it_had_written(void **state)
{
    (void)state;
    struct authority_keeper *first = open_at(NOW_S);
    remove_file("ca-cert.pem");
    remove_file("root-cert.pem");
    struct authority_keeper *second = open_at(NOW_S);
    assert_int_equal(EVP_PKEY_eq(key_of(first), key_of(second)), 1);
    struct authority_keeper *third = open_at(NOW_S);
    assert_true(certificate_authority_is_same(authority_keeper_current(second), authority_keeper_current(third)));
    authority_keeper_free(first);
    authority_keeper_free(second);
    authority_keeper_free(third);
}

static void root_is_renewed_in_the_last_fifth_of_its_life_and_not_before(void **state)
{
    (void)state;
    struct authority_keeper *keeper = open_at(NOW_S);
    int64_t fifth_s = AUTHORITY_ROOT_LIFETIME_S / 5;
    assert_false(authority_keeper_check(keeper, NOW_S + AUTHORITY_ROOT_LIFETIME_S - fifth_s - DAY_S));
    int64_t late_s = NOW_S + AUTHORITY_ROOT_LIFETIME_S - fifth_s + DAY_S;
    assert_true(authority_keeper_check(keeper, late_s));
    assert_int_equal(root_end_s(keeper), late_s + AUTHORITY_ROOT_LIFETIME_S);
    assert_false(authority_keeper_check(keeper, late_s));
    struct authority_keeper *restarted = open_at(late_s);
    assert_true(certificate_authority_is_same(authority_keeper_current(keeper), authority_keeper_current(restarted)));
    authority_keeper_free(restarted);
    authority_keeper_free(keeper);
}

static void leaf_of_the_renewed_root_is_good_for_who_trusts_the_old_one(void **state)
{
    (void)state;
    struct authority_keeper *keeper = open_at(NOW_S);
    char *old_root AUTO_FREE = root_of(keeper);
    int64_t late_s = NOW_S + AUTHORITY_ROOT_LIFETIME_S - DAY_S;
    assert_true(authority_keeper_check(keeper, late_s));
    const char *name = "spiffe://cluster.local/ns/shop/sa/web";
    struct certificate_bundle *bundle = NULL;
    struct result issued =
        certificate_authority_issue_bundle(authority_keeper_current(keeper), &name, 1, 3600, late_s, &bundle);
    assert_true(result_is_ok(&issued));
    struct certificate_list old_roots = { 0 };
    struct result parsed = certificate_list_parse_pem(bytes_of_string(old_root), "old root", &old_roots);
    assert_true(result_is_ok(&parsed));
    struct result checked = certificate_path_check(bundle->leaf, &bundle->intermediates, &old_roots, late_s);
    assert_true(result_is_ok(&checked));
    certificate_list_clear(&old_roots);
    certificate_bundle_release(bundle);
    authority_keeper_free(keeper);
}

static void operators_files_are_read_again_and_a_fault_in_them_keeps_the_old(void **state)
{
    (void)state;
    struct certificate_authority *theirs = certificate_authority_new("cluster.local", NOW_S);
    struct result saved = certificate_authority_save(theirs, directory);
    assert_true(result_is_ok(&saved));
    struct authority_keeper *keeper = NULL;
    struct result opened = authority_keeper_open(directory, "/nowhere", "cluster.local", NOW_S, &keeper);
    assert_true(result_is_ok(&opened));
    assert_false(authority_keeper_check(keeper, NOW_S));
    remove_file("ca-key.pem");
    assert_false(authority_keeper_check(keeper, NOW_S));
    assert_true(certificate_authority_is_same(theirs, authority_keeper_current(keeper)));
    struct certificate_authority *next = certificate_authority_new("cluster.local", NOW_S);
    saved = certificate_authority_save(next, directory);
    assert_true(result_is_ok(&saved));
    assert_true(authority_keeper_check(keeper, NOW_S));
    assert_true(certificate_authority_is_same(next, authority_keeper_current(keeper)));
    certificate_authority_free(theirs);
    certificate_authority_free(next);
    authority_keeper_free(keeper);
}

static void missing_files_of_the_operator_stop_the_start(void **state)
{
    (void)state;
    struct authority_keeper *keeper = NULL;
    struct result opened = authority_keeper_open(directory, "/nowhere", "cluster.local", NOW_S, &keeper);
    assert_int_equal(opened.code, RESULT_NOT_FOUND);
    assert_non_null(strstr(opened.message, directory));
    assert_null(keeper);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        TEST(root_is_made_once_and_kept_over_restarts),
        TEST(save_that_was_cut_short_is_completed_with_the_key_it_had_written),
        TEST(root_is_renewed_in_the_last_fifth_of_its_life_and_not_before),
        TEST(leaf_of_the_renewed_root_is_good_for_who_trusts_the_old_one),
        TEST(operators_files_are_read_again_and_a_fault_in_them_keeps_the_old),
        TEST(missing_files_of_the_operator_stop_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
