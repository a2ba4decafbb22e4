#include "base/json_writer.h"

#include "base/text.h"

#include <assert.h>
#include <inttypes.h>

struct json_writer json_writer_of(struct writer *out, bool is_pretty)
{
    return (struct json_writer){ .out = out, .is_pretty = is_pretty };
}

static void new_line(struct json_writer *json)
{
    if (!json->is_pretty) {
        return;
    }
    /* As many blanks as the greatest depth may need. */
    static const char INDENTATION[] = "\n                                                                ";
    _Static_assert(sizeof INDENTATION - 2 == (size_t)2 * JSON_MAXIMUM_DEPTH, "two blanks a level");
    writer_add(json->out, INDENTATION, 1 + 2 * (size_t)json->depth);
}

/* What stands between this member and whatever was before it. */
static void separate(struct json_writer *json)
{
    if (json->is_after_key) {
        json->is_after_key = false;
        return;
    }
    if (json->depth == 0) {
        return;
    }
    assert(json->is_array[json->depth - 1] && "a value in an object needs a key");
    if (json->has_members[json->depth - 1]) {
        writer_add_u8(json->out, ',');
    }
    json->has_members[json->depth - 1] = true;
    new_line(json);
}

static void begin(struct json_writer *json, char bracket, bool is_array)
{
    separate(json);
    assert(json->depth < JSON_MAXIMUM_DEPTH);
    writer_add_u8(json->out, (uint8_t)bracket);
    json->has_members[json->depth] = false;
    json->is_array[json->depth] = is_array;
    json->depth++;
}

static void end(struct json_writer *json, char bracket, bool is_array)
{
    assert(json->depth > 0 && !json->is_after_key && json->is_array[json->depth - 1] == is_array);
    json->depth--;
    if (json->has_members[json->depth]) {
        new_line(json);
    }
    writer_add_u8(json->out, (uint8_t)bracket);
}

void json_write_object_begin(struct json_writer *json)
{
    begin(json, '{', false);
}

void json_write_object_end(struct json_writer *json)
{
    end(json, '}', false);
}

void json_write_array_begin(struct json_writer *json)
{
    begin(json, '[', true);
}

void json_write_array_end(struct json_writer *json)
{
    end(json, ']', true);
}

static void add_escaped_character(struct writer *out, uint8_t character)
{
    static const char shorthands[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found = character == '\0' ? NULL : strchr(shorthands, character);
    if (found != NULL) {
        writer_add_u8(out, '\\');
        writer_add_u8(out, (uint8_t)letters[found - shorthands]);
    } else {
        writer_print(out, "\\u%04x", character);
    }
}

static bool needs_escape(uint8_t character)
{
    return character < ' ' || character == '"' || character == '\\';
}

/* How many bytes at the start are ASCII that stays as it is. */
static size_t plain_length(struct bytes text)
{
    size_t length = 0;
    while (length < text.length && text.data[length] < 0x80 && !needs_escape(text.data[length])) {
        length++;
    }
    return length;
}

static void add_quoted(struct writer *out, struct bytes text)
{
    writer_add_u8(out, '"');
    while (text.length > 0) {
        size_t plain = plain_length(text);
        if (plain > 0) {
            writer_add(out, text.data, plain);
            text = bytes_of(text.data + plain, text.length - plain);
            continue;
        }
        /* RFC 8259 §8.1 wants UTF-8; what is none becomes U+FFFD, byte by byte. */
        size_t length = bytes_utf8_length(text);
        if (length == 0) {
            writer_add_string(out, "\xEF\xBF\xBD");
            length = 1;
        } else if (length == 1 && needs_escape(text.data[0])) {
            add_escaped_character(out, text.data[0]);
        } else {
            writer_add(out, text.data, length);
        }
        text = bytes_of(text.data + length, text.length - length);
    }
    writer_add_u8(out, '"');
}

void json_write_key(struct json_writer *json, const char *key)
{
    json_write_key_bytes(json, bytes_of_string(key));
}

void json_write_key_bytes(struct json_writer *json, struct bytes key)
{
    assert(json->depth > 0 && !json->is_array[json->depth - 1] && !json->is_after_key);
    if (json->has_members[json->depth - 1]) {
        writer_add_u8(json->out, ',');
    }
    json->has_members[json->depth - 1] = true;
    new_line(json);
    add_quoted(json->out, key);
    writer_add_string(json->out, json->is_pretty ? ": " : ":");
    json->is_after_key = true;
}

void json_write_string(struct json_writer *json, const char *text)
{
    if (text == NULL) {
        json_write_null(json);
    } else {
        json_write_string_bytes(json, bytes_of_string(text));
    }
}

void json_write_string_bytes(struct json_writer *json, struct bytes text)
{
    separate(json);
    add_quoted(json->out, text);
}

void json_write_unsigned(struct json_writer *json, uint64_t value)
{
    separate(json);
    writer_print(json->out, "%" PRIu64, value);
}

void json_write_signed(struct json_writer *json, int64_t value)
{
    separate(json);
    writer_print(json->out, "%" PRId64, value);
}

void json_write_bool(struct json_writer *json, bool value)
{
    separate(json);
    writer_add_string(json->out, value ? "true" : "false");
}

void json_write_null(struct json_writer *json)
{
    separate(json);
    writer_add_string(json->out, "null");
}

void json_write_member_string(struct json_writer *json, const char *key, const char *text)
{
    json_write_key(json, key);
    json_write_string(json, text);
}

void json_write_member_unsigned(struct json_writer *json, const char *key, uint64_t value)
{
    json_write_key(json, key);
    json_write_unsigned(json, value);
}

void json_write_member_bool(struct json_writer *json, const char *key, bool value)
{
    json_write_key(json, key);
    json_write_bool(json, value);
}

void json_write_raw(struct json_writer *json, struct bytes value)
{
    separate(json);
    writer_add_bytes(json->out, value);
}
