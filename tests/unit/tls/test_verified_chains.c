/* Chains verified before: known by their exact bytes, purpose and roots, while every certificate of the path is valid. */
#include "unit/tls/support.h"

#include "tls/certificate_path.h"
#include "tls/revocation.h"
#include "tls/verified_chains.h"

#include <openssl/x509.h>
#include <pthread.h>

static struct certificate_authority *authority, *foreign;
static struct buffer_pool *pool;
static int64_t now_s;

static int set_up(void **state)
{
    (void)state;
    now_s = clock_wall_s();
    authority = certificate_authority_new("cluster.local", now_s);
    foreign = certificate_authority_new("cluster.local", now_s);
    pool = buffer_pool_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    certificate_authority_free(authority);
    certificate_authority_free(foreign);
    buffer_pool_free(pool);
    return 0;
}

/* How both sides ended, and what was looked up meanwhile. */
struct outcome {
    enum tls_handshake_status client, server;
    uint64_t hits, misses;
};

static struct outcome handshake_between(struct tls_identity *of_client, struct tls_identity *of_server)
{
    int ends[2];
    const char *expected = WEB;
    struct verified_chains_statistics before = verified_chains_statistics();
    connected_pair(ends);
    struct tls_handshake *client = tls_handshake_new_mesh_client(of_client, pool, ends[0], &expected, 1);
    struct tls_handshake *server = tls_handshake_new_mesh_server(of_server, pool, ends[1]);
    shake_both(client, server);
    struct verified_chains_statistics after = verified_chains_statistics();
    struct outcome outcome = { tls_handshake_step(client), tls_handshake_step(server), after.hits - before.hits,
        after.misses - before.misses };
    tls_handshake_free(client);
    tls_handshake_free(server);
    close(ends[0]);
    close(ends[1]);
    return outcome;
}

static void test_the_second_tunnel_of_a_peer_is_known(void **state)
{
    (void)state;
    struct tls_identity *web = identity_at(authority, WEB, now_s), *other = identity_at(authority, CATALOGUE, now_s);
    struct outcome first = handshake_between(other, web);
    assert_int_equal(first.client, TLS_HANDSHAKE_DONE);
    assert_int_equal(first.server, TLS_HANDSHAKE_DONE);
    assert_int_equal(first.misses, 2);
    assert_int_equal(first.hits, 0);
    struct outcome second = handshake_between(other, web);
    assert_int_equal(second.server, TLS_HANDSHAKE_DONE);
    assert_int_equal(second.hits, 2);
    assert_int_equal(second.misses, 0);
    /* The other way round each is shown for the other purpose. */
    struct outcome turned = handshake_between(web, web);
    assert_int_equal(turned.client, TLS_HANDSHAKE_DONE);
    assert_int_equal(turned.hits, 1);
    assert_int_equal(turned.misses, 1);
    tls_identity_release(web);
    tls_identity_release(other);
}

static void test_who_it_is_is_checked_for_known_chains_too(void **state)
{
    (void)state;
    struct tls_identity *other = identity_at(authority, CATALOGUE, now_s);
    for (int i = 0; i < 2; i++) {
        struct outcome outcome = handshake_between(other, other); /* the client expects WEB */
        assert_int_equal(outcome.client, TLS_HANDSHAKE_FAILED);
        assert_int_equal(outcome.hits, i);
    }
    tls_identity_release(other);
}

static void test_a_chain_known_under_other_roots_is_verified_and_refused(void **state)
{
    (void)state;
    struct tls_identity *web = identity_at(authority, WEB, now_s), *stranger = identity_at(foreign, WEB, now_s);
    assert_int_equal(handshake_between(web, web).client, TLS_HANDSHAKE_DONE);
    assert_int_equal(handshake_between(stranger, stranger).client, TLS_HANDSHAKE_DONE);
    for (int i = 0; i < 2; i++) {
        struct outcome outcome = handshake_between(stranger, web);
        assert_int_equal(outcome.client, TLS_HANDSHAKE_FAILED);
        assert_int_equal(outcome.hits, 0);
    }
    tls_identity_release(web);
    tls_identity_release(stranger);
}

static void test_nothing_is_skipped_while_certificates_can_be_revoked(void **state)
{
    (void)state;
    struct tls_identity *web = identity_at(authority, WEB, now_s);
    assert_int_equal(handshake_between(web, web).client, TLS_HANDSHAKE_DONE);
    revocation_put_into_force(revocation_lists_none());
    struct outcome outcome = handshake_between(web, web);
    assert_int_equal(outcome.client, TLS_HANDSHAKE_DONE);
    assert_int_equal(outcome.hits + outcome.misses, 0);
    revocation_put_into_force(NULL);
    assert_int_equal(handshake_between(web, web).hits, 2);
    tls_identity_release(web);
}

