/* Handshakes in turns: a step of one is the most expensive thing a worker does in one piece (half a millisecond), and a peer chooses when
 * they come. So a step is bulk work of its pod: one a turn of the loop at most, after every event of what is established, in turns by
 * pod. How many may wait is bounded (limits.h). Worker's thread. */
#ifndef AMBAR_ZTUNNEL_HANDSHAKE_TURNS_H
#define AMBAR_ZTUNNEL_HANDSHAKE_TURNS_H

#include "net/loop.h"

struct pod;

/* Embedded in whoever shakes hands. */
struct handshake_turn {
    struct deferred step;
    struct io_watch *watch; /* of the handshake's socket */
};

/* `run` gets &turn->step when it is this handshake's turn. */
void handshake_turn_initialise(
    struct handshake_turn *turn, struct pod *pod, struct io_watch *watch, void (*run)(struct deferred *step));
/* The socket is ready, or the handshake may begin. Idempotent. */
void handshake_turn_queue(struct handshake_turn *turn);
/* Idempotent. */
void handshake_turn_cancel(struct handshake_turn *turn);

#endif
