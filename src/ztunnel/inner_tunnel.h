/* The inner tunnel of double HBONE (ztunnel-dataplane §9): TLS and HTTP/2 to the proxy behind another network's gateway, inside
 * one answered CONNECT of the tunnel to that gateway. It carries one connection and is never pooled.
 *
 * A socket pair joins the two: a relay moves the outer stream's bytes to one end, handshake and session use the other as they
 * would use TCP. Ownership: whoever made it closes it, once; it then says goodbye to both proxies and frees itself. On the pod's list
 * until then. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_INNER_TUNNEL_H
#define AMBAR_ZTUNNEL_INNER_TUNNEL_H

#include "base/list.h"
#include "base/result.h"
#include "http/stream_relay.h"

struct hbone_session;
struct inner_tunnel;
struct pod;
struct tls_identity;

struct inner_tunnel_events {
    /* The peer has shown `identity` (borrowed), one of those expected: call hbone_session_connect once before returning. */
    void (*on_open)(void *context, struct hbone_session *session, const char *identity);
    /* There will be no session: only inner_tunnel_close is left to do. */
    void (*on_failure)(void *context, const char *error);
};

/* Takes the outer stream over. The certificate is referenced, the identities are copied; none means that nobody is accepted. Never
 * calls back from within. */
struct inner_tunnel *inner_tunnel_new(struct pod *pod, struct hbone_stream *outer, struct tls_identity *certificate,
    const char *const *expected_identities, size_t count, const struct inner_tunnel_events *events, void *context);

/* No more events. What the session still has to say leaves first. */
void inner_tunnel_close(struct inner_tunnel *inner);

/* Of one on a pod's list; NULL before its handshake has ended. */
struct hbone_session *inner_tunnel_session(const struct list *link);

/* Ends every inner tunnel of a list at once: their pod is going. */
void inner_tunnels_abort(struct list *inner_tunnels);

#endif
