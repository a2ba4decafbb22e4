#include "net/broker_client.h"

#include "net/broker_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Answers of so many calls fit into the channel's buffers, so that the broker hardly ever has to keep one back. */
#define CALLS_IN_FLIGHT_MAXIMUM 64
#define ANSWERS_A_TURN 32

struct broker_client {
    struct broker *broker;
    struct loop *loop;
    int channel;
    struct io_watch watch;
    struct timer work;  /* answers given without the broker or instead of it: always in a later turn */
    struct list queued; /* not sent yet, oldest first */
    struct list in_flight;
    unsigned in_flight_count;
    uint32_t last_sequence;
    bool is_gone; /* the broker is */
};

/* A forgotten namespace's call belongs to nobody else. */
struct forgetting {
    struct broker_call call;
};

static void on_forgotten(struct broker_call *call, struct broker_answer *answer)
{
    (void)answer; /* a handle the broker does not know is forgotten, too */
    memory_free(CONTAINER_OF(call, struct forgetting, call));
}

/* Takes the call off its list and makes it the owner's again. */
static void release_call(struct broker_call *call)
{
    list_remove(&call->link);
    if (call->passed_descriptor >= 0) {
        (void)close(call->passed_descriptor);
        call->passed_descriptor = -1;
    }
    call->client = NULL;
}

static bool is_without_broker(const struct broker_client *client)
{
    return broker_settings_of(client->broker)->mode == BROKER_NONE;
}

/* The answer of a broker that is gone. */
static void fail_call(struct broker_call *call)
{
    struct broker_answer answer = { .result = result_fail(RESULT_UNAVAILABLE, "the socket broker has ended") };
    release_call(call);
    call->on_answer(call, &answer);
}

static void lose_broker(struct broker_client *client)
{
    client->is_gone = true;
    loop_unwatch(&client->watch);
    timer_arm_after_ms(client->loop, &client->work, 0);
}

/* False: the broker does not take any more for now. */
static bool send_call(struct broker_client *client, struct broker_call *call)
{
    uint8_t memory[BROKER_REQUEST_BYTES];
    struct writer writer = writer_fixed(memory, sizeof memory);
    broker_request_write(&call->request, &writer);
    int error =
        broker_send(client->channel, writer_bytes(&writer), &call->passed_descriptor, call->passed_descriptor >= 0);
    if (error == -EAGAIN) {
        return false;
    }
    if (error != 0) {
        lose_broker(client);
        return false;
    }
    if (call->passed_descriptor >= 0) {
        (void)close(call->passed_descriptor);
        call->passed_descriptor = -1;
    }
    list_remove(&call->link);
    list_append(&client->in_flight, &call->link);
    client->in_flight_count++;
    return true;
}

static void send_queued(struct broker_client *client)
{
    bool is_blocked = false;
    while (!client->is_gone && !is_blocked && !list_is_empty(&client->queued) &&
           client->in_flight_count < CALLS_IN_FLIGHT_MAXIMUM) {
        is_blocked = !send_call(client, LIST_ENTRY(client->queued.next, struct broker_call, link));
    }
    loop_watch_for(&client->watch, EPOLLIN | (is_blocked ? (uint32_t)EPOLLOUT : 0));
}

/* Answers come in the order of the calls: one that does not fit the oldest call was for one that was cancelled. */
static void deliver_answer(struct broker_client *client, struct broker_answer *answer)
{
    struct broker_call *call =
        list_is_empty(&client->in_flight) ? NULL : LIST_ENTRY(client->in_flight.next, struct broker_call, link);
    client->in_flight_count -= client->in_flight_count > 0 ? 1 : 0;
    if (call == NULL || call->request.sequence != answer->sequence) {
        broker_answer_close_descriptors(answer);
        return;
    }
    release_call(call);
    call->on_answer(call, answer);
}

/* False when there is nothing more to read now. */
static bool read_answer(struct broker_client *client)
{
    uint8_t buffer[BROKER_ANSWER_BYTES_MAXIMUM];
    struct broker_answer answer;
    int descriptors[BROKER_SOCKETS_A_MESSAGE];
    unsigned descriptor_count;
    ssize_t length = broker_receive(client->channel, buffer, sizeof buffer, descriptors, &descriptor_count);
    if (length == -EAGAIN || length == -EINTR) {
        return false;
    }
    bool is_valid = length > 0 && broker_answer_read(bytes_of(buffer, (size_t)length), &answer) &&
                    answer.descriptor_count == descriptor_count;
    if (!is_valid) {
        for (unsigned i = 0; i < descriptor_count; i++) {
            (void)close(descriptors[i]);
        }
        lose_broker(client);
        return false;
    }
    memcpy(answer.descriptors, descriptors, descriptor_count * sizeof descriptors[0]);
    deliver_answer(client, &answer);
    return true;
}

static void on_channel_ready(struct io_watch *watch, uint32_t events)
{
    struct broker_client *client = CONTAINER_OF(watch, struct broker_client, watch);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        for (int i = 0; i < ANSWERS_A_TURN && !client->is_gone && read_answer(client); i++) {
        }
    }
    send_queued(client);
}

