#include "http/grpc.h"

#include "base/memory.h"
#include "base/text.h"

#include <nghttp2/nghttp2.h>

static const struct {
    const char *name;
    const char *description;
} statuses[] = {
    { "Ok", "The operation completed successfully" },
    { "Cancelled", "The operation was cancelled" },
    { "Unknown", "Unknown error" },
    { "InvalidArgument", "Client specified an invalid argument" },
    { "DeadlineExceeded", "Deadline expired before operation could complete" },
    { "NotFound", "Some requested entity was not found" },
    { "AlreadyExists", "Some entity that we attempted to create already exists" },
    { "PermissionDenied", "The caller does not have permission to execute the specified operation" },
    { "ResourceExhausted", "Some resource has been exhausted" },
    { "FailedPrecondition", "The system is not in a state required for the operation's execution" },
    { "Aborted", "The operation was aborted" },
    { "OutOfRange", "Operation was attempted past the valid range" },
    { "Unimplemented", "Operation is not implemented or not supported" },
    { "Internal", "Internal error" },
    { "Unavailable", "The service is currently unavailable" },
    { "DataLoss", "Unrecoverable data loss or corruption" },
    { "Unauthenticated", "The request does not have valid authentication credentials" },
};

static size_t known_status(int status)
{
    return status >= 0 && (size_t)status < ARRAY_LENGTH(statuses) ? (size_t)status : GRPC_UNKNOWN;
}

const char *grpc_status_name(int status)
{
    return statuses[known_status(status)].name;
}

const char *grpc_status_description(int status)
{
    return statuses[known_status(status)].description;
}

enum grpc_status grpc_status_of_http(int http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_status grpc_status_of_reset(uint32_t http2_error_code)
{
    switch (http2_error_code) {
    case NGHTTP2_NO_ERROR:
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_INTERNAL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_SETTINGS_TIMEOUT:
    case NGHTTP2_COMPRESSION_ERROR:
    case NGHTTP2_CONNECT_ERROR:
        return GRPC_INTERNAL;
    case NGHTTP2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case NGHTTP2_CANCEL:
        return GRPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY:
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_status grpc_status_parse(struct bytes text)
{
    uint64_t value;
    if (!bytes_to_u64(text, GRPC_UNAUTHENTICATED, &value)) {
        return GRPC_UNKNOWN;
    }
    return (enum grpc_status)value;
}

void grpc_message_encode(struct writer *out, const char *message)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const unsigned char *at = (const unsigned char *)message; *at != '\0'; at++) {
        if (*at >= 0x20 && *at <= 0x7e && *at != '%') {
            writer_add_u8(out, *at);
        } else {
            writer_add_u8(out, '%');
            writer_add_u8(out, (uint8_t)digits[*at >> 4]);
            writer_add_u8(out, (uint8_t)digits[*at & 15]);
        }
    }
}

static int hexadecimal_digit(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    return -1;
}

void grpc_message_decode(struct writer *out, struct bytes encoded)
{
    size_t i = 0;
    while (i < encoded.length) {
        if (encoded.data[i] == '%' && encoded.length - i > 2) {
            int high = hexadecimal_digit(encoded.data[i + 1]);
            int low = hexadecimal_digit(encoded.data[i + 2]);
            if (high >= 0 && low >= 0) {
                writer_add_u8(out, (uint8_t)(high << 4 | low));
                i += 3;
                continue;
            }
        }
        writer_add_u8(out, encoded.data[i++]);
    }
}

void grpc_frame_header(uint8_t out[static GRPC_FRAME_HEADER_BYTES], uint32_t message_bytes)
{
    out[0] = 0;
    out[1] = (uint8_t)(message_bytes >> 24);
    out[2] = (uint8_t)(message_bytes >> 16);
    out[3] = (uint8_t)(message_bytes >> 8);
    out[4] = (uint8_t)message_bytes;
}

static enum grpc_frame_event begin_message(struct grpc_frame_reader *reader)
{
    if (reader->header[0] > 1) {
        return GRPC_FRAME_INVALID;
    }
    if (reader->header[0] == 1) {
        return GRPC_FRAME_COMPRESSED;
    }
    reader->message_bytes = (size_t)reader->header[1] << 24 | (size_t)reader->header[2] << 16 |
                            (size_t)reader->header[3] << 8 | reader->header[4];
    reader->message_left = reader->message_bytes;
    return reader->message_bytes > reader->maximum_bytes ? GRPC_FRAME_TOO_LARGE : GRPC_FRAME_PART;
}

static struct bytes take_front(struct bytes *input, size_t length)
{
    struct bytes front = bytes_of(input->data, length);
    *input = length == input->length ? bytes_of(NULL, 0) : bytes_of(input->data + length, input->length - length);
    return front;
}

enum grpc_frame_event grpc_frame_next(
    struct grpc_frame_reader *reader, struct bytes *input, struct bytes *part, bool *is_last)
{
    if (reader->header_filled < GRPC_FRAME_HEADER_BYTES) {
        size_t wanted = (size_t)(GRPC_FRAME_HEADER_BYTES - reader->header_filled);
        size_t length = input->length < wanted ? input->length : wanted;
        if (length > 0) {
            memcpy(reader->header + reader->header_filled, input->data, length);
            (void)take_front(input, length);
            reader->header_filled = (uint8_t)(reader->header_filled + length);
        }
        if (reader->header_filled < GRPC_FRAME_HEADER_BYTES) {
            return GRPC_FRAME_MORE;
        }
        enum grpc_frame_event event = begin_message(reader);
        if (event != GRPC_FRAME_PART) {
            return event;
        }
    } else if (input->length == 0) {
        return GRPC_FRAME_MORE;
    }
    if (input->length == 0 && reader->message_left > 0) {
        return GRPC_FRAME_MORE;
    }
    size_t length = input->length < reader->message_left ? input->length : reader->message_left;
    *part = take_front(input, length);
    reader->message_left -= length;
    *is_last = reader->message_left == 0;
    if (*is_last) {
        reader->header_filled = 0;
    }
    return GRPC_FRAME_PART;
}
