#include "ztunnel/listener.h"

#include "base/log.h"
#include "base/memory.h"
#include "net/socket.h"
#include "ztunnel/enrolment_proof.h"
#include "ztunnel/pod_spread.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* One turn accepts a bounded number, so that a flood of connections does not hold up the streams of others. A listener that was not
 * ready a moment ago has one connection, as a rule: asking for a second would cost a call to be told that there is none. While it
 * is ready turn after turn, a turn takes twice what the last one took. */
#define ACCEPTS_A_TURN 16
#define BURST_NS (200 * 1000)
#define RESUME_AFTER_MS 50

static void log_accept_failure(const struct proxy_listener *listener, int error)
{
    (void)listener;
    static struct log_limit limit;
    uint64_t dropped;
    if (log_limit_allows(&limit, 5, &dropped)) {
        LOG_EVENT(LOG_ERROR, "ztunnel::proxy", "Failed TCP handshake", LOG_STRING("error", strerror(error)),
            LOG_NUMBER("dropped", dropped));
    }
}

/* Without descriptors a ready listener would spin; it sleeps a little instead and leaves the rest in the kernel's queue. */
static void pause_accepting(struct proxy_listener *listener)
{
    struct loop *loop = listener->watch.loop;
    loop_watch_for(&listener->watch, 0);
    timer_arm_after_ms(loop, &listener->resume, RESUME_AFTER_MS);
}

static void on_resume(struct timer *timer)
{
    struct proxy_listener *listener = CONTAINER_OF(timer, struct proxy_listener, resume);
    loop_watch_for(&listener->watch, EPOLLIN);
}

static void take(const struct proxy_listener *listener, int descriptor, const struct socket_address *peer)
{
    struct pod *pod = listener->pod;
    enum pod_listener place = (enum pod_listener)listener->place;
    if (!enrolment_proof_takes_direct(pod, place, descriptor, peer) &&
        !pod_spread_takes(pod, place, descriptor, peer) &&
        !connection_refuse_over_limit(pod, place, descriptor, peer)) {
        listener->accept(pod, descriptor, peer);
    }
}

static int accepts_this_turn(struct proxy_listener *listener)
{
    uint64_t now_ns = loop_now_ns(listener->watch.loop);
    bool is_burst = now_ns - listener->ready_ns < BURST_NS;
    listener->ready_ns = now_ns;
    listener->accepts = is_burst ? listener->accepts * 2 : 1;
    listener->accepts = listener->accepts < ACCEPTS_A_TURN ? listener->accepts : ACCEPTS_A_TURN;
    return listener->accepts;
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct proxy_listener *listener = CONTAINER_OF(watch, struct proxy_listener, watch);
    int budget = accepts_this_turn(listener);
    for (int i = 0; i < budget && listener->descriptor >= 0; i++) {
        struct socket_address peer;
        int descriptor = socket_accept(listener->descriptor, &peer);
        if (descriptor >= 0) {
            take(listener, descriptor, &peer);
            continue;
        }
        if (descriptor == -EAGAIN) {
            return;
        }
        log_accept_failure(listener, -descriptor);
        if (descriptor == -EMFILE || descriptor == -ENFILE || descriptor == -ENOMEM || descriptor == -ENOBUFS) {
            pause_accepting(listener);
            return;
        }
    }
}

struct result proxy_listener_open(
    struct proxy_listener *listener, struct loop *loop, int descriptor, bool is_transparent)
{
    listener->descriptor = descriptor;
    listener->is_transparent = is_transparent;
    listener->watch.on_ready = on_ready;
    listener->watch.account = &listener->pod->turns;
    listener->resume.on_expire = on_resume;
    return loop_watch(loop, &listener->watch, descriptor, EPOLLIN);
}

void proxy_listener_close(struct proxy_listener *listener)
{
    if (listener->descriptor < 0) {
        return;
    }
    timer_disarm(&listener->resume);
    loop_unwatch(&listener->watch);
    close(listener->descriptor);
    listener->descriptor = -1;
}
