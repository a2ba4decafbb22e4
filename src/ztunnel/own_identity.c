#include "ztunnel/own_identity.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/pod_assignment.h"

#define RETRY_MS 5000

struct own_identity {
    struct loop *control;
    struct worker *worker;
    struct network_namespace namespace_;
    struct pod_assignment *assignment; /* NULL between two tries */
    struct timer retry;
    void (*on_stopped)(void *context); /* NULL until it is to stop */
    void *context;
};

static void report_failure(const struct result *failure)
{
    log_print(LOG_ERROR, "ztunnel::proxy", "failed to serve ztunnel's own identity: %s", failure->message);
}

static void on_assignment_started(void *context, const struct result *outcome)
{
    (void)context;
    if (!result_is_ok(outcome)) {
        report_failure(outcome);
    }
}

static void on_assignment_stopped(void *context)
{
    struct own_identity *own = context;
    own->assignment = NULL;
    if (own->on_stopped != NULL) {
        own->on_stopped(own->context);
    } else {
        timer_arm_after_ms(own->control, &own->retry, RETRY_MS);
    }
}

static const struct pod_assignment_events EVENTS = { on_assignment_started, on_assignment_stopped, NULL };

static void assign(struct own_identity *own)
{
    const struct configuration *configuration = own->worker->shared->configuration;
    struct pod_information information = { string_duplicate("ztunnel"), string_duplicate(configuration->pod_name),
        string_duplicate(configuration->pod_namespace), string_duplicate(configuration->service_account) };
    own->assignment =
        pod_assignment_start(own->control, own->worker, &information, BROKER_OWN_NAMESPACE_HANDLE, &EVENTS, own);
}

static void on_timer(struct timer *timer)
{
    struct own_identity *own = CONTAINER_OF(timer, struct own_identity, retry);
    if (own->on_stopped != NULL) {
        own->on_stopped(own->context);
    } else {
        assign(own);
    }
}

struct own_identity *own_identity_start(struct loop *control, struct worker *worker)
{
    const struct configuration *configuration = worker->shared->configuration;
    if (text_is_empty(configuration->pod_name) || text_is_empty(configuration->pod_namespace) ||
        text_is_empty(configuration->service_account)) {
        return NULL;
    }
    struct own_identity *own = NEW(struct own_identity);
    own->control = control;
    own->worker = worker;
    own->retry.on_expire = on_timer;
    struct result opened = network_namespace_open_current(&own->namespace_);
    if (!result_is_ok(&opened)) {
        report_failure(&opened);
        memory_free(own);
        return NULL;
    }
    assign(own);
    return own;
}

void own_identity_stop(struct own_identity *own, uint64_t deadline_ms, void (*on_stopped)(void *context), void *context)
{
    own->on_stopped = on_stopped;
    own->context = context;
    if (own->assignment != NULL) {
        pod_assignment_stop(own->assignment, deadline_ms);
    } else {
        timer_arm_after_ms(own->control, &own->retry, 0);
    }
}

void own_identity_free(struct own_identity *own)
{
    if (own != NULL) {
        timer_disarm(&own->retry);
        network_namespace_close(&own->namespace_);
        memory_free(own);
    }
}

const struct network_namespace *own_identity_namespace(const struct own_identity *own)
{
    return &own->namespace_;
}
