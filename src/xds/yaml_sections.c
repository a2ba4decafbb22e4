#include "xds/yaml_sections.h"

#include "base/text.h"

struct line {
    struct bytes text; /* with its end */
    size_t indent;
    bool is_blank; /* or a comment */
    bool is_item;  /* "- ..." */
};

static bool peek_line(const struct yaml_sections *sections, struct line *line)
{
    struct bytes rest = sections->rest;
    if (rest.length == 0) {
        return false;
    }
    const uint8_t *end = memchr(rest.data, '\n', rest.length);
    size_t length = end != NULL ? (size_t)(end - rest.data) + 1 : rest.length;
    *line = (struct line){ .text = bytes_of(rest.data, length) };
    while (line->indent < length && rest.data[line->indent] == ' ') {
        line->indent++;
    }
    struct bytes content = bytes_trim(line->text);
    line->is_blank = content.length == 0 || content.data[0] == '#';
    line->is_item = !line->is_blank && rest.data[line->indent] == '-' &&
                    (content.length == 1 || content.data[1] == ' ' || content.data[1] == '\t');
    return true;
}

static void take_line(struct yaml_sections *sections, const struct line *line)
{
    struct bytes rest = sections->rest;
    sections->rest = bytes_of(rest.data + line->text.length, rest.length - line->text.length);
    sections->line++;
}

/* "key:", with nothing behind it, or an empty list; a comment may follow. */
static bool is_section_line(const struct line *line, struct bytes *key, bool *is_empty_list)
{
    struct bytes text = bytes_trim(line->text);
    const uint8_t *colon = memchr(text.data, ':', text.length);
    if (line->indent > 0 || colon == NULL) {
        return false;
    }
    *key = bytes_of(text.data, (size_t)(colon - text.data));
    for (size_t i = 0; i < key->length; i++) {
        if (!((key->data[i] | 0x20) >= 'a' && (key->data[i] | 0x20) <= 'z')) {
            return false;
        }
    }
    struct bytes value = bytes_trim(bytes_of(colon + 1, text.length - key->length - 1));
    bool is_apart = value.length > 0 && value.data != colon + 1;
    *is_empty_list = is_apart && bytes_equal_string(value, "[]");
    return key->length > 0 && (value.length == 0 || *is_empty_list || (is_apart && value.data[0] == '#'));
}

/* To the first item of the section, or to what stands in its place. */
static void find_items(struct yaml_sections *sections)
{
    struct line line;
    while (peek_line(sections, &line) && line.is_blank) {
        take_line(sections, &line);
    }
    sections->has_items = sections->rest.length > 0 && line.is_item;
    sections->indent = line.indent;
}

/* Items until there is enough; the section ends at a line that stands further left, or beside the items and is none. */
static enum yaml_sections_event take_items(struct yaml_sections *sections, size_t piece_bytes, struct yaml_piece *piece)
{
    piece->section = sections->section;
    piece->lines_before = sections->line;
    const uint8_t *first = sections->rest.data;
    struct line line;
    while (peek_line(sections, &line)) {
        size_t taken = (size_t)(sections->rest.data - first);
        if (!line.is_blank && line.indent <= sections->indent) {
            bool is_item = line.is_item && line.indent == sections->indent;
            if (!is_item && line.indent > 0) {
                return YAML_SECTIONS_OTHER;
            }
            if (!is_item || taken >= piece_bytes) {
                sections->has_items = is_item;
                break;
            }
        }
        take_line(sections, &line);
    }
    sections->is_in_section = sections->rest.length > 0 && sections->has_items;
    piece->text = bytes_of(first, (size_t)(sections->rest.data - first));
    return YAML_SECTIONS_PIECE;
}

enum yaml_sections_event yaml_sections_next(
    struct yaml_sections *sections, size_t piece_bytes, struct yaml_piece *piece)
{
    struct line line;
    while (!sections->is_in_section) {
        if (!peek_line(sections, &line)) {
            return YAML_SECTIONS_END;
        }
        bool is_empty_list = false;
        bool is_head = sections->section.length == 0 && bytes_equal_string(bytes_trim(line.text), "---");
        if (!line.is_blank && !is_head && !is_section_line(&line, &sections->section, &is_empty_list)) {
            return YAML_SECTIONS_OTHER;
        }
        take_line(sections, &line);
        if (line.is_blank || is_head || is_empty_list) {
            continue;
        }
        find_items(sections);
        sections->is_in_section = sections->has_items;
    }
    return take_items(sections, piece_bytes, piece);
}
