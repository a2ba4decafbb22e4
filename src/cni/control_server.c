#include "cni/control_server.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/writer.h"
#include "cni/unix_socket.h"
#include "net/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TARGET "cni::control"
#define DESCRIPTORS_A_MESSAGE 4

struct control_server {
    struct loop *loop;
    char *path;
    control_handler *handler;
    void *context;
    struct io_watch listener;
    struct list calls;
    size_t call_count;
};

struct control_call {
    struct list link;
    struct io_watch watch;
    struct timer deadline;
    struct control_server *server;
    struct writer request;
    struct writer answer;
    size_t answered; /* bytes of the answer that have left */
    int descriptor;  /* that came with the request; -1: none */
};

static void call_free(struct control_call *call)
{
    int socket = call->watch.descriptor;
    loop_unwatch(&call->watch);
    timer_disarm(&call->deadline);
    list_remove(&call->link);
    call->server->call_count--;
    (void)close(socket);
    if (call->descriptor >= 0) {
        (void)close(call->descriptor);
    }
    writer_free(&call->request);
    writer_free(&call->answer);
    memory_free(call);
}

/* Keeps the last descriptor that came; a client sends one. */
static void keep_descriptor(struct control_call *call, struct msghdr *header)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            if (call->descriptor >= 0) {
                (void)close(call->descriptor);
            }
            memcpy(&call->descriptor, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
        }
    }
}

/* What recv returns: a length, 0 at the end, -1 with errno. */
static ssize_t receive(struct control_call *call)
{
    union {
        struct cmsghdr alignment;
        uint8_t data[CMSG_SPACE(DESCRIPTORS_A_MESSAGE * sizeof(int))];
    } control;
    uint8_t buffer[8192];
    struct iovec piece = { buffer, sizeof buffer };
    struct msghdr header = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data
    };
    ssize_t length = recvmsg(call->watch.descriptor, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length >= 0) {
        keep_descriptor(call, &header);
        writer_add(&call->request, buffer, (size_t)length);
    }
    return length;
}

static void hand_over(struct control_call *call)
{
    struct control_server *server = call->server;
    int descriptor = call->descriptor;
    call->descriptor = -1;
    /* Nothing more is expected; a client that leaves meanwhile does not end what it has started. */
    loop_unwatch(&call->watch);
    timer_disarm(&call->deadline);
    server->handler(server->context, call, writer_bytes(&call->request), descriptor);
}

static void read_request(struct control_call *call)
{
    for (;;) {
        ssize_t length = receive(call);
        if (length < 0 && errno == EINTR) {
            continue;
        }
        if (length < 0 && errno == EAGAIN) {
            return;
        }
        if (length < 0 || call->request.length > CONTROL_REQUEST_BYTES_MAXIMUM) {
            log_print(LOG_WARN, TARGET, "request refused: %s", length < 0 ? strerror(errno) : "too long");
            call_free(call);
            return;
        }
        if (length == 0) {
            hand_over(call);
            return;
        }
    }
}

static void write_answer(struct control_call *call)
{
    while (call->answered < call->answer.length) {
        ssize_t sent = send(call->watch.descriptor, call->answer.data + call->answered,
            call->answer.length - call->answered, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno == EAGAIN) {
            return;
        }
        if (sent < 0) {
            break;
        }
        call->answered += (size_t)sent;
    }
    call_free(call);
}

static void on_call_ready(struct io_watch *watch, uint32_t events)
{
    struct control_call *call = CONTAINER_OF(watch, struct control_call, watch);
    (void)events;
    if (call->answer.length > 0) {
        write_answer(call);
    } else {
        read_request(call);
    }
}

static void on_call_deadline(struct timer *timer)
{
    call_free(CONTAINER_OF(timer, struct control_call, deadline));
}

void control_call_answer(struct control_call *call, struct writer *answer)
{
    call->answer = *answer;
    *answer = writer_growing();
    timer_arm_after_ms(call->server->loop, &call->deadline, CONTROL_DEADLINE_MS);
    struct result result = loop_watch(call->server->loop, &call->watch, call->watch.descriptor, EPOLLOUT);
    if (!result_is_ok(&result)) {
        call_free(call);
    }
}

static bool is_allowed(int socket)
{
    struct ucred peer = { 0 };
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return false;
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        LOG_EVENT(LOG_WARN, TARGET, "caller refused", LOG_NUMBER("uid", peer.uid), LOG_SIGNED("pid", peer.pid));
        return false;
    }
    return true;
}

static void on_caller(struct io_watch *watch, uint32_t events)
{
    struct control_server *server = CONTAINER_OF(watch, struct control_server, listener);
    (void)events;
    int socket = accept4(watch->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) {
        return;
    }
    if (server->call_count >= CONTROL_CALLS_MAXIMUM || !is_allowed(socket)) {
        (void)close(socket);
        return;
    }
    struct control_call *call = NEW(struct control_call);
    call->server = server;
    call->descriptor = -1;
    call->request = writer_growing();
    call->answer = writer_growing();
    call->watch.on_ready = on_call_ready;
    call->watch.descriptor = socket;
    call->deadline.on_expire = on_call_deadline;
    list_initialise(&call->link);
    list_append(&server->calls, &call->link);
    server->call_count++;
    struct result result = loop_watch(server->loop, &call->watch, socket, EPOLLIN);
    if (!result_is_ok(&result)) {
        call_free(call);
        return;
    }
    timer_arm_after_ms(server->loop, &call->deadline, CONTROL_DEADLINE_MS);
}

struct result control_server_new(
    struct loop *loop, const char *path, control_handler *handler, void *context, struct control_server **server)
{
    int listener;
    RESULT_TRY(unix_listen(path, SOCK_STREAM, 0600, &listener));
    struct control_server *made = NEW(struct control_server);
    made->loop = loop;
    made->path = string_duplicate(path);
    made->handler = handler;
    made->context = context;
    made->listener.on_ready = on_caller;
    list_initialise(&made->calls);
    struct result result = loop_watch(loop, &made->listener, listener, EPOLLIN);
    if (!result_is_ok(&result)) {
        (void)close(listener);
        memory_free(made->path);
        memory_free(made);
        return result;
    }
    *server = made;
    return result_ok();
}

void control_server_free(struct control_server *server)
{
    if (server == NULL) {
        return;
    }
    int listener = server->listener.descriptor;
    loop_unwatch(&server->listener);
    (void)close(listener);
    (void)unlink(server->path);
    LIST_FOR_EACH(link, &server->calls) {
        call_free(LIST_ENTRY(link, struct control_call, link));
    }
    memory_free(server->path);
    memory_free(server);
}
