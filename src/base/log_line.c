#include "base/log_line.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/log_filter.h"
#include "base/text.h"

#include <inttypes.h>

#define PLAIN_SCOPE_OMITS "ztunnel::"

/* U+0000 to U+009F; the last byte in UTF-8 is the number of the character. */
static void add_escaped_control(struct writer *out, uint8_t character)
{
    switch (character) {
    case '\n':
        writer_add_string(out, "\\n");
        break;
    case '\r':
        writer_add_string(out, "\\r");
        break;
    case '\t':
        writer_add_string(out, "\\t");
        break;
    default:
        writer_print(out, "\\u{%x}", character);
    }
}

/* Adds text with control characters escaped, and quotes and backslashes too where it stands between quotes. */
static void add_escaped(struct writer *out, const char *text, bool is_quoted)
{
    struct bytes rest = bytes_of_string(text);
    while (rest.length > 0) {
        size_t length = bytes_utf8_length(rest);
        uint8_t first = rest.data[0];
        if (length == 0) {
            writer_add_string(out, "\xEF\xBF\xBD");
            length = 1;
        } else if (bytes_starts_with_control(rest)) {
            add_escaped_control(out, rest.data[length - 1]);
        } else {
            if (is_quoted && (first == '"' || first == '\\')) {
                writer_add_u8(out, '\\');
            }
            writer_add(out, rest.data, length);
        }
        rest = bytes_of(rest.data + length, rest.length - length);
    }
}

void log_line_add_harmless(struct writer *out, const char *text)
{
    add_escaped(out, text, false);
}

static bool is_left_out(const struct log_field *field)
{
    bool is_text = field->kind == LOG_FIELD_STRING || field->kind == LOG_FIELD_DISPLAY;
    return field->name == NULL || (is_text && field->value.text == NULL);
}

static void add_plain_value(const struct log_field *field, struct writer *out)
{
    switch (field->kind) {
    case LOG_FIELD_STRING:
        writer_add_u8(out, '"');
        add_escaped(out, field->value.text, true);
        writer_add_u8(out, '"');
        break;
    case LOG_FIELD_DISPLAY:
        add_escaped(out, field->value.text, false);
        break;
    case LOG_FIELD_SIGNED:
        writer_print(out, "%" PRId64, field->value.signed_);
        break;
    case LOG_FIELD_UNSIGNED:
        writer_print(out, "%" PRIu64, field->value.unsigned_);
        break;
    case LOG_FIELD_BOOL:
        writer_add_string(out, field->value.unsigned_ != 0 ? "true" : "false");
        break;
    }
}

/* `k=v k="v"` */
static void add_plain_fields(const struct log_field *fields, size_t count, struct writer *out)
{
    bool is_first = true;
    for (size_t i = 0; i < count; i++) {
        if (is_left_out(&fields[i])) {
            continue;
        }
        writer_add_string(out, is_first ? "" : " ");
        writer_add_string(out, fields[i].name);
        writer_add_u8(out, '=');
        add_plain_value(&fields[i], out);
        is_first = false;
    }
}

/* `:name{k=v}`, without braces where there is no field. */
static void add_plain_span(const struct log_span *span, struct writer *out)
{
    bool has_fields = false;
    for (size_t i = 0; i < LOG_SPAN_FIELDS_MAXIMUM; i++) {
        has_fields |= !is_left_out(&span->fields[i]);
    }
    writer_print(out, ":%s%s", span->name, has_fields ? "{" : "");
    add_plain_fields(span->fields, LOG_SPAN_FIELDS_MAXIMUM, out);
    writer_add_string(out, has_fields ? "}" : "");
}

static size_t span_count(const struct log_line *line)
{
    return line->spans != NULL ? line->spans->count : 0;
}

void log_line_write_plain(const struct log_line *line, struct writer *out)
{
    char time[40];
    clock_format_rfc3339(line->wall_ns, 6, time);
    const char *scope = line->target;
    if (text_starts_with(scope, PLAIN_SCOPE_OMITS)) {
        scope += strlen(PLAIN_SCOPE_OMITS);
    }
    writer_print(out, "%s\t%s\t%s", time, log_level_name(line->level), scope);
    for (size_t i = 0; i < span_count(line); i++) {
        add_plain_span(&line->spans->spans[i], out);
    }
    writer_add_u8(out, '\t');
    if (line->message != NULL) {
        writer_add_string(out, line->message);
        writer_add_u8(out, '\t');
    }
    add_plain_fields(line->fields, line->field_count, out);
    writer_add_u8(out, '\n');
}

static void add_json_value(const struct log_field *field, struct json_writer *json)
{
    switch (field->kind) {
    case LOG_FIELD_STRING:
    case LOG_FIELD_DISPLAY:
        json_write_string(json, field->value.text);
        break;
    case LOG_FIELD_SIGNED:
        json_write_signed(json, field->value.signed_);
        break;
    case LOG_FIELD_UNSIGNED:
        json_write_unsigned(json, field->value.unsigned_);
        break;
    case LOG_FIELD_BOOL:
        json_write_bool(json, field->value.unsigned_ != 0);
        break;
    }
}

static void add_json_fields(const struct log_field *fields, size_t count, struct json_writer *json)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_left_out(&fields[i])) {
            json_write_key(json, fields[i].name);
            add_json_value(&fields[i], json);
        }
    }
}

void log_line_write_json(const struct log_line *line, struct writer *out)
{
    char time[40];
    clock_format_rfc3339(line->wall_ns, 6, time);
    struct json_writer json = json_writer_of(out, false);
    json_write_object_begin(&json);
    json_write_member_string(&json, "level", log_level_name(line->level));
    json_write_member_string(&json, "time", time);
    json_write_member_string(&json, "scope", line->target);
    if (line->message != NULL) {
        json_write_member_string(&json, "message", line->message);
    }
    add_json_fields(line->fields, line->field_count, &json);
    for (size_t i = 0; i < span_count(line); i++) {
        json_write_key(&json, line->spans->spans[i].name);
        json_write_object_begin(&json);
        add_json_fields(line->spans->spans[i].fields, LOG_SPAN_FIELDS_MAXIMUM, &json);
        json_write_object_end(&json);
    }
    json_write_object_end(&json);
    writer_add_u8(out, '\n');
}
