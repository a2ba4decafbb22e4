/* ZDS, the conversation between the node agent and the node proxy: its messages and its datagrams (wire-protocols §4,
 * ztunnel-management §6, cni §6).
 *
 * One datagram of a SOCK_SEQPACKET socket is one message of at most 1024 bytes, without any length in front. The agent asks, the
 * proxy answers, one at a time. A pod's network namespace travels as exactly one descriptor beside ZDS_ADD. Decoded texts borrow
 * from the bytes they were decoded from. Functions keep no state and may be called from any thread. */
#ifndef AMBAR_XDS_ZDS_H
#define AMBAR_XDS_ZDS_H

#include "base/bytes.h"
#include "base/result.h"

struct writer;

#define ZDS_MESSAGE_BYTES_MAXIMUM 1024
#define ZDS_VERSION_1 1

/* The numbers are those of the payload's fields. */
enum zds_request_kind {
    ZDS_NO_REQUEST = 0,
    ZDS_ADD = 1,
    ZDS_DELETE = 2,
    ZDS_SNAPSHOT_SENT = 3,
    ZDS_KEEP = 5,
};

struct zds_request {
    enum zds_request_kind kind;
    struct bytes uid;                               /* the Kubernetes pod UID; add, keep, delete */
    bool has_workload_info;                         /* add only; the proxy requires it */
    struct bytes name, namespace_, service_account; /* of the workload info */
};

/* Decoders refuse malformed fields and texts that are not UTF-8, and skip unknown fields. */

void zds_hello_encode(struct writer *out);
struct result zds_hello_decode(struct bytes message, uint32_t *version);

void zds_request_encode(const struct zds_request *request, struct writer *out);
/* "no payload" when no known request is inside. */
struct result zds_request_decode(struct bytes message, struct zds_request *request);

/* `error` NULL or "" says that the request was done. A longer text than the peer's buffer takes is cut at a UTF-8 boundary. */
void zds_response_encode(const char *error, struct writer *out);
struct result zds_response_decode(struct bytes message, struct bytes *error);

/* What the proxy answers when it refuses, up to the reason (ztunnel-management §6.4). */
#define ZDS_FAILED_TO_READ "failure to read message : "
#define ZDS_FAILED_TO_START "failure to start proxy : "
#define ZDS_FAILED_TO_PROCESS "failure to process message : "
/* Violations of the protocol, after which the proxy ends. */
#define ZDS_KEEP_AFTER_SNAPSHOT ZDS_FAILED_TO_PROCESS "ProtocolError(\"pod keep received after snapshot\")"
#define ZDS_SECOND_SNAPSHOT ZDS_FAILED_TO_PROCESS "ProtocolError(\"pod snapshot received already\")"
#define ZDS_NO_WORKLOAD_INFO ZDS_FAILED_TO_PROCESS "ProtocolError(\"workload_info is required but not present\")"

struct zds_datagram {
    uint8_t data[ZDS_MESSAGE_BYTES_MAXIMUM];
    size_t length;
    int descriptor; /* owned by the receiver (closed on exec); -1: none came */
};

enum zds_receipt {
    ZDS_RECEIVED,
    ZDS_NOTHING_YET, /* a non-blocking socket has no datagram */
    ZDS_ENDED,       /* the peer has closed */
    ZDS_REFUSED,     /* a datagram that is none of ours; `*reason` says why; nothing is left open */
    ZDS_BROKEN,      /* the socket failed */
};

/* One datagram with at most one descriptor. `*reason` is set for ZDS_REFUSED and ZDS_BROKEN. */
enum zds_receipt zds_receive(int socket, struct zds_datagram *datagram, struct result *reason);

/* The same, decoded, and with a descriptor exactly where one belongs ("No control message", "Unexpected control message",
 * "Expected 1 FD, got N"): a proxy answers ZDS_FAILED_TO_READ and the reason, then disconnects. `request` borrows from `datagram`. */
enum zds_receipt zds_receive_request(
    int socket, struct zds_datagram *datagram, struct zds_request *request, struct result *reason);

/* Sends one message, with `descriptor` beside it unless that is -1 (it stays the caller's). 0 or an error number; never SIGPIPE. */
int zds_send(int socket, struct bytes message, int descriptor);

#endif
