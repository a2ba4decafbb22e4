/* Inbound tunnels (15008): another proxy's connection, its handshake, and the CONNECTs that arrive on it (ztunnel-dataplane §10). */
#ifndef AMBAR_ZTUNNEL_INBOUND_H
#define AMBAR_ZTUNNEL_INBOUND_H

#include "base/address.h"
#include "base/list.h"
#include "http/hbone_session.h"
#include "net/loop.h"
#include "tls/handshake.h"
#include "xds/certificate_store.h"
#include "ztunnel/handshake_turns.h"
#include "ztunnel/pod.h"

#define TLS_HANDSHAKE_DEADLINE_MS 10000

/* One accepted tunnel. Its streams refer to it and may outlive its session by a callback, never the tunnel itself. */
struct inbound_tunnel {
    struct list link; /* pod->inbound_tunnels */
    struct pod *pod;
    struct socket_address peer;
    struct socket_address local; /* the pod's address and 15008 */
    struct spiffe_identity *peer_identity;
    struct hbone_session *session;
    size_t streams;
    bool has_session_ended;

    /* until the session exists */
    int descriptor;
    struct io_watch watch;
    struct timer deadline;
    struct workload_wait workload_wait;
    struct certificate_request certificate_request;
    struct tls_identity *certificate; /* referenced, from its arrival to the peer's first bytes */
    struct tls_handshake *handshake;
    struct handshake_turn turn;
    bool is_counted; /* among the handshakes of its pod and its source */
    uint64_t handshake_start_ns;
};

/* Takes over the accepted descriptor. */
void inbound_accept(struct pod *pod, int descriptor, const struct socket_address *peer);

/* GOAWAY now; streams go on. */
void inbound_tunnel_drain(struct inbound_tunnel *tunnel);
/* Ends the tunnel with all its streams. */
void inbound_tunnel_close(struct inbound_tunnel *tunnel, const char *reason);
/* The peer has reset a stream before we answered it; many of these end its tunnels. From within an event of the session. */
void inbound_tunnel_note_unanswered_reset(struct inbound_tunnel *tunnel);
/* A stream of the tunnel has ended; may free the tunnel. */
void inbound_tunnel_release_stream(struct inbound_tunnel *tunnel);

/* One CONNECT (inbound_stream.c). */
void inbound_stream_accept(
    struct inbound_tunnel *tunnel, struct hbone_stream *stream, const struct hbone_request *request);

#endif
