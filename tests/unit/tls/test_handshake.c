/* Handshakes against the openssl command and between our own two roles: who is accepted, who is refused with which alert. */
#include "unit/tls/support.h"

#include "tls/alert.h"

#define PEER_COMMAND_MAXIMUM 1024

static struct certificate_authority *authority;
static struct buffer_pool *pool;
static int64_t now_s;

static const char *const web_extensions = "subjectAltName=critical,URI:" WEB "\nbasicConstraints=critical,CA:false\n"
                                          "extendedKeyUsage=serverAuth,clientAuth\n";

static int set_up(void **state)
{
    now_s = clock_wall_s();
    authority = certificate_authority_new("cluster.local", now_s);
    pool = buffer_pool_new();
    if (make_directory(state) != 0) {
        return -1;
    }
    openssl_root("root");
    openssl_root("foreign");
    openssl_leaf("root", "web", web_extensions);
    openssl_leaf("root", "catalogue", "subjectAltName=URI:" CATALOGUE "\n");
    openssl_leaf("root", "other_domain", "subjectAltName=URI:" FOREIGN "\n");
    openssl_leaf("foreign", "stranger", web_extensions);
    openssl_leaf("root", "only_server", "subjectAltName=URI:" WEB "\nextendedKeyUsage=serverAuth\n");
    openssl_leaf("root", "only_client", "subjectAltName=URI:" WEB "\nextendedKeyUsage=clientAuth\n");
    openssl_leaf("root", "is_ca", "subjectAltName=URI:" WEB "\nbasicConstraints=critical,CA:true\n");
    openssl_leaf("root", "istiod", "subjectAltName=DNS:istiod.istio-system.svc,IP:127.0.0.1\n");
    return 0;
}

static int tear_down(void **state)
{
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    buffer_pool_free(pool);
    certificate_authority_free(authority);
    return remove_directory(state);
}

/* `openssl ARGUMENTS` in the directory, its input open (until the pipe is closed) and its output in out.txt. */
struct peer {
    pid_t process;
    int input;
};

