#include "base/memory.h"
#include "base/writer.h"
#include "cmocka_all.h"
#include "http/grpc_server.h"
#include "net/buffer_pool.h"
#include "net/loop.h"
#include "xds/delta_client.h"
#include "xds/protobuf.h"

#include <stdio.h>

#define ADDRESS "type.googleapis.com/istio.workload.Address"
#define AUTHORIZATION "type.googleapis.com/istio.security.Authorization"
#define PENDING_NAMES 4096 /* that may be waited for at once */

/* The client against a scripted server on the same loop; what the consumer is told becomes a line of text. */
struct fixture {
    struct loop *loop;
    struct buffer_pool *pool;
    struct grpc_server *server;
    struct grpc_server_call *call;
    struct delta_client *client;
    struct writer told;     /* by the client to its consumer */
    struct writer requests; /* the last one */
    int request_count;
    int stream_count;
    struct delta_waiter waiter;
    int answers;
    bool was_found;
};

static void on_start(struct grpc_server_call *call, void *context)
{
    struct fixture *fixture = context;
    fixture->call = call;
    fixture->stream_count++;
}

static void on_request(struct grpc_server_call *call, struct bytes message)
{
    struct fixture *fixture = grpc_server_call_context(call);
    writer_clear(&fixture->requests);
    writer_add_bytes(&fixture->requests, message);
    fixture->request_count++;
}

static void on_closed(struct grpc_server_call *call)
{
    struct fixture *fixture = grpc_server_call_context(call);
    fixture->call = fixture->call == call ? NULL : fixture->call;
}

static const struct grpc_method methods[] = {
    { .path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        .on_start = on_start,
        .on_message = on_request,
        .on_closed = on_closed },
};

static void begin(void *context, int type)
{
    writer_print(&((struct fixture *)context)->told, "begin%d ", type);
}

static struct result update(void *context, int type, const struct delta_resource *resource)
{
    (void)type;
    struct fixture *fixture = context;
    if (bytes_equal_string(resource->value, "bad")) {
        return result_fail(RESULT_INVALID, "it is bad");
    }
    writer_print(&fixture->told, "+%.*s ", (int)resource->name.length, (const char *)resource->name.data);
    return result_ok();
}

static void forget(void *context, int type, struct bytes name)
{
    (void)type;
    writer_print(&((struct fixture *)context)->told, "-%.*s ", (int)name.length, (const char *)name.data);
}

static void commit(void *context, int type)
{
    (void)type;
    writer_add_string(&((struct fixture *)context)->told, "commit;");
}

static void give_up(void *context, int type)
{
    (void)type;
    writer_add_string(&((struct fixture *)context)->told, "abort;");
}

static void on_ready(void *context)
{
    writer_add_string(&((struct fixture *)context)->told, "ready;");
}

static const struct delta_type types[] = { { ADDRESS, true, true }, { AUTHORIZATION, false, false } };

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    fixture->pool = buffer_pool_new();
    fixture->told = writer_growing();
    fixture->requests = writer_growing();
    const struct grpc_server_settings served = { .methods = methods, .method_count = 1, .context = fixture };
    fixture->server = grpc_server_new(fixture->loop, fixture->pool, &served);
    struct socket_address address, bound;
    assert_true(socket_address_parse("127.0.0.1:0", &address));
    struct result listening = grpc_server_listen(fixture->server, &address, NULL, &bound);
    assert_true(result_is_ok(&listening));
    const struct delta_client_settings settings = {
        .control_plane = { .host = "127.0.0.1", .port = bound.port, .is_plaintext = true },
        .node = bytes_of("\x0a\x01x", 3),
        .types = types,
        .type_count = ARRAY_LENGTH(types),
        .consumer = { fixture, begin, update, forget, commit, give_up, on_ready, NULL, NULL, NULL },
    };
    fixture->client = delta_client_new(fixture->loop, fixture->pool, &settings);
    delta_client_start(fixture->client);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    delta_client_free(fixture->client);
    grpc_server_free(fixture->server);
    writer_free(&fixture->told);
    writer_free(&fixture->requests);
    buffer_pool_free(fixture->pool);
    loop_free(fixture->loop);
    memory_free(fixture);
    return 0;
}

