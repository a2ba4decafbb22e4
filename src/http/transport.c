#include "http/transport.h"

#include "base/memory.h"
#include "base/spiffe.h"
#include "tls/context.h"
#include "tls/handshake.h"
#include "tls/plain_engine.h"

#include <sys/epoll.h>
#include <unistd.h>

/* Everything but the descriptor and the peer's identity is over. */
static void stop_opening(struct transport *transport)
{
    deferred_cancel(&transport->begin);
    timer_disarm(&transport->deadline);
    loop_unwatch(&transport->watch);
    tls_handshake_free(transport->handshake);
    transport->handshake = NULL;
}

static void fail(struct transport *transport, struct result failure)
{
    stop_opening(transport);
    close(transport->descriptor);
    transport->descriptor = -1;
    transport->on_open(transport, -1, NULL, &failure);
}

static void succeed(struct transport *transport, struct record_layer *layer)
{
    stop_opening(transport);
    int descriptor = transport->descriptor;
    transport->descriptor = -1;
    transport->on_open(transport, descriptor, layer, NULL);
}

static void finish_handshake(struct transport *transport)
{
    struct tls_peer peer = { 0 };
    struct record_layer *layer = tls_handshake_finish(transport->handshake, &peer);
    const struct spiffe_identity *identity = tls_peer_identity(&peer);
    if (identity != NULL) {
        transport->peer_identity = string_duplicate(identity->uri);
    }
    bool has_negotiated_h2 = peer.has_negotiated_h2;
    tls_peer_clear(&peer);
    if (!has_negotiated_h2) {
        record_free(layer);
        fail(transport, result_fail(RESULT_INVALID, "tls handshake error: peer did not negotiate ALPN h2"));
        return;
    }
    succeed(transport, layer);
}

static void step(struct transport *transport)
{
    switch (tls_handshake_step(transport->handshake)) {
    case TLS_HANDSHAKE_WANTS_READ:
        loop_watch_for(&transport->watch, EPOLLIN);
        return;
    case TLS_HANDSHAKE_WANTS_WRITE:
        loop_watch_for(&transport->watch, EPOLLOUT);
        return;
    case TLS_HANDSHAKE_DONE:
        finish_handshake(transport);
        return;
    case TLS_HANDSHAKE_FAILED:
        fail(transport,
            result_fail(RESULT_DENIED, "tls handshake error: %s", tls_handshake_failure(transport->handshake)));
        return;
    }
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    (void)events;
    step(CONTAINER_OF(watch, struct transport, watch));
}

static void on_deadline(struct timer *timer)
{
    fail(CONTAINER_OF(timer, struct transport, deadline), result_fail(RESULT_TIMEOUT, "tls handshake timed out"));
}

static void begin(struct deferred *deferred)
{
    struct transport *transport = CONTAINER_OF(deferred, struct transport, begin);
    if (transport->handshake == NULL) {
        succeed(transport, plain_record_layer_new(transport->pool, transport->descriptor));
        return;
    }
    struct result watched = loop_watch(transport->loop, &transport->watch, transport->descriptor, 0);
    if (!result_is_ok(&watched)) {
        fail(transport, watched);
        return;
    }
    step(transport);
}

void transport_open(struct transport *transport, struct loop *loop, struct buffer_pool *pool, int descriptor,
    const struct transport_peer *peer, uint64_t deadline_ms)
{
    transport->loop = loop;
    transport->pool = pool;
    transport->descriptor = descriptor;
    transport->watch = (struct io_watch){ .on_ready = on_ready, .descriptor = descriptor };
    transport->deadline = (struct timer){ .on_expire = on_deadline };
    transport->begin.run = begin;
    list_initialise(&transport->begin.link);
    if (peer->tls != NULL) {
        transport->handshake = peer->server_name == NULL ? tls_handshake_new_server(peer->tls, pool, descriptor)
                                                         : tls_handshake_new_client(peer->tls, pool, descriptor,
                                                               peer->server_name, peer->alternative_name);
        timer_arm_after_ms(loop, &transport->deadline, deadline_ms);
    }
    loop_defer(loop, &transport->begin);
}

void transport_close(struct transport *transport)
{
    if (transport->loop == NULL) {
        return;
    }
    stop_opening(transport);
    if (transport->descriptor >= 0) {
        close(transport->descriptor);
        transport->descriptor = -1;
    }
    memory_free(transport->peer_identity);
    transport->peer_identity = NULL;
    transport->loop = NULL;
}
