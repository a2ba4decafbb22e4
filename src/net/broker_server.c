#include "net/broker_server.h"

#include "base/memory.h"
#include "net/big_tcp.h"
#include "net/broker_protocol.h"
#include "net/broker_sandbox.h"
#include "net/network_namespace.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define HANDLE_INDEX_BITS 13 /* more than BROKER_NAMESPACES_MAXIMUM */
#define HANDLE_INDEX_MASK ((1u << HANDLE_INDEX_BITS) - 1)
_Static_assert(BROKER_NAMESPACES_MAXIMUM < HANDLE_INDEX_MASK, "a handle's index must fit");

/* One client thread's end. */
struct channel {
    bool has_unsent_answer; /* the client does not read: no further request is taken from it until it does */
    struct broker_answer unsent;
};

struct known_namespace {
    struct network_namespace namespace_; /* descriptor -1: free */
    uint32_t generation;                 /* so that a forgotten handle never names the next namespace */
    struct big_tcp_limits limits_before; /* all 0: nothing to undo */
};

struct broker_server {
    const struct broker_settings *settings;
    struct network_namespace own;
    struct pollfd polled[BROKER_CHANNELS_MAXIMUM];
    struct channel channels[BROKER_CHANNELS_MAXIMUM];
    struct known_namespace namespaces[BROKER_NAMESPACES_MAXIMUM];
};

static uint32_t handle_of(const struct broker_server *server, size_t index)
{
    return server->namespaces[index].generation << HANDLE_INDEX_BITS | (uint32_t)(index + 1);
}

static struct known_namespace *find_namespace(struct broker_server *server, uint32_t handle)
{
    size_t index = (size_t)(handle & HANDLE_INDEX_MASK) - 1; /* 0 wraps round to something too large */
    if (index >= BROKER_NAMESPACES_MAXIMUM || server->namespaces[index].namespace_.descriptor < 0 ||
        handle_of(server, index) != handle) {
        return NULL;
    }
    return &server->namespaces[index];
}

/* One piece of work, for network_namespace_run. */
struct work {
    struct broker_server *server;
    const struct broker_request *request;
    struct broker_answer *answer;
    struct known_namespace *registered; /* BROKER_REGISTER_NAMESPACE */
};

static void do_inside(void *context)
{
    const struct work *work = context;
    if (work->request->type == BROKER_REGISTER_NAMESPACE) {
        work->answer->loopback_has_ipv6 = network_namespace_here_has_ipv6_loopback();
        if (work->server->settings->raises_big_tcp) {
            /* Only speed: a pod whose limits stay as they are is served all the same. */
            (void)big_tcp_raise(&work->registered->limits_before);
        }
    } else {
        broker_make_here(&work->server->settings->sockets, work->request, work->answer);
    }
}

static void register_namespace(
    struct broker_server *server, const struct broker_request *request, int descriptor, struct broker_answer *answer)
{
    size_t index = 0;
    while (index < BROKER_NAMESPACES_MAXIMUM && server->namespaces[index].namespace_.descriptor >= 0) {
        index++;
    }
    if (index == BROKER_NAMESPACES_MAXIMUM || server->settings->mode != BROKER_ALL_NAMESPACES) {
        (void)close(descriptor);
        answer->result = server->settings->mode != BROKER_ALL_NAMESPACES
                             ? result_fail(RESULT_UNSUPPORTED, "the broker serves its own network namespace only")
                             : result_fail(RESULT_LIMIT, "the broker knows %d network namespaces already",
                                   BROKER_NAMESPACES_MAXIMUM);
        return;
    }
    struct known_namespace *known = &server->namespaces[index];
    answer->result = network_namespace_from_descriptor(descriptor, &known->namespace_);
    if (!result_is_ok(&answer->result)) {
        return;
    }
    struct work work = { server, request, answer, known };
    known->limits_before = (struct big_tcp_limits){ 0 };
    answer->result = network_namespace_run(&known->namespace_, &server->own, do_inside, &work);
    if (!result_is_ok(&answer->result)) {
        network_namespace_close(&known->namespace_);
        return;
    }
    known->generation++;
    answer->namespace_handle = handle_of(server, index);
}

static void restore_inside(void *context)
{
    big_tcp_restore(context);
}

