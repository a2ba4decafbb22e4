/* libfyaml's events to a tree, within our bounds. */
#include "kube/yaml.h"

#include "base/memory.h"
#include "base/text.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <xxhash.h>

struct anchor {
    const char *name;
    struct yaml_node *node; /* NULL while it is being built: an alias to it would be a circle */
};

/* A collection that is being built. */
struct frame {
    struct yaml_node *node;
    struct yaml_entry *items;
    size_t count;
    size_t capacity;
    size_t anchor;   /* index + 1 of its anchor; 0: none */
    const char *key; /* of a mapping, when the next event is its value */
    uint32_t key_line;
};

struct builder {
    struct yaml_stream *stream;
    struct fy_parser *parser;
    struct frame frames[YAML_DEPTH_MAXIMUM];
    size_t depth;
    struct anchor anchors[YAML_ANCHORS_MAXIMUM];
    size_t anchor_count;
    size_t node_count;
    struct yaml_document document; /* the current one */
};

static struct result fail_at(struct builder *builder, uint32_t line, enum result_code code, const char *message)
{
    builder->stream->error_line = line;
    return result_fail(code, "%s", message);
}

static uint32_t token_line(struct fy_token *token)
{
    const struct fy_mark *mark = token == NULL ? NULL : fy_token_start_mark(token);
    return mark == NULL || mark->line < 0 ? 0 : (uint32_t)mark->line + 1;
}

static struct result token_text(struct builder *builder, struct fy_token *token, const char **text)
{
    *text = "";
    size_t length = 0;
    const char *data = token == NULL ? "" : fy_token_get_text(token, &length);
    if (data == NULL) {
        return fail_at(builder, token_line(token), RESULT_INVALID, "unreadable scalar");
    }
    if (memchr(data, '\0', length) != NULL) {
        return fail_at(builder, token_line(token), RESULT_INVALID, "a scalar holds a NUL character");
    }
    *text = arena_string_bytes(&builder->stream->arena, bytes_of(data, length));
    return result_ok();
}

static struct result node_new(struct builder *builder, uint32_t line, enum yaml_kind kind, struct yaml_node **node)
{
    if (++builder->node_count > YAML_NODES_MAXIMUM) {
        return fail_at(builder, line, RESULT_LIMIT, "too many values in one file");
    }
    *node = ARENA_NEW(&builder->stream->arena, struct yaml_node);
    (*node)->kind = kind;
    (*node)->line = line;
    (*node)->expanded = 1;
    return result_ok();
}

static struct result anchor_define(
    struct builder *builder, struct fy_token *token, struct yaml_node *node, size_t *place)
{
    *place = 0;
    if (token == NULL) {
        return result_ok();
    }
    if (builder->anchor_count == YAML_ANCHORS_MAXIMUM) {
        return fail_at(builder, token_line(token), RESULT_LIMIT, "too many anchors in one document");
    }
    const char *name;
    RESULT_TRY(token_text(builder, token, &name));
    builder->anchors[builder->anchor_count] = (struct anchor){ name, node };
    *place = ++builder->anchor_count;
    return result_ok();
}

/* ---- values into their collection ---- */

static void frame_append(struct frame *frame, struct yaml_entry entry)
{
    if (frame->count == frame->capacity) {
        frame->capacity = frame->capacity == 0 ? 8 : frame->capacity * 2;
        frame->items = memory_resize(frame->items, frame->capacity, sizeof *frame->items);
    }
    frame->items[frame->count++] = entry;
}

/* sigs.k8s.io/yaml makes JSON of YAML: keys that are numbers or booleans become their JSON text. */
static const char *key_text(struct builder *builder, const struct yaml_node *node)
{
    if (node->kind == YAML_BOOL) {
        return node->boolean ? "true" : "false";
    }
    if (node->kind == YAML_INTEGER) {
        return arena_format(&builder->stream->arena, "%s%llu", node->integer.is_negative ? "-" : "",
            (unsigned long long)node->integer.magnitude);
    }
    return node->text;
}

static struct result add_node(struct builder *builder, struct yaml_node *node, uint32_t line)
{
    if (builder->depth == 0) {
        builder->document.root = node;
        return result_ok();
    }
    struct frame *frame = &builder->frames[builder->depth - 1];
    if (frame->node->kind == YAML_MAPPING && frame->key == NULL) {
        if (node->kind == YAML_SEQUENCE || node->kind == YAML_MAPPING || node->kind == YAML_NULL) {
            return fail_at(builder, line, RESULT_INVALID, "a key of a mapping must be a string");
        }
        frame->key = key_text(builder, node);
        frame->key_line = line;
        return result_ok();
    }
    if (builder->depth + node->height > YAML_DEPTH_MAXIMUM) {
        return fail_at(builder, line, RESULT_LIMIT, "nested too deeply");
    }
    frame_append(frame, (struct yaml_entry){ frame->key, frame->key_line, node });
    frame->key = NULL;
    return result_ok();
}

