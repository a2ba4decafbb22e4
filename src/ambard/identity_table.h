/* Which service account runs on which node: what the CA asks before it signs for someone else (control-plane §7.3). */
#ifndef AMBAR_AMBARD_IDENTITY_TABLE_H
#define AMBAR_AMBARD_IDENTITY_TABLE_H

#include "kube/store.h"

struct identity_table;

struct identity_table *identity_table_new(const struct kube_store *store);
void identity_table_free(struct identity_table *table); /* NULL is allowed */

bool identity_table_has_node(const struct identity_table *table, const char *node);
bool identity_table_has(
    const struct identity_table *table, const char *namespace_, const char *service_account, const char *node);

#endif