static struct peer peer_start(const char *arguments)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t process = fork();
    assert_true(process >= 0);
    if (process == 0) {
        char *output = path_of("out.txt");
        char command[PEER_COMMAND_MAXIMUM];
        (void)snprintf(command, sizeof command, "exec openssl %s", arguments);
        int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (chdir(support_directory) != 0 || dup2(ends[0], 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
            _exit(126);
        }
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    return (struct peer){ process, ends[1] };
}

/* Ends the peer's input, lets it finish (or ends it) and returns what it printed. */
static char *peer_end(struct peer *peer)
{
    close(peer->input);
    for (int i = 0; i < 100 && waitpid(peer->process, NULL, WNOHANG) == 0; i++) {
        usleep(20000);
    }
    (void)kill(peer->process, SIGKILL);
    (void)waitpid(peer->process, NULL, 0);
    return read_text("out.txt");
}

/* What happened when the openssl command connected to our mesh server. */
struct served {
    enum tls_handshake_status status;
    char failure[512];
    int sent_alert;
    struct tls_peer peer;
    char *output;
};

static struct served serve_openssl(const char *own, const char *client_arguments)
{
    struct served served = { .sent_alert = -1 };
    uint16_t port;
    int listener = listen_anywhere(&port);
    char *arguments AUTO_FREE = string_format("s_client -connect 127.0.0.1:%u %s", port, client_arguments);
    struct peer peer = peer_start(arguments);
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct tls_identity *identity = identity_of_files("root", own);
    struct tls_handshake *handshake = tls_handshake_new_mesh_server(identity, pool, descriptor);
    tls_identity_release(identity);
    served.status = shake(handshake, descriptor);
    served.sent_alert = tls_handshake_sent_alert(handshake);
    (void)snprintf(served.failure, sizeof served.failure, "%s", tls_handshake_failure(handshake));
    if (served.status == TLS_HANDSHAKE_DONE) {
        struct record_layer *layer = tls_handshake_finish(handshake, &served.peer);
        send_text(layer, "hello from the server\n");
        record_close(layer);
        assert_int_equal(record_flush(layer), RECORD_OK);
        record_free(layer);
    }
    tls_handshake_free(handshake);
    close(descriptor);
    close(listener);
    served.output = peer_end(&peer);
    return served;
}

static void served_clear(struct served *served)
{
    tls_peer_clear(&served->peer);
    memory_free(served->output);
}

static void test_an_openssl_client_with_a_mesh_certificate_is_accepted_and_described(void **state)
{
    (void)state;
    struct served served =
        serve_openssl("catalogue", "-cert web.pem -key web.key -CAfile root.pem -alpn h2 -verify_return_error");
    assert_int_equal(served.status, TLS_HANDSHAKE_DONE);
    assert_string_equal(tls_peer_identity(&served.peer)->uri, WEB);
    assert_string_equal(served.peer.serial, "85968058272638546416180");
    assert_string_equal(served.peer.version, "TLSv1.3");
    assert_string_equal(served.peer.suite, "TLS_AES_256_GCM_SHA384");
    assert_string_not_equal(served.peer.group, "");
    assert_true(served.peer.has_negotiated_h2);
    assert_true(served.peer.duration_ns > 0);
    assert_contains(served.output, "hello from the server");
    assert_contains(served.output, "ALPN protocol: h2");
    assert_lacks(served.output, "New Session Ticket arrived");
    served_clear(&served);
}

static void test_the_smaller_suite_is_taken_when_it_is_all_the_client_has(void **state)
{
    (void)state;
    struct served served = serve_openssl("catalogue", "-cert web.pem -key web.key -CAfile root.pem -ciphersuites "
                                                      "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
    assert_int_equal(served.status, TLS_HANDSHAKE_DONE);
    assert_string_equal(served.peer.suite, "TLS_AES_128_GCM_SHA256");
    assert_false(served.peer.has_negotiated_h2);
    served_clear(&served);
}

/* The server refuses: with this alert, seen by the openssl command, and this sentence. */
static void refuse_client(const char *arguments, int alert, const char *sentence)
{
    struct served served = serve_openssl("catalogue", arguments);
    assert_int_equal(served.status, TLS_HANDSHAKE_FAILED);
    assert_contains(served.failure, sentence);
    assert_int_equal(served.sent_alert, alert);
    char *seen AUTO_FREE = string_format("SSL alert number %d\n", alert);
    assert_contains(served.output, seen);
    served_clear(&served);
}

static void test_a_client_of_another_trust_domain_is_refused_with_certificate_unknown(void **state)
{
    (void)state;
    refuse_client("-cert other_domain.pem -key other_domain.key", TLS_ALERT_CERTIFICATE_UNKNOWN,
        "identity verification error: peer did not present the expected trustdomain (cluster.local), got " FOREIGN);
}

static void test_a_client_without_a_spiffe_name_is_refused_with_certificate_unknown(void **state)
{
    (void)state;
    refuse_client("-cert istiod.pem -key istiod.key", TLS_ALERT_CERTIFICATE_UNKNOWN,
        "peer did not present the expected trustdomain (cluster.local), got ");
}

static void test_a_client_of_a_foreign_root_is_refused_with_unknown_ca(void **state)
{
    (void)state;
    refuse_client(
        "-cert stranger.pem -key stranger.key", TLS_ALERT_UNKNOWN_CA, "invalid peer certificate: UnknownIssuer");
}

static void test_a_client_with_a_server_only_certificate_is_refused_with_unsupported_certificate(void **state)
{
    (void)state;
    refuse_client("-cert only_server.pem -key only_server.key", TLS_ALERT_UNSUPPORTED_CERTIFICATE,
        "invalid peer certificate: InvalidPurpose");
}

static void test_a_client_with_a_ca_certificate_is_refused(void **state)
{
    (void)state;
    refuse_client(
        "-cert is_ca.pem -key is_ca.key", TLS_ALERT_CERTIFICATE_UNKNOWN, "invalid peer certificate: CaUsedAsEndEntity");
}

static void test_a_client_without_a_certificate_is_refused_with_certificate_required(void **state)
{
    (void)state;
    refuse_client("-CAfile root.pem", 116, "peer did not return a certificate");
}

static void test_a_client_that_offers_only_another_protocol_is_refused(void **state)
{
    (void)state;
    refuse_client("-cert web.pem -key web.key -alpn http/1.1", 120, "no application protocol");
}

static void test_a_tls12_client_is_refused_unless_the_policy_allows_it(void **state)
{
    (void)state;
    const char *arguments = "-tls1_2 -cert web.pem -key web.key -CAfile root.pem -alpn h2";
    refuse_client(arguments, 70, "unsupported protocol");
    assert_ok(tls_start(&(struct tls_policy){ .allows_tls12 = true }));
    struct served served = serve_openssl("catalogue", arguments);
    assert_ok(tls_start(&(struct tls_policy){ 0 }));
    assert_int_equal(served.status, TLS_HANDSHAKE_DONE);
    assert_string_equal(served.peer.version, "TLSv1.2");
    assert_string_equal(served.peer.suite, "ECDHE-ECDSA-AES256-GCM-SHA384");
    assert_contains(served.output, "hello from the server");
    served_clear(&served);
}

static void test_an_expired_client_is_refused_with_certificate_expired(void **state)
{
    (void)state;
    write_text("ours.pem", certificate_authority_root_pem(authority));
    int64_t then_s = now_s - 86400;
    struct certificate_authority *old = certificate_authority_new("cluster.local", then_s);
    struct certificate_bundle *expired = bundle_at(old, WEB, then_s);
    struct writer key = writer_growing(), leaf = writer_growing(), serving = writer_growing(), own = writer_growing();
    private_key_write_pem(expired->key, &key);
    certificate_write_pem(expired->leaf, &leaf);
    struct certificate_bundle *ours = bundle_at(old, CATALOGUE, now_s);
    certificate_write_pem(ours->leaf, &serving);
    private_key_write_pem(ours->key, &own);
    write_text("expired.key", writer_string(&key));
    write_text("expired.pem", writer_string(&leaf));
    write_text("kept_root.pem", certificate_authority_root_pem(old));
    run("cp root.pem saved_root.pem && cp kept_root.pem root.pem");
    write_text("serving.pem", writer_string(&serving));
    write_text("serving.key", writer_string(&own));
    struct served served = serve_openssl("serving", "-cert expired.pem -key expired.key");
    run("mv saved_root.pem root.pem");
    assert_int_equal(served.status, TLS_HANDSHAKE_FAILED);
    assert_contains(served.failure, "invalid peer certificate: Expired");
    assert_int_equal(served.sent_alert, TLS_ALERT_CERTIFICATE_EXPIRED);
    assert_contains(served.output, "SSL alert number 45\n");
    served_clear(&served);
    writer_free(&key);
    writer_free(&leaf);
    writer_free(&serving);
    writer_free(&own);
    certificate_bundle_release(ours);
    certificate_bundle_release(expired);
    certificate_authority_free(old);
}

/* Our client against `openssl s_server`. The handshake is freed by the caller. */
struct dialled {
    struct peer peer;
    int descriptor;
    struct tls_handshake *handshake;
    enum tls_handshake_status status;
};

static uint16_t free_port(void)
{
    uint16_t port;
    close(listen_anywhere(&port));
    return port;
}

static int connect_when_up(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)
    };
    for (int i = 0; i < 200; i++) {
        int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0) {
            set_nonblocking(descriptor);
            return descriptor;
        }
        close(descriptor);
        usleep(20000);
    }
    fail_msg("the peer does not listen on %u", port);
    return -1;
}

