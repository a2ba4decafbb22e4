/* Protobuf written directly. */
#include "ambard/wire.h"

enum { WIRE_VARINT = 0, WIRE_LENGTH_DELIMITED = 2 };

static void add_tag(struct writer *out, unsigned field, unsigned wire_type)
{
    writer_add_varint(out, ((uint64_t)field << 3) | wire_type);
}

void wire_bytes(struct writer *out, unsigned field, struct bytes bytes)
{
    add_tag(out, field, WIRE_LENGTH_DELIMITED);
    writer_add_varint(out, bytes.length);
    writer_add_bytes(out, bytes);
}

void wire_string_always(struct writer *out, unsigned field, const char *text)
{
    wire_bytes(out, field, bytes_of_string(text));
}

void wire_string(struct writer *out, unsigned field, const char *text)
{
    if (text[0] != '\0') {
        wire_string_always(out, field, text);
    }
}

void wire_number(struct writer *out, unsigned field, uint64_t value)
{
    if (value != 0) {
        add_tag(out, field, WIRE_VARINT);
        writer_add_varint(out, value);
    }
}

void wire_bool(struct writer *out, unsigned field, bool value)
{
    wire_number(out, field, value ? 1 : 0);
}

void wire_packed(struct writer *out, unsigned field, const uint32_t *values, size_t count)
{
    if (count == 0) {
        return;
    }
    size_t mark = wire_begin(out, field);
    for (size_t i = 0; i < count; i++) {
        writer_add_varint(out, values[i]);
    }
    wire_end(out, mark);
}

/* Room for a length of one byte, which most need; wire_end makes more where that does not do. */
size_t wire_begin(struct writer *out, unsigned field)
{
    add_tag(out, field, WIRE_LENGTH_DELIMITED);
    writer_add_u8(out, 0);
    return out->length;
}

void wire_end(struct writer *out, size_t mark)
{
    size_t length = out->length - mark;
    uint8_t encoded[10];
    struct writer varint = writer_fixed(encoded, sizeof encoded);
    writer_add_varint(&varint, length);
    size_t more = varint.length - 1;
    if (more > 0) {
        writer_reserve(out, more);
        memmove(out->data + mark + more, out->data + mark, length);
        out->length += more;
    }
    memcpy(out->data + mark - 1, encoded, varint.length);
}
