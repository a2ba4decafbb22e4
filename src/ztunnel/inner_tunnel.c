#include "ztunnel/inner_tunnel.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/hbone_session.h"
#include "tls/handshake.h"
#include "tls/identity.h"
#include "ztunnel/inbound.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/record_counting.h"
#include "ztunnel/revoked_tunnels.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a gateway may take to end its side of the outer stream once we have ended ours. */
#define GOODBYE_MS 5000
#define DESCRIPTORS 2

struct inner_tunnel {
    struct list link; /* pod->inner_tunnels */
    struct pod *pod;
    const struct inner_tunnel_events *events; /* NULL once closed */
    void *context;
    struct stream_relay relay; /* of the outer stream and its end of the pair */
    bool has_relay;
    struct hbone_session *session;
    struct deferred begin;
    struct timer deadline; /* of the handshake; of the goodbye */

    /* until the session exists */
    int descriptor;
    struct io_watch watch;
    struct tls_handshake *handshake;
    uint64_t handshake_start_ns;
};

static void forget_handshake(struct inner_tunnel *inner)
{
    deferred_cancel(&inner->begin);
    timer_disarm(&inner->deadline);
    loop_unwatch(&inner->watch);
    tls_handshake_free(inner->handshake);
    inner->handshake = NULL;
    if (inner->descriptor >= 0) {
        close(inner->descriptor);
        inner->descriptor = -1;
    }
}

static void free_if_over(struct inner_tunnel *inner)
{
    if (inner->events != NULL || inner->has_relay || inner->session != NULL) {
        return;
    }
    struct pod *pod = inner->pod;
    forget_handshake(inner);
    list_remove(&inner->link);
    pod->account.descriptors -= DESCRIPTORS;
    memory_free(inner);
    pod_check_drained(pod);
}

static void fail(struct inner_tunnel *inner, const char *error)
{
    forget_handshake(inner);
    if (inner->events != NULL) {
        inner->events->on_failure(inner->context, error);
    }
}

/* The outer stream has ended. Whatever came before is still in the pair, and the session (or the handshake) reads it first. */
static void on_relay_end(struct stream_relay *relay, enum relay_end end, const char *reason)
{
    (void)end;
    (void)reason;
    struct inner_tunnel *inner = CONTAINER_OF(relay, struct inner_tunnel, relay);
    inner->has_relay = false;
    free_if_over(inner);
}

static void on_progress(struct stream_relay *relay, size_t from_application, size_t to_application)
{
    (void)relay;
    (void)from_application;
    (void)to_application;
}

static const struct stream_relay_events RELAY_EVENTS = { on_progress, on_relay_end };

static void on_data(struct hbone_stream *stream, const struct bytes *slices, int count)
{
    struct inner_tunnel *inner = hbone_stream_context(stream);
    stream_relay_on_data(&inner->relay, slices, count);
}

static void on_end_stream(struct hbone_stream *stream)
{
    struct inner_tunnel *inner = hbone_stream_context(stream);
    stream_relay_on_end_stream(&inner->relay);
}

static void on_reset(struct hbone_stream *stream, const struct hbone_reset *reset)
{
    struct inner_tunnel *inner = hbone_stream_context(stream);
    stream_relay_on_reset(&inner->relay, reset);
}

static void on_writable(struct hbone_stream *stream)
{
    struct inner_tunnel *inner = hbone_stream_context(stream);
    stream_relay_on_writable(&inner->relay);
}

static const struct hbone_stream_events OUTER_EVENTS = {
    .on_data = on_data, .on_end = on_end_stream, .on_reset = on_reset, .on_writable = on_writable
};

static void on_session_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)reason;
    (void)was_clean;
    struct inner_tunnel *inner = hbone_session_context(session);
    inner->session = NULL;
    hbone_session_free(session);
    worker_count_role(inner->pod->worker, METRIC_TUNNELS_CLOSED, "client");
    free_if_over(inner);
}

static const struct hbone_session_events SESSION_EVENTS = { .on_ended = on_session_ended };

static void start_session(struct inner_tunnel *inner)
{
    struct worker *worker = inner->pod->worker;
    struct tls_peer peer;
    struct record_layer *layer = tls_handshake_finish(inner->handshake, &peer);
    record_counting_start(layer, worker, HBONE_CLIENT);
    revoked_tunnels_count_untracked(worker, layer, "source");
    const struct spiffe_identity *identity = tls_peer_identity(&peer);
    int descriptor = inner->descriptor;
    inner->descriptor = -1;
    loop_unwatch(&inner->watch);
    forget_handshake(inner);
    struct hbone_settings settings = pod_hbone_settings(inner->pod, HBONE_CLIENT);
    inner->session =
        hbone_session_new(worker->loop, layer, descriptor, HBONE_CLIENT, &settings, &SESSION_EVENTS, inner);
    worker_count_role(worker, METRIC_TUNNELS_OPENED, "client");
    worker_observe_handshake(worker, "client", inner->handshake_start_ns);
    inner->events->on_open(inner->context, inner->session, identity != NULL ? identity->uri : "");
    tls_peer_clear(&peer);
}

