#include "support.h"

#include "tls/alert.h"
#include "tls/revocation.h"

#include <pthread.h>

static struct buffer_pool *pool;

#define EXTENSIONS(identity) "subjectAltName=URI:" identity "\nextendedKeyUsage=serverAuth,clientAuth\n"

static void leaf_with_serial(const char *root, const char *name, const char *serial, const char *extensions)
{
    char *file AUTO_FREE = string_format("%s.ext", name);
    write_text(file, extensions);
    run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.csr -subj /O=leaf "
        "&& openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -set_serial 0x%s -days 2 -extfile %s.ext -out %s.pem",
        name, name, name, root, root, serial, name, name);
}

/* FILE: a list of `signer` that revokes `serial`. */
static void make_list(const char *signer, const char *file, const char *serial)
{
    char *index AUTO_FREE = string_format("R\t351231235959Z\t260101000000Z\t%s\tunknown\t/O=leaf\n", serial);
    write_text("index.txt", index);
    write_text("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n");
    run("openssl ca -gencrl -config ca.cnf -keyfile %s.key -cert %s.pem -out %s", signer, signer, file);
}

static int set_up(void **state)
{
    pool = buffer_pool_new();
    if (make_directory(state) != 0) {
        return -1;
    }
    openssl_root("root");
    openssl_root("foreign");
    leaf_with_serial("root", "web", "1001", EXTENSIONS(WEB));
    leaf_with_serial("root", "catalogue", "1002", EXTENSIONS(CATALOGUE));
    make_list("root", "web.crl", "1001");
    make_list("root", "other.crl", "1009");
    /* Of the same issuer's name, but not signed by it. */
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout false.key -out false.pem -days "
        "10 "
        "-subj /O=test-root -addext keyUsage=critical,keyCertSign,cRLSign");
    make_list("false", "false.crl", "1001");
    return 0;
}

static int tear_down(void **state)
{
    revocation_put_into_force(NULL);
    buffer_pool_free(pool);
    return remove_directory(state);
}

static int nothing_in_force(void **state)
{
    (void)state;
    revocation_put_into_force(NULL);
    return 0;
}

static struct revocation_lists *lists_of(const char *name)
{
    char *path AUTO_FREE = path_of(name);
    struct revocation_lists *lists = NULL;
    assert_ok(revocation_lists_read_file(path, &lists));
    return lists;
}

static struct certificate_list chain_of(const char *leaf, const char *root)
{
    char *leaf_text AUTO_FREE = read_text(leaf);
    char *root_text AUTO_FREE = read_text(root);
    char *both AUTO_FREE = string_format("%s%s", leaf_text, root_text);
    struct certificate_list chain;
    assert_ok(certificate_list_parse_pem(bytes_of_string(both), "chain", &chain));
    return chain;
}

static bool revokes(const char *list, const char *leaf)
{
    struct revocation_lists *lists = lists_of(list);
    struct certificate_list chain = chain_of(leaf, "root.pem");
    bool is_revoked = revocation_lists_revoke(lists, &chain);
    certificate_list_clear(&chain);
    revocation_lists_release(lists);
    return is_revoked;
}

static void test_only_what_the_issuers_list_names_is_revoked(void **state)
{
    (void)state;
    assert_true(revokes("web.crl", "web.pem"));
    assert_false(revokes("web.crl", "catalogue.pem"));
    assert_false(revokes("other.crl", "web.pem"));
}

static void test_a_list_that_the_issuer_did_not_sign_revokes_nothing(void **state)
{
    (void)state;
    assert_false(revokes("false.crl", "web.pem"));
}

static void test_der_and_several_pem_blocks_and_an_empty_file_are_read(void **state)
{
    (void)state;
    run("openssl crl -in web.crl -outform DER -out web.der && cat other.crl root.pem web.crl > several.crl && : > "
        "empty.crl "
        "&& printf '\\n\\n' > blank.crl && cat root.pem > no_list.crl");
    assert_true(revokes("web.der", "web.pem"));
    assert_true(revokes("several.crl", "web.pem"));
    assert_false(revokes("empty.crl", "web.pem"));
    assert_false(revokes("blank.crl", "web.pem"));
    assert_false(revokes("no_list.crl", "web.pem"));
    struct revocation_lists *lists = lists_of("several.crl");
    assert_int_equal(revocation_lists_count(lists), 2);
    revocation_lists_release(lists);
}

static void test_what_is_no_list_is_refused_by_name(void **state)
{
    (void)state;
    struct revocation_lists *lists;
    run("echo nonsense > bad.crl && head -c 200 web.crl > cut.crl && openssl x509 -in web.pem -outform DER -out "
        "web_leaf.der");
    const char *const files[] = { "bad.crl", "cut.crl", "web_leaf.der" };
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char *path AUTO_FREE = path_of(files[i]);
        assert_refused(revocation_lists_read_file(path, &lists), RESULT_INVALID, files[i]);
        assert_null(lists);
    }
    char *missing AUTO_FREE = path_of("missing.crl");
    assert_refused(revocation_lists_read_file(missing, &lists), RESULT_NOT_FOUND, "missing.crl");
}

static void test_a_file_without_end_is_refused(void **state)
{
    (void)state;
    struct revocation_lists *lists;
    run("truncate -s 20M large.crl");
    char *path AUTO_FREE = path_of("large.crl");
    assert_refused(revocation_lists_read_file(path, &lists), RESULT_LIMIT, "larger than");
}

