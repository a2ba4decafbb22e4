#include "xds/yaml_reader.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

/* No document of ours has more keys in one mapping. */
#define YAML_KEYS_MAXIMUM 32

static struct fy_token *first_token(struct fy_node *node)
{
    void *position = NULL;
    for (int depth = 0; node != NULL && depth < FYPCF_GUARANTEED_MINIMUM_DEPTH_LIMIT; depth++, position = NULL) {
        if (fy_node_is_scalar(node)) {
            return fy_node_get_scalar_token(node);
        }
        if (fy_node_is_sequence(node)) {
            node = fy_node_sequence_iterate(node, &position);
            continue;
        }
        struct fy_node_pair *pair = fy_node_mapping_iterate(node, &position);
        node = pair != NULL ? fy_node_pair_key(pair) : NULL;
    }
    return NULL;
}

/* From 1; 0 when the node has no text to point at. */
static int line_of(struct fy_node *node)
{
    struct fy_token *token = node != NULL ? first_token(node) : NULL;
    const struct fy_mark *mark = token != NULL ? fy_token_start_mark(token) : NULL;
    return mark != NULL ? mark->line + 1 : 0;
}

static bool keep_failure(struct yaml_reader *reader, int line, const char *sentence)
{
    char place[32] = "";
    char section[64] = "";
    if (!result_is_ok(&reader->error)) {
        return false;
    }
    if (line > 0) {
        snprintf(place, sizeof place, ":%d", reader->lines_before + line);
    }
    if (reader->section != NULL) {
        snprintf(section, sizeof section, " %s[%zu]:", reader->section, reader->position);
    }
    reader->error = result_fail(RESULT_INVALID, "%s%s:%s %s", reader->source_name, place, section, sentence);
    return false;
}

bool yaml_fail(struct yaml_reader *reader, struct fy_node *node, const char *format, ...)
{
    char sentence[sizeof reader->error.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return keep_failure(reader, line_of(node), sentence);
}

static void keep_parser_failure(struct yaml_reader *reader, struct fy_diag *diagnostics)
{
    void *position = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diagnostics, &position);
    keep_failure(reader, error != NULL ? error->line : 0, error != NULL ? error->msg : "not a YAML document");
}

/* Anything but blank lines and comments. */
static bool has_content(struct bytes text)
{
    struct bytes line;
    while (bytes_split(&text, '\n', &line)) {
        line = bytes_trim(line);
        if (line.length > 0 && line.data[0] != '#') {
            return true;
        }
    }
    return false;
}

/* Directives, which no file of ours needs, and bytes that are not UTF-8 can hold libfyaml 0.7 in a loop without end. */
static bool is_safe_to_parse(struct yaml_reader *reader, struct bytes text)
{
    if (!bytes_is_utf8(text) || (text.length > 0 && memchr(text.data, '\0', text.length) != NULL)) {
        return keep_failure(reader, 0, "not UTF-8");
    }
    struct bytes line;
    for (int number = 1; bytes_split(&text, '\n', &line); number++) {
        if (line.length > 0 && line.data[0] == '%') {
            return keep_failure(reader, number, "directives are not supported");
        }
    }
    return true;
}

struct fy_document *yaml_reader_parse(struct yaml_reader *reader, struct bytes text)
{
    if (!is_safe_to_parse(reader, text)) {
        return NULL;
    }
    struct fy_diag_cfg settings;
    fy_diag_cfg_default(&settings);
    settings.fp = NULL;
    settings.colorize = false;
    struct fy_diag *diagnostics = fy_diag_create(&settings);
    fy_diag_set_collect_errors(diagnostics, true);
    struct fy_parse_cfg parse = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_1 | FYPCF_JSON_NONE,
        .diag = diagnostics,
    };
    /* A stream without a document would be a failure without a reason. */
    struct bytes document_text = has_content(text) ? text : bytes_of_string("{}");
    struct fy_document *document =
        fy_document_build_from_string(&parse, (const char *)document_text.data, document_text.length);
    if (document == NULL) {
        keep_parser_failure(reader, diagnostics);
    }
    fy_diag_destroy(diagnostics);
    return document;
}

