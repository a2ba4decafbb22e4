/* Further workers for a pod whose home worker is saturated (shared mode).
 *
 * A pod has its listeners on its home worker. While that one has no processor left and another has, new connections, whole inbound
 * tunnels among them, are handed over to an *extension* of the pod there at accept, never later: a pod without listeners that
 * has sockets, tunnels and accounts of its own and is seen by dumps and metrics like any other. An extension ends with its pod,
 * which waits for it. The pod's worker's thread. */
#ifndef AMBAR_ZTUNNEL_POD_SPREAD_H
#define AMBAR_ZTUNNEL_POD_SPREAD_H

#include "ztunnel/pod.h"

struct pod_spread;

/* True: the connection is another worker's business now. */
bool pod_spread_takes(struct pod *pod, enum pod_listener place, int descriptor, const struct socket_address *peer);

/* Like pod_drain, for all extensions. Nothing is handed over afterwards. */
void pod_spread_drain(struct pod *pod, uint64_t deadline_ms);

/* Whether no extension is left. */
bool pod_spread_is_over(const struct pod *pod);

/* Only when it is over; NULL is allowed. */
void pod_spread_free(struct pod_spread *spread);

#endif
