#include "tls/record_cipher.h"

#include "tls/openssl_error.h"

#include <openssl/evp.h>

/* What lies in the expanded key's memory; OpenSSL keeps the key itself on its own heap and wipes it. */
struct evp_key {
    EVP_CIPHER_CTX *context;
};

static void evp_set_key(void *expanded, enum record_suite suite, const uint8_t *key)
{
    struct evp_key *made = expanded;
    const EVP_CIPHER *cipher = suite == RECORD_AES_128_GCM ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
    made->context = EVP_CIPHER_CTX_new();
    openssl_must(made->context != NULL && EVP_CipherInit_ex(made->context, cipher, NULL, key, NULL, 1), "use AES-GCM");
}

static void evp_clear_key(void *expanded)
{
    struct evp_key *key = expanded;
    EVP_CIPHER_CTX_free(key->context);
    key->context = NULL;
}

static bool run(EVP_CIPHER_CTX *context, const struct record_cipher_text *text, int is_sealing)
{
    int length = 0;
    return EVP_CipherInit_ex(context, NULL, NULL, NULL, text->nonce, is_sealing) == 1 &&
           EVP_CipherUpdate(context, NULL, &length, text->header, RECORD_HEADER_BYTES) == 1 &&
           EVP_CipherUpdate(context, text->out, &length, text->in, (int)text->length) == 1;
}

static void evp_seal(void *expanded, enum record_suite suite, const struct record_cipher_text *text, uint8_t *tag)
{
    (void)suite;
    EVP_CIPHER_CTX *context = ((struct evp_key *)expanded)->context;
    int length = 0;
    bool is_sealed = run(context, text, 1) && EVP_CipherFinal_ex(context, text->out + text->length, &length) == 1 &&
                     EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, RECORD_TAG_BYTES, tag) == 1;
    openssl_must(is_sealed, "seal a record");
}

static bool evp_open(void *expanded, enum record_suite suite, const struct record_cipher_text *text, const uint8_t *tag)
{
    (void)suite;
    EVP_CIPHER_CTX *context = ((struct evp_key *)expanded)->context;
    uint8_t expected[RECORD_TAG_BYTES];
    memcpy(expected, tag, sizeof expected); /* OpenSSL does not promise to leave it alone */
    int length = 0;
    openssl_must(
        run(context, text, 0) && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, RECORD_TAG_BYTES, expected) == 1,
        "open a record");
    return EVP_CipherFinal_ex(context, text->out + text->length, &length) == 1;
}

const struct record_cipher record_cipher_evp = {
    .name = "evp",
    .set_key = evp_set_key,
    .clear_key = evp_clear_key,
    .seal = evp_seal,
    .open = evp_open,
};
