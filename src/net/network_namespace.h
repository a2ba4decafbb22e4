/* A network namespace by descriptor: identity, running something inside, what addresses it has (ztunnel-dataplane §3). */
#ifndef AMBAR_NET_NETWORK_NAMESPACE_H
#define AMBAR_NET_NETWORK_NAMESPACE_H

#include "base/address.h"
#include "base/result.h"

#include <sys/types.h>

#define NETWORK_NAMESPACE_ADDRESSES_MAXIMUM 4096

struct network_namespace {
    int descriptor; /* owned; -1 after network_namespace_close */
    dev_t device;
    ino_t inode;
};

/* Both refuse anything that is not a network namespace. */
struct result network_namespace_open(const char *path, struct network_namespace *namespace_);
/* Takes the descriptor, also on failure (it is closed then). */
struct result network_namespace_from_descriptor(int descriptor, struct network_namespace *namespace_);
/* The calling thread's. */
struct result network_namespace_open_current(struct network_namespace *namespace_);
/* Idempotent. */
void network_namespace_close(struct network_namespace *namespace_);

/* The same namespace, whatever path or descriptor it came by. */
bool network_namespace_equal(const struct network_namespace *left, const struct network_namespace *right);

/* Calls `function` with the calling thread inside `namespace_`, then returns to `home` (NULL: the thread's present one, opened
 * for the occasion). Fails without calling when the namespace cannot be entered; ends the process when it cannot return,
 * because every socket made afterwards would be another pod's. Needs CAP_SYS_ADMIN. */
struct result network_namespace_run(const struct network_namespace *namespace_, const struct network_namespace *home,
    void (*function)(void *context), void *context);

/* Whether `lo` of the calling thread's namespace speaks IPv6 (net.ipv6.conf.lo.disable_ipv6 is not 1). */
bool network_namespace_here_has_ipv6_loopback(void);

/* The addresses of the namespace's interfaces, loopback included. `*addresses` is the caller's (memory_free). */
struct result network_namespace_addresses(
    const struct network_namespace *namespace_, struct ip_address **addresses, size_t *count);
/* `*owns` says whether `address` is on one of its interfaces other than lo. */
struct result network_namespace_owns(
    const struct network_namespace *namespace_, const struct ip_address *address, bool *owns);

#endif
