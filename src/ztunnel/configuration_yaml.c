/* The configuration as YAML, for the line at the start (ztunnel-management §1.5): the same document as in /config_dump. */
#include "base/json_writer.h"
#include "base/memory.h"
#include "ztunnel/configuration.h"

#include <jansson.h>

static void write_node(const json_t *node, int depth, struct writer *out);

static void indent(struct writer *out, int depth)
{
    for (int i = 0; i < depth; i++) {
        writer_add_string(out, "  ");
    }
}

/* JSON's scalars are YAML's as well; quoted, so that no text of a user reads as something else. */
static void write_scalar(const json_t *node, struct writer *out)
{
    char *text = json_dumps(node, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    writer_print(out, " %s\n", text != NULL ? text : "null");
    free(text);
}

static void write_member(const json_t *node, int depth, struct writer *out)
{
    bool is_empty =
        (json_is_object(node) && json_object_size(node) == 0) || (json_is_array(node) && json_array_size(node) == 0);
    if (is_empty) {
        writer_add_string(out, json_is_object(node) ? " {}\n" : " []\n");
    } else if (json_is_object(node) || json_is_array(node)) {
        writer_add_u8(out, '\n');
        write_node(node, depth, out);
    } else {
        write_scalar(node, out);
    }
}

static void write_node(const json_t *node, int depth, struct writer *out)
{
    for (size_t i = 0; json_is_array(node) && i < json_array_size(node); i++) {
        indent(out, depth);
        writer_add_u8(out, '-');
        write_member(json_array_get(node, i), depth + 1, out);
    }
    for (void *at = json_is_object(node) ? json_object_iter((json_t *)(uintptr_t)node) : NULL; at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)node, at)) {
        indent(out, depth);
        writer_print(out, "%s:", json_object_iter_key(at));
        write_member(json_object_iter_value(at), depth + 1, out);
    }
}

void configuration_write_yaml(const struct configuration *configuration, struct writer *out)
{
    struct writer text = writer_growing();
    struct json_writer json = json_writer_of(&text, false);
    configuration_dump(configuration, &json);
    json_t *document = json_loadb(writer_string(&text), text.length, 0, NULL);
    if (document != NULL) {
        write_node(document, 0, out);
        json_decref(document);
    }
    writer_free(&text);
}
