/* Tunnels whose destination has left the mesh are found when the mesh changes (issue 6, dead peers): one look at all pools of a
 * worker for any number of changes within a moment. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_TUNNEL_REVIEW_H
#define AMBAR_ZTUNNEL_TUNNEL_REVIEW_H

#include "net/loop.h"

struct worker;

struct tunnel_review {
    struct timer timer;
    uint64_t reviewed_ns;
    uint64_t seen_departure_generation;
};

/* A new version was published: reviews now, or a moment after the last review. */
void tunnel_review_notice(struct worker *worker);
void tunnel_review_stop(struct worker *worker);

#endif
