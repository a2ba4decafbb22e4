/* The agent's side of ZDS: the socket that node proxies connect to, and what all of them, or the newest, are told (cni §6). During an
 * upgrade of the proxy two are connected: the newest gets new pods, all hear of pods that go. The agent's thread. */
#ifndef AMBAR_CNI_PROXY_SERVER_H
#define AMBAR_CNI_PROXY_SERVER_H

#include "cni/proxy_connection.h"

#define PROXY_CONNECTIONS_MAXIMUM 16
#define PROXY_ACCEPT_INTERVAL_MS 200 /* at most five a second */

struct proxy_server;

/* Replaces a stale socket at `path`, and listens. `enrolments` are borrowed. */
struct result proxy_server_new(
    struct loop *loop, const char *path, const struct enrolment_table *enrolments, struct proxy_server **server);
/* Ends every connection and removes the socket. NULL is allowed. */
void proxy_server_free(struct proxy_server *server);

size_t proxy_server_connection_count(const struct proxy_server *server);
/* The number of the connection that proxy_server_add would use; 0: none. */
uint64_t proxy_server_newest(const struct proxy_server *server);

/* Tells the newest proxy of a pod; fails with "no ztunnel connection" when there is none. Both functions call `done` (may be NULL)
 * exactly once, maybe before they return. */
void proxy_server_add(
    struct proxy_server *server, const struct enrolment *enrolment, proxy_update_done *done, void *context);

/* Tells every proxy that a pod is gone; done when all have answered or left. What they answer is only logged. */
void proxy_server_delete(struct proxy_server *server, const char *uid, proxy_update_done *done, void *context);

#endif
