#include "tls/private_key.h"

#include "base/memory.h"
#include "base/writer.h"
#include "tls/openssl_error.h"
#include "tls/pem_file.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

struct evp_pkey_st *private_key_new(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    openssl_must(key != NULL, "make a P-256 key");
    return key;
}

struct evp_pkey_st *private_key_reference(struct evp_pkey_st *key)
{
    openssl_must(EVP_PKEY_up_ref(key), "reference a key");
    return key;
}

void private_key_free(struct evp_pkey_st *key)
{
    EVP_PKEY_free(key);
}

/* Encrypted keys are refused instead of asking at the terminal. */
static int no_passphrase(char *buffer, int size, int is_writing, void *context)
{
    (void)buffer, (void)size, (void)is_writing, (void)context;
    return -1;
}

struct result private_key_parse_pem(struct bytes pem, const char *name, struct evp_pkey_st **key)
{
    *key = NULL;
    if (pem.length > INT32_MAX) {
        return result_fail(RESULT_INVALID, "%s: too long for a private key", name);
    }
    BIO *input = BIO_new_mem_buf(pem.length == 0 ? "" : (const void *)pem.data, (int)pem.length);
    openssl_must(input != NULL, "read from memory");
    *key = PEM_read_bio_PrivateKey(input, NULL, no_passphrase, NULL);
    BIO_free(input);
    if (*key == NULL) {
        char reason[OPENSSL_REASON_SIZE];
        return result_fail(RESULT_INVALID,
            "%s: no private key in PEM form (PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted): %s", name,
            openssl_error_take(reason));
    }
    ERR_clear_error();
    return result_ok();
}

struct result private_key_read_file(const char *path, struct evp_pkey_st **key)
{
    *key = NULL;
    struct writer text = writer_growing();
    struct result result = pem_file_read(path, &text);
    if (result_is_ok(&result)) {
        result = private_key_parse_pem(writer_bytes(&text), path, key);
    }
    secret_writer_free(&text);
    return result;
}

void private_key_write_pem(const struct evp_pkey_st *key, struct writer *out)
{
    BIO *output = BIO_new(BIO_s_secmem());
    openssl_must(output != NULL, "write to memory");
    openssl_must(PEM_write_bio_PrivateKey(output, key, NULL, NULL, 0, NULL, NULL), "write a private key");
    char *text = NULL;
    long length = BIO_get_mem_data(output, &text);
    writer_add(out, text, (size_t)length);
    BIO_free(output);
}

void secret_writer_free(struct writer *writer)
{
    if (writer->data != NULL) {
        memory_wipe(writer->data, writer->capacity);
    }
    writer_free(writer);
}
