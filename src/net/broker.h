/* The broker (design §4.4): the one process that may enter pods' namespaces, mark sockets and make them transparent. It is
 * forked before any key exists and before any thread, parses nothing from the network, and answers fixed-size requests on one
 * socket pair a client thread. The process that started it drops every capability and asks.
 *
 * Order in main: settings; broker_start; broker_drop_privileges; keys, threads; per thread broker_client_new.
 *
 * Without a broker (BROKER_NONE: dedicated mode) the same client calls are done in place by the calling process, with
 * what broker_narrow_privileges has left of its privileges. */
#ifndef AMBAR_NET_BROKER_H
#define AMBAR_NET_BROKER_H

#include "net/loop.h"
#include "net/socket.h"

#define BROKER_CHANNELS_MAXIMUM 256
#define BROKER_NAMESPACES_MAXIMUM 4096
#define BROKER_SOCKETS_A_MESSAGE 16
#define BROKER_LISTENER_PORTS_MAXIMUM 8

enum broker_mode {
    BROKER_NONE,           /* no process: sockets are made in place, in the own namespace only */
    BROKER_OWN_NAMESPACE,  /* CAP_NET_ADMIN: marks and transparency, no other namespace */
    BROKER_ALL_NAMESPACES, /* also CAP_SYS_ADMIN: in-pod mode */
};

struct broker_settings {
    enum broker_mode mode;
    unsigned channel_count;         /* client threads: control and workers, each its own number below this */
    bool raises_big_tcp;            /* on each registered namespace's `lo`, until it is forgotten or the clients end */
    struct socket_settings sockets; /* fixed for the broker's life: a request can only choose among these */
    uint16_t listener_ports[BROKER_LISTENER_PORTS_MAXIMUM]; /* listeners are made on these only; all 0: on any port */
};

struct broker;

/* Forks the broker and waits until it has checked that it can do its work (enter its own namespace, mark a socket) and has
 * locked itself in: capabilities, no_new_privs, seccomp. Must be called while the process has one thread. */
struct result broker_start(const struct broker_settings *settings, struct broker **broker);

/* Drops every capability of the calling process, for good (bounding set, no_new_privs). Before the first thread. */
struct result broker_drop_privileges(void);

/* The same without a broker: keeps CAP_NET_ADMIN, if the process has it, where sockets may be transparent or marked, and CAP_NET_BIND_SERVICE
 * where it `binds_low_ports` (below 1024); nothing else. */
struct result broker_narrow_privileges(const struct socket_settings *sockets, bool binds_low_ports);

/* Calls `on_death` once on `loop`'s thread when the broker has ended, with a sentence that says how. The process must then end:
 * nothing can be enrolled any more. Not called for BROKER_NONE nor after broker_stop. */
struct result broker_watch_death(struct broker *broker, struct loop *loop,
    void (*on_death)(void *context, const struct result *reason), void *context);

/* Ends the broker and waits for it. All clients must have been freed. On the thread of broker_watch_death. */
void broker_stop(struct broker *broker);

/* The process id, 0 for BROKER_NONE. */
int broker_process(const struct broker *broker);

#endif
