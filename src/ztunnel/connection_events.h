/* The last events of one connection: a ring of eight words inside the connection itself, written on every change of state and
 * shown when it fails (log, refusals on the admin page) and in /debug/connections. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_CONNECTION_EVENTS_H
#define AMBAR_ZTUNNEL_CONNECTION_EVENTS_H

#include <stdint.h>

struct writer;

enum connection_event {
    EVENT_STAGE,  /* detail: enum connection_stage */
    EVENT_DENIED, /* by policy */

    EVENT_CONNECT_SENT, /* detail: stream id, its low 16 bits */
    EVENT_STATUS,       /* detail: status of the answer to the CONNECT */
    EVENT_DIAL,         /* detail: port */
    EVENT_RETRY,        /* on another tunnel */
    EVENT_STREAM_RESET, /* detail: code of RST_STREAM */

    EVENT_CUT, /* detail: enum response_flag */

};

#define CONNECTION_EVENTS_KEPT 8

struct connection_events {
    /* 40 bits of microseconds since accept, 8 of event, 16 of detail */
    uint64_t ring[CONNECTION_EVENTS_KEPT];
    uint32_t count; /* of all there were */
};

void connection_events_add(
    struct connection_events *events, enum connection_event event, uint32_t detail, uint64_t since_accept_ns);

/* "accepted+0us routed+12us dial:8080+15us ...", oldest first. */
void connection_events_write(const struct connection_events *events, struct writer *out);

#endif
