#include "ztunnel/inbound.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "net/socket.h"
#include "tls/identity.h"
#include "tls/record_layer.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/metrics.h"
#include "ztunnel/record_counting.h"
#include "ztunnel/revoked_tunnels.h"
#include "ztunnel/worker.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TUNNEL_ENDS_A_SECOND 20 /* lines: peers may come and go as they please */

static void count_by_role(struct inbound_tunnel *tunnel, enum ztunnel_metric family)
{
    worker_count_role(tunnel->pod->worker, family, "server");
}

static void free_if_over(struct inbound_tunnel *tunnel)
{
    if (!tunnel->has_session_ended || tunnel->streams > 0) {
        return;
    }
    struct pod *pod = tunnel->pod;
    list_remove(&tunnel->link);
    if (tunnel->session != NULL) {
        hbone_session_free(tunnel->session);
        count_by_role(tunnel, METRIC_TUNNELS_CLOSED);
    }
    spiffe_identity_free(tunnel->peer_identity);
    pod->account.descriptors--;
    worker_count_socket(pod->worker, CONNECTION_INBOUND, -1);
    memory_free(tunnel);
    pod_check_drained(pod);
}

void inbound_tunnel_release_stream(struct inbound_tunnel *tunnel)
{
    tunnel->streams--;
    pod_count_stream(tunnel->pod, -1);
    free_if_over(tunnel);
}

static void uncount_handshake(struct inbound_tunnel *tunnel)
{
    if (tunnel->is_counted) {
        tunnel->is_counted = false;
        pod_count_handshake(tunnel->pod, -1);
        source_accounts_end_handshake(tunnel->pod->worker->shared->sources, &tunnel->peer.ip);
    }
}

/* NULL, or why this peer may not begin another handshake. */
static const char *count_handshake(struct inbound_tunnel *tunnel)
{
    struct worker *worker = tunnel->pod->worker;
    if (source_accounts_is_barred(worker->shared->sources, &tunnel->peer.ip, loop_now_ns(worker->loop))) {
        return limits_refuse(worker, LIMIT_SOURCE_RESETS);
    }
    const char *refusal = limits_refuse_handshake(tunnel->pod);
    if (refusal != NULL) {
        return refusal;
    }
    if (!source_accounts_begin_handshake(worker->shared->sources, &tunnel->peer.ip)) {
        return limits_refuse(worker, LIMIT_SOURCE_HANDSHAKES);
    }
    tunnel->is_counted = true;
    pod_count_handshake(tunnel->pod, 1);
    return NULL;
}

void inbound_tunnel_note_unanswered_reset(struct inbound_tunnel *tunnel)
{
    struct worker *worker = tunnel->pod->worker;
    if (!source_accounts_spend_reset(worker->shared->sources, &tunnel->peer.ip, loop_now_ns(worker->loop))) {
        hbone_session_calm(tunnel->session, limits_refuse(worker, LIMIT_SOURCE_RESETS));
    }
}

static void forget_opening(struct inbound_tunnel *tunnel)
{
    uncount_handshake(tunnel);
    timer_disarm(&tunnel->deadline);
    loop_unwatch(&tunnel->watch);
    workload_wait_cancel(&tunnel->workload_wait);
    certificate_request_cancel(&tunnel->certificate_request);
    handshake_turn_cancel(&tunnel->turn);
    tls_handshake_free(tunnel->handshake);
    tunnel->handshake = NULL;
    tls_identity_release(tunnel->certificate);
    tunnel->certificate = NULL;
}

/* It never became a tunnel: one line, no metrics of connections. */
static void refuse(struct inbound_tunnel *tunnel, const char *error)
{
    connection_refuse_early(tunnel->pod, CONNECTION_INBOUND, &tunnel->peer, &tunnel->local, error);
    forget_opening(tunnel);
    close(tunnel->descriptor);
    tunnel->has_session_ended = true;
    free_if_over(tunnel);
}

