#include "xds/resource_decoder.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

bool resource_fail(struct resource_decoder *decoder, const char *format, ...)
{
    if (result_is_ok(&decoder->error)) {
        char sentence[sizeof decoder->error.message];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(sentence, sizeof sentence, format, arguments);
        va_end(arguments);
        decoder->error = result_fail(RESULT_INVALID, "%s", sentence);
    }
    return false;
}

static bool has_wire(
    struct resource_decoder *decoder, const struct protobuf_field *field, enum protobuf_wire wire, const char *name)
{
    return field->wire == wire || resource_fail(decoder, "decode: %s: invalid wire type %d", name, (int)field->wire);
}

bool resource_text(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, struct bytes *text)
{
    if (!resource_message(decoder, field, name, text)) {
        return false;
    }
    return bytes_is_utf8(*text) || resource_fail(decoder, "decode: %s: not UTF-8", name);
}

bool resource_message(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, struct bytes *message)
{
    if (!has_wire(decoder, field, PROTOBUF_BYTES, name)) {
        return false;
    }
    *message = field->bytes;
    return true;
}

bool resource_number(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, uint64_t *number)
{
    if (!has_wire(decoder, field, PROTOBUF_VARINT, name)) {
        return false;
    }
    *number = field->value;
    return true;
}

bool resource_enum(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, int32_t *value)
{
    uint64_t number;
    if (!resource_number(decoder, field, name, &number)) {
        return false;
    }
    /* An enum is an int32 on the wire: 64 bits sign-extended, of which the lower half counts. */
    *value = (int32_t)(uint32_t)number;
    return true;
}

bool resource_known_enum(struct resource_decoder *decoder, const struct protobuf_field *field, const char *name,
    int32_t maximum, uint32_t *value)
{
    int32_t number;
    if (!resource_enum(decoder, field, name, &number)) {
        return false;
    }
    if (number < 0 || number > maximum) {
        return resource_fail(decoder, "decode error: unknown enumeration value %" PRId32, number);
    }
    *value = (uint32_t)number;
    return true;
}

bool resource_ip(struct resource_decoder *decoder, struct bytes raw, struct ip_address *ip)
{
    return ip_from_bytes(raw, ip) || resource_fail(decoder, "failed to parse address, had %zu bytes", raw.length);
}

bool resource_end(struct resource_decoder *decoder, const struct cursor *cursor, const char *message_name)
{
    return !cursor->has_failed || resource_fail(decoder, "decode: %s is malformed or cut short", message_name);
}

size_t resource_count(struct bytes message, uint32_t number)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    size_t count = 0;
    while (protobuf_next_field(&cursor, &field)) {
        count += field.number == number;
    }
    return count;
}

bool resource_numbers_begin(struct resource_decoder *decoder, const struct protobuf_field *field, const char *name,
    struct resource_numbers *numbers)
{
    *numbers = (struct resource_numbers){ 0 };
    if (field->wire == PROTOBUF_VARINT) {
        numbers->is_single = true;
        numbers->single = field->value;
        return true;
    }
    numbers->packed = cursor_of(field->bytes);
    return has_wire(decoder, field, PROTOBUF_BYTES, name);
}

bool resource_numbers_next(struct resource_numbers *numbers, uint64_t *number)
{
    if (numbers->is_single) {
        *number = numbers->single;
        numbers->is_single = false;
        return true;
    }
    if (cursor_left(&numbers->packed) == 0) {
        return false;
    }
    *number = cursor_varint(&numbers->packed);
    return !numbers->packed.has_failed;
}

bool resource_numbers_end(struct resource_decoder *decoder, const struct resource_numbers *numbers, const char *name)
{
    return !numbers->packed.has_failed || resource_fail(decoder, "decode: %s is malformed or cut short", name);
}
