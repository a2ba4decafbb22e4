/* The CONNECT of an outbound connection: its authority and what it says beside it (ztunnel-dataplane §7). Worker's thread. */
#ifndef AMBAR_ZTUNNEL_CONNECT_REQUEST_H
#define AMBAR_ZTUNNEL_CONNECT_REQUEST_H

#include "http/hbone_session.h"
#include "ztunnel/connect_headers.h"

#include <stdbool.h>

struct connection;

/* `traceparent` is made when it is "", and the same for every try. `names_network`: for the proxy behind a gateway. NULL: the
 * tunnel had no room for another stream. */
struct hbone_stream *connect_request_send(struct connection *connection, struct hbone_session *session,
    char traceparent[static TRACEPARENT_TEXT_SIZE], bool names_network, const struct hbone_stream_events *events,
    void *context);

#endif
