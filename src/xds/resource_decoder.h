/* What the codecs of the two resource types share: a walk over protobuf fields that remembers the first failure, with
 * the sentences of ztunnel-management §3.4. A failing step returns false; the rest of the walk is then left. */
#ifndef AMBAR_XDS_RESOURCE_DECODER_H
#define AMBAR_XDS_RESOURCE_DECODER_H

#include "base/address.h"
#include "xds/protobuf.h"

struct resource_decoder {
    struct arena arena; /* what the walk allocates; freed by the codec */
    struct result error;
};

/* Keeps the sentence, unless there is an earlier one. Always false. */
bool resource_fail(struct resource_decoder *decoder, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The value of a field, checked for its wire type; `name` is the field's, for the sentence. */
bool resource_text(struct resource_decoder *decoder, const struct protobuf_field *field, const char *name,
    struct bytes *text); /* UTF-8 */
bool resource_message(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, struct bytes *message);
bool resource_number(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, uint64_t *number);
/* An enum as sent; whether its value is known is the caller's question. */
bool resource_enum(
    struct resource_decoder *decoder, const struct protobuf_field *field, const char *name, int32_t *value);
/* An enum whose values run from 0 to `maximum`, anything else being an error. */
bool resource_known_enum(struct resource_decoder *decoder, const struct protobuf_field *field, const char *name,
    int32_t maximum, uint32_t *value);

/* 4 or 16 bytes. */
bool resource_ip(struct resource_decoder *decoder, struct bytes raw, struct ip_address *ip);

/* After the last field: false when the bytes ended in the middle of one. */
bool resource_end(struct resource_decoder *decoder, const struct cursor *cursor, const char *message_name);

/* How often a field occurs, to size an array before it is filled. Malformed bytes end the count. */
size_t resource_count(struct bytes message, uint32_t number);

/* A repeated scalar, packed or not: begin with the field, then take numbers until false. */
struct resource_numbers {
    struct cursor packed;
    bool is_single;
    uint64_t single;
};
bool resource_numbers_begin(struct resource_decoder *decoder, const struct protobuf_field *field, const char *name,
    struct resource_numbers *numbers);
bool resource_numbers_next(struct resource_numbers *numbers, uint64_t *number);
/* False when a packed run ended in the middle of a number. */
bool resource_numbers_end(struct resource_decoder *decoder, const struct resource_numbers *numbers, const char *name);

#endif
