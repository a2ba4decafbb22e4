/* Host names to addresses with the system's resolver, off the loop: a few helper threads ask getaddrinfo, answers are posted
 * back to the loop that asked. For the addresses a program is configured with (control plane, CA), not for traffic. */
#ifndef AMBAR_NET_HOST_LOOKUP_H
#define AMBAR_NET_HOST_LOOKUP_H

#include "base/address.h"
#include "base/result.h"

#include <stddef.h>

struct host_lookup;
struct loop;

#define HOST_LOOKUP_ADDRESSES_MAXIMUM 16
#define HOST_LOOKUP_RUNNING_MAXIMUM 16 /* process-wide; getaddrinfo cannot be interrupted */

/* `done` is called once in a later turn of the loop, unless cancelled: addresses in the order of the system's preference (RFC
 * 6724) with `port`, or none and the failure. An address as `host` needs no thread. */
struct host_lookup *host_lookup_start(struct loop *loop, const char *host, uint16_t port,
    void (*done)(void *context, const struct socket_address *addresses, size_t count, const struct result *failure),
    void *context);

/* Before `done` was called: it will not be. The loop may be freed afterwards. NULL is allowed. */
void host_lookup_cancel(struct host_lookup *lookup);

#endif
