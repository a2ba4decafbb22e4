/* YAML 1.1 and JSON text as a tree whose every node knows its line: a thin wrapper over libfyaml's events.
 *
 * Scalars mean what they mean to kubectl (`yes` is a boolean, 0x50 a number), except that nothing is guessed about quoted ones.
 * Depth, aliases (count and what they expand to), nodes and bytes are bounded. Everything lives in the stream's arena.
 * For one thread. */
#ifndef AMBAR_KUBE_YAML_H
#define AMBAR_KUBE_YAML_H

#include "base/arena.h"
#include "base/result.h"

#define YAML_BYTES_MAXIMUM (16u << 20)
#define YAML_DEPTH_MAXIMUM 100
#define YAML_NODES_MAXIMUM 4000000u /* of a stream, and of a document with its aliases expanded */
#define YAML_ANCHORS_MAXIMUM 1000
#define YAML_DOCUMENTS_MAXIMUM 100000

enum yaml_kind { YAML_NULL, YAML_BOOL, YAML_INTEGER, YAML_FLOAT, YAML_STRING, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node;

struct yaml_entry {
    const char *key; /* NULL in a sequence */
    uint32_t key_line;
    struct yaml_node *value;
};

struct yaml_node {
    enum yaml_kind kind;
    uint32_t line;     /* 1-based */
    uint32_t height;   /* of the tree below; 0 for a scalar */
    uint32_t expanded; /* nodes of the tree below and this one, aliases counted each time */
    union {
        bool boolean;
        struct {
            uint64_t magnitude;
            bool is_negative;
        } integer;
        struct {
            struct yaml_entry *items;
            size_t count;
        } children;
    };
    /* Scalars: what was written, unescaped, NUL-terminated, without a NUL inside. */
    const char *text;
};

struct yaml_document {
    struct yaml_node *root;
    uint32_t line;
    /* The first key that a mapping has twice, NULL when there is none; the first value is the one kept. */
    const char *duplicate_key;
    uint32_t duplicate_line;
};

struct yaml_stream {
    struct arena arena;
    struct yaml_document *documents;
    size_t count;
    size_t capacity;
    uint32_t error_line; /* when parsing failed; 0 when no line can be named */
};

/* On failure the documents read so far stay readable. yaml_stream_free in either case. Empty documents are left out. */
struct result yaml_parse(struct bytes text, bool is_json, struct yaml_stream *stream);
void yaml_stream_free(struct yaml_stream *stream);

/* NULL when `mapping` is NULL, is no mapping or has no such key. */
struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key);
/* "a mapping", "a string", ... for messages. */
const char *yaml_kind_name(enum yaml_kind kind);

/* Hash of what the tree means: keys, kinds and values, not lines or style. */
uint64_t yaml_hash(const struct yaml_node *node);

/* Decides what a plain (unquoted) scalar is, and fills kind and value of a node whose text is set. */
void yaml_resolve_plain(struct yaml_node *node);

#endif
