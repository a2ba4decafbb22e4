/* The part of TLS 1.3's key schedule that comes after the handshake (RFC 8446 §7.2, §7.3): keys from traffic secrets, and the next
 * secret. Whoever calls wipes what comes out. Inside tls only. */
#ifndef AMBAR_TLS_KEY_SCHEDULE_H
#define AMBAR_TLS_KEY_SCHEDULE_H

#include "base/bytes.h"

#define TRAFFIC_SECRET_MAXIMUM_BYTES 48
#define TRAFFIC_KEY_MAXIMUM_BYTES 32
#define TRAFFIC_IV_BYTES 12

enum record_suite {
    RECORD_AES_128_GCM = 0x1301, /* TLS_AES_128_GCM_SHA256, by its number in the protocol */
    RECORD_AES_256_GCM = 0x1302, /* TLS_AES_256_GCM_SHA384 */
};

bool record_suite_is_known(unsigned suite);
size_t record_suite_secret_bytes(enum record_suite suite);
size_t record_suite_key_bytes(enum record_suite suite);

/* HKDF-Expand-Label with an empty context; `length` at most the hash's. */
void key_schedule_expand(
    enum record_suite suite, const uint8_t *secret, const char *label, uint8_t *out, size_t length);

struct traffic_keys {
    uint8_t key[TRAFFIC_KEY_MAXIMUM_BYTES];
    uint8_t iv[TRAFFIC_IV_BYTES];
};
void key_schedule_traffic_keys(enum record_suite suite, const uint8_t *secret, struct traffic_keys *keys);

/* In place: the secret after a key update. */
void key_schedule_advance(enum record_suite suite, uint8_t *secret);

#endif
