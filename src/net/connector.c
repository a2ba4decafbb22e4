#include "net/connector.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/epoll.h>
#include <unistd.h>

static struct result failure_of(const struct connector *connector)
{
    char to[SOCKET_ADDRESS_TEXT_SIZE];
    (void)socket_address_format(&connector->to, to);
    if (connector->outcome == ETIMEDOUT && !timer_is_armed(&connector->deadline)) {
        return result_fail(
            RESULT_TIMEOUT, "connect to %s: no answer within %" PRIu64 " ms", to, connector->deadline_ms);
    }
    return result_system(connector->outcome, "connect to %s", to);
}

/* Everything the connector holds but the descriptor. */
static void release_loop(struct connector *connector)
{
    loop_unwatch(&connector->watch);
    timer_disarm(&connector->deadline);
    deferred_cancel(&connector->finish);
    connector->loop = NULL;
}

static void deliver_outcome(struct connector *connector)
{
    int descriptor = connector->descriptor;
    connector->descriptor = -1;
    if (connector->outcome == 0) {
        release_loop(connector);
        connector->on_result(connector, descriptor, NULL);
        return;
    }
    struct result failure = failure_of(connector);
    release_loop(connector);
    (void)close(descriptor);
    connector->on_result(connector, -1, &failure);
}

static void on_finish(struct deferred *deferred)
{
    deliver_outcome(CONTAINER_OF(deferred, struct connector, finish));
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct connector *connector = CONTAINER_OF(watch, struct connector, watch);
    (void)events;
    int outcome = socket_connect(connector->descriptor, &connector->to);
    if (outcome == EINPROGRESS) {
        return;
    }
    connector->outcome = outcome;
    deliver_outcome(connector);
}

static void on_deadline(struct timer *timer)
{
    struct connector *connector = CONTAINER_OF(timer, struct connector, deadline);
    connector->outcome = ETIMEDOUT;
    deliver_outcome(connector);
}

/* Within one machine the handshake is over when connect returns, although it says EINPROGRESS: asking once more saves
 * a registration, a turn of the loop and a deregistration. */
static int connect_at_once(int descriptor, const struct socket_address *to)
{
    int outcome = socket_connect(descriptor, to);
    return outcome == EINPROGRESS ? socket_connect(descriptor, to) : outcome;
}

void connector_start(struct connector *connector, struct loop *loop, int descriptor, const struct socket_address *to,
    uint64_t deadline_ms)
{
    connector->loop = loop;
    connector->descriptor = descriptor;
    connector->to = *to;
    connector->deadline_ms = deadline_ms != 0 ? deadline_ms : CONNECT_DEADLINE_MS;
    connector->watch.on_ready = on_ready;
    connector->deadline.on_expire = on_deadline;
    connector->finish.run = on_finish;
    list_initialise(&connector->finish.link);

    timer_arm_after_ms(loop, &connector->deadline, connector->deadline_ms);
    connector->outcome = connect_at_once(descriptor, to);
    if (connector->outcome == EINPROGRESS) {
        struct result watched = loop_watch(loop, &connector->watch, descriptor, EPOLLOUT);
        if (result_is_ok(&watched)) {
            return;
        }
        connector->outcome = ENOMEM; /* epoll's limit of watches or kernel memory: nothing else can refuse a socket */
    }
    loop_defer(loop, &connector->finish);
}

void connector_cancel(struct connector *connector)
{
    if (!connector_is_running(connector)) {
        return;
    }
    release_loop(connector);
    (void)close(connector->descriptor);
    connector->descriptor = -1;
}

bool connector_is_running(const struct connector *connector)
{
    return connector->loop != NULL;
}
