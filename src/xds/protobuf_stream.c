#include "xds/protobuf_stream.h"

#define VARINT_MAXIMUM_BYTES 10
#define HELD_KEPT_BYTES 65536

struct protobuf_stream protobuf_stream_of(size_t field_maximum_bytes)
{
    return (struct protobuf_stream){ .field_maximum_bytes = field_maximum_bytes, .held = writer_growing() };
}

void protobuf_stream_clear(struct protobuf_stream *stream)
{
    writer_free(&stream->held);
}

static struct bytes take_front(struct bytes *input, uint64_t most)
{
    size_t length = input->length < most ? input->length : (size_t)most;
    struct bytes front = bytes_of(input->data, length);
    *input = length == input->length ? bytes_of(NULL, 0) : bytes_of(input->data + length, input->length - length);
    return front;
}

/* Adds bytes to the varint until it is complete: MORE, FIELD (complete) or BAD. */
static enum protobuf_stream_event take_varint(struct protobuf_stream *stream, struct bytes *input)
{
    while (input->length > 0) {
        uint8_t byte = take_front(input, 1).data[0];
        if (stream->filled == VARINT_MAXIMUM_BYTES - 1 && byte > 1) {
            return PROTOBUF_STREAM_BAD;
        }
        stream->number |= (uint64_t)(byte & 0x7f) << (7 * stream->filled);
        stream->filled++;
        if (byte < 0x80) {
            return PROTOBUF_STREAM_FIELD;
        }
    }
    return PROTOBUF_STREAM_MORE;
}

static enum protobuf_stream_event take_fixed(struct protobuf_stream *stream, struct bytes *input)
{
    unsigned width = stream->field.wire == PROTOBUF_FIXED32 ? 4 : 8;
    while (stream->filled < width) {
        if (input->length == 0) {
            return PROTOBUF_STREAM_MORE;
        }
        stream->number |= (uint64_t)take_front(input, 1).data[0] << (8 * stream->filled);
        stream->filled++;
    }
    return PROTOBUF_STREAM_FIELD;
}

static void expect(struct protobuf_stream *stream, int state)
{
    stream->state = state;
    stream->number = 0;
    stream->filled = 0;
}

static bool begin_field(struct protobuf_stream *stream)
{
    uint64_t tag = stream->number;
    stream->field = (struct protobuf_field){ .number = (uint32_t)(tag >> 3), .wire = (enum protobuf_wire)(tag & 7) };
    if (tag >> 32 != 0 || stream->field.number == 0) {
        return false;
    }
    switch (stream->field.wire) {
    case PROTOBUF_VARINT:
        expect(stream, STREAM_VARINT);
        return true;
    case PROTOBUF_FIXED32:
    case PROTOBUF_FIXED64:
        expect(stream, STREAM_FIXED);
        return true;
    case PROTOBUF_BYTES:
        expect(stream, STREAM_LENGTH);
        return true;
    default:
        return false;
    }
}

/* A field that is all in the input is lent from there; otherwise its pieces are collected. */
static bool take_bytes(struct protobuf_stream *stream, struct bytes *input, struct protobuf_field *field)
{
    struct bytes piece = take_front(input, stream->left);
    stream->left -= piece.length;
    *field = stream->field;
    if (stream->left == 0 && stream->held.length == 0) {
        field->bytes = piece;
        expect(stream, STREAM_TAG);
        return true;
    }
    writer_add_bytes(&stream->held, piece);
    if (stream->left > 0) {
        return false;
    }
    field->bytes = writer_bytes(&stream->held);
    expect(stream, STREAM_TAG);
    return true;
}

static enum protobuf_stream_event take_part(
    struct protobuf_stream *stream, struct bytes *input, struct protobuf_field *field, bool *is_last)
{
    if (input->length == 0) {
        return PROTOBUF_STREAM_MORE;
    }
    *field = stream->field;
    field->bytes = take_front(input, stream->left);
    stream->left -= field->bytes.length;
    *is_last = stream->left == 0;
    if (*is_last) {
        expect(stream, STREAM_TAG);
    }
    return PROTOBUF_STREAM_PART;
}

static void begin_bytes(struct protobuf_stream *stream)
{
    stream->left = stream->number;
    stream->field.value = stream->number;
    expect(stream, stream->left > stream->field_maximum_bytes ? STREAM_PARTS : STREAM_BYTES);
}

static void forget_held(struct protobuf_stream *stream)
{
    if (stream->held.capacity > HELD_KEPT_BYTES) {
        writer_free(&stream->held);
    } else {
        writer_clear(&stream->held);
    }
}

enum protobuf_stream_event protobuf_stream_next(
    struct protobuf_stream *stream, struct bytes *input, struct protobuf_field *field, bool *is_last)
{
    if (stream->state == STREAM_TAG && stream->filled == 0 && stream->held.length > 0) {
        forget_held(stream);
    }
    for (;;) {
        enum protobuf_stream_event event;
        switch (stream->state) {
        case STREAM_TAG:
            event = take_varint(stream, input);
            if (event == PROTOBUF_STREAM_FIELD && !begin_field(stream)) {
                return PROTOBUF_STREAM_BAD;
            }
            break;
        case STREAM_LENGTH:
            event = take_varint(stream, input);
            if (event == PROTOBUF_STREAM_FIELD) {
                begin_bytes(stream);
            }
            break;
        case STREAM_VARINT:
        case STREAM_FIXED:
            event = stream->state == STREAM_FIXED ? take_fixed(stream, input) : take_varint(stream, input);
            if (event == PROTOBUF_STREAM_FIELD) {
                *field = stream->field;
                field->value = stream->number;
                expect(stream, STREAM_TAG);
                return event;
            }
            break;
        case STREAM_BYTES:
            return take_bytes(stream, input, field) ? PROTOBUF_STREAM_FIELD : PROTOBUF_STREAM_MORE;
        default:
            return take_part(stream, input, field, is_last);
        }
        if (event != PROTOBUF_STREAM_FIELD) {
            return event;
        }
    }
}
