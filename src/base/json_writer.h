/* JSON written as it is made, without a tree: for dumps of any size. Pretty (2 spaces) or compact; commas, colons,
 * indentation and escapes are its business, the order of keys is the caller's. Misuse (a value without a key) asserts. */
#ifndef AMBAR_BASE_JSON_WRITER_H
#define AMBAR_BASE_JSON_WRITER_H

#include "base/writer.h"

#define JSON_MAXIMUM_DEPTH 32

struct json_writer {
    struct writer *out;
    bool is_pretty;
    int depth;
    bool has_members[JSON_MAXIMUM_DEPTH];
    bool is_array[JSON_MAXIMUM_DEPTH];
    bool is_after_key;
};

struct json_writer json_writer_of(struct writer *out, bool is_pretty);
void json_write_object_begin(struct json_writer *json);
void json_write_object_end(struct json_writer *json);
void json_write_array_begin(struct json_writer *json);
void json_write_array_end(struct json_writer *json);
void json_write_key(struct json_writer *json, const char *key);
void json_write_key_bytes(struct json_writer *json, struct bytes key);
/* NULL writes null. Bytes that are not UTF-8 become U+FFFD. */
void json_write_string(struct json_writer *json, const char *text);
void json_write_string_bytes(struct json_writer *json, struct bytes text);
void json_write_unsigned(struct json_writer *json, uint64_t value);
void json_write_signed(struct json_writer *json, int64_t value);
void json_write_bool(struct json_writer *json, bool value);
void json_write_null(struct json_writer *json);
/* A value that is JSON already, as it is (compact inside a pretty document). */
void json_write_raw(struct json_writer *json, struct bytes value);
/* Key and value at once. */
void json_write_member_string(struct json_writer *json, const char *key, const char *text);
void json_write_member_unsigned(struct json_writer *json, const char *key, uint64_t value);
void json_write_member_bool(struct json_writer *json, const char *key, bool value);

#endif
