#include "ztunnel/pod_launch.h"

#include "base/memory.h"
#include "ztunnel/worker.h"

struct pod_launch {
    struct pod_launch_site *site;
    struct pod_information information; /* until the worker takes it */
    const struct pod_assignment_events *events;
    void *context;
    struct broker_call registration;
    struct timer ending;               /* ends a launch that never reached a worker, in a turn of its own */
    struct pod_assignment *assignment; /* NULL before the namespace is registered and after the end */
    bool is_stopping;
};

static void finish(struct pod_launch *launch)
{
    launch->assignment = NULL;
    launch->events->on_stopped(launch->context);
    pod_information_free(&launch->information);
    memory_free(launch);
}

static void on_ending(struct timer *timer)
{
    finish(CONTAINER_OF(timer, struct pod_launch, ending));
}

static void on_started(void *context, const struct result *outcome)
{
    const struct pod_launch *launch = context;
    launch->events->on_started(launch->context, outcome);
}

static void on_stopped(void *context)
{
    finish(context);
}

static void on_enrolment(void *context, const struct enrolment_report *report)
{
    const struct pod_launch *launch = context;
    if (launch->events->on_enrolment != NULL) {
        launch->events->on_enrolment(launch->context, report);
    }
}

static const struct pod_assignment_events ASSIGNMENT_EVENTS = { on_started, on_stopped, on_enrolment };

static void on_registered(struct broker_call *call, struct broker_answer *answer)
{
    struct pod_launch *launch = CONTAINER_OF(call, struct pod_launch, registration);
    struct pod_launch_site *site = launch->site;
    bool is_registered = result_is_ok(&answer->result);
    if (!launch->is_stopping && is_registered) {
        struct worker *home = &site->workers[site->next_worker++ % site->worker_count];
        launch->assignment = pod_assignment_start(
            site->control, home, &launch->information, answer->namespace_handle, &ASSIGNMENT_EVENTS, launch);
        return;
    }
    if (is_registered) {
        broker_forget_namespace(site->broker, answer->namespace_handle);
    } else if (!launch->is_stopping) {
        launch->is_stopping = true;
        launch->events->on_started(launch->context, &answer->result);
    }
    timer_arm_after_ms(site->control, &launch->ending, 0);
}

static struct pod_launch *start(void *context, const struct network_namespace *namespace_,
    const struct pod_information *information, const struct pod_assignment_events *events, void *events_context)
{
    struct pod_launch *launch = NEW(struct pod_launch);
    launch->site = context;
    launch->information = pod_information_copy(information);
    launch->events = events;
    launch->context = events_context;
    launch->ending.on_expire = on_ending;
    launch->registration.on_answer = on_registered;
    broker_register_namespace(launch->site->broker, &launch->registration, namespace_->descriptor);
    return launch;
}

static void stop(struct pod_launch *launch, uint64_t deadline_ms)
{
    launch->is_stopping = true;
    if (launch->assignment != NULL) {
        pod_assignment_stop(launch->assignment, deadline_ms);
    }
}

static struct pod_assignment *assignment(const struct pod_launch *launch)
{
    return launch->assignment;
}

struct pod_launcher pod_launcher_of(struct pod_launch_site *site)
{
    return (struct pod_launcher){ start, stop, assignment, site };
}