#define ALIASED_NODES_MAXIMUM 1000
#define ALIASED_DEPTH_MAXIMUM 64

struct expansion {
    struct yaml_reader *reader;
    size_t aliased_nodes;
    bool has_aliases;
};

static bool expand(struct expansion *expansion, struct fy_node *node, int depth, bool is_aliased);

static bool expand_alias(struct expansion *expansion, struct fy_node *alias, int depth)
{
    expansion->has_aliases = true;
    struct fy_node *node = fy_node_resolve_alias(alias);
    return node != NULL ? expand(expansion, node, depth + 1, true)
                        : yaml_fail(expansion->reader, alias, "an alias refers to an anchor that does not exist");
}

static bool expand_children(struct expansion *expansion, struct fy_node *node, int depth, bool is_aliased)
{
    void *position = NULL;
    struct fy_node *item;
    while (fy_node_is_sequence(node) && (item = fy_node_sequence_iterate(node, &position)) != NULL) {
        if (!expand(expansion, item, depth + 1, is_aliased)) {
            return false;
        }
    }
    struct fy_node_pair *pair;
    while (fy_node_is_mapping(node) && (pair = fy_node_mapping_iterate(node, &position)) != NULL) {
        if (!expand(expansion, fy_node_pair_key(pair), depth + 1, is_aliased) ||
            !expand(expansion, fy_node_pair_value(pair), depth + 1, is_aliased)) {
            return false;
        }
    }
    return true;
}

/* Counts what the document would become. A circle ends at the depth, a bomb at the number. */
static bool expand(struct expansion *expansion, struct fy_node *node, int depth, bool is_aliased)
{
    if (node == NULL) {
        return true;
    }
    if (depth > ALIASED_DEPTH_MAXIMUM) {
        return yaml_fail(expansion->reader, node, "nested too deeply, or an alias refers to the value it stands in");
    }
    if (is_aliased && ++expansion->aliased_nodes > ALIASED_NODES_MAXIMUM) {
        return yaml_fail(expansion->reader, node, "aliases stand for more than %d values", ALIASED_NODES_MAXIMUM);
    }
    return fy_node_is_alias(node) ? expand_alias(expansion, node, depth)
                                  : expand_children(expansion, node, depth, is_aliased);
}

bool yaml_resolve_aliases(struct yaml_reader *reader, struct fy_document *document)
{
    struct expansion expansion = { .reader = reader };
    struct fy_node *root = fy_document_root(document);
    if (!expand(&expansion, root, 0, false)) {
        return false;
    }
    return !expansion.has_aliases || fy_document_resolve(document) == 0 ||
           yaml_fail(reader, fy_document_root(document), "the aliases cannot be resolved");
}

static bool is_alias(struct yaml_reader *reader, struct fy_node *node)
{
    return fy_node_is_alias(node) && !yaml_fail(reader, node, "aliases are not supported");
}

bool yaml_is_null(struct fy_node *node)
{
    if (node == NULL || fy_node_is_null(node)) {
        return true;
    }
    size_t length;
    const char *text = fy_node_get_scalar(node, &length);
    if (text == NULL || fy_node_get_style(node) != FYNS_PLAIN) {
        return false;
    }
    struct bytes plain = bytes_of(text, length);
    return length == 0 || bytes_equal_string(plain, "null") || bytes_equal_string(plain, "~");
}

bool yaml_sequence(struct yaml_reader *reader, struct fy_node *node, size_t *count)
{
    if (is_alias(reader, node)) {
        return false;
    }
    if (!fy_node_is_sequence(node)) {
        return yaml_fail(reader, node, "a list is expected here");
    }
    *count = (size_t)fy_node_sequence_item_count(node);
    return true;
}

bool yaml_pairs(struct yaml_reader *reader, struct fy_node *node, size_t *count)
{
    if (is_alias(reader, node)) {
        return false;
    }
    if (!fy_node_is_mapping(node)) {
        return yaml_fail(reader, node, "a mapping is expected here");
    }
    *count = (size_t)fy_node_mapping_item_count(node);
    return true;
}