static void restore_limits(const struct broker_server *server, struct known_namespace *known)
{
    if (known->namespace_.descriptor >= 0 && big_tcp_has_limits(&known->limits_before)) {
        (void)network_namespace_run(&known->namespace_, &server->own, restore_inside, &known->limits_before);
    }
}

static void forget_namespace(
    struct broker_server *server, const struct broker_request *request, struct broker_answer *answer)
{
    struct known_namespace *known = find_namespace(server, request->namespace_handle);
    if (known == NULL) {
        answer->result = result_fail(RESULT_NOT_FOUND, "network namespace handle %u", request->namespace_handle);
        return;
    }
    restore_limits(server, known);
    network_namespace_close(&known->namespace_);
}

/* Whoever takes over the main process must not pose as other services of a pod. */
static bool may_listen(const struct broker_settings *settings, uint16_t port)
{
    bool is_restricted = false;
    for (size_t i = 0; i < BROKER_LISTENER_PORTS_MAXIMUM; i++) {
        if (settings->listener_ports[i] != 0) {
            is_restricted = true;
            if (settings->listener_ports[i] == port) {
                return true;
            }
        }
    }
    return !is_restricted;
}

static void make(struct broker_server *server, const struct broker_request *request, struct broker_answer *answer)
{
    if (request->type == BROKER_MAKE_LISTENER && !may_listen(server->settings, request->address.port)) {
        answer->result =
            result_fail(RESULT_INVALID, "make listener: port %u is not one of the proxy's", request->address.port);
        return;
    }
    if (request->namespace_handle == 0) {
        broker_make_here(&server->settings->sockets, request, answer);
        return;
    }
    struct known_namespace *known = find_namespace(server, request->namespace_handle);
    if (known == NULL) {
        answer->result = result_fail(RESULT_NOT_FOUND, "network namespace handle %u", request->namespace_handle);
        return;
    }
    struct work work = { server, request, answer, NULL };
    struct result entered = network_namespace_run(&known->namespace_, &server->own, do_inside, &work);
    if (!result_is_ok(&entered)) {
        answer->result = entered;
    }
}

static void serve(struct broker_server *server, const struct broker_request *request, const int *descriptors,
    struct broker_answer *answer)
{
    switch (request->type) {
    case BROKER_REGISTER_NAMESPACE:
        register_namespace(server, request, descriptors[0], answer);
        break;
    case BROKER_FORGET_NAMESPACE:
        forget_namespace(server, request, answer);
        break;
    default:
        make(server, request, answer);
        break;
    }
}

static int send_answer(int channel, const struct broker_answer *answer)
{
    uint8_t memory[BROKER_ANSWER_BYTES_MAXIMUM];
    struct writer writer = writer_fixed(memory, sizeof memory);
    broker_answer_write(answer, &writer);
    return broker_send(channel, writer_bytes(&writer), answer->descriptors, answer->descriptor_count);
}

static void close_channel(struct broker_server *server, unsigned index)
{
    struct channel *channel = &server->channels[index];
    if (channel->has_unsent_answer) {
        broker_answer_close_descriptors(&channel->unsent);
        channel->has_unsent_answer = false;
    }
    (void)close(server->polled[index].fd);
    server->polled[index].fd = -1;
}

/* Sends, or keeps the answer until the client reads. */
static void answer_client(struct broker_server *server, unsigned index, struct broker_answer *answer)
{
    struct channel *channel = &server->channels[index];
    int error = send_answer(server->polled[index].fd, answer);
    if (error == -EAGAIN) {
        if (answer != &channel->unsent) {
            channel->unsent = *answer;
        }
        channel->has_unsent_answer = true;
        server->polled[index].events = POLLOUT;
        return;
    }
    broker_answer_close_descriptors(answer);
    channel->has_unsent_answer = false;
    server->polled[index].events = POLLIN;
    if (error != 0) {
        close_channel(server, index);
    }
}

