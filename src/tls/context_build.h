/* OpenSSL contexts with the settings every connection of ours shares. Inside tls only. */
#ifndef AMBAR_TLS_CONTEXT_BUILD_H
#define AMBAR_TLS_CONTEXT_BUILD_H

#include "tls/certificate_bundle.h"

struct ssl_ctx_st;

enum peer_certificate { PEER_CERTIFICATE_REQUIRED, PEER_CERTIFICATE_IF_GIVEN };

struct context_plan {
    bool allows_tls12;
    const struct certificate_bundle *own; /* key and chain to show; NULL: none */
    const struct certificate_list *roots; /* NULL: the system's */
    enum peer_certificate peer_certificate;
    bool is_for_mesh;     /* made in mesh_library(): many handshakes, of few kinds */
    bool catches_secrets; /* for records of our own: see handshake_secrets.h */
};

/* For both roles: TLS 1.3 suites, groups, ALPN h2, no session resumption, no renegotiation, verification by verification.h. */
struct result tls_context_build(const struct context_plan *plan, struct ssl_ctx_st **context);

bool tls_has_post_quantum_group(void);

#endif
