#include "base/clock.h"
#include "base/memory.h"
#include "base/spiffe.h"
#include "base/writer.h"
#include "cmocka_all.h"
#include "http/grpc_server.h"
#include "net/buffer_pool.h"
#include "net/loop.h"
#include "tls/authority.h"
#include "tls/context.h"
#include "tls/identity.h"
#include "tls/signing_request.h"
#include "xds/ca_client.h"
#include "xds/protobuf.h"

#include <stdio.h>
#include <unistd.h>

#define IDENTITY "spiffe://cluster.local/ns/shop/sa/web"
#define OTHER "spiffe://cluster.local/ns/shop/sa/other"

/* The client against a scripted CA on the same loop. */
struct fixture {
    struct loop *loop;
    struct buffer_pool *pool;
    struct grpc_server *server;
    struct certificate_authority *authority;
    struct certificate_source *source;
    struct certificate_fetch fetch;
    struct writer request;
    void (*answer)(struct fixture *fixture, struct grpc_server_call *call);
    struct tls_identity *certificate;
    struct result failure;
    int done;
    int requests;
    uint16_t peer_port; /* of the last request */
};

static void on_request(struct grpc_server_call *call, struct bytes message)
{
    struct fixture *fixture = grpc_server_call_context(call);
    writer_clear(&fixture->request);
    writer_add_bytes(&fixture->request, message);
    fixture->requests++;
    fixture->peer_port = grpc_server_call_peer(call)->port;
    fixture->answer(fixture, call);
}

static const struct grpc_method METHODS[] = {
    { .path = "/istio.v1.auth.IstioCertificateService/CreateCertificate", .on_message = on_request },
};

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    fixture->pool = buffer_pool_new();
    fixture->request = writer_growing();
    fixture->authority = certificate_authority_new("cluster.local", clock_wall_s());
    const struct grpc_server_settings served = { .methods = METHODS, .method_count = 1, .context = fixture };
    fixture->server = grpc_server_new(fixture->loop, fixture->pool, &served);
    struct socket_address address, bound;
    assert_true(socket_address_parse("127.0.0.1:0", &address));
    struct result listening = grpc_server_listen(fixture->server, &address, NULL, &bound);
    assert_true(result_is_ok(&listening));
    const struct ca_client_settings settings = {
        .control_plane = { .host = "127.0.0.1", .port = bound.port, .is_plaintext = true },
        .secret_ttl_s = 3600,
        .is_shared = true,
        .call_deadline_ms = 500,
    };
    fixture->source = ca_client_new(fixture->loop, fixture->pool, &settings);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    tls_identity_release(fixture->certificate);
    certificate_source_free(fixture->source);
    grpc_server_free(fixture->server);
    certificate_authority_free(fixture->authority);
    writer_free(&fixture->request);
    buffer_pool_free(fixture->pool);
    loop_free(fixture->loop);
    memory_free(fixture);
    return 0;
}

static void on_done(struct certificate_fetch *fetch, struct tls_identity *certificate, const struct result *failure)
{
    struct fixture *fixture = CONTAINER_OF(fetch, struct fixture, fetch);
    fixture->certificate = certificate;
    fixture->failure = failure != NULL ? *failure : result_ok();
    fixture->done++;
}

static void fetch_with(struct fixture *fixture, void (*answer)(struct fixture *, struct grpc_server_call *))
{
    fixture->answer = answer;
    fixture->fetch = (struct certificate_fetch){ .identity = IDENTITY, .on_done = on_done };
    fixture->source->fetch(fixture->source, &fixture->fetch);
    assert_int_equal(fixture->done, 0);
    for (int i = 0; i < 10000 && fixture->done == 0; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(fixture->done, 1);
}

static struct bytes field_of(const struct fixture *fixture, uint32_t number)
{
    struct cursor cursor = cursor_of(writer_bytes(&fixture->request));
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == number) {
            return field.bytes;
        }
    }
    return bytes_of(NULL, 0);
}

/* What the CA does with a request; the defaults are what a good one does. */
struct deed {
    const char *name;
    int64_t start_offset_s;
    bool is_for_another_key;
    bool has_foreign_root;
    size_t elements; /* of the answer, at most; 0: all */
};

static void issue(struct fixture *fixture, struct grpc_server_call *call, const struct deed *deed)
{
    struct signing_request request;
    struct result parsed = signing_request_parse(field_of(fixture, 1), &request);
    assert_string_equal(parsed.message, "");
    struct evp_pkey_st *other_key = private_key_new();
    struct certificate_authority *foreign = certificate_authority_new("cluster.local", clock_wall_s());
    const char *name = deed->name != NULL ? deed->name : IDENTITY;
    const struct leaf_request leaf = {
        .public_key = deed->is_for_another_key ? other_key : request.public_key,
        .names = &name,
        .name_count = 1,
        .lifetime_s = 3600,
        .now_s = clock_wall_s() + deed->start_offset_s,
    };
    struct issued_chain chain;
    struct result issued = certificate_authority_issue(fixture->authority, &leaf, &chain);
    assert_string_equal(issued.message, "");
    struct writer message = writer_growing();
    for (size_t i = 0; i < chain.count && (deed->elements == 0 || i < deed->elements); i++) {
        bool is_root = i + 1 == chain.count;
        const char *element =
            is_root && deed->has_foreign_root ? certificate_authority_root_pem(foreign) : chain.elements[i];
        protobuf_add_string(&message, 1, bytes_of_string(element));
    }
    grpc_server_call_respond(call, writer_bytes(&message));
    writer_free(&message);
    issued_chain_clear(&chain);
    certificate_authority_free(foreign);
    private_key_free(other_key);
    signing_request_clear(&request);
}