static void on_request(struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request)
{
    struct inbound_tunnel *tunnel = hbone_session_context(session);
    tunnel->streams++;
    pod_count_stream(tunnel->pod, 1);
    inbound_stream_accept(tunnel, stream, request);
}

static void on_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    struct inbound_tunnel *tunnel = hbone_session_context(session);
    /* Streams that were cut have lines of their own; a peer that leaves an idle tunnel is everyday. */
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    LOG_EVENT_LIMITED(TUNNEL_ENDS_A_SECOND, pod_spans(tunnel->pod, &(struct proxy_spans){ 0 }),
        was_clean ? LOG_DEBUG : LOG_INFO, "ztunnel::proxy::inbound", "tunnel closed",
        LOG_DISPLAY("peer", socket_address_format(&tunnel->peer, peer)), LOG_STRING("reason", reason));
    tunnel->has_session_ended = true;
    free_if_over(tunnel);
}

static const struct hbone_session_events SESSION_EVENTS = { .on_request = on_request, .on_ended = on_ended };

static void start_session(struct inbound_tunnel *tunnel)
{
    struct tls_peer peer;
    struct record_layer *layer = tls_handshake_finish(tunnel->handshake, &peer);
    const struct spiffe_identity *identity = tls_peer_identity(&peer);
    if (identity != NULL) {
        tunnel->peer_identity = spiffe_identity_parse(bytes_of_string(identity->uri));
    }
    tls_peer_clear(&peer);
    forget_opening(tunnel);
    struct worker *worker = tunnel->pod->worker;
    record_counting_start(layer, worker, HBONE_SERVER);
    revoked_tunnels_count_untracked(worker, layer, "destination");
    struct hbone_settings settings = pod_hbone_settings(tunnel->pod, HBONE_SERVER);
    tunnel->session =
        hbone_session_new(worker->loop, layer, tunnel->descriptor, HBONE_SERVER, &settings, &SESSION_EVENTS, tunnel);
    tunnel->descriptor = -1;
    count_by_role(tunnel, METRIC_TUNNELS_OPENED);
    worker_observe_handshake(worker, "server", tunnel->handshake_start_ns);
    if (tunnel->pod->state == POD_DRAINING) {
        hbone_session_drain(tunnel->session, "draining");
    }
}

static void step_handshake(struct inbound_tunnel *tunnel)
{
    switch (tls_handshake_step(tunnel->handshake)) {
    case TLS_HANDSHAKE_WANTS_READ:
        loop_watch_for(&tunnel->watch, EPOLLIN);
        return;
    case TLS_HANDSHAKE_WANTS_WRITE:
        loop_watch_for(&tunnel->watch, EPOLLOUT);
        return;
    case TLS_HANDSHAKE_DONE:
        start_session(tunnel);
        return;
    case TLS_HANDSHAKE_FAILED:
        break;
    }
    char error[320];
    snprintf(error, sizeof error, "tls handshake error: %s", tls_handshake_failure(tunnel->handshake));
    count_by_role(tunnel, METRIC_HANDSHAKE_FAILURES);
    revoked_tunnels_count_refusal(tunnel->pod->worker, tunnel->handshake, "destination");
    refuse(tunnel, error);
}

/* Until the peer has said something there is nothing to shake hands with: a silent one costs no TLS state. */
static void take_turn(struct deferred *step)
{
    struct inbound_tunnel *tunnel = CONTAINER_OF(step, struct inbound_tunnel, turn.step);
    if (tunnel->handshake == NULL) {
        tunnel->handshake =
            tls_handshake_new_mesh_server(tunnel->certificate, tunnel->pod->worker->buffers, tunnel->descriptor);
    }
    step_handshake(tunnel);
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct inbound_tunnel *tunnel = CONTAINER_OF(watch, struct inbound_tunnel, watch);
    if (tunnel->certificate != NULL) {
        handshake_turn_queue(&tunnel->turn);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        refuse(tunnel, "tls handshake error: the peer has gone");
    }
}

