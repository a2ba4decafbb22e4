/* How a pod's pool opens a tunnel to another proxy: our certificate, TCP from the pod's namespace, the TLS handshake that proves
 * the other side to be one of the expected identities (ztunnel-dataplane §8, "Creation"). */
#ifndef AMBAR_ZTUNNEL_TUNNEL_OPENER_H
#define AMBAR_ZTUNNEL_TUNNEL_OPENER_H

#include "http/hbone_pool.h"

/* The context is the struct pod. */
extern const struct hbone_pool_opener TUNNEL_OPENER;

#endif