static void await_requests(struct fixture *fixture, int count)
{
    for (int i = 0; i < 5000 && fixture->request_count < count; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(fixture->request_count, count);
}

static void add_resource(struct writer *response, const char *type_url, const char *name, const char *value)
{
    struct writer any = writer_growing();
    struct writer resource = writer_growing();
    protobuf_add_string(&any, 1, bytes_of_string(type_url));
    protobuf_add_string(&any, 2, bytes_of_string(value));
    protobuf_add_string(&resource, 1, bytes_of_string("1f"));
    protobuf_add_message(&resource, 2, writer_bytes(&any));
    protobuf_add_string(&resource, 3, bytes_of_string(name));
    protobuf_add_message(response, 2, writer_bytes(&resource));
    writer_free(&any);
    writer_free(&resource);
}

static void add_resource_with_alias(struct writer *response, const char *name, const char *alias)
{
    struct writer any = writer_growing();
    struct writer resource = writer_growing();
    protobuf_add_string(&any, 1, bytes_of_string(ADDRESS));
    protobuf_add_string(&any, 2, bytes_of_string("x"));
    protobuf_add_message(&resource, 2, writer_bytes(&any));
    protobuf_add_string(&resource, 3, bytes_of_string(name));
    protobuf_add_string(&resource, 4, bytes_of_string("/10.0.0.4"));
    protobuf_add_string(&resource, 4, bytes_of_string(alias));
    protobuf_add_message(response, 2, writer_bytes(&resource));
    writer_free(&any);
    writer_free(&resource);
}

static void respond(struct fixture *fixture, struct writer *response, const char *type_url)
{
    protobuf_add_string(response, 4, bytes_of_string(type_url));
    protobuf_add_string(response, 5, bytes_of_string("n1"));
    assert_true(grpc_server_call_send_taking(fixture->call, response));
    await_requests(fixture, fixture->request_count + 1);
}

static bool last_request_has(const struct fixture *fixture, const char *text)
{
    return memmem(fixture->requests.data, fixture->requests.length, text, strlen(text)) != NULL;
}

static void one_response_is_one_change_with_removals_last(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    protobuf_add_string(&response, 6, bytes_of_string("gone"));
    add_resource(&response, AUTHORIZATION, "a", "x");
    add_resource(&response, AUTHORIZATION, "b", "x");
    respond(fixture, &response, AUTHORIZATION);
    assert_string_equal(writer_string(&fixture->told), "begin1 +a +b -gone commit;ready;");
    assert_int_equal(delta_client_resource_count(fixture->client, 1), 2);
    assert_false(last_request_has(fixture, "\x3a"));
}

static void readiness_needs_an_accepted_answer_of_each_type_that_is_not_on_demand(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer refused = writer_growing();
    add_resource(&refused, AUTHORIZATION, "a", "bad");
    respond(fixture, &refused, AUTHORIZATION);
    assert_null(strstr(writer_string(&fixture->told), "ready"));
    struct writer accepted = writer_growing();
    respond(fixture, &accepted, AUTHORIZATION);
    assert_non_null(strstr(writer_string(&fixture->told), "commit;ready;"));
}

static void what_is_refused_is_named_and_not_remembered(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    add_resource(&response, AUTHORIZATION, "a", "bad");
    add_resource(&response, AUTHORIZATION, "b", "x");
    add_resource(&response, AUTHORIZATION, "c", "bad");
    respond(fixture, &response, AUTHORIZATION);
    assert_true(last_request_has(fixture, "a: it is bad; c: it is bad"));
    assert_int_equal(delta_client_resource_count(fixture->client, 1), 1);
}

static void contents_accepted_before_are_not_shown_again(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer first = writer_growing(), again = writer_growing(), changed = writer_growing();
    add_resource(&first, ADDRESS, "a", "x");
    add_resource(&first, ADDRESS, "b", "x");
    respond(fixture, &first, ADDRESS);
    add_resource(&again, ADDRESS, "a", "x");
    add_resource(&again, ADDRESS, "b", "y");
    respond(fixture, &again, ADDRESS);
    protobuf_add_string(&changed, 6, bytes_of_string("b"));
    add_resource(&changed, ADDRESS, "a", "z");
    respond(fixture, &changed, ADDRESS);
    assert_non_null(strstr(writer_string(&fixture->told), "+a +b commit;"));
    assert_non_null(strstr(writer_string(&fixture->told), "begin0 +b commit;begin0 +a -b commit;"));
    assert_int_equal(delta_client_resource_count(fixture->client, 0), 1);
}

static void a_response_of_two_types_is_aborted_and_refused(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    add_resource(&response, ADDRESS, "a", "x");
    respond(fixture, &response, AUTHORIZATION);
    assert_string_equal(writer_string(&fixture->told), "begin0 +a abort;");
    assert_true(last_request_has(fixture, "another type"));
}

static void an_unknown_type_is_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    add_resource(&response, "type.googleapis.com/other", "a", "x");
    respond(fixture, &response, "type.googleapis.com/other");
    assert_string_equal(writer_string(&fixture->told), "");
    assert_true(last_request_has(fixture, "type.googleapis.com/other"));
}

