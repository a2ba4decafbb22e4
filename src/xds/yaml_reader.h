/* Reading a YAML document into structs by tables of keys, with errors that name file, line and key. A failing step
 * returns false and leaves the first sentence in the reader. Aliases are refused, because they multiply without bound, unless
 * yaml_resolve_aliases put what they stand for into the document. */
#ifndef AMBAR_XDS_YAML_READER_H
#define AMBAR_XDS_YAML_READER_H

#include "base/arena.h"
#include "base/result.h"

#include <libfyaml.h>

struct yaml_reader {
    const char *source_name;
    const char *section; /* "workloads", say, with the position: where in the document we are; NULL at the top */
    size_t position;
    int lines_before;   /* of the text that is parsed, in the file it is a piece of */
    struct arena arena; /* what is read lives here */
    struct result error;
};

/* `target` is the struct that is filled, at the key's offset. */
typedef bool yaml_read(struct yaml_reader *reader, struct fy_node *node, void *target);

struct yaml_key {
    const char *name;
    yaml_read *read;
    size_t offset;
    bool is_required; /* others may be absent or null */
};

/* Parses the text. NULL with the reader's error set when it is not YAML. Free with fy_document_destroy. */
struct fy_document *yaml_reader_parse(struct yaml_reader *reader, struct bytes text);

/* Puts copies in the place of aliases and merge keys; refuses a document in which aliases stand for more than a thousand nodes, for
 * one another without end, or for nothing. */
bool yaml_resolve_aliases(struct yaml_reader *reader, struct fy_document *document);

/* "NAME:LINE: SECTION[N]: ..."; a NULL node leaves the line out. Always false. */
bool yaml_fail(struct yaml_reader *reader, struct fy_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A mapping by its table. `unknown`, when not NULL, is called for keys outside the table; without it they are errors. */
bool yaml_mapping(struct yaml_reader *reader, struct fy_node *node, const struct yaml_key *keys, size_t key_count,
    bool (*unknown)(struct yaml_reader *reader, struct fy_node *key, void *target), void *target);
/* An `unknown` that lets every key pass. */
bool yaml_ignore_key(struct yaml_reader *reader, struct fy_node *key, void *target);

/* How many items a sequence, or pairs a mapping, has; false for anything else. */
bool yaml_sequence(struct yaml_reader *reader, struct fy_node *node, size_t *count);
bool yaml_pairs(struct yaml_reader *reader, struct fy_node *node, size_t *count);

bool yaml_is_null(struct fy_node *node);

bool yaml_text(struct yaml_reader *reader, struct fy_node *node, void *target);   /* struct bytes, NUL-terminated */
bool yaml_bool(struct yaml_reader *reader, struct fy_node *node, void *target);   /* bool: `true` or `false` */
bool yaml_port(struct yaml_reader *reader, struct fy_node *node, void *target);   /* uint16_t */
bool yaml_number(struct yaml_reader *reader, struct fy_node *node, void *target); /* uint32_t */
/* One of the names, by position. */
bool yaml_choice(
    struct yaml_reader *reader, struct fy_node *node, const char *const *names, size_t count, size_t *chosen);
/* Anything, unread. */
bool yaml_skip(struct yaml_reader *reader, struct fy_node *node, void *target);

#endif
