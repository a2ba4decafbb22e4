/* SOCKS5 on 127.0.0.1:15080 of a pod (ztunnel-dataplane §18.5), when UNSTABLE_ENABLE_SOCKS5 says so: the client says where to, names are
 * resolved as the DNS proxy would, and the connection goes on like any outbound one. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_SOCKS5_H
#define AMBAR_ZTUNNEL_SOCKS5_H

#include "base/address.h"

struct pod;

#define SOCKS5_CLIENTS_OF_POD_MAXIMUM 1024 /* that have not said where to; further ones are closed */
#define SOCKS5_DEADLINE_MS 15000           /* to say it, and to have the name resolved */

/* Takes over the descriptor. */
void socks5_accept(struct pod *pod, int descriptor, const struct socket_address *peer);
/* Ends those that have not said where to. */
void socks5_cut(struct pod *pod);

#endif
