/* The load of the benchmarks: one thread, many connections, one kind of traffic at a time.
 *
 *   load server PORT
 *   load up|down|ping|connect|leave|hold HOST PORT STREAMS SECONDS [BYTES]
 *   load flood HOST PORT STREAMS SECONDS FILE
 *
 * The first byte of a connection tells the server what it is for. The client prints one JSON object: bytes or operations, the time they
 * took, and for ping and connect the distribution of latencies. "flood" says what is in FILE (a ClientHello), waits for the first answer and
 * begins again, 16 times a second at most, past the rules that capture a pod's traffic. */
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define EVENTS_A_TURN 64
#define SAMPLES_MAXIMUM 4000000
#define MODE_UP 'U'
#define MODE_DOWN 'D'
#define MODE_PING 'P'
#define MODE_CONNECT 'C' /* one byte each way on a connection of its own, which the server closes */
#define MODE_LEAVE 'L'   /* the same, and the client closes */
#define MODE_FLOOD 'F'   /* to no server of ours */
#define UNCAPTURED_MARK 0x539
/* A stream of a flood begins so often, so that a flood is the same whoever makes it. */
#define FLOOD_INTERVAL_NS 64000000ULL
#define WARM_UP_NS 500000000ULL

struct stream {
    int descriptor;
    char mode;         /* 0: not known yet (server) */
    uint32_t received; /* of the current message */
    uint64_t asked_ns;
};

static char buffer[BUFFER_BYTES];

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Namespaces joined by veth are one machine: the host's default congestion control would distort the ratios. */
static int new_socket(int family)
{
    int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (descriptor < 0) {
        die("socket");
    }
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    return descriptor;
}

static void watch(int epoll, struct stream *stream, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = stream };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, stream->descriptor, &event) != 0) {
        die("epoll_ctl");
    }
}

static void drop(struct stream *stream)
{
    close(stream->descriptor);
    memory_free(stream);
}

static void serve_accept(int epoll, int listener)
{
    int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
        return;
    }
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct stream *stream = NEW(struct stream);
    stream->descriptor = descriptor;
    watch(epoll, stream, EPOLLIN);
}

static void serve_stream(int epoll, struct stream *stream, uint32_t events)
{
    if (stream->mode == MODE_DOWN && (events & EPOLLOUT) != 0) {
        if (send(stream->descriptor, buffer, sizeof buffer, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN) {
            drop(stream);
        }
        return;
    }
    ssize_t length = recv(stream->descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length <= 0) {
        if (length == 0 || errno != EAGAIN) {
            drop(stream);
        }
        return;
    }
    char *payload = buffer;
    if (stream->mode == 0) {
        stream->mode = buffer[0];
        payload++;
        length--;
        if (stream->mode == MODE_DOWN) {
            struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.ptr = stream };
            epoll_ctl(epoll, EPOLL_CTL_MOD, stream->descriptor, &event);
        }
    }
    if (stream->mode == MODE_CONNECT) {
        (void)send(stream->descriptor, buffer, 1, MSG_NOSIGNAL);
        drop(stream);
        return;
    }
    if (stream->mode == MODE_LEAVE) {
        (void)send(stream->descriptor, buffer, 1, MSG_NOSIGNAL);
        return;
    }
    if (stream->mode == MODE_PING && length > 0 &&
        send(stream->descriptor, payload, (size_t)length, MSG_NOSIGNAL) != length) {
        drop(stream);
    }
}

static _Noreturn void run_server(uint16_t port)
{
    int listener = new_socket(AF_INET6);
    int one = 1;
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) {
        die("listen");
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct stream listening = { .descriptor = listener };
    watch(epoll, &listening, EPOLLIN);
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS_A_TURN];
        int count = epoll_wait(epoll, events, EVENTS_A_TURN, -1);
        for (int i = 0; i < count; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream == &listening) {
                serve_accept(epoll, listener);
            } else {
                serve_stream(epoll, stream, events[i].events);
            }
        }
    }
}

struct client {
    struct sockaddr_storage address;
    socklen_t address_length;
    char mode;
    uint32_t message_bytes; /* flood: of the file */
    char *flood;
    int epoll;
    uint64_t bytes;
    uint64_t operations;
    uint64_t *samples;
    size_t sample_count;
    bool is_measuring;
};

