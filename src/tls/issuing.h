/* Fields and extensions of certificates we issue. Inside tls only. */
#ifndef AMBAR_TLS_ISSUING_H
#define AMBAR_TLS_ISSUING_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

struct evp_pkey_st;
struct x509_st;

/* An unsigned version 3 certificate with a random 128-bit serial number. */
struct x509_st *issuing_begin(struct evp_pkey_st *public_key, int64_t not_before_s, int64_t not_after_s);

/* Critical keyUsage; `bits` are OpenSSL's KU_ values of the first octet. */
void issuing_set_key_usage(struct x509_st *certificate, unsigned bits);
/* Critical basicConstraints without a path length. */
void issuing_set_authority(struct x509_st *certificate, int is_authority);
/* serverAuth, clientAuth. */
void issuing_set_peer_usage(struct x509_st *certificate);
void issuing_set_subject_key_identifier(struct x509_st *certificate);
/* The issuer's subjectKeyIdentifier, if it has one. */
void issuing_set_authority_key_identifier(struct x509_st *certificate, const struct x509_st *issuer);
/* Critical subjectAltName. RESULT_INVALID names the one that cannot stand there. */
struct result issuing_set_names(struct x509_st *certificate, const char *const *names, size_t count);

/* With the digest that goes with the key: SHA-384 for P-384, SHA-512 for P-521, none of its own for Ed25519, else SHA-256. */
struct result issuing_sign(struct x509_st *certificate, struct evp_pkey_st *key);

#endif
