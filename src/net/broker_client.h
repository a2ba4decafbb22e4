/* A thread's way to ask the broker. One client a thread; all calls and callbacks on the loop's thread. Callbacks are never
 * called from within the call that asked, and exactly once unless cancelled. Calls are answered in the order asked. */
#ifndef AMBAR_NET_BROKER_CLIENT_H
#define AMBAR_NET_BROKER_CLIENT_H

#include "base/list.h"
#include "net/broker_protocol.h"

#define BROKER_OWN_NAMESPACE_HANDLE 0

/* One question under way. Embed it; zero it; set on_answer. It must stay alive until answered or cancelled. */
struct broker_call {
    /* Takes over the answer's descriptors; may free the object around the call. */
    void (*on_answer)(struct broker_call *call, struct broker_answer *answer);

    /* The client's own. */
    struct broker_client *client; /* NULL when idle */
    struct list link;
    struct broker_request request;
    int passed_descriptor; /* a duplicate to send along, or -1 */
};

struct broker_client;

/* `channel` < settings.channel_count; 0 is by custom the control thread's. */
struct broker_client *broker_client_new(struct broker *broker, unsigned channel, struct loop *loop);
/* Calls under way are forgotten without an answer. */
void broker_client_free(struct broker_client *client);
struct loop *broker_client_loop(const struct broker_client *client);

/* Makes a namespace known to the broker, for all clients. `descriptor` is duplicated. */
void broker_register_namespace(struct broker_client *client, struct broker_call *call, int descriptor);
/* The broker closes its descriptor; later requests with the handle are refused. No answer is awaited. */
void broker_forget_namespace(struct broker_client *client, uint32_t namespace_handle);
/* One descriptor in the answer. */
void broker_make_listener(struct broker_client *client, struct broker_call *call, uint32_t namespace_handle,
    const struct listener_options *options);
/* 1 to BROKER_SOCKETS_A_MESSAGE connecting sockets; see socket_stock.h for the usual way. `flags`: enum socket_flags. */
void broker_make_sockets(struct broker_client *client, struct broker_call *call, uint32_t namespace_handle,
    enum ip_family family, uint8_t flags, unsigned count);

/* Idempotent. The answer, when it comes, is dropped and its descriptors closed. */
void broker_call_cancel(struct broker_call *call);
static inline bool broker_call_is_pending(const struct broker_call *call)
{
    return call->client != NULL;
}

#endif
