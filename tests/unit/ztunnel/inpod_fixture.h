/* An in-pod manager whose agent and workers are played by the test. */
#ifndef AMBAR_TESTS_UNIT_ZTUNNEL_INPOD_FIXTURE_H
#define AMBAR_TESTS_UNIT_ZTUNNEL_INPOD_FIXTURE_H

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

static inline struct pod_launch *launch_start(void *context, const struct network_namespace *namespace_,
    const struct pod_information *information, const struct pod_assignment_events *events, void *events_context)
{
    struct fixture *fixture = context;
    assert_true(fixture->launched < LAUNCHES_MAXIMUM);
    struct pod_launch *launch = &fixture->launches[fixture->launched++];
    *launch = (struct pod_launch){ .inode = namespace_->inode, .events = events, .context = events_context };
    snprintf(launch->uid, sizeof launch->uid, "%s", information->uid);
    return launch;
}

static inline void launch_stop(struct pod_launch *launch, uint64_t deadline_ms)
{
    launch->is_stopped = true;
    launch->deadline_ms = deadline_ms;
}

static inline struct pod_assignment *launch_assignment(const struct pod_launch *launch)
{
    (void)launch;
    return NULL;
}

static inline void on_ready_change(void *context, bool is_ready)
{
    ((struct fixture *)context)->is_ready = is_ready;
}

static inline void on_stopped(void *context)
{
    ((struct fixture *)context)->has_stopped = true;
}

static inline void listen_as_agent(struct fixture *fixture)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, fixture->path);
    unlink(fixture->path);
    fixture->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fixture->listener, 8), 0);
}

static inline void turn(struct fixture *fixture, int milliseconds)
{
    uint64_t end_ns = clock_monotonic_ns() + (uint64_t)milliseconds * NANOSECONDS_PER_MILLISECOND;
    do {
        loop_run_once(fixture->loop, 5);
    } while (clock_monotonic_ns() < end_ns);
}

/* The connection of the proxy, and its greeting. */
static inline void accept_proxy(struct fixture *fixture)
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

static inline int set_up(void **state)
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

static inline void end_launch(struct pod_launch *launch)
{
    assert_false(launch->is_over);
    launch->is_over = true;
    launch->events->on_stopped(launch->context);
}

static inline int tear_down(void **state)
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

static inline void send_request(struct fixture *fixture, const struct zds_request *request, int descriptor)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    zds_request_encode(request, &out);
    assert_int_equal(zds_send(fixture->agent, writer_bytes(&out), descriptor), 0);
}

static inline void send_add(struct fixture *fixture, const char *uid, int which)
{
    const struct zds_request request = { ZDS_ADD, bytes_of_string(uid), true, bytes_of_string("web-1"),
        bytes_of_string("default"), bytes_of_string("web") };
    send_request(fixture, &request, fixture->namespaces[which].descriptor);
    turn(fixture, 10);
}

static inline void send_plain(struct fixture *fixture, enum zds_request_kind kind, const char *uid)
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

static inline void assert_silent(struct fixture *fixture)
{
    uint8_t data[ZDS_MESSAGE_BYTES_MAXIMUM];
    turn(fixture, QUIET_MS);
    assert_int_equal(recv(fixture->agent, data, sizeof data, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static inline void assert_hung_up(struct fixture *fixture)
{
    uint8_t data[16];
    turn(fixture, 10);
    assert_int_equal(recv(fixture->agent, data, sizeof data, 0), 0);
    close(fixture->agent);
    fixture->agent = -1;
}

static inline void start_succeeds(struct pod_launch *launch)
{
    const struct result outcome = result_ok();
    launch->events->on_started(launch->context, &outcome);
}

static inline void start_fails(struct pod_launch *launch, const char *reason)
{
    const struct result outcome = result_fail(RESULT_SYSTEM, "%s", reason);
    launch->events->on_started(launch->context, &outcome);
}

static inline void bring_up(struct fixture *fixture, const char *uid, int which)
{
    send_add(fixture, uid, which);
    start_succeeds(&fixture->launches[fixture->launched - 1]);
    assert_string_equal(answer(fixture), "");
}

static inline void finish_snapshot(struct fixture *fixture)
{
    send_plain(fixture, ZDS_SNAPSHOT_SENT, "");
    assert_string_equal(answer(fixture), "");
}

static inline void reconnect(struct fixture *fixture)
{
    close(fixture->agent);
    accept_proxy(fixture);
}

#define manager_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
