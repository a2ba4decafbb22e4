/* One node proxy's connection to the agent (cni §6): hello, the snapshot of all enrolled pods, then updates, one request at a time and
 * each answered within five seconds.
 *
 * Any message that nobody asked for, any descriptor from the proxy, and any missed deadline end the connection: answers carry no id, so
 * after a late one nothing could be told apart. The proxy comes back and gets a new snapshot. The agent's thread. */
#ifndef AMBAR_CNI_PROXY_CONNECTION_H
#define AMBAR_CNI_PROXY_CONNECTION_H

#include "base/list.h"
#include "base/result.h"
#include "cni/enrolment.h"
#include "net/loop.h"
#include "xds/zds.h"

#define PROXY_DEADLINE_MS 5000
#define PROXY_UPDATES_MAXIMUM 100 /* waiting on one connection */

struct proxy_connection;

/* Hears how an update ended. May make and send further updates; must not free the connection. */
typedef void proxy_update_done(void *context, const struct result *result);

struct proxy_connection_settings {
    struct loop *loop;
    const struct enrolment_table *enrolments; /* borrowed; read when the snapshot is sent */
    unsigned deadline_ms;                     /* 0: PROXY_DEADLINE_MS */
    /* The connection has ended: it is off no list yet, and fails its updates after this call. Then it frees itself. */
    void (*on_end)(struct proxy_connection *connection, void *context);
    void *context;
};

/* Takes the non-blocking socket. */
struct result proxy_connection_new(
    const struct proxy_connection_settings *settings, int socket, struct proxy_connection **connection);
/* Without a call of on_end; updates that wait are failed. */
void proxy_connection_free(struct proxy_connection *connection);

/* Queue one update behind the snapshot and what waits already. `done` (may be NULL) is called exactly once; before the return only when
 * it cannot be queued. The Add's descriptor is duplicated. */
void proxy_connection_add(
    struct proxy_connection *connection, const struct enrolment *enrolment, proxy_update_done *done, void *context);
void proxy_connection_delete(
    struct proxy_connection *connection, const char *uid, proxy_update_done *done, void *context);

/* For the owner's list. */
struct list *proxy_connection_link(struct proxy_connection *connection);
struct proxy_connection *proxy_connection_of_link(struct list *link);
/* 1, 2, 3 ... in the order in which they came; for logs. */
uint64_t proxy_connection_number(const struct proxy_connection *connection);

#endif