static struct dialled dial_openssl(const char *arguments, const char *const *expected, size_t count)
{
    struct dialled dialled;
    uint16_t port = free_port();
    char *command AUTO_FREE = string_format("s_server -accept 127.0.0.1:%u %s", port, arguments);
    dialled.peer = peer_start(command);
    dialled.descriptor = connect_when_up(port);
    struct tls_identity *identity = identity_of_files("root", "web");
    dialled.handshake = tls_handshake_new_mesh_client(identity, pool, dialled.descriptor, expected, count);
    tls_identity_release(identity);
    dialled.status = shake(dialled.handshake, dialled.descriptor);
    return dialled;
}

static char *dialled_end(struct dialled *dialled)
{
    tls_handshake_free(dialled->handshake);
    close(dialled->descriptor);
    return peer_end(&dialled->peer);
}

#define SERVER_WANTS_OURS "-CAfile root.pem -Verify 3 -verify_return_error -tls1_3 -alpn h2 -num_tickets 2 "

static void test_our_client_accepts_any_of_the_identities_it_expects_and_shows_its_own(void **state)
{
    (void)state;
    const char *expected[] = { "spiffe://cluster.local/ns/shop/sa/nobody", CATALOGUE };
    struct dialled dialled = dial_openssl(SERVER_WANTS_OURS "-cert catalogue.pem -key catalogue.key", expected, 2);
    assert_int_equal(dialled.status, TLS_HANDSHAKE_DONE);
    struct tls_peer peer;
    struct record_layer *layer = tls_handshake_finish(dialled.handshake, &peer);
    assert_string_equal(tls_peer_identity(&peer)->uri, CATALOGUE);
    assert_true(peer.has_negotiated_h2);
    send_text(layer, "a line from our client\n");
    assert_int_equal(write(dialled.peer.input, "a line back\n", 12), 12);
    struct bytes run_of_bytes;
    assert_int_equal(receive_something(layer, &run_of_bytes), RECORD_OK); /* behind two session tickets */
    assert_true(bytes_equal_string(run_of_bytes, "a line back\n"));
    record_free(layer);
    tls_peer_clear(&peer);
    char *output AUTO_FREE = dialled_end(&dialled);
    assert_contains(output, "a line from our client");
    assert_contains(output, "verify depth");
}

