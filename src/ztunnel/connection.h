/* One connection of an application through this proxy, from accept to close: who, where, how far it got, how much went through,
 * how it ended. Access log, metrics, limits, policy checks and the admin page all read this object. It is the first member of
 * each kind of connection (outbound, inbound stream, passthrough). Worker's thread. */
#ifndef AMBAR_ZTUNNEL_CONNECTION_H
#define AMBAR_ZTUNNEL_CONNECTION_H

#include "base/address.h"
#include "base/list.h"
#include "base/spiffe.h"
#include "mesh/version.h"
#include "net/relay_end.h"
#include "telemetry/metric.h"
#include "ztunnel/connection_events.h"

struct pod;
struct json_writer;
struct writer;

enum connection_direction { CONNECTION_OUTBOUND, CONNECTION_INBOUND };
enum connection_protocol { CONNECTION_TCP, CONNECTION_HBONE, CONNECTION_DOUBLE_HBONE };

/* Longest ":authority" of ours: a host name and a port. */
#define CONNECTION_AUTHORITY_TEXT_SIZE (MESH_TEXT_MAXIMUM + 8)

/* Each is passed at most once; the time of passing is kept. */
enum connection_stage {
    STAGE_ACCEPTED,
    STAGE_WORKLOAD_KNOWN,
    STAGE_ROUTED,
    STAGE_AUTHORIZED,
    STAGE_TUNNEL_READY,     /* a tunnel with room was at hand (outbound), its handshake included */
    STAGE_CONNECT_ANSWERED, /* the peer answered the CONNECT */
    STAGE_DIALLED,          /* the plain upstream or the application accepted */
    STAGE_FIRST_BYTE,
    STAGE_CLOSED,
    STAGE_COUNT,
};
const char *connection_stage_name(enum connection_stage stage);

/* How it ended, as the labels and the log show it (dataplane §19.2). */
enum response_flag {
    RESPONSE_NONE,
    RESPONSE_DENY,
    RESPONSE_CONNECT,
    RESPONSE_TLS_FAILURE,
    RESPONSE_H2_HANDSHAKE_FAILURE,
    RESPONSE_NETWORK_POLICY,
    RESPONSE_IDENTITY_ERROR,
    RESPONSE_CERT_REVOKED,
};

enum close_state {
    CLOSE_OPEN,
    CLOSE_FINISHED, /* both directions ended and were delivered */
    CLOSE_RESET,    /* an application reset it */
    CLOSE_REFUSED,  /* never carried a byte */
    CLOSE_CUT,      /* by policy or drain */
    CLOSE_LOST,     /* with its tunnel */
};

/* How a relay's end is seen from its connection. */
enum close_state close_state_of_relay(enum relay_end end);

/* What is known of the other side when no workload is: from the `baggage` header. One allocation. */
struct described_peer;

struct connection {
    struct list link; /* pod->connections */
    struct pod *pod;
    uint64_t id; /* of this worker */
    uint8_t direction;
    uint8_t protocol;
    uint8_t flag;
    uint8_t close_state;
    bool is_opened;                    /* counted as opened */
    struct socket_address peer;        /* src.addr */
    struct socket_address destination; /* dst.addr: the next hop, or what was accepted */
    struct socket_address authority;   /* dst.hbone_addr; port 0: none */
    char *authority_hostname;          /* in the place of its address, or NULL */
    struct socket_address dialled;     /* what the application dialled, or the application's own address */
    uint64_t stage_ns[STAGE_COUNT];
    struct workload *source_workload;
    struct workload *destination_workload;
    struct service *service;
    struct described_peer *described_source;
    struct described_peer
        *described_destination;              /* double HBONE: takes the place of destination_workload in telemetry */
    struct spiffe_identity *source_identity; /* proven by TLS */
    char *destination_identity;              /* proven by TLS: a URI */
    char *forwarded_host;
    char trace_id[33];
    uint64_t received_bytes;            /* client to server */
    uint64_t sent_bytes;                /* server to client */
    struct metric_label_set *label_set; /* since it was opened; the two series are of it */
    struct metric_series *received_series;
    struct metric_series *sent_series;
    char *error; /* the sentence, when it ended badly */
    struct connection_events events;
    /* Ends the connection because it may not go on; calls connection_finish itself. */
    void (*cut)(struct connection *connection, enum response_flag flag, const char *reason);
    /* The check again, against the current version; NULL where nothing is policed (outbound). */
    bool (*is_still_allowed)(struct connection *connection, const struct mesh_version *version);
};

