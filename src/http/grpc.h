/* What both ends of gRPC share: status codes and their names, the percent-encoded status text, the mapping of bare HTTP
 * answers, and the framing of messages in DATA (wire-protocols §9; gRPC over HTTP/2). No sockets here. */
#ifndef AMBAR_HTTP_GRPC_H
#define AMBAR_HTTP_GRPC_H

#include "base/bytes.h"
#include "base/writer.h"

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

/* One line of request metadata: a lower-case name, an ASCII value. */
struct grpc_metadata {
    const char *name;
    const char *value;
};

/* "Unauthenticated"; a code that does not exist is "Unknown". */
const char *grpc_status_name(int status);
/* "The request does not have valid authentication credentials": the long form of logs and certificate errors. */
const char *grpc_status_description(int status);

/* The status of an answer without grpc-status (wire-protocols §9). */
enum grpc_status grpc_status_of_http(int http_status);
/* The status of a stream that ended by RST_STREAM with this HTTP/2 error code. */
enum grpc_status grpc_status_of_reset(uint32_t http2_error_code);

/* grpc-status: decimal digits; anything else is GRPC_UNKNOWN. */
enum grpc_status grpc_status_parse(struct bytes text);

/* grpc-message, to and from its percent-encoding. A stray percent sign is taken as itself. */
void grpc_message_encode(struct writer *out, const char *message);
void grpc_message_decode(struct writer *out, struct bytes encoded);

#define GRPC_FRAME_HEADER_BYTES 5
/* Flag 0 and the big-endian length. */
void grpc_frame_header(uint8_t out[static GRPC_FRAME_HEADER_BYTES], uint32_t message_bytes);

/* Takes DATA payload apart. Zero it, set `maximum_bytes`. */
struct grpc_frame_reader {
    size_t maximum_bytes; /* of one message */
    size_t message_bytes; /* length of the current message */
    size_t message_left;  /* of it still to come */
    uint8_t header[GRPC_FRAME_HEADER_BYTES];
    uint8_t header_filled; /* 5 while inside a message */
};

enum grpc_frame_event {
    GRPC_FRAME_MORE,       /* the input is used up */
    GRPC_FRAME_PART,       /* `*part` is the next piece of the current message, perhaps empty */
    GRPC_FRAME_TOO_LARGE,  /* `message_bytes` is over the maximum */
    GRPC_FRAME_COMPRESSED, /* flag 1, though no encoding was negotiated */
    GRPC_FRAME_INVALID,    /* another flag */
};

/* Consumes from the front of `*input`. For GRPC_FRAME_PART `*is_last` says that the piece ends its message. */
enum grpc_frame_event grpc_frame_next(
    struct grpc_frame_reader *reader, struct bytes *input, struct bytes *part, bool *is_last);

/* Whether the input so far ends between two messages. */
static inline bool grpc_frame_is_between(const struct grpc_frame_reader *reader)
{
    return reader->header_filled == 0;
}

#endif
