/* The fields of one protobuf message as its bytes arrive, in pieces cut anywhere: for messages too large to hold. A field up
 * to a bound comes whole; a longer one comes in parts, so that its reader may look inside or skip it. */
#ifndef AMBAR_XDS_PROTOBUF_STREAM_H
#define AMBAR_XDS_PROTOBUF_STREAM_H

#include "xds/protobuf.h"

/* Make it with protobuf_stream_of; free it with protobuf_stream_clear. */
struct protobuf_stream {
    size_t field_maximum_bytes;
    enum { STREAM_TAG, STREAM_VARINT, STREAM_FIXED, STREAM_LENGTH, STREAM_BYTES, STREAM_PARTS } state;
    struct protobuf_field field;
    uint64_t number;    /* the varint or fixed value so far */
    unsigned filled;    /* bytes of it */
    uint64_t left;      /* of the bytes field */
    struct writer held; /* a field that came in pieces */
};

enum protobuf_stream_event {
    PROTOBUF_STREAM_MORE,  /* the input is used up */
    PROTOBUF_STREAM_FIELD, /* a whole field; its bytes are borrowed until the next call */
    PROTOBUF_STREAM_PART, /* a piece of a field over the bound: `field->value` is its whole length; `*is_last` ends it */
    PROTOBUF_STREAM_BAD,  /* malformed; nothing more may be read */
};

struct protobuf_stream protobuf_stream_of(size_t field_maximum_bytes);
void protobuf_stream_clear(struct protobuf_stream *stream);

/* Consumes from the front of `*input`. */
enum protobuf_stream_event protobuf_stream_next(
    struct protobuf_stream *stream, struct bytes *input, struct protobuf_field *field, bool *is_last);

/* Whether a message may end here. */
static inline bool protobuf_stream_is_between(const struct protobuf_stream *stream)
{
    return stream->state == STREAM_TAG && stream->filled == 0;
}

#endif
