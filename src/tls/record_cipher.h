/* AES-GCM for records, in place, from one of two sources: ipsec-mb's code for this processor, or OpenSSL's EVP everywhere else.
 * Both give the same bytes; tests pair either with either. Inside tls only. */
#ifndef AMBAR_TLS_RECORD_CIPHER_H
#define AMBAR_TLS_RECORD_CIPHER_H

#include "tls/key_schedule.h"

#define RECORD_TAG_BYTES 16
#define RECORD_HEADER_BYTES 5 /* also the additional data of every record */
#define EXPANDED_KEY_BYTES 1024
#define EXPANDED_KEY_ALIGNMENT 64

/* One record's worth of work. `in` and `out` may be the same; nothing else may overlap. */
struct record_cipher_text {
    const uint8_t *nonce;  /* 12 bytes */
    const uint8_t *header; /* RECORD_HEADER_BYTES */
    const uint8_t *in;
    uint8_t *out;
    size_t length; /* without the tag */
};

/* `expanded` is EXPANDED_KEY_BYTES of secret memory, zeroed before set_key, used by one thread at a time and in one direction. */
struct record_cipher {
    const char *name; /* "ipsec-mb avx512+vaes", "evp" */
    void (*set_key)(void *expanded, enum record_suite suite, const uint8_t *key);
    void (*clear_key)(void *expanded);
    void (*seal)(void *expanded, enum record_suite suite, const struct record_cipher_text *text, uint8_t *tag);
    /* False when the tag is wrong; `out` then holds nothing that may be used. */
    bool (*open)(void *expanded, enum record_suite suite, const struct record_cipher_text *text, const uint8_t *tag);
};

extern const struct record_cipher record_cipher_evp;

/* ipsec-mb's, or NULL where this build, this processor or its self-test has none. The first call decides. Any thread. */
const struct record_cipher *record_cipher_ipsec_mb(void);

/* The fastest one here. */
const struct record_cipher *record_cipher_best(void);

#endif
