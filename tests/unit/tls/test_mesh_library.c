/* Handshakes in the library context of the mesh: every kind of key, chains, and nobody gains by a certificate that is known. */
#include "unit/tls/support.h"

#include "tls/alert.h"
#include "tls/mesh_library.h"
#include "tls/verified_chains.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#define EXTENSIONS "subjectAltName=URI:" WEB "\nextendedKeyUsage=serverAuth,clientAuth\n"

static struct buffer_pool *pool;

static int set_up(void **state)
{
    pool = buffer_pool_new();
    if (make_directory(state) != 0) {
        return -1;
    }
    openssl_root("root");
    openssl_leaf("root", "web", EXTENSIONS);
    openssl_leaf("root", "other", EXTENSIONS);
    openssl_leaf("root", "foreign", "subjectAltName=URI:" FOREIGN "\nextendedKeyUsage=serverAuth,clientAuth\n");
    return 0;
}

static int tear_down(void **state)
{
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    buffer_pool_free(pool);
    return remove_directory(state);
}

struct both {
    enum tls_handshake_status client, server;
    char *server_failure;
    uint64_t known;
};

static struct both handshake_between(struct tls_identity *of_client, struct tls_identity *of_server)
{
    int ends[2];
    const char *expected = WEB;
    struct verified_chains_statistics before = verified_chains_statistics();
    connected_pair(ends);
    struct tls_handshake *client = tls_handshake_new_mesh_client(of_client, pool, ends[0], &expected, 1);
    struct tls_handshake *server = tls_handshake_new_mesh_server(of_server, pool, ends[1]);
    shake_both(client, server);
    struct both both = { tls_handshake_step(client), tls_handshake_step(server), NULL, 0 };
    if (both.server == TLS_HANDSHAKE_DONE) {
        record_free(tls_handshake_finish(server, NULL));
    } else {
        both.server_failure = string_duplicate(tls_handshake_failure(server));
    }
    both.known = verified_chains_statistics().hits - before.hits;
    tls_handshake_free(client);
    tls_handshake_free(server);
    close(ends[0]);
    close(ends[1]);
    return both;
}

/* Two handshakes, of which the second one knows both peers. */
static void assert_welcome(struct tls_identity *identity)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct both both = handshake_between(identity, identity);
        assert_int_equal(both.client, TLS_HANDSHAKE_DONE);
        assert_int_equal(both.server, TLS_HANDSHAKE_DONE);
        assert_int_equal(both.known, 2 * i);
    }
    tls_identity_release(identity);
}

static void test_peers_may_have_every_kind_of_key(void **state)
{
    (void)state;
    static const char *const keys[] = { "ec -pkeyopt ec_paramgen_curve:P-256", "ec -pkeyopt ec_paramgen_curve:P-384",
        "rsa:2048", "ed25519" };
    write_text("any.ext", EXTENSIONS);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        run("openssl req -new -newkey %s -nodes -keyout any.key -out any.csr -subj /O=leaf && openssl x509 -req -in "
            "any.csr -CA root.pem -CAkey root.key -set_serial %zu -days 2 -extfile any.ext -out any.pem",
            keys[i], 100 + i);
        assert_welcome(identity_of_files("root", "any"));
    }
}

static void test_intermediates_lead_to_the_root(void **state)
{
    (void)state;
    openssl_leaf("root", "middle", "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n");
    openssl_leaf("middle", "below", EXTENSIONS);
    run("cat middle.pem >> below.pem");
    assert_welcome(identity_of_files("root", "below"));
}

/* A private key with the public half of another one: libssl takes it for the certificate's. */
static struct evp_pkey_st *disguised(const struct evp_pkey_st *key, const struct evp_pkey_st *as)
{
    BIGNUM *secret = NULL;
    unsigned char public[133];
    size_t length = 0;
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &secret), 1);
    assert_int_equal(EVP_PKEY_get_octet_string_param(as, OSSL_PKEY_PARAM_PUB_KEY, public, sizeof public, &length), 1);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
    OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, public, length);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, secret);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *forged = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &forged, EVP_PKEY_KEYPAIR, parameters), 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_clear_free(secret);
    return forged;
}

static void test_a_known_certificate_without_its_key_is_refused(void **state)
{
    (void)state;
    struct tls_identity *web = identity_of_files("root", "web"), *other = identity_of_files("root", "other");
    assert_int_equal(handshake_between(web, web).server, TLS_HANDSHAKE_DONE);
    struct certificate_bundle stolen = *web->bundle;
    stolen.key = disguised(other->bundle->key, web->bundle->key);
    atomic_init(&stolen.references, 2);
    struct tls_identity *thief = NULL;
    assert_ok(tls_identity_new(&stolen, &thief));
    struct both both = handshake_between(thief, web);
    assert_int_equal(both.server, TLS_HANDSHAKE_FAILED);
    assert_int_equal(both.known, 2);                          /* the certificate is, but that proves nothing */
    assert_contains(both.server_failure, tls_alert_name(51)); /* decrypt_error (RFC 8446 §4.4.3) */
    memory_free(both.server_failure);
    tls_identity_release(thief);
    EVP_PKEY_free(stolen.key);
    tls_identity_release(web);
    tls_identity_release(other);
}

static void test_a_known_chain_of_another_trust_domain_is_refused_each_time(void **state)
{
    (void)state;
    struct tls_identity *web = identity_of_files("root", "web"), *foreign = identity_of_files("root", "foreign");
    for (int i = 0; i < 2; i++) {
        struct both both = handshake_between(foreign, web);
        assert_int_equal(both.server, TLS_HANDSHAKE_FAILED);
        assert_contains(both.server_failure, "peer did not present the expected trustdomain");
        memory_free(both.server_failure);
    }
    tls_identity_release(web);
    tls_identity_release(foreign);
}

static void test_what_the_mesh_does_not_use_is_not_there(void **state)
{
    (void)state;
    if (mesh_library() == NULL) {
        skip(); /* another version of OpenSSL, or FIPS */
    }
    EVP_MD *digest = EVP_MD_fetch(mesh_library(), "SHA2-384", NULL);
    assert_non_null(digest);
    EVP_MD_free(digest);
    assert_null(EVP_MD_fetch(mesh_library(), "MD5", NULL));
    assert_null(EVP_CIPHER_fetch(mesh_library(), "DES-EDE3-CBC", NULL));
    assert_null(EVP_SIGNATURE_fetch(mesh_library(), "DSA", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_may_have_every_kind_of_key),
        cmocka_unit_test(test_intermediates_lead_to_the_root),
        cmocka_unit_test(test_a_known_certificate_without_its_key_is_refused),
        cmocka_unit_test(test_a_known_chain_of_another_trust_domain_is_refused_each_time),
        cmocka_unit_test(test_what_the_mesh_does_not_use_is_not_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
