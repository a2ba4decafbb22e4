/* Private keys: made, read and written as PEM. They are OpenSSL's EVP_PKEY, which overwrites the secret when it is freed.
 * Any thread; an EVP_PKEY is immutable once made and may be shared. */
#ifndef AMBAR_TLS_PRIVATE_KEY_H
#define AMBAR_TLS_PRIVATE_KEY_H

#include "base/bytes.h"
#include "base/result.h"

struct evp_pkey_st; /* EVP_PKEY */
struct writer;

/* A fresh ECDSA P-256 key. */
struct evp_pkey_st *private_key_new(void);
struct evp_pkey_st *private_key_reference(struct evp_pkey_st *key);
void private_key_free(struct evp_pkey_st *key); /* gives back one reference; NULL is allowed */

/* The first key of a PEM text: PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted. `name` (a file, "the request")
 * stands in the sentence of a failure. */
struct result private_key_parse_pem(struct bytes pem, const char *name, struct evp_pkey_st **key);

struct result private_key_read_file(const char *path, struct evp_pkey_st **key);

/* PKCS#8, unencrypted. Wipe the writer's memory afterwards (secret_writer_free). */
void private_key_write_pem(const struct evp_pkey_st *key, struct writer *out);

/* Overwrites what a growing writer holds, then frees it. */
void secret_writer_free(struct writer *writer);

#endif
