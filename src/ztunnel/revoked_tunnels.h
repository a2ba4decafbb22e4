/* Cuts the live tunnels of a worker whose peer's certificates are revoked by the lists in force (ztunnel-dataplane §16). */
#ifndef AMBAR_ZTUNNEL_REVOKED_TUNNELS_H
#define AMBAR_ZTUNNEL_REVOKED_TUNNELS_H

#include "tls/handshake.h"

struct worker;

/* For worker_run; `context` is not used. Worker's thread. */
void revoked_tunnels_cut(struct worker *worker, void *context);

/* A handshake has failed: counts it when it was a revoked certificate that we refused. `reporter`: "source", "destination". */
void revoked_tunnels_count_refusal(struct worker *worker, const struct tls_handshake *handshake, const char *reporter);

/* A tunnel begins: counts it when revocation is on but its peer's chain was not kept (its handshake began before the first lists were
 * in force), so that no later list can cut it. */
void revoked_tunnels_count_untracked(struct worker *worker, const struct record_layer *layer, const char *reporter);

#endif
