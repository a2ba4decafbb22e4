/* One socket as the mesh wants it (ztunnel-dataplane §2, §3): every option, made in one place for the program itself and
 * for the broker. All descriptors made here are non-blocking and close-on-exec. Functions act on the calling thread's network
 * namespace and may be called from any thread. */
#ifndef AMBAR_NET_SOCKET_H
#define AMBAR_NET_SOCKET_H

#include "base/address.h"
#include "base/result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LISTENER_BACKLOG 128

/* ENABLE_ORIG_SRC: `false`, unset, `true`. */
enum socket_transparency { TRANSPARENCY_NEVER, TRANSPARENCY_IF_POSSIBLE, TRANSPARENCY_REQUIRED };

/* What the configuration says about all sockets. */
struct socket_settings {
    uint32_t mark; /* SO_MARK of the sockets that ask for it; 0: none */
    enum socket_transparency transparency;
    bool keepalive_is_enabled;
    bool user_timeout_is_enabled; /* TCP_USER_TIMEOUT = time + retries * interval */
    uint32_t keepalive_time_s;
    uint32_t keepalive_interval_s;
    uint32_t keepalive_retries;
};

/* What one socket asks for. */
enum socket_flags {
    SOCKET_MARKED = 1 << 0,      /* the mark of the settings */
    SOCKET_TRANSPARENT = 1 << 1, /* may carry a foreign source address, as far as the settings' transparency says */
    SOCKET_KEEPALIVE = 1 << 2, /* keepalive and user timeout of the settings: sockets of applications, never tunnels */
    SOCKET_LOCAL_LEG = 1 << 3, /* both ends on this machine: `cubic` whatever the host's default is */
    SOCKET_REUSES_PORT = 1 << 4, /* listeners: SO_REUSEPORT; without it SO_REUSEADDR */
    /* Sockets of applications: whatever closes them but socket_close_cleanly, the death of this process above all, is a RST. */
    SOCKET_ENDS_BY_RESET = 1 << 5,
    SOCKET_DATAGRAM = 1 << 6, /* UDP: of the other flags only mark and port reuse mean anything */
    /* Many streams share it: little may wait in the kernel before the network takes it, else a small message stands behind
     * megabytes of other streams' bulk (TCP_NOTSENT_LOWAT). */
    SOCKET_TUNNEL = 1 << 7,
};
#define SOCKET_FLAGS_ALL 0xffu

struct listener_options {
    struct socket_address address; /* [::] takes IPv4 as well */
    uint8_t flags;                 /* enum socket_flags */
    uint16_t backlog;              /* 0: LISTENER_BACKLOG */
};

struct listener {
    int descriptor;
    bool is_transparent; /* what 15006 and 15008 may do towards the application (§2.3) */
};

/* A listening socket, or a bound one for datagrams. What it was given (TCP_NODELAY always, keepalive, mark, transparency, congestion control) its accepted
 * sockets inherit. Fails with "failed to bind to address A: E" (RESULT_NOT_FOUND when this namespace has no such address) or with
 * the option that was refused. */
struct result socket_listen(
    const struct socket_settings *settings, const struct listener_options *options, struct listener *listener);

/* A socket ready to connect: TCP_NODELAY and what `flags` ask for. `*is_transparent` (may be NULL) says whether
 * socket_bind_source may use an address that is not this namespace's. */
struct result socket_open(const struct socket_settings *settings, enum ip_family family, uint8_t flags, int *descriptor,
    bool *is_transparent);

/* The next connection, or a negative error number (-EAGAIN: none is waiting). `peer` is canonical. */
int socket_accept(int listener, struct socket_address *peer);

/* Source address `source`, port chosen by connect (IP_BIND_ADDRESS_NO_PORT: without it the search among TIME_WAIT sockets costs
 * more than the rest of the connection). 0 or an error number; contract §2.3 goes on to connect after a failure. */
int socket_bind_source(int descriptor, const struct ip_address *source);

/* The same, but EADDRNOTAVAIL unless `source` is an address of the socket's namespace. */
int socket_bind_owned(int descriptor, const struct ip_address *source);

/* Starts connecting, or asks again how it went: 0 connected, EINPROGRESS, or the error that ended it. */
int socket_connect(int descriptor, const struct socket_address *to);

/* Where the client wanted to go (§2.2): the NAT table for IPv4, then for IPv6, then the local address (TPROXY). False only when
 * the socket is no longer connected. */
bool socket_original_destination(int descriptor, struct socket_address *destination);
bool socket_local_address(int descriptor, struct socket_address *address);
bool socket_peer_address(int descriptor, struct socket_address *address);

/* Lets new connections go to the listener that joined this one's port group after it (SO_REUSEPORT, a successor), if there is
 * one; those under way stay. A listener closed without this resets connections that were already made and not yet accepted. */
void socket_yield_to_successor(int listener);

/* SO_ERROR, and clears it. */
int socket_take_error(int descriptor);

/* `cubic` for a socket whose both ends are on this machine. False when the kernel has none or refuses. */
bool socket_use_local_congestion_control(int descriptor);
/* By name; for measurements. */
bool socket_use_congestion_control(int descriptor, const char *name);

/* FIN after what was written. */
void socket_shutdown_write(int descriptor);
/* Closes with RST (SO_LINGER 0): truncation never looks like FIN. */
void socket_close_with_reset(int descriptor);
/* Closes as a plain socket is closed, one with SOCKET_ENDS_BY_RESET too: what was written is delivered, then FIN. */
void socket_close_cleanly(int descriptor);

/* Bytes written and not yet acknowledged by the peer's kernel; written and not yet sent. 0 on an error. */
size_t socket_unacknowledged_bytes(int descriptor);
size_t socket_unsent_bytes(int descriptor);

/* The smallest round trip that the kernel has seen on a TCP connection; 0 when it has seen none. */
uint64_t socket_minimum_round_trip_ns(int descriptor);

/* Raises the soft limit of descriptors to the hard one (ztunnel-dataplane §2.1). */
void socket_raise_descriptor_limit(void);

#endif
