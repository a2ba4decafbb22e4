/* The labels of the connection metrics, made from a connection (ztunnel-management §8.1). */
#ifndef AMBAR_ZTUNNEL_TRAFFIC_LABELS_H
#define AMBAR_ZTUNNEL_TRAFFIC_LABELS_H

#include "ztunnel/connection.h"
#include "ztunnel/metrics.h"

/* Values are borrowed from the connection, or from `destination_principal`. */
struct traffic_labels {
    const char *values[TRAFFIC_LABEL_COUNT];
    char destination_principal[1024];
};

void traffic_labels_fill(struct traffic_labels *labels, const struct connection *connection, enum response_flag flag);

/* istio_on_demand_dns_total: a connection that had a workload's name resolved, whether from memory or not. */
void count_on_demand_dns(const struct connection *connection, const char *hostname);

/* A peer by its own description; texts in the same allocation (memory_free). */
struct described_peer {
    const char *cluster_id, *namespace_, *workload_name, *canonical_name, *canonical_revision, *region, *zone;
};
struct baggage;
struct described_peer *described_peer_new(const struct baggage *baggage);

/* "-", "DENY", ... */
const char *response_flag_name(enum response_flag flag);
/* The flag follows from the error's text (§8.1, "Flag by error text"), so that log and metric never disagree. */
enum response_flag response_flag_of_error(const char *error);

#endif