/* Our client refuses: the openssl command sees this alert. */
static void refuse_server(const char *certificate, int alert, const char *sentence)
{
    const char *expected[] = { CATALOGUE, "spiffe://cluster.local/ns/shop/sa/other" };
    char *arguments AUTO_FREE = string_format("-tls1_3 -cert %s.pem -key %s.key", certificate, certificate);
    struct dialled dialled = dial_openssl(arguments, expected, 2);
    assert_int_equal(dialled.status, TLS_HANDSHAKE_FAILED);
    assert_contains(tls_handshake_failure(dialled.handshake), sentence);
    assert_int_equal(tls_handshake_sent_alert(dialled.handshake), alert);
    char *output AUTO_FREE = dialled_end(&dialled);
    char *seen AUTO_FREE = string_format("SSL alert number %d\n", alert);
    assert_contains(output, seen);
}

static void test_a_server_with_another_identity_is_refused_with_certificate_unknown(void **state)
{
    (void)state;
    refuse_server("web", TLS_ALERT_CERTIFICATE_UNKNOWN,
        "identity verification error: peer did not present the expected SAN (" CATALOGUE
        ",spiffe://cluster.local/ns/shop/sa/other), got " WEB);
}

static void test_a_server_of_a_foreign_root_is_refused_with_unknown_ca(void **state)
{
    (void)state;
    refuse_server("stranger", TLS_ALERT_UNKNOWN_CA, "invalid peer certificate: UnknownIssuer");
}

static void test_a_server_with_a_client_only_certificate_is_refused_with_unsupported_certificate(void **state)
{
    (void)state;
    refuse_server("only_client", TLS_ALERT_UNSUPPORTED_CERTIFICATE, "invalid peer certificate: InvalidPurpose");
}

static void test_a_server_that_hangs_up_in_the_handshake_is_a_failure_with_a_sentence(void **state)
{
    (void)state;
    int ends[2];
    connected_pair(ends);
    struct tls_identity *identity = identity_at(authority, WEB, now_s);
    const char *expected = CATALOGUE;
    struct tls_handshake *handshake = tls_handshake_new_mesh_client(identity, pool, ends[0], &expected, 1);
    assert_int_equal(tls_handshake_step(handshake), TLS_HANDSHAKE_WANTS_READ);
    close(ends[1]);
    assert_int_equal(shake(handshake, ends[0]), TLS_HANDSHAKE_FAILED);
    assert_string_not_equal(tls_handshake_failure(handshake), "no failure");
    tls_handshake_free(handshake);
    tls_identity_release(identity);
    close(ends[0]);
}

