#include "ztunnel/tunnel_opener.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/handshake.h"
#include "tls/identity.h"
#include "ztunnel/dial.h"
#include "ztunnel/handshake_turns.h"
#include "ztunnel/inbound.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/record_counting.h"
#include "ztunnel/revoked_tunnels.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

struct tunnel_attempt {
    struct pod *pod;
    const struct hbone_pool_key *key;
    struct hbone_opening *opening;
    struct certificate_request certificate_request;
    struct tls_identity *certificate; /* referenced */
    struct dial dial;
    int descriptor;
    struct io_watch watch;
    struct timer deadline;
    struct tls_handshake *handshake;
    struct handshake_turn turn;
    uint64_t handshake_start_ns;
};

static void release(struct tunnel_attempt *attempt)
{
    certificate_request_cancel(&attempt->certificate_request);
    dial_cancel(&attempt->dial);
    timer_disarm(&attempt->deadline);
    handshake_turn_cancel(&attempt->turn);
    loop_unwatch(&attempt->watch);
    tls_handshake_free(attempt->handshake);
    tls_identity_release(attempt->certificate);
    if (attempt->descriptor >= 0) {
        close(attempt->descriptor);
    }
    memory_free(attempt);
}

static void fail(struct tunnel_attempt *attempt, struct result failure)
{
    struct hbone_opening *opening = attempt->opening;
    release(attempt);
    hbone_pool_open_failed(opening, failure);
}

static void succeed(struct tunnel_attempt *attempt)
{
    struct hbone_opening *opening = attempt->opening;
    struct record_layer *layer = tls_handshake_finish(attempt->handshake, NULL);
    record_counting_start(layer, attempt->pod->worker, HBONE_CLIENT);
    revoked_tunnels_count_untracked(attempt->pod->worker, layer, "source");
    int descriptor = attempt->descriptor;
    loop_unwatch(&attempt->watch);
    attempt->descriptor = -1;
    worker_count_role(attempt->pod->worker, METRIC_TUNNELS_OPENED, "client");
    worker_observe_handshake(attempt->pod->worker, "client", attempt->handshake_start_ns);
    release(attempt);
    hbone_pool_opened(opening, layer, descriptor);
}

static void step_handshake(struct tunnel_attempt *attempt)
{
    switch (tls_handshake_step(attempt->handshake)) {
    case TLS_HANDSHAKE_WANTS_READ:
        loop_watch_for(&attempt->watch, EPOLLIN);
        return;
    case TLS_HANDSHAKE_WANTS_WRITE:
        loop_watch_for(&attempt->watch, EPOLLOUT);
        return;
    case TLS_HANDSHAKE_DONE:
        succeed(attempt);
        return;
    case TLS_HANDSHAKE_FAILED:
        break;
    }
    worker_count_role(attempt->pod->worker, METRIC_HANDSHAKE_FAILURES, "client");
    revoked_tunnels_count_refusal(attempt->pod->worker, attempt->handshake, "source");
    fail(attempt, result_fail(RESULT_DENIED, "io error: %s", tls_handshake_failure(attempt->handshake)));
}

static void take_turn(struct deferred *step)
{
    struct tunnel_attempt *attempt = CONTAINER_OF(step, struct tunnel_attempt, turn.step);
    if (attempt->handshake == NULL) {
        attempt->handshake = tls_handshake_new_mesh_client(attempt->certificate, attempt->pod->worker->buffers,
            attempt->descriptor, attempt->key->sans, attempt->key->san_count);
        tls_handshake_hold_last_flight(attempt->handshake);
    }
    step_handshake(attempt);
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    (void)events;
    handshake_turn_queue(&CONTAINER_OF(watch, struct tunnel_attempt, watch)->turn);
}

static void on_deadline(struct timer *timer)
{
    fail(CONTAINER_OF(timer, struct tunnel_attempt, deadline),
        result_fail(RESULT_TIMEOUT, "io error: TLS handshake: deadline has elapsed"));
}

static void on_dialled(struct dial *dial, int descriptor, const struct result *failure)
{
    struct tunnel_attempt *attempt = CONTAINER_OF(dial, struct tunnel_attempt, dial);
    if (descriptor < 0) {
        fail(attempt,
            failure->code == RESULT_TIMEOUT
                ? result_fail(RESULT_TIMEOUT,
                      "connection timed out, maybe a NetworkPolicy is blocking HBONE port %u: deadline has elapsed",
                      attempt->key->destination.port)
                : result_fail(failure->code, "io error: %s", failure->message));
        return;
    }
    struct worker *worker = attempt->pod->worker;
    attempt->descriptor = descriptor;
    attempt->watch.on_ready = on_ready;
    attempt->watch.account = &attempt->pod->turns;
    struct result watched = loop_watch(worker->loop, &attempt->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        fail(attempt, watched);
        return;
    }
    worker_count_role(worker, METRIC_HANDSHAKES, "client");
    attempt->handshake_start_ns = clock_monotonic_ns();
    attempt->deadline.on_expire = on_deadline;
    timer_arm_after_ms(worker->loop, &attempt->deadline, TLS_HANDSHAKE_DEADLINE_MS);
    handshake_turn_queue(&attempt->turn);
}

static void start_dialling(struct tunnel_attempt *attempt, struct tls_identity *certificate)
{
    attempt->certificate = tls_identity_reference(certificate);
    attempt->dial.on_result = on_dialled;
    dial_start(&attempt->dial, attempt->pod, DIAL_TUNNEL, &attempt->key->destination, NULL);
}

static void on_certificate(
    struct certificate_request *request, struct tls_identity *certificate, const struct result *failure)
{
    struct tunnel_attempt *attempt = CONTAINER_OF(request, struct tunnel_attempt, certificate_request);
    if (certificate != NULL) {
        start_dialling(attempt, certificate);
    } else {
        fail(attempt, result_fail(failure->code, "identity error: %s", failure->message));
    }
}

static void *open_tunnel(void *context, const struct hbone_pool_key *key, struct hbone_opening *opening)
{
    struct tunnel_attempt *attempt = NEW(struct tunnel_attempt);
    attempt->pod = context;
    attempt->key = key;
    attempt->opening = opening;
    attempt->descriptor = -1;
    list_initialise(&attempt->certificate_request.link);
    handshake_turn_initialise(&attempt->turn, attempt->pod, &attempt->watch, take_turn);
    struct worker *worker = attempt->pod->worker;
    struct tls_identity *certificate = certificate_cache_get(worker->certificates, key->source_identity);
    if (certificate != NULL) {
        start_dialling(attempt, certificate);
    } else {
        attempt->certificate_request.on_answer = on_certificate;
        certificate_cache_request(worker->certificates, key->source_identity, &attempt->certificate_request);
    }
    return attempt;
}

static void cancel_tunnel(void *context, void *handle)
{
    (void)context;
    release(handle);
}

static void count_ended(void *context)
{
    const struct pod *pod = context;
    worker_count_role(pod->worker, METRIC_TUNNELS_CLOSED, "client");
}

const struct hbone_pool_opener TUNNEL_OPENER = { open_tunnel, cancel_tunnel, count_ended };
