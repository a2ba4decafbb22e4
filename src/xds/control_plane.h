/* How a program reaches its control plane, for discovery and certificates alike: address, trust, token, headers
 * (ztunnel-management §3.1). Files are read again for each channel (root) and each call (token). */
#ifndef AMBAR_XDS_CONTROL_PLANE_H
#define AMBAR_XDS_CONTROL_PLANE_H

#include "base/arena.h"
#include "base/result.h"
#include "http/grpc_client.h"

struct control_plane_settings {
    const char *host;
    uint16_t port;
    const char *alternative_name; /* NULL: none */
    bool is_plaintext;
    /* Trust: the first that is set; with neither, the system's certificates. */
    const char *root_file; /* PEM */
    struct bytes root_pem;
    bool allows_tls12;
    const char *token_file;              /* NULL: no authorization header */
    const char *cluster_id;              /* NULL: no clusterid header */
    const struct grpc_metadata *headers; /* XDS_HEADER_*, CA_HEADER_* */
    size_t header_count;
};

/* A channel with the root file as it is now. */
struct result control_plane_channel(struct loop *loop, struct buffer_pool *pool,
    const struct control_plane_settings *settings, struct grpc_channel **channel);

/* authorization, clusterid and the extra headers, in this order, with the token as it is now (one trailing newline is
 * dropped, where the Rust client fails). An empty token file fails: "token file exists, but was empty". */
struct result control_plane_metadata(
    const struct control_plane_settings *settings, struct arena *arena, struct grpc_metadata **metadata, size_t *count);
/* Overwrites the token that was read for them, before the arena is given back. What the settings hold stays. */
void control_plane_metadata_wipe(const struct control_plane_settings *settings, const struct grpc_metadata *metadata);

#endif