static void on_deadline(struct timer *timer)
{
    refuse(CONTAINER_OF(timer, struct inbound_tunnel, deadline), "tls handshake error: deadline has elapsed");
}

static void start_handshake(struct inbound_tunnel *tunnel, struct tls_identity *certificate)
{
    count_by_role(tunnel, METRIC_HANDSHAKES);
    tunnel->handshake_start_ns = clock_monotonic_ns();
    tunnel->certificate = tls_identity_reference(certificate);
    loop_watch_for(&tunnel->watch, EPOLLIN);
}

static void on_certificate(
    struct certificate_request *request, struct tls_identity *certificate, const struct result *failure)
{
    struct inbound_tunnel *tunnel = CONTAINER_OF(request, struct inbound_tunnel, certificate_request);
    if (certificate != NULL) {
        start_handshake(tunnel, certificate);
        return;
    }
    char error[sizeof failure->message + 32];
    snprintf(error, sizeof error, "%s%s",
        text_starts_with(failure->message, "signing") ? "" : "signing error: ", failure->message);
    refuse(tunnel, error);
}

static void on_workload(struct workload_wait *wait, const struct workload *workload)
{
    struct inbound_tunnel *tunnel = CONTAINER_OF(wait, struct inbound_tunnel, workload_wait);
    if (workload == NULL) {
        struct result unknown = pod_unknown_workload(tunnel->pod);
        refuse(tunnel, unknown.message);
        return;
    }
    struct worker *worker = tunnel->pod->worker;
    struct writer identity = writer_growing();
    workload_add_identity(workload, &identity);
    struct tls_identity *certificate = certificate_cache_get(worker->certificates, writer_string(&identity));
    if (certificate != NULL) {
        start_handshake(tunnel, certificate);
    } else {
        tunnel->certificate_request.on_answer = on_certificate;
        certificate_cache_request(worker->certificates, writer_string(&identity), &tunnel->certificate_request);
    }
    writer_free(&identity);
}

void inbound_accept(struct pod *pod, int descriptor, const struct socket_address *peer)
{
    struct inbound_tunnel *tunnel = NEW(struct inbound_tunnel);
    tunnel->pod = pod;
    tunnel->peer = *peer;
    tunnel->descriptor = descriptor;
    list_append(&pod->inbound_tunnels, &tunnel->link);
    list_initialise(&tunnel->certificate_request.link);
    handshake_turn_initialise(&tunnel->turn, pod, &tunnel->watch, take_turn);
    pod->account.descriptors++;
    worker_count_socket(pod->worker, CONNECTION_INBOUND, 1);
    tunnel->watch.on_ready = on_ready;
    tunnel->watch.account = &pod->turns;
    tunnel->deadline.on_expire = on_deadline;
    if (!socket_local_address(descriptor, &tunnel->local)) {
        refuse(tunnel, "tls handshake error: the peer has gone");
        return;
    }
    const char *refusal = count_handshake(tunnel);
    if (refusal != NULL) {
        refuse(tunnel, refusal);
        return;
    }
    struct result watched = loop_watch(pod->worker->loop, &tunnel->watch, descriptor, 0);
    if (!result_is_ok(&watched)) {
        refuse(tunnel, watched.message);
        return;
    }
    timer_arm_after_ms(pod->worker->loop, &tunnel->deadline, TLS_HANDSHAKE_DEADLINE_MS);
    tunnel->workload_wait.on_workload = on_workload;
    workload_wait_start(&tunnel->workload_wait, pod);
}

void inbound_tunnel_drain(struct inbound_tunnel *tunnel)
{
    if (tunnel->session != NULL && !tunnel->has_session_ended) {
        hbone_session_drain(tunnel->session, "draining");
    }
}

void inbound_tunnel_close(struct inbound_tunnel *tunnel, const char *reason)
{
    if (tunnel->session == NULL) {
        refuse(tunnel, reason);
    } else if (!tunnel->has_session_ended) {
        hbone_session_close(tunnel->session, reason);
    }
}
