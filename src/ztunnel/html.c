#include "ztunnel/html.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

static const char *entity_of(uint8_t character)
{
    switch (character) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return character < ' ' || character == 0x7f ? "\xEF\xBF\xBD" : NULL;
    }
}

void html_add_text(struct writer *out, const char *text)
{
    struct bytes left = bytes_of_string(text != NULL ? text : "");
    while (left.length > 0) {
        size_t length = bytes_utf8_length(left);
        const char *entity = length == 0 ? "\xEF\xBF\xBD" : length == 1 ? entity_of(left.data[0]) : NULL;
        if (entity != NULL) {
            writer_add_string(out, entity);
        } else {
            writer_add(out, left.data, length);
        }
        length = length == 0 ? 1 : length;
        left = bytes_of(left.data + length, left.length - length);
    }
}

void html_add_cell_of(struct writer *out, const char *class_, const char *text, const char *key)
{
    writer_add_string(out, "<td");
    if (class_ != NULL) {
        writer_print(out, " class=\"%s\"", class_);
    }
    if (key != NULL) {
        writer_add_string(out, " data-key=\"");
        html_add_text(out, key);
        writer_add_u8(out, '"');
    }
    writer_add_u8(out, '>');
    html_add_text(out, text_is_empty(text) ? "\xE2\x80\x93" : text);
    writer_add_string(out, "</td>");
}

void html_add_cell(struct writer *out, const char *text, const char *key)
{
    html_add_cell_of(out, NULL, text, key);
}

void html_add_number_cell(struct writer *out, const char *text, uint64_t value)
{
    char key[24];
    snprintf(key, sizeof key, "%" PRIu64, value);
    html_add_cell_of(out, "n", text != NULL ? text : key, key);
}

void html_add_pair_cell(struct writer *out, const char *class_, const char *first, const char *second)
{
    writer_print(out, "<td class=\"%s\" data-key=\"", class_);
    html_add_text(out, first);
    writer_add_string(out, "\">");
    html_add_text(out, text_is_empty(first) ? "\xE2\x80\x93" : first);
    if (!text_is_empty(second)) {
        writer_add_string(out, "<small>");
        html_add_text(out, second);
        writer_add_string(out, "</small>");
    }
    writer_add_string(out, "</td>");
}