/* ---- finished mappings: merge keys, then duplicates ---- */

static struct result merge_mapping(
    struct builder *builder, struct frame *frame, const struct yaml_node *from, uint32_t line)
{
    if (from->kind != YAML_MAPPING) {
        return fail_at(builder, line, RESULT_INVALID, "the merge key << takes a mapping or a list of mappings");
    }
    for (size_t i = 0; i < from->children.count; i++) {
        bool is_present = false;
        for (size_t j = 0; j < frame->count && !is_present; j++) {
            is_present = strcmp(frame->items[j].key, from->children.items[i].key) == 0;
        }
        if (!is_present) {
            frame_append(frame, from->children.items[i]);
        }
    }
    return result_ok();
}

#define MERGED_KEYS_MAXIMUM 1000

static struct result merge_entries(struct builder *builder, struct frame *frame)
{
    struct yaml_node *merged = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < frame->count; i++) {
        if (strcmp(frame->items[i].key, "<<") == 0) {
            merged = frame->items[i].value;
        } else {
            frame->items[kept++] = frame->items[i];
        }
    }
    frame->count = kept;
    if (merged == NULL) {
        return result_ok();
    }
    if (merged->expanded > MERGED_KEYS_MAXIMUM || kept > MERGED_KEYS_MAXIMUM) {
        return fail_at(builder, merged->line, RESULT_LIMIT, "the merge key << brings too many values");
    }
    if (merged->kind != YAML_SEQUENCE) {
        return merge_mapping(builder, frame, merged, merged->line);
    }
    for (size_t i = 0; i < merged->children.count; i++) {
        RESULT_TRY(merge_mapping(builder, frame, merged->children.items[i].value, merged->line));
    }
    return result_ok();
}

static int compare_entries(const void *left, const void *right)
{
    const struct yaml_entry *const *left_entry = left;
    const struct yaml_entry *const *right_entry = right;
    int order = strcmp((*left_entry)->key, (*right_entry)->key);
    return order != 0 ? order : *left_entry < *right_entry ? -1 : 1;
}

static void find_duplicates(struct builder *builder, const struct yaml_entry *items, size_t count)
{
    const struct yaml_entry *few[32];
    const struct yaml_entry **sorted = count <= ARRAY_LENGTH(few) ? few : memory_allocate(count * sizeof *sorted);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &items[i];
    }
    qsort(sorted, count, sizeof(struct yaml_entry *), compare_entries);
    for (size_t i = 1; i < count && builder->document.duplicate_key == NULL; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0) {
            builder->document.duplicate_key = sorted[i]->key;
            builder->document.duplicate_line = sorted[i]->key_line;
        }
    }
    if (sorted != few) {
        memory_free(sorted);
    }
}

/* ---- events ---- */

static struct result collection_begin(
    struct builder *builder, enum yaml_kind kind, struct fy_token *start, struct fy_token *anchor)
{
    uint32_t line = token_line(start);
    if (builder->depth == YAML_DEPTH_MAXIMUM) {
        return fail_at(builder, line, RESULT_LIMIT, "nested too deeply");
    }
    if (builder->depth > 0) {
        const struct frame *parent = &builder->frames[builder->depth - 1];
        if (parent->node->kind == YAML_MAPPING && parent->key == NULL) {
            return fail_at(builder, line, RESULT_INVALID, "a key of a mapping must be a string");
        }
    }
    struct frame *frame = &builder->frames[builder->depth];
    *frame = (struct frame){ 0 };
    RESULT_TRY(node_new(builder, line, kind, &frame->node));
    RESULT_TRY(anchor_define(builder, anchor, NULL, &frame->anchor));
    builder->depth++;
    return result_ok();
}

