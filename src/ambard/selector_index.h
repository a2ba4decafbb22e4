/* Which selectors match these labels, without asking every selector: each is filed under its namespace and one of its pairs.
 * Borrows namespaces, selectors and items. */
#ifndef AMBAR_AMBARD_SELECTOR_INDEX_H
#define AMBAR_AMBARD_SELECTOR_INDEX_H

#include "kube/labels.h"

struct selector_index;

struct selector_index *selector_index_new(void);
void selector_index_free(struct selector_index *index);

/* An empty selector matches everything in its namespace. */
void selector_index_add(
    struct selector_index *index, const char *namespace_, const struct kube_labels *selector, const void *item);

/* Calls `visit` for each item of the namespace whose selector matches, in no particular order. */
void selector_index_visit(const struct selector_index *index, const char *namespace_, const struct kube_labels *labels,
    void (*visit)(void *context, const void *item), void *context);

#endif
