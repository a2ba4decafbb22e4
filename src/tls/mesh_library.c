#include "tls/mesh_library.h"

#include "base/memory.h"
#include "base/text.h"
#include "tls/openssl_error.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <pthread.h>

#define OPERATION_ALGORITHMS_MAXIMUM 12

/* What the lists of context_build.c need, by OpenSSL's first name; all else of the operations named here is left out. */
static const char *const DIGESTS[] = { "SHA1", "SHA2-256", "SHA2-384", "SHA2-512", NULL };
static const char *const CIPHERS[] = { "AES-128-GCM", "AES-256-GCM", "AES-256-CTR", NULL };
static const char *const MACS[] = { "HMAC", NULL };
static const char *const DERIVATIONS[] = { "TLS13-KDF", "TLS1-PRF", "HKDF", NULL };
static const char *const KEYS[] = { "EC", "X25519", "RSA", "RSA-PSS", "ED25519", "HMAC", NULL };
static const char *const EXCHANGES[] = { "ECDH", "X25519", NULL };
static const char *const SIGNATURES[] = { "ECDSA", "RSA", "ED25519", "HMAC", NULL };
static const char *const NONE[] = { NULL };

/* Filled once, before the context is used. */
static struct {
    int number;
    const char *const *names;
    OSSL_ALGORITHM algorithms[OPERATION_ALGORITHMS_MAXIMUM + 1];
} operations[] = {
    { .number = OSSL_OP_DIGEST, .names = DIGESTS },
    { .number = OSSL_OP_CIPHER, .names = CIPHERS },
    { .number = OSSL_OP_MAC, .names = MACS },
    { .number = OSSL_OP_KDF, .names = DERIVATIONS },
    { .number = OSSL_OP_KEYMGMT, .names = KEYS },
    { .number = OSSL_OP_KEYEXCH, .names = EXCHANGES },
    { .number = OSSL_OP_SIGNATURE, .names = SIGNATURES },
    { .number = OSSL_OP_DECODER, .names = NONE },
    { .number = OSSL_OP_ENCODER, .names = NONE },
    { .number = OSSL_OP_STORE, .names = NONE },
};

static OSSL_PROVIDER *whole; /* the default provider, in the default context */
static OSSL_LIB_CTX *library;

/* OpenSSL lists an algorithm's names as "FIRST:second:...". */
static bool is_named(const OSSL_ALGORITHM *algorithm, const char *const *names)
{
    struct bytes rest = bytes_of_string(algorithm->algorithm_names), first;
    (void)bytes_split(&rest, ':', &first);
    for (; *names != NULL; names++) {
        if (bytes_equal_string(first, *names)) {
            return true;
        }
    }
    return false;
}

static void choose_algorithms(void)
{
    for (size_t i = 0; i < ARRAY_LENGTH(operations); i++) {
        int may_not_cache = 0;
        size_t count = 0;
        const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(whole, operations[i].number, &may_not_cache);
        for (; all != NULL && all->algorithm_names != NULL && count < OPERATION_ALGORITHMS_MAXIMUM; all++) {
            if (is_named(all, operations[i].names)) {
                operations[i].algorithms[count++] = *all;
            }
        }
    }
}

static const OSSL_ALGORITHM *query_operation(void *context, int number, int *may_not_cache)
{
    (void)context;
    for (size_t i = 0; i < ARRAY_LENGTH(operations); i++) {
        if (operations[i].number == number) {
            *may_not_cache = 0;
            return operations[i].algorithms;
        }
    }
    return OSSL_PROVIDER_query_operation(whole, number, may_not_cache);
}

static int get_capabilities(void *context, const char *capability, OSSL_CALLBACK *on_each, void *argument)
{
    (void)context;
    return OSSL_PROVIDER_get_capabilities(whole, capability, on_each, argument);
}

static const OSSL_DISPATCH PROVIDER[] = {
    { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation },
    { OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))get_capabilities },
    { 0, NULL },
};

/* The algorithms are the default provider's functions, so that what they work with is its context. */
static int start_provider(
    const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core, const OSSL_DISPATCH **provider, void **context)
{
    (void)handle, (void)core;
    *provider = PROVIDER;
    *context = OSSL_PROVIDER_get0_provider_ctx(whole);
    return 1;
}

static int is_default_provider(OSSL_PROVIDER *provider, void *unused)
{
    (void)unused;
    return text_equal(OSSL_PROVIDER_get0_name(provider), "default");
}

/* From 3.2 on OpenSSL keeps what it gathered. What an administrator chose in openssl.cnf stays in force. */
static bool is_wanted(void)
{
    return OPENSSL_version_major() == 3 && OPENSSL_version_minor() < 2 &&
           !EVP_default_properties_is_fips_enabled(NULL) && OSSL_PROVIDER_do_all(NULL, is_default_provider, NULL) == 1;
}

static void make_library(void)
{
    if (!is_wanted()) {
        return;
    }
    whole = OSSL_PROVIDER_load(NULL, "default");
    openssl_must(whole != NULL, "load the default provider");
    choose_algorithms();
    library = OSSL_LIB_CTX_new();
    openssl_must(library != NULL && OSSL_PROVIDER_add_builtin(library, "mesh", start_provider) &&
                     OSSL_PROVIDER_load(library, "mesh") != NULL,
        "make the library context of the mesh");
}

struct ossl_lib_ctx_st *mesh_library(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_library);
    return library;
}
