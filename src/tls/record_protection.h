/* One direction of a connection's records: traffic secret, keys, the sequence number and the sealing or opening of one record
 * (RFC 8446 §5.2, §5.3). Lives in secret memory; one owner, one thread. Inside tls only. */
#ifndef AMBAR_TLS_RECORD_PROTECTION_H
#define AMBAR_TLS_RECORD_PROTECTION_H

#include "tls/record_cipher.h"

#define RECORD_OVERHEAD_BYTES (RECORD_HEADER_BYTES + 1 + RECORD_TAG_BYTES) /* header, inner type, tag */

enum record_type {
    RECORD_CHANGE_CIPHER_SPEC = 20,
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_APPLICATION_DATA = 23,
};

struct record_protection;

/* `secret` is copied. `sequence`: the number of the next record. */
struct record_protection *record_protection_new(
    const struct record_cipher *cipher, enum record_suite suite, const uint8_t *secret, uint64_t sequence);
/* Wipes everything. NULL is allowed. */
void record_protection_free(struct record_protection *protection);

enum record_suite record_protection_suite(const struct record_protection *protection);
/* Records since the last key; the number of the next one. */
uint64_t record_protection_sequence(const struct record_protection *protection);
/* The traffic secret, to hand the connection over; as long as the suite says. */
const uint8_t *record_protection_secret(const struct record_protection *protection);

/* The keys after a key update; the sequence begins anew. */
void record_protection_advance(struct record_protection *protection);

/* Writes a whole record at `out`: header, `length` bytes from `plaintext`, `type`, tag. `plaintext` either lies at
 * out + RECORD_HEADER_BYTES (in place) or overlaps nothing; in both cases the byte behind it is overwritten. Returns the record's
 * bytes, length + RECORD_OVERHEAD_BYTES; 0 when the sequence numbers are used up. */
size_t record_protection_seal(
    struct record_protection *protection, enum record_type type, uint8_t *plaintext, size_t length, uint8_t *out);

/* Opens the body of `record` (header and body, `length` bytes) in place. The plaintext with type and padding is at
 * record + RECORD_HEADER_BYTES, and is *inner bytes long. False, with the body wiped, when the tag is wrong or the body too short. */
bool record_protection_open(struct record_protection *protection, uint8_t *record, size_t length, size_t *inner);
/* No further record can be opened: RFC 8446 §5.3 forbids the numbers to wrap. */
bool record_protection_is_exhausted(const struct record_protection *protection);

#endif
