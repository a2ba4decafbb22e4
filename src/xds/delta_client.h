/* The delta xDS client: one stream to the control plane, kept up for ever, on the control thread (ztunnel-management §3,
 * wire-protocols §10.4).
 *
 * A response is walked as it arrives and given to the consumer one resource at a time between begin and commit, so that it
 * publishes one version of the model per response and no response is ever held whole. Rejected resources are NACKed by
 * name, the others stay applied. What was accepted is remembered by name and version for the next reconnect. */
#ifndef AMBAR_XDS_DELTA_CLIENT_H
#define AMBAR_XDS_DELTA_CLIENT_H

#include "base/list.h"
#include "base/result.h"
#include "xds/control_plane.h"

#define DELTA_TYPES_MAXIMUM 4
#define DELTA_RESPONSE_MAXIMUM_BYTES (200u * 1024 * 1024)
#define DELTA_RESOURCES_MAXIMUM 1000000                 /* of one type; a further one is rejected by name */
#define DELTA_UNREAD_MAXIMUM_BYTES (8u * 1024 * 1024)   /* of our requests: a control plane that only talks is left */
#define DELTA_RESOURCE_MAXIMUM_BYTES (4u * 1024 * 1024) /* a larger one is rejected by name */

struct delta_client;

/* One resource; borrowed for the call. */
struct delta_resource {
    struct bytes name;
    struct bytes version;
    struct bytes value; /* the serialised message inside the Any */
};

enum delta_termination { DELTA_CONNECTION_ERROR, DELTA_RECONNECT, DELTA_ERROR, DELTA_COMPLETE };
/* "ConnectionError", "Reconnect", "Error", "Complete": the metric's label. */
const char *delta_termination_name(enum delta_termination reason);

/* Who applies what arrives. `type` is the index in the table of types. begin comes before the first resource of a
 * response; then resources in wire order, then removals, then commit. A response cut short by the end of its stream, or
 * that contradicts itself, ends in abort instead: what was given since begin must not be published. */
struct delta_consumer {
    void *context;
    void (*begin)(void *context, int type);
    struct result (*update)(void *context, int type, const struct delta_resource *resource); /* a failure rejects it */
    void (*remove)(void *context, int type, struct bytes name);
    void (*commit)(void *context, int type);
    void (*abort)(void *context, int type);
    /* Every type of the table that is not on demand has been accepted whole once: a NACK does not count. May be NULL. */
    void (*on_ready)(void *context);
    /* For metrics; may be NULL. `value_bytes`: of the messages in the resources; `rejected_count`: resources the response was NACKed for. */
    void (*on_response)(void *context, const char *type_url, size_t value_bytes, size_t rejected_count);
    void (*on_termination)(void *context, enum delta_termination reason);
    void (*on_connection)(void *context, bool is_up); /* may be NULL */
};

struct delta_type {
    const char *type_url;
    bool is_on_demand;    /* starts with nothing; resources are asked for by name */
    bool skips_unchanged; /* the consumer is not shown a resource again whose contents it has accepted already */
};

struct delta_client_settings {
    struct control_plane_settings control_plane;
    struct bytes node;              /* serialised, see node.h */
    const struct delta_type *types; /* in the order of the first requests; the table outlives the client */
    size_t type_count;
    struct delta_consumer consumer;
};

/* Everything pointed to by `settings.control_plane` must outlive the client; the node is copied. */
struct delta_client *delta_client_new(
    struct loop *loop, struct buffer_pool *pool, const struct delta_client_settings *settings);
void delta_client_start(struct delta_client *client);
/* Ends the stream; waiters are answered with false. */
void delta_client_free(struct delta_client *client);

bool delta_client_is_connected(const struct delta_client *client);
size_t delta_client_resource_count(const struct delta_client *client, int type);

/* Someone who waits for one resource by exactly this name. Embed it. */
struct delta_waiter {
    struct list link; /* the client's */
    /* The resource was applied (true), or the control plane said that it does not exist (false). */
    void (*on_answer)(struct delta_waiter *waiter, bool is_found);
};
/* Subscribes to the name if it is not subscribed yet and calls the waiter once it is answered: at once (true is returned, on_answer
 * is not called) when the resource is already held. RESULT_LIMIT when too many names are waited for. */
struct result delta_client_demand(
    struct delta_client *client, int type, struct bytes name, struct delta_waiter *waiter, bool *is_held);
void delta_client_stop_waiting(struct delta_waiter *waiter); /* idempotent */

#endif
