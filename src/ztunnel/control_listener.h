/*
 * A port of the control thread (admin, readiness, metrics), opened and told of in the log as the ports of pods are
 * (ztunnel-management §9.2: `listener established` with address and component).
 *
 * Thread: the control thread.
 */
#ifndef AMBAR_ZTUNNEL_CONTROL_LISTENER_H
#define AMBAR_ZTUNNEL_CONTROL_LISTENER_H

#include "base/address.h"
#include "base/result.h"
#include "http/http1_server.h"

/* Lets `server` listen on `address` as well. `component` is the log's word for the port: readiness, admin or stats. */
struct result control_listener_open(
    struct http1_server *server, const struct socket_address *address, const char *component);

#endif
