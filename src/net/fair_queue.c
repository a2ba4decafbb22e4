#include "net/fair_queue.h"

void fair_queue_initialise(struct fair_queue *queue, int64_t quantum)
{
    list_initialise(&queue->shares);
    queue->quantum = quantum;
}

void fair_share_initialise(struct fair_share *share)
{
    list_initialise(&share->link);
    list_initialise(&share->entries);
    share->credit = 0;
}

/* Credit is not saved up while there is nothing to do; a debt is kept. */
void fair_share_leave(struct fair_share *share)
{
    list_remove(&share->link);
    if (share->credit > 0) {
        share->credit = 0;
    }
}

void fair_queue_add(struct fair_queue *queue, struct fair_share *share, struct list *entry)
{
    list_append(&share->entries, entry);
    if (list_is_empty(&share->link)) {
        list_append(&queue->shares, &share->link);
    }
}

struct list *fair_queue_take(struct fair_queue *queue, struct fair_share **share)
{
    while (!list_is_empty(&queue->shares)) {
        struct fair_share *first = LIST_ENTRY(queue->shares.next, struct fair_share, link);
        if (list_is_empty(&first->entries)) {
            fair_share_leave(first);
        } else if (first->credit <= 0) {
            first->credit += queue->quantum;
            list_remove(&first->link);
            list_append(&queue->shares, &first->link);
        } else {
            *share = first;
            return list_take_first(&first->entries);
        }
    }
    return NULL;
}

void fair_queue_charge(const struct fair_queue *queue, struct fair_share *share, int64_t cost)
{
    int64_t least = -FAIR_DEBT_QUANTA * queue->quantum;
    share->credit = share->credit - cost > least ? share->credit - cost : least;
}