static void assert_refused(const struct fixture *fixture, const char *sentence)
{
    assert_null(fixture->certificate);
    assert_false(result_is_ok(&fixture->failure));
    if (strstr(fixture->failure.message, sentence) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", sentence, fixture->failure.message);
    }
}

static void be_good(struct fixture *fixture, struct grpc_server_call *call)
{
    issue(fixture, call, &(struct deed){ 0 });
}

static void a_good_answer_becomes_an_identity(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, be_good);
    assert_string_equal(fixture->failure.message, "");
    assert_string_equal(certificate_bundle_identity(fixture->certificate->bundle)->uri, IDENTITY);
    /* 3600 s, and Struct { ImpersonatedIdentity: string }. */
    assert_non_null(memmem(fixture->request.data, fixture->request.length, "\x18\x90\x1c", 3));
    struct bytes metadata = field_of(fixture, 4);
    assert_non_null(memmem(metadata.data, metadata.length, "ImpersonatedIdentity", 20));
    assert_non_null(memmem(metadata.data, metadata.length, IDENTITY, strlen(IDENTITY)));
}

static void say_nothing(struct fixture *fixture, struct grpc_server_call *call)
{
    (void)fixture;
    grpc_server_call_respond(call, bytes_of("", 0));
}

static void an_empty_chain_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, say_nothing);
    assert_refused(fixture, "chain returned from CA is empty for: " IDENTITY);
}

static void leave_the_root_out(struct fixture *fixture, struct grpc_server_call *call)
{
    issue(fixture, call, &(struct deed){ .elements = 1 });
}

static void a_chain_without_a_root_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, leave_the_root_out);
    assert_refused(fixture, "failed to create CSR: invalid root certificate: no root certificate present");
}

static void certify_another_key(struct fixture *fixture, struct grpc_server_call *call)
{
    issue(fixture, call, &(struct deed){ .is_for_another_key = true });
}

static void a_certificate_for_another_key_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, certify_another_key);
    assert_refused(fixture, "key");
}

static void certify_another_name(struct fixture *fixture, struct grpc_server_call *call)
{
    issue(fixture, call, &(struct deed){ .name = OTHER });
}

static void a_certificate_for_another_identity_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, certify_another_name);
    assert_refused(fixture, "did not find expected SAN: " IDENTITY);
}

static void certify_the_future(struct fixture *fixture, struct grpc_server_call *call)
{
    issue(fixture, call, &(struct deed){ .start_offset_s = 7200 });
}

static void a_certificate_that_is_not_valid_yet_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, certify_the_future);
    assert_refused(fixture, "valid");
}

static void show_a_foreign_root(struct fixture *fixture, struct grpc_server_call *call)
{
    issue(fixture, call, &(struct deed){ .has_foreign_root = true });
}

static void a_chain_that_does_not_lead_to_its_root_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, show_a_foreign_root);
    assert_refused(fixture, "the certificate chain does not verify");
}

static void talk_nonsense(struct fixture *fixture, struct grpc_server_call *call)
{
    (void)fixture;
    grpc_server_call_respond(call, bytes_of("\x0a\x7fhalf", 6));
}

static void half_a_message_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, talk_nonsense);
    assert_refused(fixture, "does not decode");
}

static void repeat_without_end(struct fixture *fixture, struct grpc_server_call *call)
{
    (void)fixture;
    struct writer message = writer_growing();
    for (int i = 0; i < 1000; i++) {
        protobuf_add_string(&message, 1, bytes_of_string("-----BEGIN CERTIFICATE-----"));
    }
    grpc_server_call_respond(call, writer_bytes(&message));
    writer_free(&message);
}

static void a_chain_of_a_thousand_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, repeat_without_end);
    assert_refused(fixture, IDENTITY);
}

static void flood(struct fixture *fixture, struct grpc_server_call *call)
{
    (void)fixture;
    struct writer message = writer_growing();
    memset(writer_reserve(&message, 5 << 20), 'x', 5 << 20);
    message.length = 5 << 20;
    grpc_server_call_respond(call, writer_bytes(&message));
    writer_free(&message);
}

static void an_answer_over_four_mebibytes_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, flood);
    assert_refused(fixture, "decoded message length too large");
}

