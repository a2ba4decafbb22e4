#include "ztunnel/pod_assignment.h"

#include "base/memory.h"
#include "ztunnel/enrolment_proof.h"
#include "ztunnel/worker.h"

struct pod_assignment {
    struct loop *control;
    struct worker *worker;
    const struct pod_assignment_events *events;
    void *context;
    struct pod_information information; /* until the worker takes it */
    uint32_t namespace_handle;
    struct pod *pod; /* worker's thread only; NULL before the start and after the end */
    /* Control thread only. Orders on their way to the worker keep the assignment alive. */
    bool is_stopping;
    bool has_stopped;
    unsigned orders;
};

/* One report from the worker to the control thread. */
struct report {
    struct posted posted;
    struct pod_assignment *assignment;
    struct result outcome;
    struct enrolment_report enrolment;
};

static void deliver_started(struct posted *posted)
{
    struct report *report = CONTAINER_OF(posted, struct report, posted);
    struct pod_assignment *assignment = report->assignment;
    if (!assignment->is_stopping) {
        assignment->is_stopping = !result_is_ok(&report->outcome);
        assignment->events->on_started(assignment->context, &report->outcome);
    }
    memory_free(report);
}

static void free_if_over(struct pod_assignment *assignment)
{
    if (assignment->has_stopped && assignment->orders == 0) {
        memory_free(assignment);
    }
}

static void deliver_stopped(struct posted *posted)
{
    struct report *report = CONTAINER_OF(posted, struct report, posted);
    struct pod_assignment *assignment = report->assignment;
    memory_free(report);
    assignment->has_stopped = true;
    assignment->events->on_stopped(assignment->context);
    free_if_over(assignment);
}

/* An order has been carried out. */
static void deliver_order(struct posted *posted)
{
    struct report *report = CONTAINER_OF(posted, struct report, posted);
    struct pod_assignment *assignment = report->assignment;
    memory_free(report);
    assignment->orders--;
    free_if_over(assignment);
}

static void report_back(struct pod_assignment *assignment, struct report *report, void (*deliver)(struct posted *))
{
    report->assignment = assignment;
    report->posted.run = deliver;
    loop_post(assignment->control, &report->posted);
}

static void deliver_enrolment(struct posted *posted)
{
    struct report *report = CONTAINER_OF(posted, struct report, posted);
    const struct pod_assignment *assignment = report->assignment;
    if (!assignment->is_stopping) {
        assignment->events->on_enrolment(assignment->context, &report->enrolment);
    }
    memory_free(report);
}

static void on_enrolment(void *context, const struct enrolment_report *found)
{
    struct report *report = NEW(struct report);
    report->enrolment = *found;
    report_back(context, report, deliver_enrolment);
}

static void on_pod_started(struct pod *pod, const struct result *outcome, void *context)
{
    struct report *report = NEW(struct report);
    report->outcome = *outcome;
    report_back(context, report, deliver_started);
    const struct pod_assignment *assignment = context;
    if (!result_is_ok(outcome)) {
        pod_drain(pod, 0);
    } else if (assignment->events->on_enrolment != NULL && pod->worker->shared->configuration->proxy_enabled) {
        pod->enrolment = enrolment_proof_new(pod, on_enrolment, context);
    }
}

static void on_pod_stopped(const char *uid, void *context)
{
    (void)uid;
    struct pod_assignment *assignment = context;
    assignment->pod = NULL;
    report_back(assignment, NEW(struct report), deliver_stopped);
}

static void start_on_worker(struct worker *worker, void *context)
{
    struct pod_assignment *assignment = context;
    assignment->pod =
        pod_start(worker, &assignment->information, assignment->namespace_handle, on_pod_started, assignment);
    assignment->pod->on_stopped = on_pod_stopped;
}

struct pod_assignment *pod_assignment_start(struct loop *control, struct worker *worker,
    struct pod_information *information, uint32_t namespace_handle, const struct pod_assignment_events *events,
    void *context)
{
    struct pod_assignment *assignment = NEW(struct pod_assignment);
    assignment->control = control;
    assignment->worker = worker;
    assignment->events = events;
    assignment->context = context;
    assignment->information = *information;
    assignment->namespace_handle = namespace_handle;
    *information = (struct pod_information){ 0 };
    worker_run(worker, start_on_worker, assignment);
    return assignment;
}

struct stop_order {
    struct pod_assignment *assignment;
    uint64_t deadline_ms;
};

static void stop_on_worker(struct worker *worker, void *context)
{
    (void)worker;
    struct stop_order *order = context;
    if (order->assignment->pod != NULL) {
        pod_drain(order->assignment->pod, order->deadline_ms);
    }
    report_back(order->assignment, NEW(struct report), deliver_order);
    memory_free(order);
}

void pod_assignment_stop(struct pod_assignment *assignment, uint64_t deadline_ms)
{
    assignment->is_stopping = true;
    assignment->orders++;
    struct stop_order *order = NEW(struct stop_order);
    order->assignment = assignment;
    order->deadline_ms = deadline_ms;
    worker_run(assignment->worker, stop_on_worker, order);
}
