/* A large YAML document cut into pieces before it is parsed: a mapping whose values are block sequences, a few items at a time, so that the tree
 * of nodes (some forty times the text) is never that of the whole. Only the plain shape is cut; whoever is told that a text
 * has another one parses it whole. A cut never changes what is read: inside an item every line is indented deeper than the item (YAML 1.2.2
 * §8.2.1), in scalars of any style too. */
#ifndef AMBAR_XDS_YAML_SECTIONS_H
#define AMBAR_XDS_YAML_SECTIONS_H

#include "base/bytes.h"

struct yaml_piece {
    struct bytes section; /* the key, in the text */
    struct bytes text;    /* whole lines: a block sequence of at least one item */
    int lines_before;     /* in the whole text */
};

/* Walks the pieces; start with the text. */
struct yaml_sections {
    struct bytes rest;
    int line; /* lines taken so far */
    struct bytes section;
    size_t indent; /* of the section's items */
    bool is_in_section, has_items;
};

enum yaml_sections_event { YAML_SECTIONS_PIECE, YAML_SECTIONS_END, YAML_SECTIONS_OTHER };

static inline struct yaml_sections yaml_sections_of(struct bytes text)
{
    return (struct yaml_sections){ .rest = text };
}

/* YAML_SECTIONS_OTHER: the text is not of that shape. The same key may come again: that is for the caller to refuse. */
enum yaml_sections_event yaml_sections_next(
    struct yaml_sections *sections, size_t piece_bytes, struct yaml_piece *piece);

#endif