static void deny(struct fixture *fixture, struct grpc_server_call *call)
{
    (void)fixture;
    grpc_server_call_finish(call, GRPC_UNAUTHENTICATED, "request impersonation authentication failure");
}

static void a_refusal_is_told_in_the_references_words(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, deny);
    assert_refused(fixture, "signing gRPC error (The request does not have valid authentication credentials): request "
                            "impersonation authentication failure");
}

static void hang(struct fixture *fixture, struct grpc_server_call *call)
{
    (void)fixture;
    (void)call;
}

static void a_ca_that_hangs_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, hang);
    assert_refused(fixture, "Timeout expired");
}

static void after_a_timeout_the_next_request_uses_a_new_connection(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, hang);
    uint16_t first = fixture->peer_port;
    fixture->done = 0;
    fetch_with(fixture, be_good);
    assert_string_equal(fixture->failure.message, "");
    assert_int_not_equal(fixture->peer_port, first);
}

static void requests_share_a_connection(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, be_good);
    uint16_t first = fixture->peer_port;
    tls_identity_release(fixture->certificate);
    fixture->done = 0;
    fetch_with(fixture, be_good);
    assert_int_equal(fixture->peer_port, first);
}

static void each_request_has_a_key_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    fetch_with(fixture, be_good);
    struct writer first = writer_growing();
    writer_add_bytes(&first, field_of(fixture, 1));
    tls_identity_release(fixture->certificate);
    fixture->done = 0;
    fetch_with(fixture, be_good);
    assert_false(bytes_equal(writer_bytes(&first), field_of(fixture, 1)));
    writer_free(&first);
}

/* The CA over TLS, with a certificate of `authority` for 127.0.0.1. */
static struct tls_context *serving_context(const struct certificate_authority *authority)
{
    const char *name = "127.0.0.1";
    struct certificate_bundle *bundle;
    struct tls_context *context;
    struct result made = certificate_authority_issue_bundle(authority, &name, 1, 3600, clock_wall_s(), &bundle);
    assert_string_equal(made.message, "");
    made = tls_context_new_server(bundle, &context);
    assert_string_equal(made.message, "");
    certificate_bundle_release(bundle);
    return context;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void refetch(struct fixture *fixture)
{
    tls_identity_release(fixture->certificate);
    fixture->certificate = NULL;
    fixture->done = 0;
    fetch_with(fixture, be_good);
}

static void the_root_may_change_while_running(void **state)
{
    struct fixture *fixture = *state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/ambar-ca-root-%d", (int)getpid());
    struct certificate_authority *first = certificate_authority_new("first", clock_wall_s());
    struct certificate_authority *second = certificate_authority_new("second", clock_wall_s());
    struct tls_context *context = serving_context(first);
    struct socket_address address, bound;
    assert_true(socket_address_parse("127.0.0.1:0", &address));
    struct result listening = grpc_server_listen(fixture->server, &address, context, &bound);
    assert_string_equal(listening.message, "");
    tls_context_release(context);
    certificate_source_free(fixture->source);
    const struct ca_client_settings settings = {
        .control_plane = { .host = "127.0.0.1", .port = bound.port, .root_file = path }, .is_shared = true
    };
    write_file(path, certificate_authority_root_pem(first));
    fixture->source = ca_client_new(fixture->loop, fixture->pool, &settings);
    refetch(fixture);
    assert_string_equal(fixture->failure.message, "");

    /* A root that cannot be read leaves the channel alone. */
    write_file(path, "nonsense, and of another size");
    refetch(fixture);
    assert_string_equal(fixture->failure.message, "");

    context = serving_context(second);
    grpc_server_set_tls(fixture->server, context);
    tls_context_release(context);
    write_file(path, certificate_authority_root_pem(second));
    refetch(fixture);
    assert_string_equal(fixture->failure.message, "");

    /* The old root is no longer trusted: a new channel to the new server was made, not the old one used again. */
    write_file(path, certificate_authority_root_pem(first));
    refetch(fixture);
    assert_refused(fixture, "signing gRPC error (The service is currently unavailable)");
    unlink(path);
    certificate_authority_free(first);
    certificate_authority_free(second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_good_answer_becomes_an_identity),
        TEST(an_empty_chain_is_refused),
        TEST(a_chain_without_a_root_is_refused),
        TEST(a_certificate_for_another_key_is_refused),
        TEST(a_certificate_for_another_identity_is_refused),
        TEST(a_certificate_that_is_not_valid_yet_is_refused),
        TEST(a_chain_that_does_not_lead_to_its_root_is_refused),
        TEST(half_a_message_is_refused),
        TEST(a_chain_of_a_thousand_is_refused),
        TEST(an_answer_over_four_mebibytes_is_refused),
        TEST(a_refusal_is_told_in_the_references_words),
        TEST(a_ca_that_hangs_is_given_up),
        TEST(after_a_timeout_the_next_request_uses_a_new_connection),
        TEST(requests_share_a_connection),
        TEST(each_request_has_a_key_of_its_own),
        TEST(the_root_may_change_while_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
