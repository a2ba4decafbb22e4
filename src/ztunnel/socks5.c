#include "ztunnel/socks5.h"

#include "base/memory.h"
#include "base/random.h"
#include "net/socket.h"
#include "ztunnel/dns_query.h"
#include "ztunnel/outbound.h"
#include "ztunnel/socks5_message.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct socks5_client {
    struct list link; /* pod->socks5_clients */
    struct pod *pod;
    struct io_watch watch;
    struct timer deadline;
    struct socket_address peer;
    bool is_greeted;
    uint8_t received[SOCKS5_MESSAGE_BYTES_MAXIMUM];
    size_t received_length;
    struct socks5_request request;
    struct dns_query query;
};

/* The descriptor is the caller's afterwards. */
static int release(struct socks5_client *client)
{
    int descriptor = client->watch.descriptor;
    dns_query_cancel(&client->query);
    timer_disarm(&client->deadline);
    loop_unwatch(&client->watch);
    list_remove(&client->link);
    client->pod->socks5_client_count--;
    memory_free(client);
    return descriptor;
}

static void end(struct socks5_client *client)
{
    struct pod *pod = client->pod;
    socket_close_cleanly(release(client));
    pod_check_drained(pod);
}

static bool send_all(int descriptor, const uint8_t *bytes, size_t length)
{
    /* A few bytes on a fresh connection: they fit in its buffer, or the client is no client. */
    return send(descriptor, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
}

static void refuse(struct socks5_client *client, enum socks5_status status)
{
    uint8_t reply[SOCKS5_REPLY_BYTES];
    socks5_reply(status, reply);
    (void)send_all(client->watch.descriptor, reply, sizeof reply);
    (void)shutdown(client->watch.descriptor, SHUT_WR);
    end(client);
}

/* The client is told of success before anybody was dialled, as by the reference. */
static void go_on(struct socks5_client *client)
{
    struct pod *pod = client->pod;
    struct socket_address peer = client->peer;
    struct socket_address target = client->request.target;
    uint8_t reply[SOCKS5_REPLY_BYTES];
    socks5_reply(SOCKS5_SUCCEEDED, reply);
    if (!send_all(client->watch.descriptor, reply, sizeof reply)) {
        end(client);
        return;
    }
    int descriptor = release(client);
    outbound_start(pod, descriptor, &peer, &target);
}

static enum dns_type wanted_type(const struct socks5_client *client)
{
    return client->peer.ip.family == IP_V6 ? DNS_TYPE_AAAA : DNS_TYPE_A;
}

static void on_name(struct dns_query *query, struct bytes answer)
{
    struct socks5_client *client = CONTAINER_OF(query, struct socks5_client, query);
    if (answer.length > 0 && dns_response_address(answer, wanted_type(client), &client->request.target.ip)) {
        go_on(client);
    } else {
        refuse(client, SOCKS5_HOST_UNREACHABLE);
    }
}

static void resolve(struct socks5_client *client)
{
    struct writer query = writer_growing();
    bool is_name = dns_query_write(client->request.name, wanted_type(client), (uint16_t)random_u64(), &query);
    if (client->pod->dns == NULL || !is_name) {
        writer_free(&query);
        refuse(client, SOCKS5_HOST_UNREACHABLE);
        return;
    }
    loop_watch_for(&client->watch, 0);
    client->query.on_answer = on_name;
    dns_query_start(&client->query, client->pod->dns, writer_bytes(&query), false);
    writer_free(&query);
}

static void on_request(struct socks5_client *client)
{
    if (client->request.target.ip.family == IP_NONE) {
        resolve(client);
    } else {
        go_on(client);
    }
}

/* True: a message is complete, and what is to be done with it was done. */
static enum socks5_reading read_message(struct socks5_client *client, size_t *needed)
{
    struct bytes received = bytes_of(client->received, client->received_length);
    return client->is_greeted ? socks5_request_read(received, &client->request, needed)
                              : socks5_greeting_read(received, needed);
}

/* False: the client is waited for, or gone. */
static bool receive(struct socks5_client *client, size_t needed)
{
    ssize_t length = recv(client->watch.descriptor, client->received + client->received_length,
        needed - client->received_length, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (length <= 0) {
        end(client);
        return false;
    }
    client->received_length += (size_t)length;
    return true;
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct socks5_client *client = CONTAINER_OF(watch, struct socks5_client, watch);
    if ((events & EPOLLIN) == 0) {
        end(client); /* it was reset while its name was being resolved */
        return;
    }
    for (;;) {
        size_t needed;
        switch (read_message(client, &needed)) {
        case SOCKS5_BAD:
            refuse(client, SOCKS5_COMMAND_NOT_SUPPORTED);
            return;
        case SOCKS5_NEEDS_MORE:
            if (!receive(client, needed)) {
                return;
            }
            break;
        case SOCKS5_READ:
            if (client->is_greeted) {
                on_request(client);
                return;
            }
            client->is_greeted = true;
            client->received_length = 0;
            if (!send_all(watch->descriptor, (const uint8_t[]){ 5, 0 }, 2)) {
                end(client);
                return;
            }
            break;
        }
    }
}

static void on_deadline(struct timer *timer)
{
    refuse(CONTAINER_OF(timer, struct socks5_client, deadline), SOCKS5_GENERAL_FAILURE);
}

void socks5_accept(struct pod *pod, int descriptor, const struct socket_address *peer)
{
    struct socks5_client *client = NEW(struct socks5_client);
    client->pod = pod;
    client->peer = *peer;
    client->watch.on_ready = on_ready;
    client->deadline.on_expire = on_deadline;
    struct result watched = loop_watch(pod->worker->loop, &client->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched) || pod->socks5_client_count >= SOCKS5_CLIENTS_OF_POD_MAXIMUM) {
        loop_unwatch(&client->watch);
        (void)close(descriptor);
        memory_free(client);
        return;
    }
    timer_arm_after_ms(pod->worker->loop, &client->deadline, SOCKS5_DEADLINE_MS);
    list_append(&pod->socks5_clients, &client->link);
    pod->socks5_client_count++;
}

void socks5_cut(struct pod *pod)
{
    LIST_FOR_EACH(link, &pod->socks5_clients) {
        end(LIST_ENTRY(link, struct socks5_client, link));
    }
}
