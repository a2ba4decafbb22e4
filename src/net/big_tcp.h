/* BIG TCP on a network namespace's `lo`: segments of up to 400,000 bytes instead of 65,536 between an application and its proxy, so
 * that a read of 256 KiB costs one packet. Kernel 6.3 or newer for IPv4 (5.19 for IPv6); an older one is left alone.
 * Only `lo`: one device on the way that cannot do it costs more than is won, and `lo` ends where it begins.
 * Undone by value: a process that finds the limits raised already takes them for somebody else's. So a successor loses them when the
 * predecessor it overlaps with ends, and those of a process that was killed stay until the namespace goes; both cost only speed.
 * Blocking netlink, which the kernel answers at once; any thread. Every failure leaves the limits as they are. */
#ifndef AMBAR_NET_BIG_TCP_H
#define AMBAR_NET_BIG_TCP_H

#include <stdbool.h>
#include <stdint.h>

#define BIG_TCP_BYTES 400000

enum { BIG_TCP_GSO, BIG_TCP_GRO, BIG_TCP_GSO_IPV4, BIG_TCP_GRO_IPV4, BIG_TCP_LIMIT_COUNT };

/* The limits as they were; 0: the kernel has no such limit, or it was not changed. */
struct big_tcp_limits {
    uint32_t bytes[BIG_TCP_LIMIT_COUNT];
};

/* Reads the limits of the calling thread's `lo`. False when the kernel does not tell. */
bool big_tcp_read(struct big_tcp_limits *limits);
/* Raises those that are lower, and says what they were. Needs CAP_NET_ADMIN; false when nothing was changed. */
bool big_tcp_raise(struct big_tcp_limits *before);
/* Whether there is anything to undo. */
bool big_tcp_has_limits(const struct big_tcp_limits *limits);
/* Undoes big_tcp_raise, in the same namespace. Limits that somebody else has changed since stay. */
void big_tcp_restore(const struct big_tcp_limits *before);

#endif