static void a_stream_that_ends_inside_a_response_aborts_it_and_comes_again(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    add_resource(&response, AUTHORIZATION, "a", "x");
    writer_add(&response, "\x12\x7f", 2); /* a resource that is cut short */
    assert_true(grpc_server_call_send_taking(fixture->call, &response));
    await_requests(fixture, 4);
    assert_string_equal(writer_string(&fixture->told), "begin1 +a abort;");
    assert_int_equal(fixture->stream_count, 2);
}

#define LONG_NAMES 1100
#define LONG_NAME_BYTES 4000

static void long_name(int number, char out[static LONG_NAME_BYTES + 1])
{
    memset(out, 'n', LONG_NAME_BYTES);
    out[LONG_NAME_BYTES] = '\0';
    out[snprintf(out, 16, "r%05d-", number)] = 'n';
}

static void await_streams(struct fixture *fixture, int count)
{
    for (int i = 0; i < 10000 && fixture->stream_count < count; i++) {
        loop_run_once(fixture->loop, 1);
    }
    assert_int_equal(fixture->stream_count, count);
}

/* More than 3.5 MiB of names are held: what a reconnect leaves out lives only if the first response brings it again. */
static void what_a_reconnect_left_out_is_dropped_unless_it_comes_again(void **state)
{
    struct fixture *fixture = *state;
    char name[LONG_NAME_BYTES + 1];
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    for (int i = 0; i < LONG_NAMES; i++) {
        long_name(i, name);
        add_resource(&response, AUTHORIZATION, name, "x");
    }
    respond(fixture, &response, AUTHORIZATION);
    assert_int_equal(delta_client_resource_count(fixture->client, 1), LONG_NAMES);

    grpc_server_call_finish(fixture->call, GRPC_UNKNOWN, "");
    await_streams(fixture, 2);
    await_requests(fixture, 5);
    assert_true(fixture->requests.length > 3 << 20);
    assert_true(fixture->requests.length < 3700 << 10);
    size_t claimed = 0;
    for (int i = 0; i < LONG_NAMES; i++) {
        long_name(i, name);
        claimed += last_request_has(fixture, name);
    }
    assert_in_range(claimed, LONG_NAMES / 2, LONG_NAMES - 2);

    long_name(LONG_NAMES - 1, name);
    assert_false(last_request_has(fixture, name));
    struct writer again = writer_growing();
    add_resource(&again, AUTHORIZATION, name, "y");
    respond(fixture, &again, AUTHORIZATION);
    assert_int_equal(delta_client_resource_count(fixture->client, 1), claimed + 1);
    struct writer later = writer_growing();
    respond(fixture, &later, AUTHORIZATION);
    assert_int_equal(delta_client_resource_count(fixture->client, 1), claimed + 1);
}

static void on_answer(struct delta_waiter *waiter, bool is_found)
{
    struct fixture *fixture = CONTAINER_OF(waiter, struct fixture, waiter);
    fixture->answers++;
    fixture->was_found = is_found;
}

static void demand(struct fixture *fixture)
{
    bool is_held;
    fixture->waiter.on_answer = on_answer;
    struct result asked =
        delta_client_demand(fixture->client, 0, bytes_of_string("/10.0.0.5"), &fixture->waiter, &is_held);
    assert_true(result_is_ok(&asked));
    assert_false(is_held);
}

static void a_demanded_resource_answers_its_waiter_after_the_commit(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    demand(fixture);
    await_requests(fixture, 3);
    assert_true(last_request_has(fixture, "\x1a\x09/10.0.0.5"));
    struct writer response = writer_growing();
    add_resource(&response, ADDRESS, "/10.0.0.5", "x");
    respond(fixture, &response, ADDRESS);
    assert_int_equal(fixture->answers, 1);
    assert_true(fixture->was_found);
    bool is_held;
    struct delta_waiter again;
    struct result asked = delta_client_demand(fixture->client, 0, bytes_of_string("/10.0.0.5"), &again, &is_held);
    assert_true(result_is_ok(&asked) && is_held);
}

static void an_alias_answers_who_asked_by_address(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    demand(fixture);
    await_requests(fixture, 3);
    struct writer response = writer_growing();
    add_resource_with_alias(&response, "shop/web.example", "/10.0.0.5");
    respond(fixture, &response, ADDRESS);
    assert_int_equal(fixture->answers, 1);
    assert_true(fixture->was_found);
}

static void a_demanded_resource_that_does_not_exist_is_answered_too(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    demand(fixture);
    await_requests(fixture, 3);
    struct writer response = writer_growing();
    protobuf_add_string(&response, 6, bytes_of_string("/10.0.0.5"));
    respond(fixture, &response, ADDRESS);
    assert_int_equal(fixture->answers, 1);
    assert_false(fixture->was_found);
    assert_string_equal(writer_string(&fixture->told), "begin0 commit;");
}

