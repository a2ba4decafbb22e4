#include "ambard/token.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW_S 1790000000

static char directory[] = "/tmp/ambar-test-token-XXXXXX";
static struct token_key *key;

static int set_up(void **state)
{
    (void)state;
    struct result opened =
        mkdtemp(directory) != NULL ? token_key_open(directory, true, &key) : result_fail(RESULT_SYSTEM, "mkdtemp");
    return result_is_ok(&opened) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char *path AUTO_FREE = string_format("%s/token-key.pem", directory);
    token_key_free(key);
    unlink(path);
    return rmdir(directory);
}

static char *issue(int64_t lifetime_s)
{
    char *token = NULL;
    struct result issued = token_issue(key, "istio-system", "ztunnel", "n1", lifetime_s, NOW_S, &token);
    assert_string_equal(issued.message, "");
    return token;
}

static struct result verify(const char *token, int64_t now_s, struct token_claims *claims)
{
    return token_verify(key, bytes_of_string(token), now_s, claims);
}

static void a_token_says_who_it_was_made_for(void **state)
{
    (void)state;
    char *token AUTO_FREE = issue(3600);
    struct token_claims claims;
    struct result verified = verify(token, NOW_S + 10, &claims);
    assert_true(result_is_ok(&verified));
    assert_string_equal(claims.namespace_, "istio-system");
    assert_string_equal(claims.service_account, "ztunnel");
    assert_string_equal(claims.node, "n1");
    assert_int_equal(strlen(claims.identifier), 36);
    assert_int_equal(claims.expires_at_s, NOW_S + 3600);
    token_claims_clear(&claims);
}

static void a_token_is_good_within_its_time_only(void **state)
{
    (void)state;
    char *token AUTO_FREE = issue(3600);
    struct token_claims claims;
    struct result late = verify(token, NOW_S + 3600, &claims);
    assert_string_equal(late.message, "token has expired");
    struct result early = verify(token, NOW_S - TOKEN_CLOCK_SKEW_S - 1, &claims);
    assert_string_equal(early.message, "token is not valid yet");
}

static void every_changed_character_is_noticed(void **state)
{
    (void)state;
    char *token AUTO_FREE = issue(3600);
    for (size_t i = 0; i + 1 < strlen(token); i++) {
        char original = token[i];
        token[i] = original == 'A' ? 'B' : 'A';
        struct token_claims claims;
        struct result verified = verify(token, NOW_S, &claims);
        assert_int_equal(verified.code, RESULT_DENIED);
        token[i] = original;
    }
}

static void other_algorithms_and_none_are_refused(void **state)
{
    (void)state;
    char *token AUTO_FREE = issue(3600);
    static const char *const headers[] = { "{\"alg\":\"none\",\"typ\":\"JWT\"}", "{\"alg\":\"HS256\",\"typ\":\"JWT\"}",
        "{}" };
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        struct writer forged = writer_growing();
        writer_add_base64url(&forged, bytes_of_string(headers[i]));
        writer_add_string(&forged, strchr(token, '.'));
        struct token_claims claims;
        struct result verified = verify(writer_string(&forged), NOW_S, &claims);
        assert_string_equal(verified.message, "token signature does not verify");
        writer_free(&forged);
    }
}

static void another_key_makes_no_token_of_ours(void **state)
{
    (void)state;
    char other_directory[] = "/tmp/ambar-test-token-XXXXXX";
    assert_non_null(mkdtemp(other_directory));
    struct token_key *other;
    struct result opened = token_key_open(other_directory, true, &other);
    assert_true(result_is_ok(&opened));
    char *token = NULL;
    struct result issued = token_issue(other, "ns", "sa", "n1", 3600, NOW_S, &token);
    assert_true(result_is_ok(&issued));
    struct token_claims claims;
    struct result verified = verify(token, NOW_S, &claims);
    assert_string_equal(verified.message, "token signature does not verify");
    memory_free(token);
    token_key_free(other);
    char *path AUTO_FREE = string_format("%s/token-key.pem", other_directory);
    unlink(path);
    rmdir(other_directory);
}

static void lifetimes_and_names_are_bounded(void **state)
{
    (void)state;
    char *token = NULL;
    struct result refused = token_issue(key, "ns", "sa", "n1", TOKEN_LIFETIME_MAXIMUM_S + 1, NOW_S, &token);
    assert_int_equal(refused.code, RESULT_INVALID);
    refused = token_issue(key, "ns", "", "n1", 60, NOW_S, &token);
    assert_int_equal(refused.code, RESULT_INVALID);
    refused = token_issue(key, "n/s", "sa", "n1", 60, NOW_S, &token);
    assert_int_equal(refused.code, RESULT_INVALID);
}

static void the_key_is_for_its_owner_and_stays_the_same(void **state)
{
    (void)state;
    char *path AUTO_FREE = string_format("%s/token-key.pem", directory);
    struct stat information;
    assert_int_equal(stat(path, &information), 0);
    assert_int_equal(information.st_mode & 0777, 0600);
    struct token_key *again;
    struct result opened = token_key_open(directory, false, &again);
    assert_true(result_is_ok(&opened));
    char *token AUTO_FREE = issue(60);
    struct token_claims claims;
    struct result verified = token_verify(again, bytes_of_string(token), NOW_S, &claims);
    assert_true(result_is_ok(&verified));
    token_claims_clear(&claims);
    token_key_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_says_who_it_was_made_for),
        cmocka_unit_test(a_token_is_good_within_its_time_only),
        cmocka_unit_test(every_changed_character_is_noticed),
        cmocka_unit_test(other_algorithms_and_none_are_refused),
        cmocka_unit_test(another_key_makes_no_token_of_ours),
        cmocka_unit_test(lifetimes_and_names_are_bounded),
        cmocka_unit_test(the_key_is_for_its_owner_and_stays_the_same),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