/* Puts it on the pod's list and stamps STAGE_ACCEPTED. The struct is zeroed by the caller. */
void connection_begin(struct connection *connection, struct pod *pod, enum connection_direction direction,
    const struct socket_address *peer);
void connection_pass(struct connection *connection, enum connection_stage stage);
/* Something else worth remembering when it fails; see connection_events.h for the detail. */
void connection_note(struct connection *connection, enum connection_event event, uint32_t detail);

/* 32 hexadecimal digits: the peer's, or made at the first call. Of `traceparent`, and what relates log lines. */
const char *connection_trace_id(struct connection *connection);

/* References taken; NULL clears. */
void connection_set_source(struct connection *connection, const struct workload *workload);
void connection_set_destination(
    struct connection *connection, const struct workload *workload, const struct service *service);
/* Source as described by its own `baggage` (used where no workload is known). */
struct baggage;
void connection_describe_source(struct connection *connection, const struct baggage *baggage);
void connection_describe_destination(struct connection *connection, const struct baggage *baggage);

/* What the CONNECT asks for; `hostname` may be NULL, and is copied. */
void connection_set_authority(
    struct connection *connection, const struct socket_address *authority, const char *hostname);
/* "10.0.0.1:80", "[::1]:80", "web.shop.svc.cluster.local:80" */
void connection_write_authority(const struct connection *connection, struct writer *out);

/* Counts it as opened (dataplane §19.4) and resolves the byte counters. */
void connection_open(struct connection *connection);

static inline void connection_count(struct connection *connection, uint64_t received, uint64_t sent)
{
    if (connection->stage_ns[STAGE_FIRST_BYTE] == 0) {
        connection_pass(connection, STAGE_FIRST_BYTE);
    }
    connection->received_bytes += received;
    connection->sent_bytes += sent;
    if (received > 0) {
        metric_add(connection->received_series, received);
    }
    if (sent > 0) {
        metric_add(connection->sent_series, sent);
    }
}

/* Remembers how it ended; the first reason stays. */
void connection_fail(struct connection *connection, enum response_flag flag, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The tunnel under a relayed connection is lost. `direction`: "send" or "receive", where the copy stood (management §9.2). */
void connection_fail_copy(struct connection *connection, const char *direction, const char *reason);

/* Writes the access log line, counts it as closed, releases what it holds and takes it off the pod's list. */
void connection_finish(struct connection *connection, enum close_state close_state);

/* One line for a connection that was refused before anything is known about it (WARN, no metrics); the address is that of the
 * listener or the original destination. */
void connection_refuse_early(struct pod *pod, enum connection_direction direction, const struct socket_address *peer,
    const struct socket_address *destination, const char *error);

/* The same for one that was just accepted, if a limit says so: true, and the descriptor is closed. `place`: enum pod_listener. */
bool connection_refuse_over_limit(struct pod *pod, unsigned place, int descriptor, const struct socket_address *peer);

/* Calls connection->cut for each connection of a list that the current version no longer allows. */
void connections_enforce(struct list *connections, const struct mesh_version *version);

/* "TCP", "HBONE" or "DOUBLEHBONE". */
const char *connection_protocol_name(const struct connection *connection);

/* {src, originalDst, actualDst, protocol} for /config_dump; stages and times for /debug/connections. */
void connection_dump(const struct connection *connection, struct json_writer *json);

#endif