/* What is held by its own name is asked for by an address: the answer brings nothing new, and is an answer all the same. */
static void an_alias_of_unchanged_contents_answers_too(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer first = writer_growing(), again = writer_growing();
    add_resource_with_alias(&first, "shop/web.example", "/10.0.0.5");
    respond(fixture, &first, ADDRESS);
    demand(fixture);
    await_requests(fixture, 4);
    add_resource_with_alias(&again, "shop/web.example", "/10.0.0.5");
    respond(fixture, &again, ADDRESS);
    assert_int_equal(fixture->answers, 1);
    assert_true(fixture->was_found);
    assert_string_equal(writer_string(&fixture->told), "begin0 +shop/web.example commit;begin0 commit;");
}

static void a_resource_refused_unread_answers_who_waits_for_it(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    demand(fixture);
    await_requests(fixture, 3);
    struct writer resource = writer_growing(), response = writer_growing();
    protobuf_add_string(&resource, 3, bytes_of_string("/10.0.0.5")); /* and no payload */
    protobuf_add_message(&response, 2, writer_bytes(&resource));
    writer_free(&resource);
    respond(fixture, &response, ADDRESS);
    assert_true(last_request_has(fixture, "/10.0.0.5: XDS payload without resource"));
    assert_int_equal(fixture->answers, 1);
    assert_false(fixture->was_found);
}

static void names_nobody_waits_for_any_more_make_room_for_others(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct delta_waiter *AUTO_FREE waiters = memory_allocate_zeroed(PENDING_NAMES + 1, sizeof *waiters);
    char name[32];
    bool is_held;
    for (size_t i = 0; i < PENDING_NAMES; i++) {
        snprintf(name, sizeof name, "/%zu", i);
        struct result asked = delta_client_demand(fixture->client, 0, bytes_of_string(name), &waiters[i], &is_held);
        assert_true(result_is_ok(&asked) && !is_held);
    }
    struct delta_waiter *last = &waiters[PENDING_NAMES];
    struct result refused = delta_client_demand(fixture->client, 0, bytes_of_string("/last"), last, &is_held);
    assert_int_equal(refused.code, RESULT_LIMIT);
    for (size_t i = 0; i < PENDING_NAMES; i++) {
        delta_client_stop_waiting(&waiters[i]);
    }
    struct result asked = delta_client_demand(fixture->client, 0, bytes_of_string("/last"), last, &is_held);
    assert_true(result_is_ok(&asked) && !is_held);
    await_requests(fixture, 2 + PENDING_NAMES + 2);
    assert_true(last_request_has(fixture, "\x1a\x05/last"));
    delta_client_stop_waiting(last);
}

static void a_response_that_does_not_decode_is_aborted_and_ends_the_stream(void **state)
{
    struct fixture *fixture = *state;
    await_requests(fixture, 2);
    struct writer response = writer_growing();
    add_resource(&response, AUTHORIZATION, "a", "x");
    protobuf_add_string(&response, 2, bytes_of("\x0a\xff", 2)); /* a Resource that ends inside a field */
    add_resource(&response, AUTHORIZATION, "b", "x");
    assert_true(grpc_server_call_send_taking(fixture->call, &response));
    await_streams(fixture, 2);
    assert_string_equal(writer_string(&fixture->told), "begin1 +a abort;");
    await_requests(fixture, 4);
    assert_true(last_request_has(fixture, "\x2a\x03\x0a\x01"
                                          "a")); /* held, in no version */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_response_is_one_change_with_removals_last),
        TEST(readiness_needs_an_accepted_answer_of_each_type_that_is_not_on_demand),
        TEST(what_is_refused_is_named_and_not_remembered),
        TEST(contents_accepted_before_are_not_shown_again),
        TEST(a_response_of_two_types_is_aborted_and_refused),
        TEST(an_unknown_type_is_acknowledged),
        TEST(a_stream_that_ends_inside_a_response_aborts_it_and_comes_again),
        TEST(a_demanded_resource_answers_its_waiter_after_the_commit),
        TEST(what_a_reconnect_left_out_is_dropped_unless_it_comes_again),
        TEST(an_alias_answers_who_asked_by_address),
        TEST(a_demanded_resource_that_does_not_exist_is_answered_too),
        TEST(an_alias_of_unchanged_contents_answers_too),
        TEST(a_resource_refused_unread_answers_who_waits_for_it),
        TEST(names_nobody_waits_for_any_more_make_room_for_others),
        TEST(a_response_that_does_not_decode_is_aborted_and_ends_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