static void serve_garbage(const char *garbage, size_t length, int alert)
{
    int ends[2];
    connected_pair(ends);
    struct tls_identity *identity = identity_at(authority, WEB, now_s);
    struct tls_handshake *handshake = tls_handshake_new_mesh_server(identity, pool, ends[1]);
    assert_int_equal(write(ends[0], garbage, length), length);
    assert_int_equal(shake(handshake, ends[1]), TLS_HANDSHAKE_FAILED);
    assert_int_equal(tls_handshake_sent_alert(handshake), alert);
    assert_string_not_equal(tls_handshake_failure(handshake), "no failure");
    tls_handshake_free(handshake);
    tls_identity_release(identity);
    close(ends[0]);
    close(ends[1]);
}

static void test_garbage_ends_the_handshake_at_once_with_an_alert_if_it_was_tls(void **state)
{
    (void)state;
    serve_garbage("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, -1);
    serve_garbage("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, -1);
    serve_garbage("\x16\x03\x01\xff\xff garbage", 13, 22);
    serve_garbage("\x17\x03\x03\x00\x05hello", 10, 10);
    serve_garbage("\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9, 47);
}

/* Two of ours: client with `client_name`, server with `server_name`. */
struct both {
    int ends[2];
    struct tls_handshake *client;
    struct tls_handshake *server;
};

static struct both begin_both(const char *client_name, const char *server_name, const char *expected)
{
    struct both both;
    connected_pair(both.ends);
    struct tls_identity *client = identity_at(authority, client_name, now_s);
    struct tls_identity *server = identity_at(authority, server_name, now_s);
    both.client = tls_handshake_new_mesh_client(client, pool, both.ends[0], &expected, 1);
    both.server = tls_handshake_new_mesh_server(server, pool, both.ends[1]);
    tls_identity_release(client);
    tls_identity_release(server);
    return both;
}

static void end_both(struct both *both)
{
    tls_handshake_free(both->client);
    tls_handshake_free(both->server);
    close(both->ends[0]);
    close(both->ends[1]);
}

static void test_our_two_roles_agree(void **state)
{
    (void)state;
    struct both both = begin_both(WEB, CATALOGUE, CATALOGUE);
    shake_both(both.client, both.server);
    struct tls_peer of_client, of_server;
    struct record_layer *client = tls_handshake_finish(both.client, &of_client);
    struct record_layer *server = tls_handshake_finish(both.server, &of_server);
    assert_string_equal(tls_peer_identity(&of_client)->uri, CATALOGUE);
    assert_string_equal(tls_peer_identity(&of_server)->uri, WEB);
    assert_string_equal(of_client.group, of_server.group);
    tls_peer_clear(&of_client);
    tls_peer_clear(&of_server);
    record_free(client);
    record_free(server);
    end_both(&both);
}

static void test_bytes_sent_right_behind_the_handshake_are_not_lost(void **state)
{
    (void)state;
    struct both both = begin_both(WEB, CATALOGUE, CATALOGUE);
    while (tls_handshake_step(both.client) != TLS_HANDSHAKE_DONE) {
        (void)tls_handshake_step(both.server);
    }
    struct record_layer *client = tls_handshake_finish(both.client, NULL);
    send_text(client, "the preface");
    send_text(client, " and more");
    record_close(client);
    assert_int_equal(record_flush(client), RECORD_OK);
    assert_int_equal(shake(both.server, both.ends[1]), TLS_HANDSHAKE_DONE);
    struct record_layer *server = tls_handshake_finish(both.server, NULL);
    assert_true(record_has_buffered_input(server));
    struct bytes run_of_bytes;
    assert_int_equal(receive_something(server, &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal_string(run_of_bytes, "the preface and more"));
    assert_true(record_has_buffered_input(server));
    assert_int_equal(receive_something(server, &run_of_bytes), RECORD_CLOSED);
    assert_false(record_has_buffered_input(server));
    record_free(client);
    record_free(server);
    end_both(&both);
}

static void test_the_client_learns_of_its_refusal_as_an_alert_by_name(void **state)
{
    (void)state;
    struct both both = begin_both(FOREIGN, CATALOGUE, CATALOGUE);
    shake_both(both.client, both.server);
    assert_int_equal(tls_handshake_sent_alert(both.server), TLS_ALERT_CERTIFICATE_UNKNOWN);
    struct record_layer *client = tls_handshake_finish(both.client, NULL);
    struct bytes run_of_bytes;
    assert_int_equal(receive_something(client, &run_of_bytes), RECORD_FAILED);
    assert_string_equal(record_failure(client), "received fatal alert: certificate_unknown (46)");
    record_free(client);
    end_both(&both);
}

static void test_an_idle_connection_holds_no_block_of_the_pool(void **state)
{
    (void)state;
    struct both both = begin_both(WEB, CATALOGUE, CATALOGUE);
    shake_both(both.client, both.server);
    struct record_layer *client = tls_handshake_finish(both.client, NULL);
    struct record_layer *server = tls_handshake_finish(both.server, NULL);
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    record_free(client);
    record_free(server);
    end_both(&both);
}

static struct tls_context *client_context(const char *root)
{
    char *path AUTO_FREE = string_format("%s/%s.pem", support_directory, root);
    struct tls_context *context = NULL;
    assert_ok(tls_context_new_client(&(struct tls_client_trust){ .root_file = path }, &context));
    return context;
}

static struct tls_context *server_context(const char *name)
{
    char *key AUTO_FREE = string_format("%s/%s.key", support_directory, name);
    char *chain AUTO_FREE = string_format("%s/%s.pem", support_directory, name);
    char *roots AUTO_FREE = path_of("root.pem");
    struct certificate_bundle *bundle = NULL;
    struct tls_context *context = NULL;
    assert_ok(certificate_bundle_from_files(key, chain, roots, clock_wall_s(), &bundle));
    assert_ok(tls_context_new_server(bundle, &context));
    certificate_bundle_release(bundle);
    return context;
}

static void test_a_last_flight_that_is_held_leaves_with_the_first_words(void **state)
{
    (void)state;
    int ends[2];
    const char *expected = WEB;
    connected_pair(ends);
    struct tls_identity *web = identity_of_files("root", "web");
    struct tls_handshake *client = tls_handshake_new_mesh_client(web, pool, ends[0], &expected, 1);
    struct tls_handshake *server = tls_handshake_new_mesh_server(web, pool, ends[1]);
    tls_identity_release(web);
    tls_handshake_hold_last_flight(client);
    (void)tls_handshake_step(client);
    wait_for(ends[1], POLLIN);
    assert_int_equal(tls_handshake_step(server), TLS_HANDSHAKE_WANTS_READ);
    wait_for(ends[0], POLLIN);
    assert_int_equal(tls_handshake_step(client), TLS_HANDSHAKE_DONE);
    uint8_t byte;
    assert_int_equal(recv(ends[1], &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    struct record_layer *of_client = tls_handshake_finish(client, NULL);
    send_text(of_client, "first words");
    wait_for(ends[1], POLLIN);
    assert_int_equal(tls_handshake_step(server), TLS_HANDSHAKE_DONE);
    struct record_layer *of_server = tls_handshake_finish(server, NULL);
    struct bytes words;
    assert_int_equal(receive_something(of_server, &words), RECORD_OK);
    assert_true(bytes_equal_string(words, "first words"));
    record_free(of_client);
    record_free(of_server);
    tls_handshake_free(client);
    tls_handshake_free(server);
    close(ends[0]);
    close(ends[1]);
}

/* A control-plane handshake: 0 when the client accepted, else the alert it sent. `sentence` gets its failure. */
static int dial_control_plane(const char *root, const char *host, const char *alternative, char sentence[256])
{
    int ends[2];
    connected_pair(ends);
    struct tls_context *of_client = client_context(root);
    struct tls_context *of_server = server_context("istiod");
    struct tls_handshake *client = tls_handshake_new_client(of_client, pool, ends[0], host, alternative);
    struct tls_handshake *server = tls_handshake_new_server(of_server, pool, ends[1]);
    tls_context_release(of_client);
    tls_context_release(of_server);
    shake_both(client, server);
    int alert = tls_handshake_sent_alert(client);
    (void)snprintf(sentence, 256, "%s", tls_handshake_failure(client));
    if (alert < 0) {
        struct tls_peer peer;
        record_free(tls_handshake_finish(server, &peer));
        assert_int_equal(peer.names.count, 0);
        assert_true(peer.has_negotiated_h2);
        tls_peer_clear(&peer);
        record_free(tls_handshake_finish(client, NULL));
    }
    tls_handshake_free(client);
    tls_handshake_free(server);
    close(ends[0]);
    close(ends[1]);
    return alert < 0 ? 0 : alert;
}

static void test_a_control_plane_is_known_by_its_name_its_alternative_or_its_address(void **state)
{
    (void)state;
    char sentence[256];
    assert_int_equal(dial_control_plane("root", "istiod.istio-system.svc", NULL, sentence), 0);
    assert_int_equal(dial_control_plane("root", "localhost", "istiod.istio-system.svc", sentence), 0);
    assert_int_equal(dial_control_plane("root", "127.0.0.1", NULL, sentence), 0);
    assert_int_equal(dial_control_plane("root", "localhost", "other", sentence), TLS_ALERT_BAD_CERTIFICATE);
    assert_contains(sentence, "invalid peer certificate: NotValidForName (not valid for localhost,other)");
    assert_int_equal(dial_control_plane("foreign", "127.0.0.1", NULL, sentence), TLS_ALERT_UNKNOWN_CA);
    assert_contains(sentence, "UnknownIssuer");
}

/* The openssl command as a client of our control-plane server. */
static struct served serve_control_plane(const char *client_arguments)
{
    struct served served = { .sent_alert = -1 };
    uint16_t port;
    int listener = listen_anywhere(&port);
    char *arguments AUTO_FREE = string_format("s_client -connect 127.0.0.1:%u %s", port, client_arguments);
    struct peer peer = peer_start(arguments);
    int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct tls_context *context = server_context("istiod");
    struct tls_handshake *handshake = tls_handshake_new_server(context, pool, descriptor);
    tls_context_release(context);
    served.status = shake(handshake, descriptor);
    served.sent_alert = tls_handshake_sent_alert(handshake);
    if (served.status == TLS_HANDSHAKE_DONE) {
        record_free(tls_handshake_finish(handshake, &served.peer));
    }
    tls_handshake_free(handshake);
    close(descriptor);
    close(listener);
    served.output = peer_end(&peer);
    return served;
}

static void test_a_control_plane_server_takes_clients_without_a_certificate_and_checks_those_that_show_one(void **state)
{
    (void)state;
    struct served without =
        serve_control_plane("-CAfile root.pem -servername istiod.istio-system.svc "
                            "-verify_hostname istiod.istio-system.svc -verify_return_error -tls1_2");
    assert_int_equal(without.status, TLS_HANDSHAKE_DONE);
    assert_null(tls_peer_identity(&without.peer));
    assert_contains(without.output, "Verification: OK");
    served_clear(&without);
    struct served with = serve_control_plane("-cert web.pem -key web.key");
    assert_int_equal(with.status, TLS_HANDSHAKE_DONE);
    assert_string_equal(tls_peer_identity(&with.peer)->uri, WEB);
    served_clear(&with);
    struct served foreign = serve_control_plane("-cert stranger.pem -key stranger.key");
    assert_int_equal(foreign.status, TLS_HANDSHAKE_FAILED);
    assert_int_equal(foreign.sent_alert, TLS_ALERT_UNKNOWN_CA);
    served_clear(&foreign);
}

static void test_a_chain_longer_than_the_bound_is_refused(void **state)
{
    (void)state;
    const char *const ca = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n";
    run("cp root.pem link0.pem && cp root.key link0.key && : > long.pem");
    for (int i = 1; i <= CERTIFICATE_CHAIN_MAXIMUM; i++) {
        char *above AUTO_FREE = string_format("link%d", i - 1);
        char *name AUTO_FREE = string_format("link%d", i);
        openssl_leaf(above, name, ca);
        run("cat link%d.pem long.pem > longer.pem && mv longer.pem long.pem", i);
    }
    openssl_leaf("link8", "deep", web_extensions);
    refuse_client("-cert deep.pem -key deep.key -cert_chain long.pem", TLS_ALERT_UNKNOWN_CA,
        "a chain of 9 certificates, at most 8 are accepted");
}

static void test_a_post_quantum_policy_is_refused_where_openssl_lacks_the_group(void **state)
{
    (void)state;
    struct result started = tls_start(&(struct tls_policy){ .is_post_quantum_only = true });
    if (result_is_ok(&started)) {
        struct both both = begin_both(WEB, CATALOGUE, CATALOGUE);
        shake_both(both.client, both.server);
        struct tls_peer peer;
        record_free(tls_handshake_finish(both.client, &peer));
        record_free(tls_handshake_finish(both.server, NULL));
        assert_string_equal(peer.group, "X25519MLKEM768");
        tls_peer_clear(&peer);
        end_both(&both);
        assert_ok(tls_start(&(struct tls_policy){ 0 }));
        return;
    }
    assert_int_equal(started.code, RESULT_UNSUPPORTED);
    assert_contains(started.message, "COMPLIANCE_POLICY=pqc: needs the key exchange group X25519MLKEM768");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_last_flight_that_is_held_leaves_with_the_first_words),
        cmocka_unit_test(test_an_openssl_client_with_a_mesh_certificate_is_accepted_and_described),
        cmocka_unit_test(test_the_smaller_suite_is_taken_when_it_is_all_the_client_has),
        cmocka_unit_test(test_a_client_of_another_trust_domain_is_refused_with_certificate_unknown),
        cmocka_unit_test(test_a_client_without_a_spiffe_name_is_refused_with_certificate_unknown),
        cmocka_unit_test(test_a_client_of_a_foreign_root_is_refused_with_unknown_ca),
        cmocka_unit_test(test_a_client_with_a_server_only_certificate_is_refused_with_unsupported_certificate),
        cmocka_unit_test(test_a_client_with_a_ca_certificate_is_refused),
        cmocka_unit_test(test_a_client_without_a_certificate_is_refused_with_certificate_required),
        cmocka_unit_test(test_a_client_that_offers_only_another_protocol_is_refused),
        cmocka_unit_test(test_a_tls12_client_is_refused_unless_the_policy_allows_it),
        cmocka_unit_test(test_an_expired_client_is_refused_with_certificate_expired),
        cmocka_unit_test(test_our_client_accepts_any_of_the_identities_it_expects_and_shows_its_own),
        cmocka_unit_test(test_a_server_with_another_identity_is_refused_with_certificate_unknown),
        cmocka_unit_test(test_a_server_of_a_foreign_root_is_refused_with_unknown_ca),
        cmocka_unit_test(test_a_server_with_a_client_only_certificate_is_refused_with_unsupported_certificate),
        cmocka_unit_test(test_a_server_that_hangs_up_in_the_handshake_is_a_failure_with_a_sentence),
        cmocka_unit_test(test_garbage_ends_the_handshake_at_once_with_an_alert_if_it_was_tls),
        cmocka_unit_test(test_our_two_roles_agree),
        cmocka_unit_test(test_bytes_sent_right_behind_the_handshake_are_not_lost),
        cmocka_unit_test(test_the_client_learns_of_its_refusal_as_an_alert_by_name),
        cmocka_unit_test(test_an_idle_connection_holds_no_block_of_the_pool),
        cmocka_unit_test(test_a_control_plane_is_known_by_its_name_its_alternative_or_its_address),
        cmocka_unit_test(
            test_a_control_plane_server_takes_clients_without_a_certificate_and_checks_those_that_show_one),
        cmocka_unit_test(test_a_chain_longer_than_the_bound_is_refused),
        cmocka_unit_test(test_a_post_quantum_policy_is_refused_where_openssl_lacks_the_group),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
