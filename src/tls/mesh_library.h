/* OpenSSL's library context for the mesh's handshakes: the default provider's own algorithms, but only those that these handshakes
 * use. OpenSSL 3.0 and 3.1 gather and try every decoder there is for the public key of each certificate that a peer shows, a quarter
 * of the whole handshake; this context has none. libssl's certificates come without a key, and whoever verifies them puts the same
 * certificates with their keys in their place (verification.h): those verified before, or parsed anew. Inside tls only. */
#ifndef AMBAR_TLS_MESH_LIBRARY_H
#define AMBAR_TLS_MESH_LIBRARY_H

struct ossl_lib_ctx_st;

/* NULL, the default context, with other versions of OpenSSL and when another provider than the default one is in force (FIPS). Lives as
 * long as the process. Any thread. */
struct ossl_lib_ctx_st *mesh_library(void);

#endif
