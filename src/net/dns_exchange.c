#include "net/dns_exchange.h"

#include "base/memory.h"
#include "base/random.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#define LENGTH_BYTES 2 /* in front of a message over TCP (RFC 1035 §4.2.2) */
#define ID_BYTES 2

static void close_socket(struct dns_exchange *exchange)
{
    int descriptor = exchange->watch.descriptor;
    if (exchange->watch.loop != NULL) {
        loop_unwatch(&exchange->watch);
        (void)close(descriptor);
    }
}

void dns_exchange_cancel(struct dns_exchange *exchange)
{
    if (!exchange->is_running) {
        return;
    }
    exchange->is_running = false;
    socket_wait_cancel(&exchange->wait);
    connector_cancel(&exchange->connector);
    deferred_cancel(&exchange->failing);
    close_socket(exchange);
    writer_free(&exchange->received);
}

static void fail(struct dns_exchange *exchange, const struct result *failure)
{
    dns_exchange_cancel(exchange);
    exchange->on_failure(exchange, failure);
}

static void fail_with_error(struct dns_exchange *exchange, int error, const char *what)
{
    char server[SOCKET_ADDRESS_TEXT_SIZE];
    struct result failure =
        result_system(error, "%s name server %s", what, socket_address_format(&exchange->server, server));
    fail(exchange, &failure);
}

static void run_failing(struct deferred *deferred)
{
    struct dns_exchange *exchange = CONTAINER_OF(deferred, struct dns_exchange, failing);
    struct result failure = exchange->failure;
    fail(exchange, &failure);
}

/* For failures within the start. */
static void fail_later(struct dns_exchange *exchange, struct result failure)
{
    exchange->failure = failure;
    loop_defer(exchange->loop, &exchange->failing);
}

static void deliver(struct dns_exchange *exchange, struct bytes answer)
{
    /* The bytes outlive the socket they came from. */
    struct writer kept = exchange->received;
    exchange->received = writer_growing();
    dns_exchange_cancel(exchange);
    exchange->on_answer(exchange, answer);
    writer_free(&kept);
}