/* What the broker does, done by this process. */
static void do_in_place(struct broker_client *client, struct broker_call *call)
{
    struct broker_answer answer = { .result = result_ok(), .sequence = call->request.sequence };
    if (call->request.type == BROKER_REGISTER_NAMESPACE ||
        call->request.namespace_handle != BROKER_OWN_NAMESPACE_HANDLE) {
        answer.result =
            result_fail(RESULT_UNSUPPORTED, "without a socket broker there is no namespace but the own one");
    } else {
        broker_make_here(&broker_settings_of(client->broker)->sockets, &call->request, &answer);
    }
    release_call(call);
    call->on_answer(call, &answer);
}

static void on_work(struct timer *timer)
{
    struct broker_client *client = CONTAINER_OF(timer, struct broker_client, work);
    while (!list_is_empty(&client->in_flight)) {
        fail_call(LIST_ENTRY(client->in_flight.next, struct broker_call, link));
    }
    /* Calls made by the callbacks are for the next turn, lest one that tries again at once hold up this one for ever. */
    uint32_t last_sequence = client->last_sequence;
    while (!list_is_empty(&client->queued)) {
        struct broker_call *call = LIST_ENTRY(client->queued.next, struct broker_call, link);
        if ((int32_t)(call->request.sequence - last_sequence) > 0) {
            return;
        }
        if (client->is_gone) {
            fail_call(call);
        } else {
            do_in_place(client, call);
        }
    }
}

struct broker_client *broker_client_new(struct broker *broker, unsigned channel, struct loop *loop)
{
    struct broker_client *client = NEW(struct broker_client);
    client->broker = broker;
    client->loop = loop;
    client->channel = broker_channel(broker, channel);
    client->work.on_expire = on_work;
    list_initialise(&client->queued);
    list_initialise(&client->in_flight);
    if (!is_without_broker(client)) {
        client->watch.on_ready = on_channel_ready;
        struct result watched = loop_watch(loop, &client->watch, client->channel, EPOLLIN);
        client->is_gone = !result_is_ok(&watched);
    }
    return client;
}

static void forget_calls(struct list *calls)
{
    struct list *first;
    while ((first = list_take_first(calls)) != NULL) {
        struct broker_call *call = LIST_ENTRY(first, struct broker_call, link);
        release_call(call);
        if (call->on_answer == on_forgotten) {
            on_forgotten(call, NULL);
        }
    }
}

void broker_client_free(struct broker_client *client)
{
    if (client == NULL) {
        return;
    }
    loop_unwatch(&client->watch);
    timer_disarm(&client->work);
    forget_calls(&client->queued);
    forget_calls(&client->in_flight);
    memory_free(client);
}

struct loop *broker_client_loop(const struct broker_client *client)
{
    return client->loop;
}

static void start_call(struct broker_client *client, struct broker_call *call, const struct broker_request *request)
{
    call->client = client;
    call->request = *request;
    call->request.sequence = ++client->last_sequence;
    list_initialise(&call->link);
    list_append(&client->queued, &call->link);
    if (client->is_gone || is_without_broker(client)) {
        timer_arm_after_ms(client->loop, &client->work, 0);
    } else {
        send_queued(client);
    }
}

void broker_register_namespace(struct broker_client *client, struct broker_call *call, int descriptor)
{
    struct broker_request request = { .type = BROKER_REGISTER_NAMESPACE };
    /* Without a duplicate (no descriptors left) the broker refuses the request. */
    call->passed_descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    start_call(client, call, &request);
}

void broker_forget_namespace(struct broker_client *client, uint32_t namespace_handle)
{
    struct broker_request request = { .type = BROKER_FORGET_NAMESPACE, .namespace_handle = namespace_handle };
    struct forgetting *forgetting = NEW(struct forgetting);
    forgetting->call.on_answer = on_forgotten;
    forgetting->call.passed_descriptor = -1;
    start_call(client, &forgetting->call, &request);
}

void broker_make_listener(struct broker_client *client, struct broker_call *call, uint32_t namespace_handle,
    const struct listener_options *options)
{
    struct broker_request request = {
        .type = BROKER_MAKE_LISTENER,
        .flags = options->flags,
        .namespace_handle = namespace_handle,
        .backlog = options->backlog,
        .address = options->address,
    };
    call->passed_descriptor = -1;
    start_call(client, call, &request);
}

void broker_make_sockets(struct broker_client *client, struct broker_call *call, uint32_t namespace_handle,
    enum ip_family family, uint8_t flags, unsigned count)
{
    struct broker_request request = {
        .type = BROKER_MAKE_SOCKETS,
        .family = (uint8_t)family,
        .flags = flags,
        .count = (uint8_t)count,
        .namespace_handle = namespace_handle,
    };
    call->passed_descriptor = -1;
    start_call(client, call, &request);
}

void broker_call_cancel(struct broker_call *call)
{
    if (call->client != NULL) {
        release_call(call);
    }
}
