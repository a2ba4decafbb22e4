/* Addresses for the hosts of ServiceEntries that have none (control-plane §3.2): 240.240.0.0/16 and 2001:2::/48, from
 * base+1 upwards, one of each per entry and host. They stay the same over restarts: a file in the state directory keeps them. */
#ifndef AMBAR_AMBARD_AUTO_ALLOCATION_H
#define AMBAR_AMBARD_AUTO_ALLOCATION_H

#include "base/address.h"
#include "base/result.h"

struct auto_allocation;

#define AUTO_ALLOCATION_FILE "auto-allocated-addresses"

/* `state_directory` NULL: in memory only. A read-only one is never written. */
struct result auto_allocation_open(const char *state_directory, bool is_read_only, struct auto_allocation **allocation);
void auto_allocation_free(struct auto_allocation *allocation); /* NULL is allowed */

/* A round: begin; seed what entries already have in their status, the oldest entry first; assign; end. */
void auto_allocation_begin(struct auto_allocation *allocation);
/* Passed over when the address is outside our blocks or someone else's. */
void auto_allocation_seed(
    struct auto_allocation *allocation, const char *entry, const char *host, const struct ip_address *ip);
/* `entry` is namespace/name. Family IP_NONE where the block is used up. */
void auto_allocation_assign(struct auto_allocation *allocation, const char *entry, const char *host,
    struct ip_address *ipv4, struct ip_address *ipv6);
/* Frees what was neither seeded nor assigned in this round, and writes the file if anything changed. */
struct result auto_allocation_end(struct auto_allocation *allocation);

#endif
