/* Outbound capture (15001): an application's connection on its way out, to a tunnel or in plain (ztunnel-dataplane §§5, 7). */
#ifndef AMBAR_ZTUNNEL_OUTBOUND_H
#define AMBAR_ZTUNNEL_OUTBOUND_H

#include "base/address.h"

struct pod;

/* Takes over the accepted descriptor. */
void outbound_accept(struct pod *pod, int descriptor, const struct socket_address *peer);

/* The same, for a client that has said itself where it wants to go (SOCKS5). */
void outbound_start(
    struct pod *pod, int descriptor, const struct socket_address *peer, const struct socket_address *target);

#endif