static struct chain_digest digest_of(uint64_t number)
{
    struct chain_digest digest = { { 0 } };
    memcpy(digest.bytes, &number, sizeof number);
    memcpy(digest.bytes + 8, &number, sizeof number);
    return digest;
}

static bool is_known(const struct chain_digest *digest, int64_t at_s)
{
    X509 *peer = verified_chains_find(digest, at_s);
    certificate_release(peer);
    return peer != NULL;
}

static void test_a_chain_is_known_only_while_all_of_it_is_valid(void **state)
{
    (void)state;
    struct certificate_bundle *bundle = bundle_at(authority, WEB, now_s);
    struct certificate_list path = { NULL, 0 };
    certificate_list_append(&path, bundle->leaf);
    certificate_list_append(&path, bundle->roots.items[0]);
    STACK_OF(X509) *stack = certificate_stack_of(&path);
    struct chain_digest digest = digest_of(1);
    int64_t from_s, until_s;
    certificate_validity(bundle->leaf, &from_s, &until_s);
    verified_chains_remember(&digest, stack, until_s + 1); /* not even remembered */
    assert_false(is_known(&digest, now_s));
    verified_chains_remember(&digest, stack, now_s);
    assert_true(is_known(&digest, now_s));
    assert_true(is_known(&digest, until_s));
    assert_false(is_known(&digest, until_s + 1));
    certificate_validity(bundle->roots.items[0], &from_s, &until_s);
    assert_false(is_known(&digest, from_s - 1));
    sk_X509_free(stack);
    certificate_list_clear(&path);
    certificate_bundle_release(bundle);
}

static void test_the_set_is_bounded_and_keeps_what_is_used(void **state)
{
    (void)state;
    struct certificate_bundle *bundle = bundle_at(authority, WEB, now_s);
    struct certificate_list path = { NULL, 0 };
    certificate_list_append(&path, bundle->leaf);
    STACK_OF(X509) *stack = certificate_stack_of(&path);
    struct chain_digest kept = digest_of(77);
    verified_chains_remember(&kept, stack, now_s);
    for (uint64_t i = 1000; i < 1000 + 4 * VERIFIED_CHAINS_MAXIMUM; i++) {
        struct chain_digest digest = digest_of(i);
        verified_chains_remember(&digest, stack, now_s);
        assert_true(is_known(&digest, now_s));
        assert_true(is_known(&kept, now_s));
    }
    size_t known = 0;
    for (uint64_t i = 1000; i < 1000 + 4 * VERIFIED_CHAINS_MAXIMUM; i++) {
        struct chain_digest digest = digest_of(i);
        known += is_known(&digest, now_s) ? 1 : 0;
    }
    assert_true(known > 0 && known < VERIFIED_CHAINS_MAXIMUM);
    sk_X509_free(stack);
    certificate_list_clear(&path);
    certificate_bundle_release(bundle);
}

static void *shake_often(void *identity)
{
    struct buffer_pool *own = buffer_pool_new();
    for (int i = 0; i < 10; i++) {
        int ends[2];
        const char *expected = WEB;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
            abort();
        }
        struct tls_handshake *client = tls_handshake_new_mesh_client(identity, own, ends[0], &expected, 1);
        struct tls_handshake *server = tls_handshake_new_mesh_server(identity, own, ends[1]);
        for (int step = 0; step < 20; step++) {
            (void)tls_handshake_step(client);
            (void)tls_handshake_step(server);
        }
        if (tls_handshake_step(client) != TLS_HANDSHAKE_DONE || tls_handshake_step(server) != TLS_HANDSHAKE_DONE) {
            abort();
        }
        record_free(tls_handshake_finish(client, NULL));
        record_free(tls_handshake_finish(server, NULL));
        tls_handshake_free(client);
        tls_handshake_free(server);
        close(ends[0]);
        close(ends[1]);
    }
    buffer_pool_free(own);
    return NULL;
}

static void test_workers_share_identities_and_what_is_known(void **state)
{
    (void)state;
    pthread_t threads[3];
    assert_ok(tls_start(&(struct tls_policy){ .engine = TLS_ENGINE_NATIVE }));
    struct tls_identity *web = identity_at(authority, WEB, now_s);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shake_often, web), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    tls_identity_release(web);
    assert_ok(tls_start(&(struct tls_policy){ 0 }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_second_tunnel_of_a_peer_is_known),
        cmocka_unit_test(test_who_it_is_is_checked_for_known_chains_too),
        cmocka_unit_test(test_a_chain_known_under_other_roots_is_verified_and_refused),
        cmocka_unit_test(test_nothing_is_skipped_while_certificates_can_be_revoked),
        cmocka_unit_test(test_a_chain_is_known_only_while_all_of_it_is_valid),
        cmocka_unit_test(test_the_set_is_bounded_and_keeps_what_is_used),
        cmocka_unit_test(test_workers_share_identities_and_what_is_known),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
