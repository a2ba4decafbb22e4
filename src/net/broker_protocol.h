/* What broker and clients say to each other: one datagram of a SOCK_SEQPACKET pair a message, descriptors beside it.
 *
 * The broker has the privileges and the other side has the network's bytes, so the broker reads requests as an enemy's:
 * exact sizes, known types, every field in range, fields a type does not use zero, exactly as many descriptors as it takes.
 * Pure functions, and two that send and receive; any thread. */
#ifndef AMBAR_NET_BROKER_PROTOCOL_H
#define AMBAR_NET_BROKER_PROTOCOL_H

#include "base/bytes.h"
#include "base/writer.h"
#include "net/broker.h"

#define BROKER_REQUEST_BYTES 33
#define BROKER_ANSWER_BYTES_MAXIMUM 272 /* header and message */

enum broker_request_type {
    BROKER_REGISTER_NAMESPACE = 1, /* one descriptor comes with it */
    BROKER_FORGET_NAMESPACE = 2,
    BROKER_MAKE_LISTENER = 3,
    BROKER_MAKE_SOCKETS = 4,
};

struct broker_request {
    uint32_t sequence; /* comes back in the answer */
    uint8_t type;
    uint8_t family;                /* sockets: enum ip_family */
    uint8_t flags;                 /* sockets, listener: enum socket_flags */
    uint8_t count;                 /* sockets: 1 to BROKER_SOCKETS_A_MESSAGE */
    uint32_t namespace_handle;     /* 0: the broker's own */
    uint16_t backlog;              /* listener */
    struct socket_address address; /* listener */
};

/* What came back. Descriptors belong to whoever holds the answer. */
struct broker_answer {
    struct result result; /* RESULT_UNAVAILABLE when the broker is gone */
    uint32_t sequence;
    uint32_t namespace_handle; /* register */
    bool loopback_has_ipv6;    /* register: whether ::1 exists there (ztunnel-dataplane §3) */
    bool is_transparent;       /* sockets, listener */
    unsigned descriptor_count;
    int descriptors[BROKER_SOCKETS_A_MESSAGE];
};

void broker_request_write(const struct broker_request *request, struct writer *out);
/* RESULT_INVALID says which rule was broken; `request->sequence` is set whenever there were bytes enough for it. */
struct result broker_request_read(struct bytes bytes, unsigned descriptor_count, struct broker_request *request);

/* Without the descriptors. */
void broker_answer_write(const struct broker_answer *answer, struct writer *out);
bool broker_answer_read(struct bytes bytes, struct broker_answer *answer);
void broker_answer_close_descriptors(struct broker_answer *answer);

/* One datagram: 0, or a negative error number (-EAGAIN: the other side does not read). */
int broker_send(int channel, struct bytes bytes, const int *descriptors, unsigned descriptor_count);
/* The datagram's length, 0 at the end, or a negative error number. Up to BROKER_SOCKETS_A_MESSAGE descriptors, close-on-exec,
 * the caller's. A datagram that is longer than `capacity` or brings more descriptors is -EBADMSG and leaves none. */
ssize_t broker_receive(int channel, uint8_t *buffer, size_t capacity, int descriptors[static BROKER_SOCKETS_A_MESSAGE],
    unsigned *descriptor_count);

/* Does BROKER_MAKE_LISTENER or BROKER_MAKE_SOCKETS in the calling thread's namespace. On failure no descriptor is left. */
void broker_make_here(
    const struct socket_settings *settings, const struct broker_request *request, struct broker_answer *answer);

#endif