/* One request. One that breaks the rules is answered with the rule; a datagram that is none ends the channel. */
static void read_request(struct broker_server *server, unsigned index)
{
    uint8_t buffer[BROKER_REQUEST_BYTES];
    int descriptors[BROKER_SOCKETS_A_MESSAGE];
    unsigned descriptor_count;
    ssize_t length = broker_receive(server->polled[index].fd, buffer, sizeof buffer, descriptors, &descriptor_count);
    if (length == -EAGAIN || length == -EINTR) {
        return;
    }
    if (length <= 0) {
        close_channel(server, index);
        return;
    }
    struct broker_request request;
    struct broker_answer answer = { .result = broker_request_read(
                                        bytes_of(buffer, (size_t)length), descriptor_count, &request) };
    answer.sequence = request.sequence;
    if (!result_is_ok(&answer.result)) {
        for (unsigned i = 0; i < descriptor_count; i++) {
            (void)close(descriptors[i]);
        }
    } else {
        serve(server, &request, descriptors, &answer);
    }
    answer_client(server, index, &answer);
}

static bool has_clients(const struct broker_server *server)
{
    for (unsigned i = 0; i < server->settings->channel_count; i++) {
        if (server->polled[i].fd >= 0) {
            return true;
        }
    }
    return false;
}

static void serve_until_alone(struct broker_server *server)
{
    while (has_clients(server)) {
        if (poll(server->polled, server->settings->channel_count, -1) <= 0) {
            continue;
        }
        for (unsigned i = 0; i < server->settings->channel_count; i++) {
            if (server->polled[i].fd < 0 || server->polled[i].revents == 0) {
                continue;
            }
            if (server->channels[i].has_unsent_answer) {
                answer_client(server, i, &server->channels[i].unsent);
            } else {
                read_request(server, i);
            }
        }
    }
}

/* The work itself, once, before anybody depends on it (ztunnel-dataplane §3). */
static struct result check_abilities(struct broker_server *server)
{
    struct broker_request request = {
        .type = BROKER_MAKE_SOCKETS, .family = IP_V4, .flags = SOCKET_MARKED | SOCKET_TRANSPARENT, .count = 1
    };
    struct broker_answer answer = { .result = result_ok() };
    if (server->settings->mode == BROKER_ALL_NAMESPACES) {
        struct work work = { server, &request, &answer, NULL };
        RESULT_TRY(result_in(network_namespace_run(&server->own, &server->own, do_inside, &work),
            "in-pod mode needs CAP_SYS_ADMIN and CAP_NET_ADMIN"));
    } else {
        broker_make_here(&server->settings->sockets, &request, &answer);
    }
    broker_answer_close_descriptors(&answer);
    return result_in(answer.result, "the socket broker needs CAP_NET_ADMIN");
}

/* Orderly ends come from the clients: who stops the main process, by its group or its terminal, must not take the broker
 * from it while it drains. */
static void leave_signals_to_the_main_process(void)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2 };
    for (size_t i = 0; i < ARRAY_LENGTH(ignored); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
}

static struct result prepare(struct broker_server *server)
{
    (void)prctl(PR_SET_NAME, "socket-broker", 0, 0, 0);
    leave_signals_to_the_main_process();
    socket_raise_descriptor_limit();
    RESULT_TRY(network_namespace_open_current(&server->own));
    RESULT_TRY(broker_sandbox_keep_capabilities(server->settings->mode));
    RESULT_TRY(check_abilities(server));
    /* Both after the change of credentials, which resets them. The main process may not look into this one's memory. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
        return result_system(errno, "cannot tie the broker to its parent");
    }
    return broker_sandbox_filter_system_calls(server->settings);
}

_Noreturn void broker_server_run(const struct broker_settings *settings, const int *channels)
{
    struct broker_server *server = NEW(struct broker_server);
    server->settings = settings;
    server->own.descriptor = -1;
    for (unsigned i = 0; i < settings->channel_count; i++) {
        server->polled[i] = (struct pollfd){ .fd = channels[i], .events = POLLIN };
    }
    for (size_t i = 0; i < BROKER_NAMESPACES_MAXIMUM; i++) {
        server->namespaces[i].namespace_.descriptor = -1;
    }
    struct broker_answer hello = { .result = prepare(server) };
    /* A parent that died before PR_SET_PDEATHSIG is seen here: its ends are closed. */
    if (send_answer(channels[0], &hello) == 0 && result_is_ok(&hello.result)) {
        serve_until_alone(server);
        for (size_t i = 0; i < BROKER_NAMESPACES_MAXIMUM; i++) {
            restore_limits(server, &server->namespaces[i]);
        }
    }
    _exit(result_is_ok(&hello.result) ? EXIT_SUCCESS : EXIT_FAILURE);
}
