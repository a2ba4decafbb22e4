/* Intrusive doubly linked list: a circle through its head. A node is on at most one list per link. */
#ifndef AMBAR_BASE_LIST_H
#define AMBAR_BASE_LIST_H

#include "base/memory.h"

#include <stdbool.h>

struct list {
    struct list *previous;
    struct list *next;
};

static inline void list_initialise(struct list *list)
{
    list->previous = list->next = list;
}

/* True for an empty head and for a link that is on no list (after list_initialise or list_remove). */
static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_insert_before(struct list *position, struct list *link)
{
    link->previous = position->previous;
    link->next = position;
    position->previous->next = link;
    position->previous = link;
}

static inline void list_append(struct list *head, struct list *link)
{
    list_insert_before(head, link);
}
static inline void list_prepend(struct list *head, struct list *link)
{
    list_insert_before(head->next, link);
}

/* Safe on a link that is on no list. */
static inline void list_remove(struct list *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    list_initialise(link);
}

/* The first link taken off, or NULL. */
static inline struct list *list_take_first(struct list *head)
{
    if (list_is_empty(head)) {
        return NULL;
    }
    struct list *first = head->next;
    list_remove(first);
    return first;
}

#define LIST_ENTRY(link, type, member) CONTAINER_OF(link, type, member)

/* The loop body may remove `link` itself, nothing else. */
#define LIST_FOR_EACH(link, head)                                                                                      \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head);                                  \
         link = link##_next, link##_next = link->next)

#endif
