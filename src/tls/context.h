/* TLS towards and of a control plane: a DNS-named server certificate, ALPN h2, no mesh identity needed (wire-protocols §9).
 * Counted atomically; any thread. */
#ifndef AMBAR_TLS_CONTEXT_H
#define AMBAR_TLS_CONTEXT_H

#include "tls/certificate_bundle.h"

struct ssl_ctx_st; /* SSL_CTX */

struct tls_context {
    _Atomic uint32_t references;
    struct ssl_ctx_st *context;
    struct certificate_bundle *bundle; /* a server's; NULL for clients */
};

/* Where a client's trust comes from: the first that is set; with neither, the system's store. */
struct tls_client_trust {
    const char *root_file; /* PEM */
    struct bytes root_pem;
    bool allows_tls12; /* or the process's policy does */
};
struct result tls_context_new_client(const struct tls_client_trust *trust, struct tls_context **context);

/* TLS 1.2 and 1.3. Client certificates are asked for, not required, and verified against the bundle's roots when given. */
struct result tls_context_new_server(struct certificate_bundle *bundle, struct tls_context **context);

struct tls_context *tls_context_reference(struct tls_context *context);
void tls_context_release(struct tls_context *context); /* NULL is allowed */

#endif
