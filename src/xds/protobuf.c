#include "xds/protobuf.h"

#include "base/memory.h"
#include "base/text.h"

bool protobuf_next_field(struct cursor *cursor, struct protobuf_field *field)
{
    *field = (struct protobuf_field){ 0 };
    if (cursor->has_failed || cursor_is_at_end(cursor)) {
        return false;
    }
    uint64_t tag = cursor_varint(cursor);
    field->number = (uint32_t)(tag >> 3);
    field->wire = (enum protobuf_wire)(tag & 7);
    /* Field numbers are 1 to 2^29 - 1. */
    if (tag >> 32 != 0 || field->number == 0) {
        cursor->has_failed = true;
    }
    switch (field->wire) {
    case PROTOBUF_VARINT:
        field->value = cursor_varint(cursor);
        break;
    case PROTOBUF_FIXED64:
        field->value = cursor_u64_little(cursor);
        break;
    case PROTOBUF_FIXED32:
        field->value = cursor_u32_little(cursor);
        break;
    case PROTOBUF_BYTES: {
        uint64_t length = cursor_varint(cursor);
        if (length > cursor_left(cursor)) {
            cursor->has_failed = true;
            break;
        }
        field->bytes = cursor_take(cursor, (size_t)length);
        break;
    }
    default:
        cursor->has_failed = true;
    }
    return !cursor->has_failed;
}

/* Packed repeated scalars: one run of values of the field's own wire type. */
static bool packed_is_sound(const ProtobufCFieldDescriptor *descriptor, struct bytes run)
{
    size_t width;
    switch (descriptor->type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        width = 4;
        break;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        width = 8;
        break;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return false;
    default:
        width = 0;
    }
    if (width != 0) {
        return run.length % width == 0;
    }
    struct cursor cursor = cursor_of(run);
    while (!cursor.has_failed && !cursor_is_at_end(&cursor)) {
        (void)cursor_varint(&cursor);
    }
    return !cursor.has_failed;
}

static enum protobuf_wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PROTOBUF_FIXED32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PROTOBUF_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PROTOBUF_BYTES;
    default:
        return PROTOBUF_VARINT;
    }
}

static struct result check(const ProtobufCMessageDescriptor *type, struct bytes bytes, int depth);

static struct result check_field(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *descriptor,
    const struct protobuf_field *field, int depth)
{
    if (field->wire != wire_of(descriptor->type)) {
        bool is_packed = descriptor->label == PROTOBUF_C_LABEL_REPEATED && field->wire == PROTOBUF_BYTES;
        if (is_packed && packed_is_sound(descriptor, field->bytes)) {
            return result_ok();
        }
        return result_fail(RESULT_INVALID, "%s.%s: invalid wire type", type->short_name, descriptor->name);
    }
    if (descriptor->type == PROTOBUF_C_TYPE_STRING) {
        if (!bytes_is_utf8(field->bytes)) {
            return result_fail(RESULT_INVALID, "%s.%s: invalid string value: data is not UTF-8 encoded",
                type->short_name, descriptor->name);
        }
        /* Strings become NUL-terminated text: one with a NUL inside would silently be another. */
        if (field->bytes.length > 0 && memchr(field->bytes.data, 0, field->bytes.length) != NULL) {
            return result_fail(
                RESULT_INVALID, "%s.%s: invalid string value: NUL character", type->short_name, descriptor->name);
        }
    }
    if (descriptor->type == PROTOBUF_C_TYPE_MESSAGE) {
        return check((const ProtobufCMessageDescriptor *)descriptor->descriptor, field->bytes, depth + 1);
    }
    return result_ok();
}

static struct result check(const ProtobufCMessageDescriptor *type, struct bytes bytes, int depth)
{
    if (depth > PROTOBUF_MAXIMUM_DEPTH) {
        return result_fail(RESULT_INVALID, "%s: recursion limit reached", type->short_name);
    }
    struct cursor cursor = cursor_of(bytes);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        const ProtobufCFieldDescriptor *descriptor = protobuf_c_message_descriptor_get_field(type, field.number);
        if (descriptor != NULL) {
            RESULT_TRY(check_field(type, descriptor, &field, depth));
        }
    }
    if (cursor.has_failed) {
        return result_fail(RESULT_INVALID, "%s: malformed at byte %zu of %zu", type->short_name,
            (size_t)(cursor.at - bytes.data), bytes.length);
    }
    return result_ok();
}

struct result protobuf_check(const ProtobufCMessageDescriptor *type, struct bytes bytes)
{
    return bytes.length == 0 ? result_ok() : check(type, bytes, 1);
}

static void *allocate_in_arena(void *context, size_t size)
{
    return arena_allocate(context, size);
}

static void free_in_arena(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

struct result protobuf_decode(
    const ProtobufCMessageDescriptor *type, struct bytes bytes, struct arena *arena, ProtobufCMessage **message)
{
    *message = NULL;
    RESULT_TRY(protobuf_check(type, bytes));
    ProtobufCAllocator allocator = { allocate_in_arena, free_in_arena, arena };
    static const uint8_t nothing[1];
    *message = protobuf_c_message_unpack(type, &allocator, bytes.length, bytes.length > 0 ? bytes.data : nothing);
    if (*message == NULL) {
        return result_fail(RESULT_INVALID, "%s: does not decode", type->short_name);
    }
    return result_ok();
}

void protobuf_encode(const ProtobufCMessage *message, struct writer *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *room = writer_reserve(out, size);
    if (room == NULL) {
        out->has_overflowed = true;
        return;
    }
    out->length += protobuf_c_message_pack(message, room);
}

static void add_bytes_field(struct writer *out, uint32_t number, struct bytes bytes)
{
    writer_add_varint(out, (uint64_t)number << 3 | PROTOBUF_BYTES);
    writer_add_varint(out, bytes.length);
    writer_add_bytes(out, bytes);
}

void protobuf_add_string(struct writer *out, uint32_t number, struct bytes text)
{
    if (text.length > 0) {
        add_bytes_field(out, number, text);
    }
}

void protobuf_add_message(struct writer *out, uint32_t number, struct bytes message)
{
    add_bytes_field(out, number, message);
}

void protobuf_add_varint(struct writer *out, uint32_t number, uint64_t value)
{
    if (value != 0) {
        writer_add_varint(out, (uint64_t)number << 3 | PROTOBUF_VARINT);
        writer_add_varint(out, value);
    }
}