bool yaml_text(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct bytes *out = target;
    if (node != NULL && is_alias(reader, node)) {
        return false;
    }
    if (yaml_is_null(node) || !fy_node_is_scalar(node)) {
        return yaml_fail(reader, node, "a string is expected here");
    }
    size_t length;
    const char *text = fy_node_get_scalar(node, &length);
    *out = bytes_of(arena_string_bytes(&reader->arena, bytes_of(text, length)), length);
    return true;
}

static bool read_number(struct yaml_reader *reader, struct fy_node *node, uint64_t maximum, uint64_t *number)
{
    struct bytes text = { 0 };
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    return bytes_to_u64(text, maximum, number) || yaml_fail(reader, node, "`%s` is not a number from 0 to %llu",
                                                      (const char *)text.data, (unsigned long long)maximum);
}

bool yaml_port(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    uint64_t number;
    if (!read_number(reader, node, UINT16_MAX, &number)) {
        return false;
    }
    *(uint16_t *)target = (uint16_t)number;
    return true;
}

bool yaml_number(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    uint64_t number;
    if (!read_number(reader, node, UINT32_MAX, &number)) {
        return false;
    }
    *(uint32_t *)target = (uint32_t)number;
    return true;
}

bool yaml_bool(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct bytes text = { 0 };
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    return text_to_bool((const char *)text.data, target) ||
           yaml_fail(reader, node, "`%s` is neither true nor false", (const char *)text.data);
}

bool yaml_choice(
    struct yaml_reader *reader, struct fy_node *node, const char *const *names, size_t count, size_t *chosen)
{
    struct bytes text = { 0 };
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    char valid[160] = "";
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_string(text, names[i])) {
            *chosen = i;
            return true;
        }
        size_t used = strlen(valid);
        snprintf(valid + used, sizeof valid - used, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    return yaml_fail(reader, node, "`%s` is none of %s", (const char *)text.data, valid);
}

bool yaml_skip(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    (void)reader;
    (void)node;
    (void)target;
    return true;
}

bool yaml_ignore_key(struct yaml_reader *reader, struct fy_node *key, void *target)
{
    return yaml_skip(reader, key, target);
}

static bool read_pair(struct yaml_reader *reader, struct fy_node_pair *pair, const struct yaml_key *key, void *target)
{
    struct fy_node *value = fy_node_pair_value(pair);
    if (value != NULL && is_alias(reader, value)) {
        return false;
    }
    if (yaml_is_null(value)) {
        return !key->is_required || yaml_fail(reader, fy_node_pair_key(pair), "`%s` has no value", key->name);
    }
    return key->read(reader, value, (char *)target + key->offset);
}

static const struct yaml_key *find_key(const struct yaml_key *keys, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_string(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

bool yaml_mapping(struct yaml_reader *reader, struct fy_node *node, const struct yaml_key *keys, size_t key_count,
    bool (*unknown)(struct yaml_reader *reader, struct fy_node *key, void *target), void *target)
{
    bool is_present[YAML_KEYS_MAXIMUM] = { false };
    size_t pairs;
    if (!yaml_pairs(reader, node, &pairs)) {
        return false;
    }
    void *position = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(node, &position)) != NULL) {
        struct bytes name;
        if (!yaml_text(reader, fy_node_pair_key(pair), &name)) {
            return false;
        }
        const struct yaml_key *key = find_key(keys, key_count, name);
        if (key == NULL) {
            bool is_allowed = unknown != NULL ? unknown(reader, fy_node_pair_key(pair), target)
                                              : yaml_fail(reader, fy_node_pair_key(pair), "unknown key `%s`",
                                                    (const char *)name.data);
            if (!is_allowed) {
                return false;
            }
            continue;
        }
        is_present[key - keys] = true;
        if (!read_pair(reader, pair, key, target)) {
            return false;
        }
    }
    for (size_t i = 0; i < key_count; i++) {
        if (keys[i].is_required && !is_present[i]) {
            return yaml_fail(reader, node, "missing key `%s`", keys[i].name);
        }
    }
    return true;
}
