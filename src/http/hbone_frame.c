#include "http/hbone_frame.h"

#include "base/cursor.h"

struct hbone_frame hbone_frame_parse(const uint8_t header[static HBONE_FRAME_HEADER_BYTES])
{
    struct cursor cursor = cursor_of(bytes_of(header, HBONE_FRAME_HEADER_BYTES));
    struct hbone_frame frame;
    frame.length = cursor_u24(&cursor);
    frame.type = cursor_u8(&cursor);
    frame.flags = cursor_u8(&cursor);
    frame.stream_id = cursor_u32(&cursor) & HBONE_STREAM_ID_MAXIMUM;
    return frame;
}

static void write_header(struct writer *out, struct hbone_frame frame)
{
    writer_add_u24(out, frame.length);
    writer_add_u8(out, frame.type);
    writer_add_u8(out, frame.flags);
    writer_add_u32(out, frame.stream_id);
}

void hbone_frame_put(uint8_t header[static HBONE_FRAME_HEADER_BYTES], struct hbone_frame frame)
{
    struct writer out = writer_fixed(header, HBONE_FRAME_HEADER_BYTES);
    write_header(&out, frame);
}

void hbone_frame_write_settings(struct writer *out, const struct hbone_setting_entry *entries, size_t count)
{
    write_header(out, (struct hbone_frame){ .length = (uint32_t)(count * 6), .type = HBONE_FRAME_SETTINGS });
    for (size_t i = 0; i < count; i++) {
        writer_add_u16(out, entries[i].identifier);
        writer_add_u32(out, entries[i].value);
    }
}

void hbone_frame_write_settings_ack(struct writer *out)
{
    write_header(out, (struct hbone_frame){ .type = HBONE_FRAME_SETTINGS, .flags = HBONE_FLAG_ACK });
}

void hbone_frame_write_ping(struct writer *out, uint64_t payload, bool is_ack)
{
    write_header(
        out, (struct hbone_frame){ .length = 8, .type = HBONE_FRAME_PING, .flags = is_ack ? HBONE_FLAG_ACK : 0 });
    writer_add_u64(out, payload);
}

void hbone_frame_write_window_update(struct writer *out, uint32_t stream_id, uint32_t increment)
{
    write_header(out, (struct hbone_frame){ .length = 4, .type = HBONE_FRAME_WINDOW_UPDATE, .stream_id = stream_id });
    writer_add_u32(out, increment);
}

void hbone_frame_write_reset(struct writer *out, uint32_t stream_id, uint32_t code)
{
    write_header(out, (struct hbone_frame){ .length = 4, .type = HBONE_FRAME_RST_STREAM, .stream_id = stream_id });
    writer_add_u32(out, code);
}

void hbone_frame_write_goaway(struct writer *out, uint32_t last_stream_id, uint32_t code, const char *text)
{
    size_t text_length = strlen(text);
    write_header(out, (struct hbone_frame){ .length = (uint32_t)(8 + text_length), .type = HBONE_FRAME_GOAWAY });
    writer_add_u32(out, last_stream_id);
    writer_add_u32(out, code);
    writer_add(out, text, text_length);
}

void hbone_frame_write_end(struct writer *out, uint32_t stream_id)
{
    write_header(
        out, (struct hbone_frame){ .type = HBONE_FRAME_DATA, .flags = HBONE_FLAG_END_STREAM, .stream_id = stream_id });
}

void hbone_frame_write_headers(struct writer *out, uint32_t stream_id, struct bytes block, bool end_stream)
{
    uint8_t type = HBONE_FRAME_HEADERS;
    uint8_t flags = end_stream ? HBONE_FLAG_END_STREAM : 0;
    do {
        size_t length = block.length < HBONE_FRAME_PAYLOAD_DEFAULT ? block.length : HBONE_FRAME_PAYLOAD_DEFAULT;
        if (length == block.length) {
            flags |= HBONE_FLAG_END_HEADERS;
        }
        write_header(out, (struct hbone_frame){ (uint32_t)length, type, flags, stream_id });
        writer_add(out, block.data, length);
        block = bytes_of(block.data + length, block.length - length);
        type = HBONE_FRAME_CONTINUATION;
        flags = 0;
    } while (block.length > 0);
}
