/* Work in turns among shares (deficit round robin): who has used more than its quantum waits until every other share with work has
 * had its turn, however many entries it queues. The cost of an entry is known only once it was served, in any unit (the loop
 * counts nanoseconds): it is charged then, and a debt is paid off over later rounds. Intrusive, allocates nothing. For one
 * thread. */
#ifndef AMBAR_NET_FAIR_QUEUE_H
#define AMBAR_NET_FAIR_QUEUE_H

#include "base/list.h"

#include <stdint.h>

/* A debt beyond so many quanta is forgiven: one accident must not shut a share out. */
#define FAIR_DEBT_QUANTA 32

struct fair_share {
    struct list link;    /* in queue->shares while it has work (or had some until it was removed) */
    struct list entries; /* oldest first; whoever queued an entry may list_remove it at any time */
    int64_t credit;
};

struct fair_queue {
    struct list shares; /* the head is served next */
    int64_t quantum;
};

void fair_queue_initialise(struct fair_queue *queue, int64_t quantum);
void fair_share_initialise(struct fair_share *share);
/* Takes the share off the queue; its entries must have been removed. Before its memory goes. */
void fair_share_leave(struct fair_share *share);

void fair_queue_add(struct fair_queue *queue, struct fair_share *share, struct list *entry);
/* The entry whose turn it is, taken off, and its share; NULL when nothing is queued. */
struct list *fair_queue_take(struct fair_queue *queue, struct fair_share **share);
/* What the entry just taken has cost its share. */
void fair_queue_charge(const struct fair_queue *queue, struct fair_share *share, int64_t cost);

/* May be false with nothing left when entries were removed; the next take sees to that. */
static inline bool fair_queue_is_empty(const struct fair_queue *queue)
{
    return list_is_empty(&queue->shares);
}

#endif