/* Whoever is flooded may refuse: then a connection ends, and another begins. */
static void begin_flood(const struct client *client, struct stream *stream)
{
    const uint32_t mark = UNCAPTURED_MARK;
    const struct linger reset = { .l_onoff = 1 };
    setsockopt(stream->descriptor, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    setsockopt(stream->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (connect(stream->descriptor, (const struct sockaddr *)&client->address, client->address_length) == 0) {
        (void)send(stream->descriptor, client->flood, client->message_bytes, MSG_NOSIGNAL);
    }
    watch(client->epoll, stream, EPOLLIN);
}

static void connect_stream(struct client *client, struct stream *stream)
{
    stream->asked_ns = now_ns();
    stream->descriptor = new_socket(client->address.ss_family);
    stream->received = 0;
    if (client->mode == MODE_FLOOD) {
        begin_flood(client, stream);
        return;
    }
    if (connect(stream->descriptor, (const struct sockaddr *)&client->address, client->address_length) != 0) {
        die("connect");
    }
    memset(buffer, client->mode, 1);
    size_t length = 1 + (client->mode == MODE_PING ? client->message_bytes : 0);
    if (send(stream->descriptor, buffer, length, MSG_NOSIGNAL) != (ssize_t)length) {
        die("send");
    }
    watch(client->epoll, stream, client->mode == MODE_UP ? EPOLLOUT : EPOLLIN);
}

static void note_answer(struct client *client, struct stream *stream)
{
    uint64_t now = now_ns();
    if (client->is_measuring) {
        client->operations++;
        if (client->sample_count < SAMPLES_MAXIMUM) {
            client->samples[client->sample_count++] = now - stream->asked_ns;
        }
    }
    if (client->mode == MODE_CONNECT) {
        return; /* the server closes, and drive goes on */
    }
    if (client->mode == MODE_LEAVE) {
        close(stream->descriptor);
        connect_stream(client, stream);
        return;
    }
    if (client->mode == MODE_FLOOD) {
        close(stream->descriptor);
        stream->descriptor = -1; /* goes on when it is time */
        return;
    }
    stream->asked_ns = now;
    stream->received = 0;
    if (send(stream->descriptor, buffer, client->message_bytes, MSG_NOSIGNAL) < 0) {
        die("send");
    }
}

static void drive(struct client *client, struct stream *stream)
{
    ssize_t length = client->mode == MODE_UP
                         ? send(stream->descriptor, buffer, sizeof buffer, MSG_NOSIGNAL | MSG_DONTWAIT)
                         : recv(stream->descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
    if (client->mode == MODE_FLOOD) {
        note_answer(client, stream);
        return;
    }
    if (length <= 0) {
        if (length < 0 && errno == EAGAIN) {
            return;
        }
        if (length == 0 && client->mode == MODE_CONNECT && stream->received > 0) {
            close(stream->descriptor);
            connect_stream(client, stream);
            return;
        }
        fprintf(stderr, "the connection ended early: %s\n", length == 0 ? "end of file" : strerror(errno));
        exit(1);
    }
    if (client->mode == MODE_UP || client->mode == MODE_DOWN) {
        client->bytes += client->is_measuring ? (uint64_t)length : 0;
        return;
    }
    stream->received += (uint32_t)length;
    if (stream->received >= client->message_bytes) {
        note_answer(client, stream);
    }
}

static int compare_samples(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void print_report(struct client *client, double seconds)
{
    printf("{\"seconds\": %.6f, \"bytes\": %llu, \"operations\": %llu", seconds, (unsigned long long)client->bytes,
        (unsigned long long)client->operations);
    if (client->sample_count > 0) {
        qsort(client->samples, client->sample_count, sizeof client->samples[0], compare_samples);
        printf(", \"p50_us\": %.1f, \"p99_us\": %.1f", (double)client->samples[client->sample_count / 2] / 1e3,
            (double)client->samples[client->sample_count * 99 / 100] / 1e3);
    }
    printf("}\n");
}

static void go_on_flooding(struct client *client, struct stream *const *streams, int count)
{
    uint64_t now = now_ns();
    for (int i = 0; i < count; i++) {
        if (streams[i]->descriptor < 0 && now - streams[i]->asked_ns >= FLOOD_INTERVAL_NS) {
            connect_stream(client, streams[i]);
        }
    }
}

static int run_client(struct client *client, int stream_count, double seconds)
{
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    client->samples = memory_allocate_zeroed(SAMPLES_MAXIMUM, sizeof client->samples[0]);
    struct stream **streams = memory_allocate_zeroed((size_t)stream_count, sizeof(struct stream *));
    for (int i = 0; i < stream_count; i++) {
        streams[i] = NEW(struct stream);
        if (client->mode == MODE_FLOOD) { /* evenly: a flood, no surf */
            streams[i]->descriptor = -1;
            streams[i]->asked_ns = now_ns() - FLOOD_INTERVAL_NS * (uint64_t)i / (uint64_t)stream_count;
        } else {
            connect_stream(client, streams[i]);
        }
    }
    int wait_ms = client->mode == MODE_FLOOD ? 1 : 10;
    uint64_t begin = now_ns() + WARM_UP_NS;
    uint64_t end = begin + (uint64_t)(seconds * 1e9);
    uint64_t now;
    while ((now = now_ns()) < end) {
        if (!client->is_measuring && now >= begin) {
            client->is_measuring = true;
            begin = now;
            /* The driver reads the proxies' CPU time between this line and the report. */
            printf("measuring\n");
            fflush(stdout);
        }
        struct epoll_event events[EVENTS_A_TURN];
        int count = epoll_wait(client->epoll, events, EVENTS_A_TURN, wait_ms);
        for (int i = 0; i < count; i++) {
            drive(client, events[i].data.ptr);
        }
        if (client->mode == MODE_FLOOD) {
            go_on_flooding(client, streams, stream_count);
        }
    }
    print_report(client, (double)(now_ns() - begin) / 1e9);
    return 0;
}

/* Connections that were used once and then stay as they are. */
static int hold(struct client *client, int count, double seconds)
{
    client->mode = MODE_LEAVE;
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        struct stream *stream = NEW(struct stream);
        connect_stream(client, stream);
        if (recv(stream->descriptor, buffer, 1, 0) != 1) {
            die("recv");
        }
    }
    printf("measuring\n");
    fflush(stdout);
    usleep((useconds_t)(seconds * 1e6));
    printf("{\"held\": %d}\n", count);
    return 0;
}

static void parse_address(struct client *client, const char *host, uint16_t port)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&client->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&client->address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        client->address_length = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        client->address_length = sizeof *v6;
    } else {
        fprintf(stderr, "%s: not an address\n", host);
        exit(2);
    }
}

static void read_flood(struct client *client, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        die(path);
    }
    client->flood = memory_allocate(BUFFER_BYTES);
    client->message_bytes = (uint32_t)fread(client->flood, 1, BUFFER_BYTES, file);
    (void)fclose(file);
}

