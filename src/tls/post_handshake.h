/* Handshake messages behind the handshake (RFC 8446 §4.6), taken apart as they arrive in records of any split, without memory of
 * their own: tickets are dropped, key updates told to the caller, everything else is refused. Pure. Inside tls only. */
#ifndef AMBAR_TLS_POST_HANDSHAKE_H
#define AMBAR_TLS_POST_HANDSHAKE_H

#include "base/bytes.h"
#include "tls/record_problem.h"

#define HANDSHAKE_HEADER_BYTES 4

enum handshake_type {
    HANDSHAKE_NEW_SESSION_TICKET = 4,
    HANDSHAKE_KEY_UPDATE = 24,
};

struct post_handshake {
    bool is_server; /* servers get no tickets */
    uint8_t header_length;
    uint8_t header[HANDSHAKE_HEADER_BYTES];
    uint32_t left; /* of the message's body */
};

enum post_handshake_event {
    POST_HANDSHAKE_NOTHING,
    POST_HANDSHAKE_KEY_UPDATE,           /* the peer's next record has new keys */
    POST_HANDSHAKE_KEY_UPDATE_REQUESTED, /* and it wants ours to change */
    POST_HANDSHAKE_REFUSED,              /* *problem says why */
};

/* The content of one record of type handshake. */
enum post_handshake_event post_handshake_take(
    struct post_handshake *messages, struct bytes content, enum record_problem *problem);

/* Between the records of one message no other record may come (RFC 8446 §5.1). */
bool post_handshake_is_inside(const struct post_handshake *messages);

#endif
