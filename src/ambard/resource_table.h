/* Resources by name and by what else they are looked for: aliases, services, nodes. Holds a reference to each. */
#ifndef AMBAR_AMBARD_RESOURCE_TABLE_H
#define AMBAR_AMBARD_RESOURCE_TABLE_H

#include "ambard/index.h"

struct ambient_draft;
struct resource_table;

struct ambient_resource *ambient_resource_new(const struct ambient_draft *draft);

struct resource_table *resource_table_new(void);
void resource_table_free(struct resource_table *table); /* NULL is allowed */

/* Adds the draft as a resource, or `previous`'s resource of the same bytes. The first of a name stays. */
void resource_table_add(
    struct resource_table *table, const struct resource_table *previous, const struct ambient_draft *draft);
/* After the last addition: sorts the lists and fills the look-ups. */
void resource_table_finish(struct resource_table *table);

const struct ambient_resource *resource_table_get(
    const struct resource_table *table, enum ambient_resource_type type, const char *name);
struct ambient_resource_list resource_table_list(const struct resource_table *table, enum ambient_resource_type type);
struct ambient_resource_list resource_table_at_alias(const struct resource_table *table, const char *alias);
struct ambient_resource_list resource_table_of_service(const struct resource_table *table, const char *service_name);
struct ambient_resource_list resource_table_on_node(const struct resource_table *table, const char *node);

#endif
