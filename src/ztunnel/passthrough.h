/* Plaintext inbound (15006): a captured connection without a tunnel, checked without an identity (ztunnel-dataplane §12). */
#ifndef AMBAR_ZTUNNEL_PASSTHROUGH_H
#define AMBAR_ZTUNNEL_PASSTHROUGH_H

#include "base/address.h"

struct pod;

/* Takes over the accepted descriptor. */
void passthrough_accept(struct pod *pod, int descriptor, const struct socket_address *peer);

#endif
