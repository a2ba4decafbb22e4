/* The inside of the delta client, shared by its stream (connection, backoff, subscriptions) and by the walk of a response. */
#ifndef AMBAR_XDS_DELTA_CLIENT_STATE_H
#define AMBAR_XDS_DELTA_CLIENT_STATE_H

#include "base/hash_map.h"
#include "net/loop.h"
#include "xds/delta_client.h"
#include "xds/delta_response.h"
#include "xds/version_table.h"

#define DELTA_LOG_TARGET "ztunnel::xds::client"

/* A name asked for on demand and not answered yet. */
struct pending_name {
    struct list waiters;
    bool is_answered; /* in the response being walked */
    bool is_found;
};

/* What is remembered of one type. */
struct watched_type {
    struct version_table *held;
    struct hash_map *pending; /* name -> struct pending_name */
    size_t answered_count;
    bool is_acknowledged; /* once, since the start of the process */
    bool sweeps_left_out; /* the next response ends with the removal of marked names */
};

struct delta_client {
    struct loop *loop;
    struct buffer_pool *pool;
    struct delta_client_settings settings;
    uint8_t *node;
    struct watched_type types[DELTA_TYPES_MAXIMUM];
    struct grpc_channel *channel;
    struct grpc_call *call; /* NULL between streams */
    struct timer retry;
    uint64_t backoff_ms;
    uint64_t attempt; /* which stream this is, counted from 1: the id of its log lines' span */
    bool is_connected;
    bool was_ready;

    /* The response being walked. */
    bool is_walking;
    struct delta_response response;
    int type;                /* of the resources so far; TYPE_UNKNOWN before the first */
    bool has_begun;          /* the consumer was told */
    bool contradicts_itself; /* resources of two types */
    struct writer nack;
    size_t rejected_count;
    size_t value_bytes; /* of its resources */
    uint32_t *touched;  /* handles of versions recorded in this response, in case it is aborted */
    size_t touched_count, touched_capacity;
};

/* The response that begins, as far as it goes; the next piece is fed to `client->response`. */
void delta_walk_begin(struct delta_client *client);
/* The span `xds{id}` of this stream's log lines, in the caller's memory. */
const struct log_spans *delta_spans(const struct delta_client *client, struct log_spans *memory);
#define DELTA_SPANS(client_) delta_spans((client_), &(struct log_spans){ 0 })

/* The whole response is here: applies its rest, commits, acknowledges, answers who waited. */
void delta_walk_complete(struct delta_client *client);
/* The rest will not come, or is wrong: what the consumer was shown is not to be published. Idempotent. */
void delta_walk_abort(struct delta_client *client);

/* Tells all who wait for the name, and frees it. */
void delta_pending_answer(struct pending_name *pending);

#endif
