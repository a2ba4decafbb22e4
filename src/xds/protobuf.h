/* Protobuf at the edge: a check of foreign bytes before a generated decoder may recurse into them, an arena for what it
 * allocates, and a walker for messages too large to decode whole (wire-protocols §1). */
#ifndef AMBAR_XDS_PROTOBUF_H
#define AMBAR_XDS_PROTOBUF_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/result.h"
#include "base/writer.h"

#include <protobuf-c/protobuf-c.h>

#define PROTOBUF_MAXIMUM_DEPTH 32

enum protobuf_wire { PROTOBUF_VARINT = 0, PROTOBUF_FIXED64 = 1, PROTOBUF_BYTES = 2, PROTOBUF_FIXED32 = 5 };

struct protobuf_field {
    uint32_t number;
    enum protobuf_wire wire;
    uint64_t value;     /* varint, fixed64, fixed32 */
    struct bytes bytes; /* PROTOBUF_BYTES, borrowed */
};

/* The next field of a message. False at its end, and at the first malformed byte, where `cursor->has_failed` is set. Groups
 * (wire types 3 and 4) are malformed. */
bool protobuf_next_field(struct cursor *cursor, struct protobuf_field *field);

/* Decodes `bytes` as a message of this type after checking, along the descriptor, its wire form, its depth (at most
 * PROTOBUF_MAXIMUM_DEPTH) and that every string is UTF-8 without NUL. All memory comes from the arena and goes with it: never
 * call the generated free_unpacked. On failure `*message` is NULL and the sentence names the field. */
struct result protobuf_decode(
    const ProtobufCMessageDescriptor *type, struct bytes bytes, struct arena *arena, ProtobufCMessage **message);

/* The check alone. */
struct result protobuf_check(const ProtobufCMessageDescriptor *type, struct bytes bytes);

/* Serialises a message at the end of a growing writer. */
void protobuf_encode(const ProtobufCMessage *message, struct writer *out);

/* Fields written by hand, for streams of them: tag and payload. Empty strings and zeros are left out, as proto3 wants. */
void protobuf_add_string(struct writer *out, uint32_t number, struct bytes text);
void protobuf_add_message(struct writer *out, uint32_t number, struct bytes message); /* written even when empty */
void protobuf_add_varint(struct writer *out, uint32_t number, uint64_t value);

#endif
