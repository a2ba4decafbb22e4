/* Connections and tunnels as /debug/connections, /debug/tunnels and the admin page show them. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_CONNECTION_VIEW_H
#define AMBAR_ZTUNNEL_CONNECTION_VIEW_H

#include "base/json_writer.h"

struct connection;
struct pod;

/* Both ends with their identities, bytes, state, tunnel, worker, each stage with its time, the last events. */
void connection_view(const struct connection *connection, struct json_writer *json);
/* "established", "closing" or what it waits for: "waiting for its workload", "dialling" ... */
const char *connection_state_text(const struct connection *connection);

/* What the page and the JSON say of one tunnel. */
struct tunnel_view {
    const char *direction;
    char peer[64];
    const char *source_identity, *destination_identity; /* may be NULL */
    const char *destination_uid;                        /* "" when not known */
    size_t streams;
    uint64_t streams_total, bytes_sent, bytes_received, unsent_bytes, pinned_bytes, round_trip_us;
    bool is_draining, is_stalled;
};
#define TUNNELS_SHOWN_A_POD 256
/* At most TUNNELS_SHOWN_A_POD of each direction. */
void pod_visit_tunnels(struct pod *pod,
    void (*visit)(const struct tunnel_view *tunnel, const struct pod *pod, void *context), void *context);
/* A live_rows.of_pod. */
void pod_tunnels_view(struct pod *pod, struct json_writer *json);

#endif
