/* Frames of RFC 9113 §4 and §6: the reader of the frame header, and the writers of every frame an HBONE session sends except DATA
 * with payload, whose header is put in place before the bytes (hbone_output.c). Pure functions. */
#ifndef AMBAR_HTTP_HBONE_FRAME_H
#define AMBAR_HTTP_HBONE_FRAME_H

#include "base/writer.h"

#define HBONE_FRAME_HEADER_BYTES 9
#define HBONE_FRAME_PAYLOAD_DEFAULT 16384 /* SETTINGS_MAX_FRAME_SIZE until changed, and its minimum */
#define HBONE_WINDOW_DEFAULT 65535
#define HBONE_WINDOW_MAXIMUM 0x7fffffff
#define HBONE_STREAM_ID_MAXIMUM 0x7fffffffU
#define HBONE_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HBONE_PREFACE_BYTES 24

enum hbone_frame_type {
    HBONE_FRAME_DATA = 0,
    HBONE_FRAME_HEADERS = 1,
    HBONE_FRAME_PRIORITY = 2,
    HBONE_FRAME_RST_STREAM = 3,
    HBONE_FRAME_SETTINGS = 4,
    HBONE_FRAME_PUSH_PROMISE = 5,
    HBONE_FRAME_PING = 6,
    HBONE_FRAME_GOAWAY = 7,
    HBONE_FRAME_WINDOW_UPDATE = 8,
    HBONE_FRAME_CONTINUATION = 9,
};

enum hbone_frame_flag {
    HBONE_FLAG_ACK = 0x1,        /* SETTINGS, PING */
    HBONE_FLAG_END_STREAM = 0x1, /* DATA, HEADERS */
    HBONE_FLAG_END_HEADERS = 0x4,
    HBONE_FLAG_PADDED = 0x8,
    HBONE_FLAG_PRIORITY = 0x20,
};

enum hbone_setting {
    HBONE_SETTING_HEADER_TABLE_SIZE = 1,
    HBONE_SETTING_ENABLE_PUSH = 2,
    HBONE_SETTING_MAX_CONCURRENT_STREAMS = 3,
    HBONE_SETTING_INITIAL_WINDOW_SIZE = 4,
    HBONE_SETTING_MAX_FRAME_SIZE = 5,
    HBONE_SETTING_MAX_HEADER_LIST_SIZE = 6,
    /* Our own, in the range for experiments (RFC 9113 §11.3), which others ignore: how many bytes of DATA a client may send
     * behind a CONNECT before its response (server), and sends without waiting for it (client). */
    HBONE_SETTING_EARLY_BYTES = 0xf0a1,
};

struct hbone_frame {
    uint32_t length; /* 24 bits: of the payload */
    uint8_t type;    /* enum hbone_frame_type, or unknown */
    uint8_t flags;
    uint32_t stream_id; /* the reserved bit is cleared */
};

struct hbone_frame hbone_frame_parse(const uint8_t header[static HBONE_FRAME_HEADER_BYTES]);
void hbone_frame_put(uint8_t header[static HBONE_FRAME_HEADER_BYTES], struct hbone_frame frame);

struct hbone_setting_entry {
    uint16_t identifier; /* enum hbone_setting */
    uint32_t value;
};

void hbone_frame_write_settings(struct writer *out, const struct hbone_setting_entry *entries, size_t count);
void hbone_frame_write_settings_ack(struct writer *out);
void hbone_frame_write_ping(struct writer *out, uint64_t payload, bool is_ack);
void hbone_frame_write_window_update(struct writer *out, uint32_t stream_id, uint32_t increment);
void hbone_frame_write_reset(struct writer *out, uint32_t stream_id, uint32_t code);
void hbone_frame_write_goaway(struct writer *out, uint32_t last_stream_id, uint32_t code, const char *text);
/* Empty DATA with END_STREAM. */
void hbone_frame_write_end(struct writer *out, uint32_t stream_id);
/* HEADERS, and CONTINUATION where the block is longer than HBONE_FRAME_PAYLOAD_DEFAULT. */
void hbone_frame_write_headers(struct writer *out, uint32_t stream_id, struct bytes block, bool end_stream);

#endif
