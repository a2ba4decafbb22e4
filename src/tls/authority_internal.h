/* What an authority is made of; shared by issuing and its files. Inside tls only. */
#ifndef AMBAR_TLS_AUTHORITY_INTERNAL_H
#define AMBAR_TLS_AUTHORITY_INTERNAL_H

#include "tls/authority.h"

struct certificate_authority {
    struct x509_st *signer;
    struct evp_pkey_st *key;
    struct certificate_list chain; /* goes behind each leaf; empty for a self-signed root */
    struct certificate_list roots;
    char *root_pem;
};

/* A self-signed root for `key`, which the authority takes. */
struct certificate_authority *certificate_authority_of_key(
    struct evp_pkey_st *key, const char *trust_domain, int64_t now_s);

#endif
