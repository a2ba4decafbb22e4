/* Tables for a terminal: columns as wide as their widest cell, two blanks apart. What comes from the mesh is shown without control
 * characters, so that no name can play tricks on the terminal. */
#ifndef AMBAR_AMBARCTL_TABLE_H
#define AMBAR_AMBARCTL_TABLE_H

#include "base/writer.h"

#define TABLE_COLUMNS_MAXIMUM 12

struct table {
    size_t columns;
    size_t rows; /* the heading included */
    char **cells;
};

/* The heading: `columns` texts. */
struct table table_new(const char *const *heading, size_t columns);
/* NULL cells are shown as "-". */
void table_add(struct table *table, const char *const *cells);
void table_write(const struct table *table, struct writer *out);
void table_free(struct table *table);

/* A text for a terminal: control characters become "?". NULL, a member the answer should have had, is "(unknown)". */
void terminal_add(struct writer *out, const char *text);
/* The same, but the ends of lines and tabs stay. */
void terminal_add_lines(struct writer *out, struct bytes text);

#endif
