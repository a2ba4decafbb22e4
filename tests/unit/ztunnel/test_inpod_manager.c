/* The proxy's half of ZDS (ztunnel-management §6) against an agent and workers played by the test. */
#include "unit/net/support.h"

#include "base/writer.h"
#include "xds/zds.h"
#include "ztunnel/inpod_manager.h"
#include "ztunnel/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/un.h>

#define LAUNCHES_MAXIMUM 16
#define QUIET_MS 60
#define PATIENCE_MS 5000

/* A pod as it was asked to be served; the test says how that goes. */
struct pod_launch {
    char uid[64];
    ino_t inode;
    const struct pod_assignment_events *events;
    void *context;
    bool is_stopped;
    uint64_t deadline_ms;
    bool is_over;
};

struct fixture {
    char directory[64];
    char path[96];
    int listener;
    int agent; /* the agent's end */
    struct loop *loop;
    struct metric_registry *registry;
    struct inpod_manager *manager;
    struct pod_launch launches[LAUNCHES_MAXIMUM];
    int launched;
    bool is_ready;
    bool has_stopped;
    struct network_namespace namespaces[3];
};

static struct pod_launch *launch_start(void *context, const struct network_namespace *namespace_,
    const struct pod_information *information, const struct pod_assignment_events *events, void *events_context)
{
    struct fixture *fixture = context;
    assert_true(fixture->launched < LAUNCHES_MAXIMUM);
    struct pod_launch *launch = &fixture->launches[fixture->launched++];
    *launch = (struct pod_launch){ .inode = namespace_->inode, .events = events, .context = events_context };
    snprintf(launch->uid, sizeof launch->uid, "%s", information->uid);
    return launch;
}

static void launch_stop(struct pod_launch *launch, uint64_t deadline_ms)
{
    launch->is_stopped = true;
    launch->deadline_ms = deadline_ms;
}

static struct pod_assignment *launch_assignment(const struct pod_launch *launch)
{
    (void)launch;
    return NULL;
}

static void on_ready_change(void *context, bool is_ready)
{
    ((struct fixture *)context)->is_ready = is_ready;
}

static void on_stopped(void *context)
{
    ((struct fixture *)context)->has_stopped = true;
}

static void listen_as_agent(struct fixture *fixture)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, fixture->path);
    unlink(fixture->path);
    fixture->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fixture->listener, 8), 0);
}

static void turn(struct fixture *fixture, int milliseconds)
{
    uint64_t end_ns = clock_monotonic_ns() + (uint64_t)milliseconds * NANOSECONDS_PER_MILLISECOND;
    do {
        loop_run_once(fixture->loop, 5);
    } while (clock_monotonic_ns() < end_ns);
}

/* The connection of the proxy, and its greeting. */
static void accept_proxy(struct fixture *fixture)
{
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_MS * NANOSECONDS_PER_MILLISECOND;
    do {
        loop_run_once(fixture->loop, 5);
        fixture->agent = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fixture->agent < 0 && clock_monotonic_ns() < end_ns);
    assert_true(fixture->agent >= 0);
    uint8_t hello[16];
    assert_int_equal(recv(fixture->agent, hello, sizeof hello, 0), 2);
    assert_memory_equal(hello, "\x08\x01", 2);
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    strcpy(fixture->directory, "/tmp/ambar-inpod-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof fixture->path, "%s/zds", fixture->directory);
    fixture->agent = -1;
    fixture->loop = loop_new();
    fixture->registry = metric_registry_new(ZTUNNEL_METRICS, METRIC_COUNT);
    listen_as_agent(fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(fixture->namespaces); i++) {
        fixture->namespaces[i].descriptor = -1;
        if (geteuid() == 0) {
            fixture->namespaces[i] = make_namespace();
        }
    }
    const struct inpod_manager_settings settings = {
        .socket_path = fixture->path,
        .launcher = { launch_start, launch_stop, launch_assignment, fixture },
        .metrics = metric_shard_new(fixture->registry),
        .own_namespace = &fixture->namespaces[2],
        .on_ready_change = on_ready_change,
        .on_stopped = on_stopped,
        .context = fixture,
    };
    fixture->manager = inpod_manager_new(fixture->loop, &settings);
    accept_proxy(fixture);
    *state = fixture;
    return 0;
}

static void end_launch(struct pod_launch *launch)
{
    assert_false(launch->is_over);
    launch->is_over = true;
    launch->events->on_stopped(launch->context);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    inpod_manager_stop(fixture->manager, 25000);
    for (int i = 0; i < fixture->launched; i++) {
        if (!fixture->launches[i].is_over) {
            end_launch(&fixture->launches[i]);
        }
    }
    assert_true(fixture->has_stopped);
    inpod_manager_free(fixture->manager);
    loop_free(fixture->loop);
    metric_registry_free(fixture->registry);
    close(fixture->agent);
    close(fixture->listener);
    unlink(fixture->path);
    rmdir(fixture->directory);
    for (size_t i = 0; i < ARRAY_LENGTH(fixture->namespaces); i++) {
        network_namespace_close(&fixture->namespaces[i]);
    }
    memory_free(fixture);
    return 0;
}

static void send_request(struct fixture *fixture, const struct zds_request *request, int descriptor)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    zds_request_encode(request, &out);
    assert_int_equal(zds_send(fixture->agent, writer_bytes(&out), descriptor), 0);
}

