/* Authorization of an inbound connection, the same for tunnels' streams and for plaintext: the decision with its log lines and
 * counters when it begins (ztunnel-dataplane §13), and again when policies or workloads change (§14). Worker's thread. */
#ifndef AMBAR_ZTUNNEL_ENFORCEMENT_H
#define AMBAR_ZTUNNEL_ENFORCEMENT_H

#include "base/writer.h"
#include "ztunnel/connection.h"

/* Asks for the connection's proven identity, its peer and where it is going. Stamps STAGE_AUTHORIZED; or appends the error
 * sentence to `error`. */
bool enforcement_allows(struct connection *connection, const struct mesh_version *version, const struct workload *local,
    struct writer *error);

/* The check again, for connection->is_still_allowed. A workload that is going takes its connections with it by other means. */
bool enforcement_still_allows(struct connection *connection, const struct mesh_version *version);

#endif
