/* From a connected descriptor to a record layer: the TLS handshake with its deadline, or at once for plaintext. On one loop. */
#ifndef AMBAR_HTTP_TRANSPORT_H
#define AMBAR_HTTP_TRANSPORT_H

#include "base/result.h"
#include "net/loop.h"

struct buffer_pool;
struct record_layer;
struct tls_context;
struct tls_handshake;

/* Embed it, zero it, set on_open. */
struct transport {
    /* Once, unless closed before; never from inside transport_open. On success the callee owns the descriptor and the layer;
     * otherwise `layer` is NULL and the descriptor is already closed. */
    void (*on_open)(
        struct transport *transport, int descriptor, struct record_layer *layer, const struct result *failure);
    struct loop *loop;
    struct buffer_pool *pool;
    struct tls_handshake *handshake; /* NULL: plaintext */
    struct io_watch watch;
    struct timer deadline;
    struct deferred begin; /* the first step, at the end of the turn */
    int descriptor;        /* owned while opening; -1 otherwise */
    char *peer_identity;   /* the SPIFFE URI of a verified peer certificate; owned; NULL: none */
};

/* `tls` NULL: plaintext. A client context verifies `server_name` (or `alternative_name`, when not NULL). */
struct transport_peer {
    struct tls_context *tls;
    const char *server_name; /* NULL: we are the server */
    const char *alternative_name;
};

/* Takes over the descriptor. */
void transport_open(struct transport *transport, struct loop *loop, struct buffer_pool *pool, int descriptor,
    const struct transport_peer *peer, uint64_t deadline_ms);

/* Idempotent: gives up what is still opening, and frees what the transport holds. */
void transport_close(struct transport *transport);

#endif