static void send_add(struct fixture *fixture, const char *uid, int which)
{
    const struct zds_request request = { ZDS_ADD, bytes_of_string(uid), true, bytes_of_string("web-1"),
        bytes_of_string("default"), bytes_of_string("web") };
    send_request(fixture, &request, fixture->namespaces[which].descriptor);
    turn(fixture, 10);
}

static void send_plain(struct fixture *fixture, enum zds_request_kind kind, const char *uid)
{
    send_request(fixture, &(struct zds_request){ .kind = kind, .uid = bytes_of_string(uid) }, -1);
    turn(fixture, 10);
}

/* What the proxy answered; fails when it does not. */
static const char *answer(struct fixture *fixture)
{
    static char text[ZDS_MESSAGE_BYTES_MAXIMUM];
    uint8_t data[ZDS_MESSAGE_BYTES_MAXIMUM];
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_MS * NANOSECONDS_PER_MILLISECOND;
    ssize_t length;
    do {
        loop_run_once(fixture->loop, 5);
        length = recv(fixture->agent, data, sizeof data, 0);
    } while (length < 0 && errno == EAGAIN && clock_monotonic_ns() < end_ns);
    assert_true(length > 0);
    struct bytes error;
    assert_ok(zds_response_decode(bytes_of(data, (size_t)length), &error));
    snprintf(text, sizeof text, "%.*s", (int)error.length, (const char *)error.data);
    return text;
}

