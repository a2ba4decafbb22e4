#include "net/broker.h"

#include "base/memory.h"
#include "net/broker_internal.h"
#include "net/broker_protocol.h"
#include "net/broker_sandbox.h"
#include "net/broker_server.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_DEADLINE_MS 10000
#define STOP_DEADLINE_MS 2000

struct broker {
    struct broker_settings settings;
    int channels[BROKER_CHANNELS_MAXIMUM]; /* the clients' ends */
    pid_t process;                         /* 0: none */
    int process_descriptor;                /* readable once the process has ended */
    struct io_watch watch;
    void (*on_death)(void *context, const struct result *reason);
    void *context;
};

const struct broker_settings *broker_settings_of(const struct broker *broker)
{
    return &broker->settings;
}

int broker_channel(const struct broker *broker, unsigned channel)
{
    return broker->channels[channel];
}

int broker_process(const struct broker *broker)
{
    return (int)broker->process;
}

struct result broker_drop_privileges(void)
{
    return broker_sandbox_drop_capabilities();
}

struct result broker_narrow_privileges(const struct socket_settings *sockets, bool binds_low_ports)
{
    unsigned wanted[2];
    size_t count = 0;
    if (sockets->transparency != TRANSPARENCY_NEVER || sockets->mark != 0) {
        wanted[count++] = CAP_NET_ADMIN;
    }
    if (binds_low_ports) {
        wanted[count++] = CAP_NET_BIND_SERVICE;
    }
    return count > 0 ? broker_sandbox_narrow_capabilities(wanted, count) : broker_sandbox_drop_capabilities();
}

static void close_all(const int *descriptors, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void)close(descriptors[i]);
    }
}

static struct result make_channels(struct broker *broker, int *broker_ends)
{
    for (unsigned i = 0; i < broker->settings.channel_count; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
            int error = errno;
            close_all(broker->channels, i);
            close_all(broker_ends, i);
            return result_system(error, "cannot make the broker's channels");
        }
        broker->channels[i] = pair[0];
        broker_ends[i] = pair[1];
    }
    return result_ok();
}

/* The broker's first message: whether it can work. */
static struct result wait_for_hello(const struct broker *broker)
{
    uint8_t buffer[BROKER_ANSWER_BYTES_MAXIMUM];
    int descriptors[BROKER_SOCKETS_A_MESSAGE];
    unsigned descriptor_count;
    struct pollfd polled = { .fd = broker->channels[0], .events = POLLIN };
    int ready;
    do {
        ready = poll(&polled, 1, START_DEADLINE_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) {
        return result_fail(RESULT_TIMEOUT, "the socket broker did not start within %d ms", START_DEADLINE_MS);
    }
    ssize_t length = broker_receive(broker->channels[0], buffer, sizeof buffer, descriptors, &descriptor_count);
    struct broker_answer hello;
    if (length <= 0 || !broker_answer_read(bytes_of(buffer, (size_t)length), &hello)) {
        return result_fail(RESULT_UNAVAILABLE, "the socket broker ended while it was starting");
    }
    return hello.result;
}

static void reap(struct broker *broker)
{
    struct pollfd polled = { .fd = broker->process_descriptor, .events = POLLIN };
    if (poll(&polled, 1, STOP_DEADLINE_MS) <= 0) {
        /* Not by process id: the sandbox of the main process lets it signal nobody else. */
        (void)pidfd_send_signal(broker->process_descriptor, SIGKILL, NULL, 0);
    }
    while (waitpid(broker->process, NULL, 0) < 0 && errno == EINTR) {
    }
    (void)close(broker->process_descriptor);
}

static struct result fork_broker(struct broker *broker)
{
    int broker_ends[BROKER_CHANNELS_MAXIMUM];
    unsigned count = broker->settings.channel_count;
    RESULT_TRY(make_channels(broker, broker_ends));
    broker->process = fork();
    if (broker->process == 0) {
        close_all(broker->channels, count);
        broker_server_run(&broker->settings, broker_ends);
    }
    int fork_error = errno;
    close_all(broker_ends, count);
    if (broker->process < 0) {
        close_all(broker->channels, count);
        return result_system(fork_error, "cannot fork the socket broker");
    }
    broker->process_descriptor = pidfd_open(broker->process, 0);
    struct result started = broker->process_descriptor >= 0 ? wait_for_hello(broker)
                                                            : result_system(errno, "cannot watch the socket broker");
    if (!result_is_ok(&started)) {
        close_all(broker->channels, count);
        reap(broker);
    }
    return started;
}

struct result broker_start(const struct broker_settings *settings, struct broker **broker)
{
    *broker = NULL;
    if (settings->channel_count == 0 || settings->channel_count > BROKER_CHANNELS_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "%u client threads of the socket broker, not 1 to %d", settings->channel_count,
            BROKER_CHANNELS_MAXIMUM);
    }
    struct broker *started = NEW(struct broker);
    started->settings = *settings;
    started->process_descriptor = -1;
    if (settings->mode != BROKER_NONE) {
        struct result result = fork_broker(started);
        if (!result_is_ok(&result)) {
            memory_free(started);
            return result;
        }
    }
    *broker = started;
    return result_ok();
}

static struct result describe_end(const struct broker *broker)
{
    siginfo_t end = { 0 };
    if (waitid(P_PID, (id_t)broker->process, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_code != CLD_EXITED) {
        return result_fail(RESULT_UNAVAILABLE, "the socket broker (process %d) was ended by signal %d (%s)",
            (int)broker->process, end.si_status, strsignal(end.si_status));
    }
    return result_fail(
        RESULT_UNAVAILABLE, "the socket broker (process %d) ended with status %d", (int)broker->process, end.si_status);
}

static void on_process_ended(struct io_watch *watch, uint32_t events)
{
    struct broker *broker = CONTAINER_OF(watch, struct broker, watch);
    (void)events;
    loop_unwatch(watch);
    struct result reason = describe_end(broker);
    broker->on_death(broker->context, &reason);
}

struct result broker_watch_death(struct broker *broker, struct loop *loop,
    void (*on_death)(void *context, const struct result *reason), void *context)
{
    if (broker->process == 0) {
        return result_ok();
    }
    broker->watch.on_ready = on_process_ended;
    broker->on_death = on_death;
    broker->context = context;
    return loop_watch(loop, &broker->watch, broker->process_descriptor, EPOLLIN);
}

void broker_stop(struct broker *broker)
{
    if (broker == NULL) {
        return;
    }
    if (broker->process != 0) {
        loop_unwatch(&broker->watch);
        close_all(broker->channels, broker->settings.channel_count);
        reap(broker);
    }
    memory_free(broker);
}