/* The query under our id, from `offset` of the message and its length in front (TCP); what the kernel took, or -1. */
static ssize_t send_query(struct dns_exchange *exchange, size_t offset)
{
    uint8_t head[LENGTH_BYTES + ID_BYTES] = { (uint8_t)(exchange->query.length >> 8), (uint8_t)exchange->query.length };
    uint8_t body[DNS_QUERY_BYTES_MAXIMUM];
    size_t body_length = exchange->query.length - ID_BYTES;
    dns_message_set_id(head + LENGTH_BYTES, exchange->id);
    memcpy(body, exchange->query.data + ID_BYTES, body_length);
    struct iovec parts[2] = { { head, sizeof head }, { body, body_length } };
    for (int i = 0; i < 2; i++) {
        size_t skipped = offset < parts[i].iov_len ? offset : parts[i].iov_len;
        parts[i].iov_base = (uint8_t *)parts[i].iov_base + skipped;
        parts[i].iov_len -= skipped;
        offset -= skipped;
    }
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    return sendmsg(exchange->watch.descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_datagram(struct dns_exchange *exchange)
{
    /* A full queue loses it like the network would: it is repeated. */
    if (send_query(exchange, LENGTH_BYTES) < 0 && errno != EAGAIN && errno != ENOBUFS) {
        fail_later(exchange, result_system(errno, "cannot ask the name server"));
    }
}

/* True when the exchange goes on: what came was not the answer, and such have not come too often. */
static bool goes_on_after(struct dns_exchange *exchange, struct bytes answer)
{
    if (dns_response_matches(answer, exchange->id, &exchange->question)) {
        deliver(exchange, answer);
        return false;
    }
    if (++exchange->strays == DNS_STRAY_DATAGRAMS_MAXIMUM) {
        fail_with_error(exchange, EBADMSG, "too many wrong answers from");
        return false;
    }
    return true;
}

static void read_datagrams(struct dns_exchange *exchange)
{
    static _Thread_local uint8_t memory[DNS_MESSAGE_BYTES_MAXIMUM];
    for (;;) {
        ssize_t length = recv(exchange->watch.descriptor, memory, sizeof memory, MSG_DONTWAIT);
        if (length < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                fail_with_error(exchange, errno, "cannot reach");
            }
            return;
        }
        if (!goes_on_after(exchange, bytes_of(memory, (size_t)length))) {
            return;
        }
    }
}

/* What is still missing of the length and the message. */
static size_t missing_bytes(const struct writer *received)
{
    if (received->length < LENGTH_BYTES) {
        return LENGTH_BYTES - received->length;
    }
    size_t length = (size_t)received->data[0] << 8 | received->data[1];
    return LENGTH_BYTES + length - received->length;
}

static void read_stream(struct dns_exchange *exchange)
{
    struct writer *received = &exchange->received;
    size_t missing;
    while ((missing = missing_bytes(received)) > 0) {
        uint8_t *room = writer_reserve(received, missing);
        ssize_t length = recv(exchange->watch.descriptor, room, missing, MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (length <= 0) {
            fail_with_error(exchange, length == 0 ? ECONNRESET : errno, "no answer from");
            return;
        }
        received->length += (size_t)length;
    }
    if (goes_on_after(exchange, bytes_of(received->data + LENGTH_BYTES, received->length - LENGTH_BYTES))) {
        writer_clear(received);
    }
}

static void write_stream(struct dns_exchange *exchange)
{
    size_t total = LENGTH_BYTES + exchange->query.length;
    ssize_t sent = send_query(exchange, exchange->sent_bytes);
    if (sent < 0 && errno != EAGAIN) {
        fail_with_error(exchange, errno, "cannot ask");
        return;
    }
    exchange->sent_bytes += sent > 0 ? (size_t)sent : 0;
    loop_watch_for(&exchange->watch, exchange->sent_bytes < total ? EPOLLOUT : EPOLLIN);
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct dns_exchange *exchange = CONTAINER_OF(watch, struct dns_exchange, watch);
    if (!exchange->is_stream) {
        read_datagrams(exchange);
    } else if ((events & EPOLLOUT) != 0) {
        write_stream(exchange);
    } else {
        read_stream(exchange);
    }
}

static bool watch_socket(struct dns_exchange *exchange, int descriptor, uint32_t events)
{
    struct result watched = loop_watch(exchange->loop, &exchange->watch, descriptor, events);
    if (!result_is_ok(&watched)) {
        (void)close(descriptor);
        fail_later(exchange, watched);
        return false;
    }
    return true;
}

static void on_connected(struct connector *connector, int descriptor, const struct result *failure)
{
    struct dns_exchange *exchange = CONTAINER_OF(connector, struct dns_exchange, connector);
    if (descriptor < 0) {
        struct result reason = *failure;
        fail(exchange, &reason);
    } else if (watch_socket(exchange, descriptor, EPOLLOUT)) {
        write_stream(exchange);
    }
}

static void use_socket(struct dns_exchange *exchange, int descriptor)
{
    if (exchange->is_stream) {
        exchange->connector.on_result = on_connected;
        connector_start(&exchange->connector, exchange->loop, descriptor, &exchange->server, 0);
        return;
    }
    /* Connected: the kernel delivers this server's datagrams only, and its refusals. */
    int error = socket_connect(descriptor, &exchange->server);
    if (error != 0) {
        (void)close(descriptor);
        char server[SOCKET_ADDRESS_TEXT_SIZE];
        fail_later(exchange,
            result_system(error, "cannot reach name server %s", socket_address_format(&exchange->server, server)));
    } else if (watch_socket(exchange, descriptor, EPOLLIN)) {
        send_datagram(exchange);
    }
}

static void on_socket(struct socket_wait *wait, int descriptor, const struct result *failure)
{
    struct dns_exchange *exchange = CONTAINER_OF(wait, struct dns_exchange, wait);
    if (descriptor < 0) {
        fail_later(exchange, *failure);
    } else {
        use_socket(exchange, descriptor);
    }
}

void dns_exchange_start(struct dns_exchange *exchange, struct loop *loop, struct socket_stock *stock,
    const struct socket_address *server, bool is_stream, struct bytes query, const struct dns_question *question)
{
    exchange->loop = loop;
    exchange->server = *server;
    exchange->is_stream = is_stream;
    exchange->query = query;
    exchange->question = *question;
    exchange->is_running = true;
    exchange->strays = 0;
    exchange->sent_bytes = 0;
    exchange->received = writer_growing();
    exchange->watch.on_ready = on_ready;
    exchange->wait.on_socket = on_socket;
    exchange->failing.run = run_failing;
    list_initialise(&exchange->failing.link);
    random_bytes(&exchange->id, sizeof exchange->id);
    int descriptor = socket_stock_take(stock, &exchange->wait);
    if (descriptor >= 0) {
        use_socket(exchange, descriptor);
    } else if (descriptor != -EAGAIN) {
        fail_later(exchange, result_fail(RESULT_LIMIT, "too many connections wait for sockets"));
    }
}

void dns_exchange_repeat(struct dns_exchange *exchange)
{
    if (exchange->is_running && !exchange->is_stream && exchange->watch.loop != NULL) {
        send_datagram(exchange);
    }
}