static void assert_silent(struct fixture *fixture)
{
    uint8_t data[ZDS_MESSAGE_BYTES_MAXIMUM];
    turn(fixture, QUIET_MS);
    assert_int_equal(recv(fixture->agent, data, sizeof data, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void assert_hung_up(struct fixture *fixture)
{
    uint8_t data[16];
    turn(fixture, 10);
    assert_int_equal(recv(fixture->agent, data, sizeof data, 0), 0);
    close(fixture->agent);
    fixture->agent = -1;
}

static void start_succeeds(struct pod_launch *launch)
{
    const struct result outcome = result_ok();
    launch->events->on_started(launch->context, &outcome);
}

static void start_fails(struct pod_launch *launch, const char *reason)
{
    const struct result outcome = result_fail(RESULT_SYSTEM, "%s", reason);
    launch->events->on_started(launch->context, &outcome);
}

static void bring_up(struct fixture *fixture, const char *uid, int which)
{
    send_add(fixture, uid, which);
    start_succeeds(&fixture->launches[fixture->launched - 1]);
    assert_string_equal(answer(fixture), "");
}

static void finish_snapshot(struct fixture *fixture)
{
    send_plain(fixture, ZDS_SNAPSHOT_SENT, "");
    assert_string_equal(answer(fixture), "");
}

static void reconnect(struct fixture *fixture)
{
    close(fixture->agent);
    accept_proxy(fixture);
}

static void an_add_is_answered_when_the_listeners_are_bound(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    assert_int_equal(fixture->launched, 1);
    assert_string_equal(fixture->launches[0].uid, "uid-1");
    assert_int_equal(fixture->launches[0].inode, fixture->namespaces[0].inode);
    assert_silent(fixture);
    start_succeeds(&fixture->launches[0]);
    assert_string_equal(answer(fixture), "");
    assert_int_equal(metric_total(fixture->registry, METRIC_ACTIVE_PROXIES), 1);
    assert_int_equal(metric_total(fixture->registry, METRIC_PROXIES_STARTED), 1);
}

static void ready_means_snapshot_sent_and_nothing_pending(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    assert_false(fixture->is_ready);
    finish_snapshot(fixture);
    assert_true(fixture->is_ready);
    send_add(fixture, "uid-2", 1);
    assert_false(fixture->is_ready);
    assert_int_equal(metric_total(fixture->registry, METRIC_PENDING_PROXIES), 1);
    start_succeeds(&fixture->launches[1]);
    assert_true(fixture->is_ready);
    assert_string_equal(answer(fixture), "");
    reconnect(fixture);
    assert_false(fixture->is_ready);
}

static void a_pod_named_again_with_its_namespace_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-1", 0);
    assert_string_equal(answer(fixture), "");
    assert_int_equal(fixture->launched, 1);
    assert_false(fixture->launches[0].is_stopped);
}

static void a_pod_with_another_namespace_is_cut_and_started_anew(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-1", 1);
    assert_true(fixture->launches[0].is_stopped);
    assert_int_equal(fixture->launches[0].deadline_ms, 0);
    assert_int_equal(fixture->launched, 2);
    assert_int_equal(fixture->launches[1].inode, fixture->namespaces[1].inode);
    start_succeeds(&fixture->launches[1]);
    assert_string_equal(answer(fixture), "");
}

static void a_namespace_changes_hands_only_when_its_holder_is_gone(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 0);
    assert_true(fixture->launches[0].is_stopped);
    assert_int_equal(fixture->launched, 1);
    assert_silent(fixture);
    end_launch(&fixture->launches[0]);
    assert_int_equal(fixture->launched, 2);
    assert_string_equal(fixture->launches[1].uid, "uid-2");
    start_succeeds(&fixture->launches[1]);
    assert_string_equal(answer(fixture), "");
}

static void a_namespace_of_a_deleted_pod_waits_for_its_end_too(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_DELETE, "uid-1");
    assert_string_equal(answer(fixture), "");
    send_add(fixture, "uid-2", 0);
    assert_int_equal(fixture->launched, 1);
    end_launch(&fixture->launches[0]);
    assert_int_equal(fixture->launched, 2);
}

static void our_own_namespace_is_refused(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 2);
    assert_string_equal(answer(fixture), "failure to start proxy : the network namespace is ztunnel's own");
    assert_int_equal(fixture->launched, 0);
}

static void a_delete_cuts_at_once_and_of_an_unknown_pod_is_fine(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_DELETE, "uid-1");
    assert_string_equal(answer(fixture), "");
    assert_true(fixture->launches[0].is_stopped);
    assert_int_equal(fixture->launches[0].deadline_ms, 0);
    assert_int_equal(metric_total(fixture->registry, METRIC_PROXIES_STOPPED), 1);
    send_plain(fixture, ZDS_DELETE, "uid-9");
    assert_string_equal(answer(fixture), "");
}

static void a_delete_before_the_snapshot_is_carried_out_by_the_snapshot(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_plain(fixture, ZDS_DELETE, "uid-1");
    assert_string_equal(answer(fixture), "");
    assert_false(fixture->launches[0].is_stopped);
    finish_snapshot(fixture);
    assert_true(fixture->launches[0].is_stopped);
}

static void the_next_snapshot_keeps_what_it_names_and_cuts_the_rest(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    bring_up(fixture, "uid-2", 1);
    finish_snapshot(fixture);
    reconnect(fixture);
    assert_false(fixture->launches[0].is_stopped || fixture->launches[1].is_stopped);
    send_plain(fixture, ZDS_KEEP, "uid-2");
    assert_string_equal(answer(fixture), "");
    finish_snapshot(fixture);
    assert_true(fixture->launches[0].is_stopped);
    assert_false(fixture->launches[1].is_stopped);
    assert_true(fixture->is_ready);
}

