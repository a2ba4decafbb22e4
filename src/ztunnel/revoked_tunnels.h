/* Cuts the live tunnels of a worker whose peer's certificates are revoked by the lists in force (ztunnel-dataplane §16). */
#ifndef AMBAR_ZTUNNEL_REVOKED_TUNNELS_H
#define AMBAR_ZTUNNEL_REVOKED_TUNNELS_H

#include "tls/handshake.h"

struct worker;

/* For worker_run; `context` is not used. Worker's thread. */
void revoked_tunnels_cut(struct worker *worker, void *context);

/* A handshake has failed: counts it when it was a revoked certificate that we refused. `reporter`: "source", "destination". */
void revoked_tunnels_count_refusal(struct worker *worker, const struct tls_handshake *handshake, const char *reporter);

#endif