int main(int argument_count, char **arguments)
{
    signal(SIGPIPE, SIG_IGN);
    if (argument_count == 3 && strcmp(arguments[1], "server") == 0) {
        run_server((uint16_t)atoi(arguments[2]));
    }
    if (argument_count < 6) {
        fprintf(stderr, "usage: load server PORT | load up|down|ping|connect|leave|hold HOST PORT STREAMS SECONDS "
                        "[BYTES] | load flood "
                        "HOST PORT STREAMS SECONDS FILE\n");
        return 2;
    }
    static struct client client;
    const char *mode = arguments[1];
    client.mode = strcmp(mode, "up") == 0      ? MODE_UP
                  : strcmp(mode, "down") == 0  ? MODE_DOWN
                  : strcmp(mode, "ping") == 0  ? MODE_PING
                  : strcmp(mode, "leave") == 0 ? MODE_LEAVE
                  : strcmp(mode, "flood") == 0 ? MODE_FLOOD
                                               : MODE_CONNECT;
    client.message_bytes = client.mode != MODE_FLOOD && argument_count > 6 ? (uint32_t)atoi(arguments[6]) : 1;
    if (client.mode == MODE_FLOOD && argument_count > 6) {
        read_flood(&client, arguments[6]);
    }
    parse_address(&client, arguments[2], (uint16_t)atoi(arguments[3]));
    if (strcmp(mode, "hold") == 0) {
        return hold(&client, atoi(arguments[4]), atof(arguments[5]));
    }
    return run_client(&client, atoi(arguments[4]), atof(arguments[5]));
}