struct both {
    int ends[2];
    struct tls_handshake *client, *server;
};

static struct both shake_as(const char *client_name, const char *server_name, const char *expected)
{
    struct both both;
    connected_pair(both.ends);
    struct tls_identity *client = identity_of_files("root", client_name);
    struct tls_identity *server = identity_of_files("root", server_name);
    both.client = tls_handshake_new_mesh_client(client, pool, both.ends[0], &expected, 1);
    both.server = tls_handshake_new_mesh_server(server, pool, both.ends[1]);
    tls_identity_release(client);
    tls_identity_release(server);
    shake_both(both.client, both.server);
    return both;
}

static void end_both(struct both *both)
{
    tls_handshake_free(both->client);
    tls_handshake_free(both->server);
    close(both->ends[0]);
    close(both->ends[1]);
}

static void test_a_revoked_client_is_refused_with_certificate_revoked(void **state)
{
    (void)state;
    revocation_put_into_force(lists_of("web.crl"));
    struct both both = shake_as("web", "catalogue", CATALOGUE);
    assert_int_equal(tls_handshake_sent_alert(both.server), TLS_ALERT_CERTIFICATE_REVOKED);
    assert_contains(tls_handshake_failure(both.server), "invalid peer certificate: Revoked");
    end_both(&both);
}

static void test_a_revoked_server_is_refused_with_certificate_revoked(void **state)
{
    (void)state;
    revocation_put_into_force(lists_of("web.crl"));
    struct both both = shake_as("catalogue", "web", WEB);
    assert_int_equal(tls_handshake_sent_alert(both.client), TLS_ALERT_CERTIFICATE_REVOKED);
    end_both(&both);
}

static void test_a_peer_that_was_known_before_the_list_came_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct both before = shake_as("web", "catalogue", CATALOGUE);
        assert_int_equal(tls_handshake_step(before.server), TLS_HANDSHAKE_DONE);
        end_both(&before);
    }
    revocation_put_into_force(lists_of("web.crl"));
    struct both both = shake_as("web", "catalogue", CATALOGUE);
    assert_int_equal(tls_handshake_sent_alert(both.server), TLS_ALERT_CERTIFICATE_REVOKED);
    end_both(&both);
}

static void test_a_live_connection_keeps_its_chain_for_the_next_list(void **state)
{
    (void)state;
    revocation_put_into_force(revocation_lists_none());
    struct both both = shake_as("web", "catalogue", CATALOGUE);
    struct record_layer *server = tls_handshake_finish(both.server, NULL);
    struct record_layer *client = tls_handshake_finish(both.client, NULL);
    assert_non_null(server->peer_chain);
    struct revocation_lists *lists = lists_of("web.crl");
    assert_true(revocation_lists_revoke(lists, server->peer_chain));
    assert_false(revocation_lists_revoke(lists, client->peer_chain));
    revocation_lists_release(lists);
    record_free(server);
    record_free(client);
    end_both(&both);
}

static void test_without_revocation_no_chain_is_kept(void **state)
{
    (void)state;
    struct both both = shake_as("web", "catalogue", CATALOGUE);
    struct record_layer *server = tls_handshake_finish(both.server, NULL);
    assert_null(server->peer_chain);
    record_free(server);
    end_both(&both);
}

#define ROUNDS 2000

static void *keep_asking(void *context)
{
    const struct certificate_list *chain = context;
    size_t revoked = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct revocation_lists *lists = revocation_in_force();
        revoked += revocation_lists_revoke(lists, chain);
        revocation_lists_release(lists);
    }
    return (void *)(uintptr_t)revoked;
}

static void test_lists_may_be_replaced_while_others_read_them(void **state)
{
    (void)state;
    struct certificate_list chain = chain_of("web.pem", "root.pem");
    struct revocation_lists *with = lists_of("web.crl");
    revocation_put_into_force(revocation_lists_reference(with));
    pthread_t threads[2];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, keep_asking, &chain), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        revocation_put_into_force(i % 2 == 0 ? revocation_lists_none() : revocation_lists_reference(with));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        void *revoked;
        pthread_join(threads[i], &revoked);
        assert_in_range((uintptr_t)revoked, 0, ROUNDS);
    }
    revocation_lists_release(with);
    certificate_list_clear(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_the_issuers_list_names_is_revoked),
        cmocka_unit_test(test_a_list_that_the_issuer_did_not_sign_revokes_nothing),
        cmocka_unit_test(test_der_and_several_pem_blocks_and_an_empty_file_are_read),
        cmocka_unit_test(test_what_is_no_list_is_refused_by_name),
        cmocka_unit_test(test_a_file_without_end_is_refused),
        cmocka_unit_test_setup(test_a_revoked_client_is_refused_with_certificate_revoked, nothing_in_force),
        cmocka_unit_test_setup(test_a_revoked_server_is_refused_with_certificate_revoked, nothing_in_force),
        cmocka_unit_test_setup(test_a_peer_that_was_known_before_the_list_came_is_refused, nothing_in_force),
        cmocka_unit_test_setup(test_a_live_connection_keeps_its_chain_for_the_next_list, nothing_in_force),
        cmocka_unit_test_setup(test_without_revocation_no_chain_is_kept, nothing_in_force),
        cmocka_unit_test_setup(test_lists_may_be_replaced_while_others_read_them, nothing_in_force),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
