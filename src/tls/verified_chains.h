/* Chains of peers that were verified before, so that the next tunnel of the same peer costs one hash instead of signatures. Known is
 * exactly: these certificates byte by byte, for this purpose, under these roots, until the first of the whole path expires. A set of
 * fixed size for the process; the entry of a full row used longest ago goes. Any thread. Inside tls only. */
#ifndef AMBAR_TLS_VERIFIED_CHAINS_H
#define AMBAR_TLS_VERIFIED_CHAINS_H

#include "tls/certificate.h"

#define CHAIN_DIGEST_BYTES 32
#define VERIFIED_CHAINS_MAXIMUM 1024

struct stack_st_X509;

struct chain_digest {
    uint8_t bytes[CHAIN_DIGEST_BYTES];
};

/* Of trusted roots, in their order. */
struct chain_digest chain_digest_of_roots(const struct certificate_list *roots);
/* Of what a peer sent, together with the roots and what it is to be used for. */
struct chain_digest chain_digest_of_peer(
    const struct stack_st_X509 *sent, const struct chain_digest *roots, bool is_for_server);

/* The peer's own certificate as it was verified, its key decoded: the caller's reference (certificate_release). NULL: not known. */
struct x509_st *verified_chains_find(const struct chain_digest *digest, int64_t now_s);
/* `path`: the whole verified path, the peer's certificate first, the root last; its validity bounds the entry's. */
void verified_chains_remember(const struct chain_digest *digest, const struct stack_st_X509 *path, int64_t now_s);

struct verified_chains_statistics {
    uint64_t hits, misses;
};
struct verified_chains_statistics verified_chains_statistics(void);

#endif
