#include "tls/record_protection.h"

#include "base/memory.h"
#include "tls/secret_memory.h"

struct record_protection {
    uint64_t sequence;
    const struct record_cipher *cipher;
    enum record_suite suite;
    uint8_t iv[TRAFFIC_IV_BYTES];
    uint8_t secret[TRAFFIC_SECRET_MAXIMUM_BYTES];
    _Alignas(EXPANDED_KEY_ALIGNMENT) uint8_t expanded_key[EXPANDED_KEY_BYTES];
};

_Static_assert(sizeof(struct record_protection) <= SECRET_SLOT_BYTES, "a direction fits a slot of secret memory");

static void derive(struct record_protection *protection)
{
    struct traffic_keys keys;
    key_schedule_traffic_keys(protection->suite, protection->secret, &keys);
    protection->cipher->set_key(protection->expanded_key, protection->suite, keys.key);
    memcpy(protection->iv, keys.iv, sizeof protection->iv);
    memory_wipe(&keys, sizeof keys);
}

struct record_protection *record_protection_new(
    const struct record_cipher *cipher, enum record_suite suite, const uint8_t *secret, uint64_t sequence)
{
    struct record_protection *protection = secret_memory_take();
    protection->cipher = cipher;
    protection->suite = suite;
    protection->sequence = sequence;
    memcpy(protection->secret, secret, record_suite_secret_bytes(suite));
    derive(protection);
    return protection;
}

void record_protection_free(struct record_protection *protection)
{
    if (protection != NULL) {
        protection->cipher->clear_key(protection->expanded_key);
        secret_memory_give(protection);
    }
}

enum record_suite record_protection_suite(const struct record_protection *protection)
{
    return protection->suite;
}

uint64_t record_protection_sequence(const struct record_protection *protection)
{
    return protection->sequence;
}

const uint8_t *record_protection_secret(const struct record_protection *protection)
{
    return protection->secret;
}

void record_protection_advance(struct record_protection *protection)
{
    key_schedule_advance(protection->suite, protection->secret);
    protection->cipher->clear_key(protection->expanded_key);
    derive(protection);
    protection->sequence = 0;
}

bool record_protection_is_exhausted(const struct record_protection *protection)
{
    return protection->sequence == UINT64_MAX;
}

/* The number of the record, padded and combined with the IV (RFC 8446 §5.3). */
static void next_nonce(struct record_protection *protection, uint8_t nonce[static TRAFFIC_IV_BYTES])
{
    uint64_t number = __builtin_bswap64(protection->sequence++);
    uint64_t low;
    memcpy(nonce, protection->iv, TRAFFIC_IV_BYTES);
    memcpy(&low, nonce + 4, sizeof low);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    number = __builtin_bswap64(number);
#endif
    low ^= number;
    memcpy(nonce + 4, &low, sizeof low);
}

size_t record_protection_seal(
    struct record_protection *protection, enum record_type type, uint8_t *plaintext, size_t length, uint8_t *out)
{
    if (record_protection_is_exhausted(protection)) {
        return 0;
    }
    size_t body = length + 1 + RECORD_TAG_BYTES;
    const uint8_t header[RECORD_HEADER_BYTES] = { RECORD_APPLICATION_DATA, 3, 3, (uint8_t)(body >> 8), (uint8_t)body };
    uint8_t nonce[TRAFFIC_IV_BYTES];
    next_nonce(protection, nonce);
    plaintext[length] = (uint8_t)type;
    memcpy(out, header, sizeof header);
    uint8_t *sealed = out + RECORD_HEADER_BYTES;
    const struct record_cipher_text text = { nonce, header, plaintext, sealed, length + 1 };
    protection->cipher->seal(protection->expanded_key, protection->suite, &text, sealed + length + 1);
    return RECORD_HEADER_BYTES + body;
}

bool record_protection_open(struct record_protection *protection, uint8_t *record, size_t length, size_t *inner)
{
    *inner = 0;
    if (length < RECORD_HEADER_BYTES + RECORD_TAG_BYTES || record_protection_is_exhausted(protection)) {
        return false;
    }
    uint8_t nonce[TRAFFIC_IV_BYTES];
    next_nonce(protection, nonce);
    uint8_t *body = record + RECORD_HEADER_BYTES;
    size_t text_length = length - RECORD_HEADER_BYTES - RECORD_TAG_BYTES;
    const struct record_cipher_text text = { nonce, record, body, body, text_length };
    if (!protection->cipher->open(protection->expanded_key, protection->suite, &text, body + text_length)) {
        memory_wipe(body, text_length); /* what a forger chose must not be mistaken for plaintext by anyone */
        return false;
    }
    *inner = text_length;
    return true;
}