static void a_failed_start_is_answered_and_tried_again_when_named_again(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    start_fails(&fixture->launches[0], "failed to bind to address [::]:15008: Address in use");
    assert_string_equal(
        answer(fixture), "failure to start proxy : failed to bind to address [::]:15008: Address in use");
    finish_snapshot(fixture);
    assert_false(fixture->is_ready);
    /* The failed try is still being cleared away: the agent's answer waits for the next. */
    send_add(fixture, "uid-1", 0);
    assert_silent(fixture);
    end_launch(&fixture->launches[0]);
    assert_int_equal(fixture->launched, 2);
    start_succeeds(&fixture->launches[1]);
    assert_string_equal(answer(fixture), "");
    assert_true(fixture->is_ready);
}

static void a_pod_still_starting_when_the_agent_comes_back_answers_the_new_add(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    reconnect(fixture);
    send_add(fixture, "uid-1", 0);
    assert_int_equal(fixture->launched, 1);
    assert_silent(fixture);
    start_succeeds(&fixture->launches[0]);
    assert_string_equal(answer(fixture), "");
}

static void a_pod_that_is_still_starting_can_be_deleted(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    reconnect(fixture);
    finish_snapshot(fixture);
    assert_true(fixture->launches[0].is_stopped);
    assert_true(fixture->is_ready);
}

static void one_request_is_worked_on_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 1);
    assert_int_equal(fixture->launched, 1);
    start_succeeds(&fixture->launches[0]);
    assert_string_equal(answer(fixture), "");
    turn(fixture, 10);
    assert_int_equal(fixture->launched, 2);
}

static void assert_violation(struct fixture *fixture, const char *text)
{
    assert_string_equal(answer(fixture), text);
    assert_hung_up(fixture);
    accept_proxy(fixture);
    finish_snapshot(fixture);
}

static void a_keep_after_the_snapshot_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_KEEP, "uid-1");
    assert_violation(fixture, "failure to process message : ProtocolError(\"pod keep received after snapshot\")");
}

static void a_second_snapshot_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_SNAPSHOT_SENT, "");
    assert_violation(fixture, "failure to process message : ProtocolError(\"pod snapshot received already\")");
}

static void an_add_without_workload_information_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    const struct zds_request request = { .kind = ZDS_ADD, .uid = bytes_of_string("uid-1") };
    send_request(fixture, &request, fixture->namespaces[0].descriptor);
    turn(fixture, 10);
    assert_violation(
        fixture, "failure to process message : ProtocolError(\"workload_info is required but not present\")");
}

static void a_datagram_that_is_no_request_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(send(fixture->agent, "\xff\xff\xff", 3, 0), 3);
    assert_string_equal(answer(fixture), "failure to read message : WorkloadRequest: malformed field");
    assert_hung_up(fixture);
    accept_proxy(fixture);
    assert_int_equal(send(fixture->agent, "\x22\x00", 2, 0), 2);
    assert_string_equal(answer(fixture), "failure to read message : no payload");
    assert_hung_up(fixture);
    accept_proxy(fixture);
}

static void an_add_without_a_descriptor_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    const struct zds_request request = { ZDS_ADD, bytes_of_string("uid-1"), true, bytes_of_string("web-1"),
        bytes_of_string("default"), bytes_of_string("web") };
    send_request(fixture, &request, -1);
    assert_violation(fixture, "failure to read message : No control message");
}

static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* The same datagram with `count` descriptors beside it. */
static void send_with_descriptors(struct fixture *fixture, const int *descriptors, size_t count)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    const struct zds_request request = { ZDS_ADD, bytes_of_string("uid-1"), true, bytes_of_string("web-1"),
        bytes_of_string("default"), bytes_of_string("web") };
    zds_request_encode(&request, &out);
    char control[CMSG_SPACE(253 * sizeof(int))] = { 0 };
    struct iovec piece = { memory, out.length };
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(count * sizeof(int))
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    assert_true(sendmsg(fixture->agent, &message, 0) > 0);
}

static void descriptors_of_the_wrong_kind_or_number_are_refused_and_closed(void **state)
{
    struct fixture *fixture = *state;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int many[253];
    for (size_t i = 0; i < ARRAY_LENGTH(many); i++) {
        many[i] = null;
    }
    int before = open_descriptors();
    for (int round = 0; round < 5; round++) {
        send_with_descriptors(fixture, &null, 1);
        assert_non_null(strstr(answer(fixture), "failure to start proxy : descriptor"));
        send_with_descriptors(fixture, many, ARRAY_LENGTH(many));
        assert_string_equal(answer(fixture), "failure to read message : Expected 1 FD, got 253");
        assert_hung_up(fixture);
        accept_proxy(fixture);
    }
    assert_int_equal(open_descriptors(), before);
    close(null);
}