static struct result collection_end(struct builder *builder)
{
    struct frame *frame = &builder->frames[builder->depth - 1];
    struct yaml_node *node = frame->node;
    if (node->kind == YAML_MAPPING) {
        /* Before the merge: a merged key is overridden, not repeated. */
        find_duplicates(builder, frame->items, frame->count);
        RESULT_TRY(merge_entries(builder, frame));
    }
    node->children.count = frame->count;
    node->children.items = arena_allocate(&builder->stream->arena, frame->count * sizeof *frame->items);
    if (frame->count > 0) {
        memcpy(node->children.items, frame->items, frame->count * sizeof *frame->items);
    }
    for (size_t i = 0; i < frame->count; i++) {
        const struct yaml_node *child = frame->items[i].value;
        node->height = child->height + 1 > node->height ? child->height + 1 : node->height;
        node->expanded += child->expanded;
        if (node->expanded > YAML_NODES_MAXIMUM) {
            return fail_at(builder, node->line, RESULT_LIMIT, "aliases expand to too many values");
        }
    }
    if (frame->anchor != 0) {
        builder->anchors[frame->anchor - 1].node = node;
    }
    memory_free(frame->items);
    frame->items = NULL;
    builder->depth--;
    return add_node(builder, node, node->line);
}

static struct result scalar(struct builder *builder, const struct fy_event *event)
{
    struct fy_token *token = event->scalar.value;
    struct yaml_node *node = NULL;
    RESULT_TRY(node_new(builder, token_line(token), YAML_STRING, &node));
    RESULT_TRY(token_text(builder, token, &node->text));
    const char *tag = NULL;
    if (event->scalar.tag != NULL) {
        RESULT_TRY(token_text(builder, event->scalar.tag, &tag));
    }
    bool is_plain = token == NULL || fy_token_scalar_style(token) == FYSS_PLAIN;
    if (tag != NULL && !text_ends_with(tag, "str")) {
        return fail_at(builder, node->line, RESULT_UNSUPPORTED, "tags other than !!str are not understood here");
    }
    if (is_plain && tag == NULL) {
        yaml_resolve_plain(node);
    }
    if (node->line == 0 && builder->depth > 0) {
        const struct frame *frame = &builder->frames[builder->depth - 1];
        node->line = frame->key != NULL ? frame->key_line : frame->node->line;
    }
    size_t place;
    RESULT_TRY(anchor_define(builder, event->scalar.anchor, node, &place));
    return add_node(builder, node, node->line);
}

static struct result alias(struct builder *builder, struct fy_token *token)
{
    const char *name;
    RESULT_TRY(token_text(builder, token, &name));
    for (size_t i = builder->anchor_count; i > 0; i--) {
        const struct anchor *anchor = &builder->anchors[i - 1];
        if (strcmp(anchor->name, name) != 0) {
            continue;
        }
        if (anchor->node == NULL) {
            return fail_at(builder, token_line(token), RESULT_INVALID, "an alias refers to the value it stands in");
        }
        return add_node(builder, anchor->node, token_line(token));
    }
    return fail_at(builder, token_line(token), RESULT_INVALID, "an alias refers to an anchor that does not exist");
}

static struct result document_begin(struct builder *builder, const struct fy_event *event)
{
    if (builder->stream->count == YAML_DOCUMENTS_MAXIMUM) {
        return fail_at(
            builder, token_line(event->document_start.document_start), RESULT_LIMIT, "too many documents in one file");
    }
    builder->anchor_count = 0;
    builder->document = (struct yaml_document){ 0 };
    return result_ok();
}

static void document_end(struct builder *builder)
{
    struct yaml_stream *stream = builder->stream;
    if (builder->document.root == NULL || builder->document.root->kind == YAML_NULL) {
        return;
    }
    builder->document.line = builder->document.root->line;
    if (stream->count == stream->capacity) {
        stream->capacity = stream->capacity == 0 ? 8 : stream->capacity * 2;
        stream->documents = memory_resize(stream->documents, stream->capacity, sizeof *stream->documents);
    }
    stream->documents[stream->count++] = builder->document;
}

static struct result handle_event(struct builder *builder, const struct fy_event *event)
{
    switch (event->type) {
    case FYET_DOCUMENT_START:
        return document_begin(builder, event);
    case FYET_DOCUMENT_END:
        document_end(builder);
        return result_ok();
    case FYET_MAPPING_START:
        return collection_begin(builder, YAML_MAPPING, event->mapping_start.mapping_start, event->mapping_start.anchor);
    case FYET_SEQUENCE_START:
        return collection_begin(
            builder, YAML_SEQUENCE, event->sequence_start.sequence_start, event->sequence_start.anchor);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        return collection_end(builder);
    case FYET_SCALAR:
        return scalar(builder, event);
    case FYET_ALIAS:
        return alias(builder, event->alias.anchor);
    default:
        return result_ok();
    }
}

