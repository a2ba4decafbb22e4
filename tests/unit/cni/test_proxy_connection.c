/* One proxy's connection, driven from the other end of a socket pair: order, deadlines, violations. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/writer.h"
#include "cni/proxy_connection.h"
#include "unit/cni/support.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define DEADLINE_MS 200

struct rig {
    struct loop *loop;
    struct enrolment_table enrolments;
    struct proxy_connection *connection;
    int proxy; /* the other end */
    bool has_ended;
    size_t done_count;
    struct result last; /* how the last update ended */
};

static void on_end(struct proxy_connection *connection, void *context)
{
    struct rig *rig = context;
    assert_ptr_equal(connection, rig->connection);
    rig->has_ended = true;
}

static void on_done(void *context, const struct result *result)
{
    struct rig *rig = context;
    rig->done_count++;
    rig->last = *result;
}

/* A pod whose "namespace" is any descriptor: the connection only hands it over. */
static struct enrolment *pod_of(const char *name, bool has_namespace)
{
    struct enrolment *pod = enrolment_new();
    pod->namespace_ = string_duplicate("shop");
    pod->name = string_duplicate(name);
    pod->service_account = string_duplicate("web");
    pod->uid = string_format("uid-%s", name);
    if (has_namespace) {
        pod->network.descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    return pod;
}

static void rig_open(struct rig *rig)
{
    int ends[2];
    *rig = (struct rig){ .loop = loop_new() };
    enrolment_table_open(&rig->enrolments);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    const struct proxy_connection_settings settings = {
        .loop = rig->loop,
        .enrolments = &rig->enrolments,
        .deadline_ms = DEADLINE_MS,
        .on_end = on_end,
        .context = rig,
    };
    assert_ok(proxy_connection_new(&settings, ends[0], &rig->connection));
    rig->proxy = ends[1];
}

static void rig_close(struct rig *rig)
{
    if (!rig->has_ended) {
        proxy_connection_free(rig->connection);
    }
    (void)close(rig->proxy);
    enrolment_table_close(&rig->enrolments);
    loop_free(rig->loop);
}

static void say(struct rig *rig, const void *data, size_t length)
{
    assert_int_equal(zds_send(rig->proxy, bytes_of(data, length), -1), 0);
}

static void say_hello(struct rig *rig)
{
    say(rig, "\x08\x01", 2);
}

static void say_answer(struct rig *rig, const char *error)
{
    struct writer message = writer_growing();
    zds_response_encode(error, &message);
    say(rig, message.data, message.length);
    writer_free(&message);
}

/* The next request, which must come. Its descriptor is closed. */
static enum zds_request_kind hear(struct rig *rig)
{
    struct zds_datagram datagram;
    struct zds_request request;
    struct result reason;
    uint64_t deadline_ns = clock_monotonic_ns() + 10 * NANOSECONDS_PER_SECOND;
    enum zds_receipt receipt;
    while ((receipt = zds_receive_request(rig->proxy, &datagram, &request, &reason)) == ZDS_NOTHING_YET &&
           clock_monotonic_ns() < deadline_ns) {
        loop_run_once(rig->loop, 5);
    }
    if (receipt != ZDS_RECEIVED) {
        fail_msg("no request: %s", reason.message);
    }
    if (datagram.descriptor >= 0) {
        (void)close(datagram.descriptor);
    }
    return request.kind;
}

static void assert_silence(struct rig *rig)
{
    struct zds_datagram datagram;
    struct result reason;
    for (int turn = 0; turn < 3; turn++) {
        loop_run_once(rig->loop, 5);
    }
    assert_int_equal(zds_receive(rig->proxy, &datagram, &reason), ZDS_NOTHING_YET);
}

static void run_until_ended(struct rig *rig)
{
    uint64_t deadline_ns = clock_monotonic_ns() + 10 * NANOSECONDS_PER_SECOND;
    while (!rig->has_ended && clock_monotonic_ns() < deadline_ns) {
        loop_run_once(rig->loop, 5);
    }
    assert_true(rig->has_ended);
}

static void make_live(struct rig *rig)
{
    say_hello(rig);
    assert_int_equal(hear(rig), ZDS_SNAPSHOT_SENT);
    say_answer(rig, "");
}

static void a_snapshot_adds_what_is_there_and_keeps_what_is_not_found(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    enrolment_table_put(&rig.enrolments, pod_of("found", true));
    enrolment_table_put(&rig.enrolments, pod_of("lost", false));
    struct enrolment *leaving = pod_of("leaving", true);
    leaving->is_leaving = true;
    enrolment_table_put(&rig.enrolments, leaving);
    say_hello(&rig);
    int first = hear(&rig);
    assert_silence(&rig); /* until it is answered */
    say_answer(&rig, "failure to start proxy : busy");
    int second = hear(&rig);
    say_answer(&rig, "");
    assert_int_equal(first + second, ZDS_ADD + ZDS_KEEP);
    assert_int_equal(hear(&rig), ZDS_SNAPSHOT_SENT);
    say_answer(&rig, "");
    assert_silence(&rig);
    assert_false(rig.has_ended);
    rig_close(&rig);
}

static void updates_wait_for_the_end_of_the_snapshot(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    enrolment_table_put(&rig.enrolments, pod_of("first", true));
    struct enrolment *pod = pod_of("second", true);
    proxy_connection_add(rig.connection, pod, on_done, &rig);
    assert_silence(&rig);
    say_hello(&rig);
    assert_int_equal(hear(&rig), ZDS_ADD);
    say_answer(&rig, "");
    assert_int_equal(hear(&rig), ZDS_SNAPSHOT_SENT);
    say_answer(&rig, "");
    assert_int_equal(hear(&rig), ZDS_ADD);
    assert_int_equal(rig.done_count, 0);
    say_answer(&rig, "");
    assert_silence(&rig);
    assert_int_equal(rig.done_count, 1);
    assert_ok(rig.last);
    enrolment_free(pod);
    rig_close(&rig);
}

static void answers_belong_to_the_request_just_sent(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    struct enrolment *pod = pod_of("pod", true);
    proxy_connection_add(rig.connection, pod, on_done, &rig);
    proxy_connection_delete(rig.connection, "uid-pod", on_done, &rig);
    assert_int_equal(hear(&rig), ZDS_ADD);
    say_answer(&rig, "no");
    assert_int_equal(hear(&rig), ZDS_DELETE);
    assert_int_equal(rig.done_count, 1);
    assert_string_equal(rig.last.message, "ztunnel refused: no");
    say_answer(&rig, "");
    assert_silence(&rig);
    assert_int_equal(rig.done_count, 2);
    assert_ok(rig.last);
    enrolment_free(pod);
    rig_close(&rig);
}

static void a_missed_deadline_ends_the_connection_and_fails_everything(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    proxy_connection_delete(rig.connection, "one", on_done, &rig);
    assert_int_equal(hear(&rig), ZDS_DELETE);
    proxy_connection_delete(rig.connection, "two", on_done, &rig);
    run_until_ended(&rig);
    assert_int_equal(rig.done_count, 2);
    assert_string_equal(rig.last.message, "connection closed before request sent");
    rig_close(&rig);
}

static void an_answer_that_came_while_the_agent_was_busy_is_in_time(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    proxy_connection_delete(rig.connection, "one", on_done, &rig);
    assert_int_equal(hear(&rig), ZDS_DELETE);
    say_answer(&rig, "");
    (void)usleep((DEADLINE_MS + 100) * 1000); /* the agent runs nft */
    loop_run_once(rig.loop, 0);
    assert_int_equal(rig.done_count, 1);
    assert_ok(rig.last);
    assert_false(rig.has_ended);
    rig_close(&rig);
}

static void a_live_connection_has_no_deadline(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    uint64_t until_ns = clock_monotonic_ns() + 2 * DEADLINE_MS * NANOSECONDS_PER_MILLISECOND;
    while (clock_monotonic_ns() < until_ns) {
        loop_run_once(rig.loop, 10);
    }
    assert_false(rig.has_ended);
    rig_close(&rig);
}

static void silence_instead_of_a_hello_ends_the_connection(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    run_until_ended(&rig);
    rig_close(&rig);
}

static void messages_that_nobody_asked_for_end_the_connection(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    assert_silence(&rig);
    say_answer(&rig, "");
    run_until_ended(&rig);
    rig_close(&rig);
}

static void answers_that_do_not_decode_end_the_connection(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    proxy_connection_delete(rig.connection, "one", on_done, &rig);
    assert_int_equal(hear(&rig), ZDS_DELETE);
    say(&rig, "\xff\xff", 2);
    run_until_ended(&rig);
    assert_string_equal(rig.last.message, "connection closed before response received");
    rig_close(&rig);
}

static void a_pod_without_a_descriptor_is_never_announced_after_the_snapshot(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    make_live(&rig);
    struct enrolment *pod = pod_of("pod", false);
    proxy_connection_add(rig.connection, pod, on_done, &rig);
    assert_int_equal(rig.done_count, 1);
    assert_int_equal(rig.last.code, RESULT_SYSTEM);
    assert_silence(&rig);
    enrolment_free(pod);
    rig_close(&rig);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (int i = 0; i < PROXY_UPDATES_MAXIMUM; i++) {
        proxy_connection_delete(rig.connection, "uid", on_done, &rig);
    }
    assert_int_equal(rig.done_count, 0);
    proxy_connection_delete(rig.connection, "uid", on_done, &rig);
    assert_int_equal(rig.done_count, 1);
    assert_int_equal(rig.last.code, RESULT_LIMIT);
    rig_close(&rig);
    assert_int_equal(rig.done_count, 1 + PROXY_UPDATES_MAXIMUM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_adds_what_is_there_and_keeps_what_is_not_found),
        cmocka_unit_test(updates_wait_for_the_end_of_the_snapshot),
        cmocka_unit_test(answers_belong_to_the_request_just_sent),
        cmocka_unit_test(a_missed_deadline_ends_the_connection_and_fails_everything),
        cmocka_unit_test(an_answer_that_came_while_the_agent_was_busy_is_in_time),
        cmocka_unit_test(a_live_connection_has_no_deadline),
        cmocka_unit_test(silence_instead_of_a_hello_ends_the_connection),
        cmocka_unit_test(messages_that_nobody_asked_for_end_the_connection),
        cmocka_unit_test(answers_that_do_not_decode_end_the_connection),
        cmocka_unit_test(a_pod_without_a_descriptor_is_never_announced_after_the_snapshot),
        cmocka_unit_test(the_queue_is_bounded),
    };
    return cmocka_run_group_tests_name("proxy connection", tests, NULL, NULL);
}
