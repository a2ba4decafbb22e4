#include "ztunnel/dial.h"

#include "base/log.h"
#include "base/memory.h"
#include "ztunnel/limits.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void on_connected(struct connector *connector, int descriptor, const struct result *failure)
{
    struct dial *dial = CONTAINER_OF(connector, struct dial, connector);
    if (descriptor < 0 && failure->code == RESULT_SYSTEM) {
        /* The texts around it are the contract's (management §9.2), and the log line has the address. */
        struct result reason = result_of_errno(connector->outcome);
        dial->on_result(dial, descriptor, &reason);
        return;
    }
    dial->on_result(dial, descriptor, failure);
}

/* Contract §2.3: a source that cannot be kept is a warning, and the connection is made without it. */
static void keep_source(struct dial *dial, int descriptor)
{
    if (dial->source.family == IP_NONE || ip_equal(&dial->source, &dial->to.ip)) {
        return;
    }
    int error = socket_bind_source(descriptor, &dial->source);
    if (error != 0) {
        static struct log_limit limit;
        uint64_t dropped;
        if (log_limit_allows(&limit, 5, &dropped)) {
            char address[IP_TEXT_SIZE];
            LOG_EVENT(LOG_WARN, "ztunnel::proxy", "failed to bind local addr",
                LOG_DISPLAY("addr", ip_format(&dial->source, address)), LOG_STRING("error", strerror(error)),
                LOG_NUMBER("dropped", dropped));
        }
    }
}

static void on_refusal(struct deferred *deferred)
{
    struct dial *dial = CONTAINER_OF(deferred, struct dial, refusal);
    struct result failure =
        result_fail(RESULT_LIMIT, "%s", limits_refuse(dial->pod->worker, (enum limit)dial->refused_by));
    dial->on_result(dial, -1, &failure);
}

static void refuse_later(struct dial *dial, enum limit limit)
{
    dial->refused_by = (uint8_t)limit;
    dial->refusal.run = on_refusal;
    loop_defer(dial->pod->worker->loop, &dial->refusal);
}

static void connect_with(struct dial *dial, int descriptor)
{
    if (limits_are_descriptors_used_up(dial->pod->worker, descriptor)) {
        close(descriptor);
        refuse_later(dial, LIMIT_PROCESS_DESCRIPTORS);
        return;
    }
    keep_source(dial, descriptor);
    dial->connector.on_result = on_connected;
    dial->connector.watch.account = &dial->pod->turns;
    connector_start(&dial->connector, dial->pod->worker->loop, descriptor, &dial->to, 0);
}

static void on_socket(struct socket_wait *wait, int descriptor, const struct result *failure)
{
    struct dial *dial = CONTAINER_OF(wait, struct dial, wait);
    if (descriptor < 0) {
        dial->on_result(dial, -1, failure);
        return;
    }
    connect_with(dial, descriptor);
}

void dial_start(struct dial *dial, struct pod *pod, enum dial_purpose purpose, const struct socket_address *to,
    const struct ip_address *source)
{
    dial->pod = pod;
    dial->purpose = purpose;
    dial->to = *to;
    /* A source of the other family cannot be kept. */
    bool keeps_source = source != NULL && source->family == to->ip.family;
    dial->source = keeps_source ? *source : (struct ip_address){ 0 };
    dial->wait.on_socket = on_socket;
    list_initialise(&dial->refusal.link);
    int descriptor = socket_stock_take(pod_stock(pod, purpose, to->ip.family), &dial->wait);
    if (descriptor >= 0) {
        connect_with(dial, descriptor);
    } else if (descriptor != -EAGAIN) {
        refuse_later(dial, LIMIT_SOCKET_WAITERS);
    }
}

void dial_cancel(struct dial *dial)
{
    socket_wait_cancel(&dial->wait);
    connector_cancel(&dial->connector);
    if (dial->pod != NULL) {
        deferred_cancel(&dial->refusal);
    }
}
