/* The plain relay of the benchmarks: what two hops cost without a mesh, with 64 KiB reads.
 *
 *   relay PORT captured NEXT_HOST NEXT_PORT   takes redirected connections and passes them to the next relay
 *   relay PORT fixed HOST PORT                passes every connection to one place
 *
 * One thread, epoll, one buffer, back pressure by not reading. */
#include "base/memory.h"
#include "net/socket.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)

struct side {
    int descriptor;
    struct side *other;
    uint8_t *held; /* bytes this side did not take yet */
    size_t held_length;
    bool has_ended;  /* its FIN was read */
    bool is_closing; /* FIN was sent to it */
    bool is_dead;
    struct side *next_dead;
};

static uint8_t buffer[READ_BYTES];
static struct side *dead;
static int epoll;

static void update(struct side *side)
{
    uint32_t events = 0;
    events |= !side->has_ended && side->other->held_length == 0 ? (uint32_t)EPOLLIN : 0;
    events |= side->held_length > 0 ? (uint32_t)EPOLLOUT : 0;
    struct epoll_event event = { .events = events, .data.ptr = side };
    epoll_ctl(epoll, EPOLL_CTL_MOD, side->descriptor, &event);
}

/* Freed after the turn: the other side may still have an event in it. */
static void end(struct side *side)
{
    if (side->is_dead) {
        return;
    }
    struct side *sides[] = { side, side->other };
    for (int i = 0; i < 2; i++) {
        sides[i]->is_dead = true;
        close(sides[i]->descriptor);
        sides[i]->next_dead = dead;
        dead = sides[i];
    }
}

static void pass_end(struct side *from)
{
    if (from->has_ended && from->other->held_length == 0 && !from->other->is_closing) {
        from->other->is_closing = true;
        shutdown(from->other->descriptor, SHUT_WR);
    }
    if (from->is_closing && from->other->is_closing) {
        end(from);
    }
}

static void read_side(struct side *side)
{
    ssize_t length = recv(side->descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0) {
        if (errno != EAGAIN) {
            end(side);
        }
        return;
    }
    if (length == 0) {
        side->has_ended = true;
        pass_end(side);
        return;
    }
    ssize_t sent = send(side->other->descriptor, buffer, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end(side);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < length) {
        side->other->held_length = (size_t)(length - sent);
        side->other->held = memory_allocate(side->other->held_length);
        memcpy(side->other->held, buffer + sent, side->other->held_length);
    }
}

static void write_side(struct side *side)
{
    ssize_t sent = send(side->descriptor, side->held, side->held_length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) {
            end(side);
        }
        return;
    }
    side->held_length -= (size_t)sent;
    memmove(side->held, side->held + sent, side->held_length);
    if (side->held_length == 0) {
        memory_free(side->held);
        side->held = NULL;
        pass_end(side->other);
    }
}

static void serve(struct side *side, uint32_t events)
{
    if (side->is_dead) {
        return;
    }
    if ((events & EPOLLOUT) != 0 && side->held_length > 0) {
        write_side(side);
    }
    if (!side->is_dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !side->has_ended &&
        side->other->held_length == 0) {
        read_side(side);
    }
    if (!side->is_dead) {
        update(side);
        update(side->other);
    }
}

static void free_dead(void)
{
    while (dead != NULL) {
        struct side *side = dead;
        dead = side->next_dead;
        memory_free(side->held);
        memory_free(side);
    }
}

static void accept_one(int listener, const struct socket_settings *settings, const struct socket_address *next)
{
    struct socket_address peer;
    int accepted = socket_accept(listener, &peer);
    if (accepted < 0) {
        return;
    }
    int onward;
    struct result opened = socket_open(settings, next->ip.family, SOCKET_MARKED | SOCKET_LOCAL_LEG, &onward, NULL);
    if (!result_is_ok(&opened)) {
        close(accepted);
        return;
    }
    (void)socket_connect(onward, next);
    struct side *sides[2] = { NEW(struct side), NEW(struct side) };
    const int descriptors[2] = { accepted, onward };
    for (int i = 0; i < 2; i++) {
        sides[i]->descriptor = descriptors[i];
        sides[i]->other = sides[1 - i];
        /* Reading from the accepted side waits for the onward connection: sending would fail with ENOTCONN. */
        struct epoll_event event = { .events = i == 0 ? 0 : EPOLLOUT, .data.ptr = sides[i] };
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptors[i], &event);
    }
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 5 || (strcmp(arguments[2], "captured") != 0 && strcmp(arguments[2], "fixed") != 0)) {
        fprintf(stderr, "usage: relay PORT captured|fixed HOST PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const struct socket_settings settings = { .mark = strcmp(arguments[2], "captured") == 0 ? 1337 : 0 };
    struct socket_address next = { .port = (uint16_t)atoi(arguments[4]) };
    if (!ip_parse(arguments[3], &next.ip)) {
        fprintf(stderr, "%s: not an address\n", arguments[3]);
        return 2;
    }
    const struct listener_options options = { .address = { .ip.family = IP_V6, .port = (uint16_t)atoi(arguments[1]) },
        .backlog = 4096,
        .flags = SOCKET_LOCAL_LEG };
    struct listener listener;
    struct result listening = socket_listen(&settings, &options, &listener);
    if (!result_is_ok(&listening)) {
        fprintf(stderr, "relay: %s\n", listening.message);
        return 1;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener.descriptor, &event);
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accept_one(listener.descriptor, &settings, &next);
            } else {
                serve(events[i].data.ptr, events[i].events);
            }
        }
        free_dead();
    }
}
