#include "tls/key_schedule.h"

#include "base/memory.h"
#include "base/writer.h"
#include "tls/openssl_error.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define LABEL_PREFIX "tls13 "
#define INFORMATION_MAXIMUM_BYTES 64

bool record_suite_is_known(unsigned suite)
{
    return suite == RECORD_AES_128_GCM || suite == RECORD_AES_256_GCM;
}

size_t record_suite_secret_bytes(enum record_suite suite)
{
    return suite == RECORD_AES_128_GCM ? 32 : 48;
}

size_t record_suite_key_bytes(enum record_suite suite)
{
    return suite == RECORD_AES_128_GCM ? 16 : 32;
}

void key_schedule_expand(enum record_suite suite, const uint8_t *secret, const char *label, uint8_t *out, size_t length)
{
    uint8_t memory[INFORMATION_MAXIMUM_BYTES];
    struct writer information = writer_fixed(memory, sizeof memory);
    writer_add_u16(&information, (uint16_t)length);
    writer_add_u8(&information, (uint8_t)(strlen(LABEL_PREFIX) + strlen(label)));
    writer_add_string(&information, LABEL_PREFIX);
    writer_add_string(&information, label);
    writer_add_u8(&information, 0);
    writer_add_u8(&information, 1); /* HKDF-Expand (RFC 5869 §2.3): one block is enough for what is asked here */
    uint8_t block[EVP_MAX_MD_SIZE];
    unsigned block_length = 0;
    const EVP_MD *hash = suite == RECORD_AES_128_GCM ? EVP_sha256() : EVP_sha384();
    openssl_must(HMAC(hash, secret, (int)record_suite_secret_bytes(suite), information.data, information.length, block,
                     &block_length) != NULL &&
                     length <= block_length && !information.has_overflowed,
        "derive a key");
    memcpy(out, block, length);
    memory_wipe(block, sizeof block);
}

void key_schedule_traffic_keys(enum record_suite suite, const uint8_t *secret, struct traffic_keys *keys)
{
    key_schedule_expand(suite, secret, "key", keys->key, record_suite_key_bytes(suite));
    key_schedule_expand(suite, secret, "iv", keys->iv, sizeof keys->iv);
}

void key_schedule_advance(enum record_suite suite, uint8_t *secret)
{
    uint8_t next[TRAFFIC_SECRET_MAXIMUM_BYTES];
    key_schedule_expand(suite, secret, "traffic upd", next, record_suite_secret_bytes(suite));
    memcpy(secret, next, record_suite_secret_bytes(suite));
    memory_wipe(next, sizeof next);
}