static void requests_that_nobody_waits_for_leave_no_descriptor_behind(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    int before = open_descriptors();
    send_add(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 1);
    send_add(fixture, "uid-3", 1);
    reconnect(fixture);
    finish_snapshot(fixture);
    end_launch(&fixture->launches[0]);
    turn(fixture, 10);
    assert_int_equal(fixture->launched, 1);
    assert_int_equal(open_descriptors(), before);
}

static void an_agent_that_takes_no_answers_is_left(void **state)
{
    struct fixture *fixture = *state;
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_MS * NANOSECONDS_PER_MILLISECOND;
    const struct zds_request keep = { .kind = ZDS_KEEP, .uid = bytes_of_string("uid") };
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    zds_request_encode(&keep, &out);
    int error = 0;
    while (error != EPIPE && clock_monotonic_ns() < end_ns) {
        error = send(fixture->agent, memory, out.length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
        loop_run_once(fixture->loop, 0);
    }
    assert_int_equal(error, EPIPE);
    close(fixture->agent);
    accept_proxy(fixture);
}

static void an_agent_that_hangs_up_is_dialled_again_with_growing_pauses(void **state)
{
    struct fixture *fixture = *state;
    uint64_t took_ns[5];
    for (size_t i = 0; i < ARRAY_LENGTH(took_ns); i++) {
        uint64_t start_ns = clock_monotonic_ns();
        reconnect(fixture);
        took_ns[i] = clock_monotonic_ns() - start_ns;
    }
    /* 20, 40, 80, 160, 320 ms, each 20 % more or less. */
    assert_true(took_ns[4] > 250 * NANOSECONDS_PER_MILLISECOND);
    finish_snapshot(fixture);
    close(fixture->agent);
    close(fixture->listener);
    listen_as_agent(fixture);
    accept_proxy(fixture);
}

static void what_runs_drains_when_the_proxy_stops(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 1);
    inpod_manager_stop(fixture->manager, 25000);
    assert_hung_up(fixture);
    assert_true(fixture->launches[0].is_stopped && fixture->launches[1].is_stopped);
    assert_int_equal(fixture->launches[0].deadline_ms, 25000);
    assert_false(fixture->has_stopped);
}

#define manager_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        manager_test(an_add_is_answered_when_the_listeners_are_bound),
        manager_test(ready_means_snapshot_sent_and_nothing_pending),
        manager_test(a_pod_named_again_with_its_namespace_is_left_alone),
        manager_test(a_pod_with_another_namespace_is_cut_and_started_anew),
        manager_test(a_namespace_changes_hands_only_when_its_holder_is_gone),
        manager_test(a_namespace_of_a_deleted_pod_waits_for_its_end_too),
        manager_test(our_own_namespace_is_refused),
        manager_test(a_delete_cuts_at_once_and_of_an_unknown_pod_is_fine),
        manager_test(a_delete_before_the_snapshot_is_carried_out_by_the_snapshot),
        manager_test(the_next_snapshot_keeps_what_it_names_and_cuts_the_rest),
        manager_test(a_failed_start_is_answered_and_tried_again_when_named_again),
        manager_test(a_pod_still_starting_when_the_agent_comes_back_answers_the_new_add),
        manager_test(a_pod_that_is_still_starting_can_be_deleted),
        manager_test(one_request_is_worked_on_at_a_time),
        manager_test(a_keep_after_the_snapshot_ends_the_connection_only),
        manager_test(a_second_snapshot_ends_the_connection_only),
        manager_test(an_add_without_workload_information_ends_the_connection_only),
        manager_test(a_datagram_that_is_no_request_ends_the_connection_only),
        manager_test(an_add_without_a_descriptor_ends_the_connection_only),
        manager_test(descriptors_of_the_wrong_kind_or_number_are_refused_and_closed),
        manager_test(requests_that_nobody_waits_for_leave_no_descriptor_behind),
        manager_test(an_agent_that_takes_no_answers_is_left),
        manager_test(an_agent_that_hangs_up_is_dialled_again_with_growing_pauses),
        manager_test(what_runs_drains_when_the_proxy_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
