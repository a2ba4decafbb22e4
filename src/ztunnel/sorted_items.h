/* Many borrowed items in the order of their keys, without one long turn of the loop: each step of the preparation sorts one
 * block, and taking the items merges the blocks. Costs one pointer an item. One thread. */
#ifndef AMBAR_ZTUNNEL_SORTED_ITEMS_H
#define AMBAR_ZTUNNEL_SORTED_ITEMS_H

#include <stdbool.h>
#include <stddef.h>

typedef const char *item_key(const void *item);

struct sorted_items {
    item_key *key;
    const void **items;
    size_t count, capacity;
    size_t sorted;     /* so many lie in sorted blocks */
    size_t *positions; /* of each block: its next item */
    size_t *heap;      /* block numbers, the one with the smallest next item first */
    size_t heap_count;
};

/* `expected` items are made room for at once; more may be added. */
void sorted_items_begin(struct sorted_items *sorted, item_key *key, size_t expected);
/* The item is borrowed until sorted_items_free. Not after the first sorted_items_prepare. */
void sorted_items_add(struct sorted_items *sorted, const void *item);
/* One step of at most some 100 us; true when the items are ready to be taken. */
bool sorted_items_prepare(struct sorted_items *sorted);
/* The next item, or NULL at the end. */
const void *sorted_items_next(struct sorted_items *sorted);
/* Idempotent; a zeroed struct is allowed. */
void sorted_items_free(struct sorted_items *sorted);

#endif