static void step_handshake(struct inner_tunnel *inner)
{
    switch (tls_handshake_step(inner->handshake)) {
    case TLS_HANDSHAKE_WANTS_READ:
        loop_watch_for(&inner->watch, EPOLLIN);
        return;
    case TLS_HANDSHAKE_WANTS_WRITE:
        loop_watch_for(&inner->watch, EPOLLOUT);
        return;
    case TLS_HANDSHAKE_DONE:
        start_session(inner);
        return;
    case TLS_HANDSHAKE_FAILED:
        break;
    }
    char error[320];
    snprintf(error, sizeof error, "io error: %s", tls_handshake_failure(inner->handshake));
    worker_count_role(inner->pod->worker, METRIC_HANDSHAKE_FAILURES, "client");
    revoked_tunnels_count_refusal(inner->pod->worker, inner->handshake, "source");
    fail(inner, error);
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    (void)events;
    step_handshake(CONTAINER_OF(watch, struct inner_tunnel, watch));
}

static void on_deadline(struct timer *timer)
{
    struct inner_tunnel *inner = CONTAINER_OF(timer, struct inner_tunnel, deadline);
    if (inner->events != NULL) {
        fail(inner, "io error: TLS handshake: deadline has elapsed");
    } else if (inner->has_relay) {
        stream_relay_cut(&inner->relay, HBONE_CANCEL, "the gateway did not end the stream");
    }
}

static void begin(struct deferred *deferred)
{
    struct inner_tunnel *inner = CONTAINER_OF(deferred, struct inner_tunnel, begin);
    if (inner->handshake == NULL) {
        fail(inner, "io error: no sockets for the inner tunnel");
        return;
    }
    struct result watched = loop_watch(inner->pod->worker->loop, &inner->watch, inner->descriptor, 0);
    if (!result_is_ok(&watched)) {
        fail(inner, watched.message);
        return;
    }
    worker_count_role(inner->pod->worker, METRIC_HANDSHAKES, "client");
    inner->handshake_start_ns = clock_monotonic_ns();
    step_handshake(inner);
}

/* False: no pair; the outer stream is given back. */
static bool join(struct inner_tunnel *inner, struct hbone_stream *outer)
{
    struct worker *worker = inner->pod->worker;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        hbone_stream_release(outer);
        return false;
    }
    inner->descriptor = pair[0];
    inner->has_relay = true;
    hbone_stream_attach(outer, &OUTER_EVENTS, inner);
    return stream_relay_start(&inner->relay, worker->loop, worker->buffers, pair[1], outer, &RELAY_EVENTS);
}

struct inner_tunnel *inner_tunnel_new(struct pod *pod, struct hbone_stream *outer, struct tls_identity *certificate,
    const char *const *expected_identities, size_t count, const struct inner_tunnel_events *events, void *context)
{
    struct worker *worker = pod->worker;
    struct inner_tunnel *inner = NEW(struct inner_tunnel);
    inner->pod = pod;
    inner->events = events;
    inner->context = context;
    inner->descriptor = -1;
    inner->watch.on_ready = on_ready;
    inner->watch.account = &pod->turns;
    inner->deadline.on_expire = on_deadline;
    inner->begin.run = begin;
    list_initialise(&inner->begin.link);
    list_append(&pod->inner_tunnels, &inner->link);
    pod->account.descriptors += DESCRIPTORS;
    if (join(inner, outer)) {
        inner->handshake =
            tls_handshake_new_mesh_client(certificate, worker->buffers, inner->descriptor, expected_identities, count);
        timer_arm_after_ms(worker->loop, &inner->deadline, TLS_HANDSHAKE_DEADLINE_MS);
    }
    loop_defer(worker->loop, &inner->begin);
    return inner;
}

void inner_tunnel_close(struct inner_tunnel *inner)
{
    inner->events = NULL;
    forget_handshake(inner);
    if (inner->session != NULL) {
        hbone_session_close(inner->session, "the connection is over");
    }
    timer_arm_after_ms(inner->pod->worker->loop, &inner->deadline, GOODBYE_MS);
    free_if_over(inner);
}

struct hbone_session *inner_tunnel_session(const struct list *link)
{
    return LIST_ENTRY(link, struct inner_tunnel, link)->session;
}

void inner_tunnels_abort(struct list *inner_tunnels)
{
    struct list *link = inner_tunnels->next;
    while (link != inner_tunnels) {
        struct inner_tunnel *inner = LIST_ENTRY(link, struct inner_tunnel, link);
        link = link->next;
        struct hbone_session *session = inner->session;
        inner->session = NULL;
        if (session != NULL) {
            hbone_session_abort(session, "connection closed due to connection drain");
        }
        if (inner->has_relay) {
            stream_relay_cut(&inner->relay, HBONE_CANCEL, "connection closed due to connection drain");
        } else {
            free_if_over(inner);
        }
    }
}
