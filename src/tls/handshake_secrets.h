/* The traffic secrets of a TLS 1.3 handshake of libssl, caught on their way to where a key log would be written. They go to secret
 * memory and nowhere else. Inside tls only. */
#ifndef AMBAR_TLS_HANDSHAKE_SECRETS_H
#define AMBAR_TLS_HANDSHAKE_SECRETS_H

#include "tls/key_schedule.h"

struct ssl_st;

struct handshake_secrets {
    uint8_t client[TRAFFIC_SECRET_MAXIMUM_BYTES];
    uint8_t server[TRAFFIC_SECRET_MAXIMUM_BYTES];
    uint8_t client_length; /* 0: not seen */
    uint8_t server_length;
};

struct handshake_secrets *handshake_secrets_new(void);
void handshake_secrets_free(struct handshake_secrets *secrets); /* wipes; NULL is allowed */

/* Reads one line of the key log format (draft-ietf-tls-keylogfile); lines of other secrets are nothing to us. */
void handshake_secrets_read(struct handshake_secrets *secrets, const char *line);

/* For SSL_CTX_set_keylog_callback: to the layer of the connection, if it wants them. */
void handshake_secrets_on_line(const struct ssl_st *ssl, const char *line);

#endif
