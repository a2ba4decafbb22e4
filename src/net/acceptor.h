/* A listening socket of a server on its loop: accepts a bounded number of connections a turn, and waits a little when the process
 * has no descriptors or memory left, instead of being woken for ever. Belongs to the loop's thread. */
#ifndef AMBAR_NET_ACCEPTOR_H
#define AMBAR_NET_ACCEPTOR_H

#include "base/address.h"
#include "net/loop.h"

/* Embed it; zero it; set the first two; then acceptor_open. `on_accept` takes the descriptor over and may not close the acceptor. */
struct acceptor {
    void (*on_accept)(struct acceptor *acceptor, int descriptor, const struct socket_address *peer);
    int accepts_a_turn;
    struct io_watch watch; /* the acceptor's own, like the rest */
    struct timer pause;
    struct loop *loop;
};

/* Takes over the listening descriptor, in failure too. */
struct result acceptor_open(struct acceptor *acceptor, struct loop *loop, int descriptor);
void acceptor_close(struct acceptor *acceptor);

#endif
