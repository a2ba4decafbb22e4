/* DNS messages as far as a proxy needs them (RFC 1035, RFC 6891): the question and its EDNS are read, answers with addresses and
 * errors are built, answers of others are matched to their question. Everything else passes as raw bytes.
 *
 * Pure functions; any thread. What is read borrows from the message. */
#ifndef AMBAR_NET_DNS_MESSAGE_H
#define AMBAR_NET_DNS_MESSAGE_H

#include "base/address.h"
#include "base/writer.h"

#define DNS_PORT 53
#define DNS_HEADER_BYTES 12
#define DNS_NAME_BYTES_MAXIMUM 255 /* on the wire */
#define DNS_NAME_TEXT_SIZE 1024    /* every byte escaped, and a NUL */
#define DNS_MESSAGE_BYTES_MAXIMUM 65535
#define DNS_QUERY_BYTES_MAXIMUM 4096    /* of ours: longer queries are refused */
#define DNS_UDP_BYTES_WITHOUT_EDNS 4096 /* ztunnel-dataplane §18.1 */
#define DNS_UDP_BYTES_MINIMUM 512

enum dns_type { DNS_TYPE_A = 1, DNS_TYPE_CNAME = 5, DNS_TYPE_AAAA = 28, DNS_TYPE_OPT = 41 };
enum dns_code {
    DNS_NO_ERROR = 0,
    DNS_FORMAT_ERROR = 1,
    DNS_SERVER_FAILURE = 2,
    DNS_NAME_ERROR = 3,
    DNS_NOT_IMPLEMENTED = 4,
    DNS_REFUSED = 5,
};

struct dns_question {
    struct bytes name;  /* labels as received, with the final 0 */
    struct bytes bytes; /* name, type and class */
    uint16_t type;
};

struct dns_request {
    uint16_t id;
    bool is_recursion_desired, is_checking_disabled;
    bool has_question; /* exactly one was read */
    struct dns_question question;
    bool has_edns, is_dnssec_ok;
    uint8_t edns_version;
    uint16_t edns_payload_bytes;
};

enum dns_reading {
    DNS_IGNORED, /* no message, or an answer: nothing is said */
    DNS_BAD,     /* answered with the code */
    DNS_READ,
};

/* `code` is set for DNS_BAD: NOTIMP for other operations than QUERY, FORMERR, SERVFAIL unless there is one question (§18.1). */
enum dns_reading dns_request_read(struct bytes message, struct dns_request *request, enum dns_code *code);

/* The name in lower case without the final period; what is no letter, digit, "-", "_" or "*" is escaped (\DDD), so that it equals no
 * name of the mesh. The root is "". Returns the count of labels. */
size_t dns_name_text(struct bytes name, char out[static DNS_NAME_TEXT_SIZE]);

/* What the client takes over UDP. */
size_t dns_request_udp_bytes(const struct dns_request *request);

/* An answer with authority: records that fit in `limit_bytes`, TC when not all do. */
struct dns_answer {
    const char *alias; /* CNAME of the question's name, owner of the addresses; NULL: none */
    const struct ip_address *addresses;
    size_t address_count;
    uint32_t ttl_s;
};
void dns_answer_write(
    const struct dns_request *request, const struct dns_answer *answer, size_t limit_bytes, struct writer *out);
void dns_error_write(const struct dns_request *request, enum dns_code code, struct writer *out);

/* Whether this is an answer to the question under that id: nothing else is taken from upstream. A refusal without a question
 * section counts. */
bool dns_response_matches(struct bytes response, uint16_t id, const struct dns_question *question);
enum dns_code dns_response_code(struct bytes response); /* of one that matches */
void dns_message_set_id(uint8_t *message, uint16_t id);

/* The first record of `type` (A or AAAA) among the answers; false when there is none or the message is broken. */
bool dns_response_address(struct bytes response, enum dns_type type, struct ip_address *ip);

/* A query of our own for `name` ("a.b.c"); false when it is no name. */
bool dns_query_write(const char *name, enum dns_type type, uint16_t id, struct writer *out);

/* "a", "aaaa", "https", ... in lower case; "unknown": a client cannot make more names than there are here. */
const char *dns_type_name(uint16_t type);

#endif
