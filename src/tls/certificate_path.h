/* Does a leaf lead to one of the roots at a given time? Inside tls only. */
#ifndef AMBAR_TLS_CERTIFICATE_PATH_H
#define AMBAR_TLS_CERTIFICATE_PATH_H

#include "tls/certificate.h"

struct stack_st_X509;
struct x509_store_st;

/* A store that trusts each of `roots`, be it self-signed or not, as every implementation of the mesh does. */
struct x509_store_st *certificate_store_of(const struct certificate_list *roots);

/* Borrowed certificates as OpenSSL's list; free with sk_X509_free. */
struct stack_st_X509 *certificate_stack_of(const struct certificate_list *list);

/* Signatures, validity, CA flags and path length of the whole chain, whatever its purpose. */
struct result certificate_path_check(struct x509_st *leaf, const struct certificate_list *intermediates,
    const struct certificate_list *roots, int64_t now_s);

#endif
