/* PKCS#10 certificate signing requests: what ztunnel sends and what the CA reads of it (wire-protocols §14, RFC 2986). */
#ifndef AMBAR_TLS_SIGNING_REQUEST_H
#define AMBAR_TLS_SIGNING_REQUEST_H

#include "tls/private_key.h"

#define SIGNING_REQUEST_MAXIMUM_BYTES (64 * 1024)

/* For one URI: empty subject, one extensionRequest with one critical subjectAltName, signed with SHA-256. Appends PEM. */
void signing_request_write(struct evp_pkey_st *key, const char *uri, struct writer *pem);

/* The CA's side. The names a request asks for do not matter and are not read. */
struct signing_request {
    struct evp_pkey_st *public_key;
    bool has_common_name;
};

/* A PEM CERTIFICATE REQUEST whose signature is verified with its own key. The sentences are the reference's:
 * "certificate signing request is not properly encoded", "CSR signature check failed". */
struct result signing_request_parse(struct bytes pem, struct signing_request *request);
void signing_request_clear(struct signing_request *request);

#endif
