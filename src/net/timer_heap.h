/* A loop's armed timers: a binary heap, the earliest due first. Only loop.c uses it. */
#ifndef AMBAR_NET_TIMER_HEAP_H
#define AMBAR_NET_TIMER_HEAP_H

#include "net/loop.h"

struct timer_heap {
    struct timer **timers; /* 1-based: the children of i are 2i and 2i + 1 */
    size_t count;
    size_t capacity;
};

/* The timer's due_ns is set and it is in no heap. */
void timer_heap_insert(struct timer_heap *heap, struct timer *timer);
void timer_heap_remove(struct timer_heap *heap, struct timer *timer);
/* Every timer is disarmed. */
void timer_heap_free(struct timer_heap *heap);

/* The earliest, or NULL. */
static inline struct timer *timer_heap_first(const struct timer_heap *heap)
{
    return heap->count > 0 ? heap->timers[1] : NULL;
}

#endif