/* ---- the whole ---- */

/* What libfyaml found wrong, in its own words. */
static struct result parser_failure(struct builder *builder, struct fy_diag *diagnostics)
{
    void *position = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diagnostics, &position);
    if (error == NULL) {
        return fail_at(builder, 0, RESULT_INVALID, "not YAML");
    }
    uint32_t line = error->line > 0 ? (uint32_t)error->line : token_line(error->fyt);
    return fail_at(builder, line, RESULT_INVALID, error->msg == NULL ? "not YAML" : error->msg);
}

static struct result read_events(struct builder *builder, struct fy_diag *diagnostics)
{
    for (;;) {
        struct fy_event *event = fy_parser_parse(builder->parser);
        if (event == NULL) {
            return fy_parser_get_stream_error(builder->parser) ? parser_failure(builder, diagnostics) : result_ok();
        }
        bool is_end = event->type == FYET_STREAM_END;
        struct result result = handle_event(builder, event);
        fy_parser_event_free(builder->parser, event);
        if (is_end || !result_is_ok(&result)) {
            return result;
        }
    }
}

struct result yaml_parse(struct bytes text, bool is_json, struct yaml_stream *stream)
{
    *stream = (struct yaml_stream){ 0 };
    if (text.length > YAML_BYTES_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "larger than %u bytes", YAML_BYTES_MAXIMUM);
    }
    if (!bytes_is_utf8(text)) {
        return result_fail(RESULT_INVALID, "not UTF-8 text");
    }
    struct fy_diag_cfg diagnostics_settings;
    fy_diag_cfg_default(&diagnostics_settings);
    diagnostics_settings.fp = NULL;
    diagnostics_settings.colorize = false;
    struct fy_diag *diagnostics = fy_diag_create(&diagnostics_settings);
    fy_diag_set_collect_errors(diagnostics, true);
    const struct fy_parse_cfg settings = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_1 | FYPCF_DISABLE_DEPTH_LIMIT |
                 (is_json ? FYPCF_JSON_FORCE : FYPCF_JSON_NONE),
        .diag = diagnostics,
    };
    struct builder *builder = NEW(struct builder);
    builder->stream = stream;
    builder->parser = fy_parser_create(&settings);
    struct result result = result_fail(RESULT_SYSTEM, "the YAML parser could not be set up");
    if (builder->parser != NULL && fy_parser_set_string(builder->parser, (const char *)text.data, text.length) == 0) {
        result = read_events(builder, diagnostics);
    }
    while (builder->depth > 0) {
        memory_free(builder->frames[--builder->depth].items);
    }
    if (builder->parser != NULL) {
        fy_parser_destroy(builder->parser);
    }
    fy_diag_destroy(diagnostics);
    memory_free(builder);
    return result;
}

void yaml_stream_free(struct yaml_stream *stream)
{
    arena_free(&stream->arena);
    memory_free(stream->documents);
    *stream = (struct yaml_stream){ 0 };
}

struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != YAML_MAPPING) {
        return NULL;
    }
    for (size_t i = 0; i < mapping->children.count; i++) {
        if (strcmp(mapping->children.items[i].key, key) == 0) {
            return mapping->children.items[i].value;
        }
    }
    return NULL;
}

const char *yaml_kind_name(enum yaml_kind kind)
{
    static const char *const names[] = { "null", "a boolean", "an integer", "a number", "a string", "a list",
        "a mapping" };
    return names[kind];
}

static void hash_node(XXH64_state_t *state, const struct yaml_node *node)
{
    XXH64_update(state, &node->kind, sizeof node->kind);
    if (node->kind != YAML_SEQUENCE && node->kind != YAML_MAPPING) {
        XXH64_update(state, node->text, strlen(node->text) + 1);
        return;
    }
    XXH64_update(state, &node->children.count, sizeof node->children.count);
    for (size_t i = 0; i < node->children.count; i++) {
        const struct yaml_entry *entry = &node->children.items[i];
        if (entry->key != NULL) {
            XXH64_update(state, entry->key, strlen(entry->key) + 1);
        }
        hash_node(state, entry->value);
    }
}

uint64_t yaml_hash(const struct yaml_node *node)
{
    XXH64_state_t *state = XXH64_createState();
    XXH64_reset(state, 0);
    hash_node(state, node);
    uint64_t hash = XXH64_digest(state);
    XXH64_freeState(state);
    return hash;
}
