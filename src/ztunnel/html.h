/* HTML written as it is made. Every text that is not a constant of ours goes through html_add_text: names come from the mesh, and
 * none of them may become markup. */
#ifndef AMBAR_ZTUNNEL_HTML_H
#define AMBAR_ZTUNNEL_HTML_H

#include "base/writer.h"

/* Escaped for element content and for attributes in double quotes; control characters and bytes that are not UTF-8 become U+FFFD. NULL
 * writes nothing. */
void html_add_text(struct writer *out, const char *text);

/* <td>text</td>; "–" when the text is empty. `key` (NULL: none) is what the column is sorted by instead. */
void html_add_cell(struct writer *out, const char *text, const char *key);
/* The same with a class of our style sheet. */
void html_add_cell_of(struct writer *out, const char *class_, const char *text, const char *key);
/* Two lines in one cell: what is read first, and what it is exactly (left out when empty). Sorted by the first. */
void html_add_pair_cell(struct writer *out, const char *class_, const char *first, const char *second);
/* A number, sorted as one; `text` is how it is shown. */
void html_add_number_cell(struct writer *out, const char *text, uint64_t value);

#endif
