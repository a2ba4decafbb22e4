/* What a SOCKS5 client says (RFC 1928, as far as ztunnel-dataplane §18.5 goes): a greeting that offers "no authentication", then one
 * CONNECT. Pure functions over what has come so far, which ask for the exact number of bytes they need next: nothing of what
 * follows the request is ever read. */
#ifndef AMBAR_ZTUNNEL_SOCKS5_MESSAGE_H
#define AMBAR_ZTUNNEL_SOCKS5_MESSAGE_H

#include "base/address.h"

#define SOCKS5_MESSAGE_BYTES_MAXIMUM 262 /* a request with the longest name; greetings are shorter */
#define SOCKS5_NAME_SIZE 256

enum socks5_reading { SOCKS5_NEEDS_MORE, SOCKS5_BAD, SOCKS5_READ };

enum socks5_status {
    SOCKS5_SUCCEEDED = 0,
    SOCKS5_GENERAL_FAILURE = 1,
    SOCKS5_HOST_UNREACHABLE = 4,
    SOCKS5_COMMAND_NOT_SUPPORTED = 7,
};

struct socks5_request {
    struct socket_address target; /* ip.family IP_NONE: by name */
    char name[SOCKS5_NAME_SIZE];  /* in lower case, without final period; no NUL inside */
};

/* `needed`: how long the message is as far as one can tell; SOCKS5_NEEDS_MORE until `received` is that long. */
enum socks5_reading socks5_greeting_read(struct bytes received, size_t *needed);
enum socks5_reading socks5_request_read(struct bytes received, struct socks5_request *request, size_t *needed);

#define SOCKS5_REPLY_BYTES 10
/* 05 STATUS 00 01 00000000 0000 */
void socks5_reply(enum socks5_status status, uint8_t reply[static SOCKS5_REPLY_BYTES]);

#endif
