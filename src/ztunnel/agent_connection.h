/* The connection to the node agent (ztunnel-management §6): dialled, lost, dialled again with growing pauses; one request read
 * at a time and answered once. What the requests mean is the owner's affair. Control thread.
 *
 * Bounded whatever the agent does: nothing more is read while a request is unanswered, a datagram that is no request ends the
 * connection, and an answer that the agent does not take ends it, too. The proxy never speaks unasked. */
#ifndef AMBAR_ZTUNNEL_AGENT_CONNECTION_H
#define AMBAR_ZTUNNEL_AGENT_CONNECTION_H

#include "net/loop.h"
#include "xds/zds.h"

struct agent_connection;

struct agent_connection_events {
    /* To be answered once by agent_connection_answer or _refuse, now or later. `descriptor` (add only) is the callee's. */
    void (*on_request)(void *context, const struct zds_request *request, int descriptor);
    /* The connection is gone, and with it whatever was unanswered; another one is dialled by and by. Not after _free. */
    void (*on_lost)(void *context);
};

/* Dials in the next turn. `path` is borrowed. */
struct agent_connection *agent_connection_new(
    struct loop *control, const char *path, const struct agent_connection_events *events, void *context);
/* Hangs up. NULL is allowed. */
void agent_connection_free(struct agent_connection *connection);

/* `error` NULL: done. May call on_lost. */
void agent_connection_answer(struct agent_connection *connection, const char *error);
/* The agent broke the protocol: it is told, and the connection ends. Calls on_lost. */
void agent_connection_refuse(struct agent_connection *connection, const char *error);
/* All is well: the next pause before dialling is the shortest again. */
void agent_connection_settle(struct agent_connection *connection);

#endif
