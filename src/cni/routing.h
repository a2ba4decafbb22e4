/* The policy route of a pod's namespace (cni §7.2): packets with the connection mark 0x111 are delivered to the pod's own `lo`, so that
 * replies of the application find the proxy's transparent sockets. Per family: rule 32764 `fwmark 0x111/0xfff lookup 100`, and in
 * table 100 `local default dev lo`. Blocking netlink, any thread with CAP_SYS_ADMIN. */
#ifndef AMBAR_CNI_ROUTING_H
#define AMBAR_CNI_ROUTING_H

#include "base/result.h"

struct network_namespace;

/* Idempotent: what is there already counts as done. The IPv6 route is left out where `lo` does not speak IPv6. */
struct result routing_apply(const struct network_namespace *namespace_, bool with_ipv6);

/* Whether rule and route are in force for every family. A failure names what is missing. */
struct result routing_verify(const struct network_namespace *namespace_, bool with_ipv6);

/* Idempotent: what is gone already counts as removed. Both families. */
struct result routing_remove(const struct network_namespace *namespace_);

#endif
