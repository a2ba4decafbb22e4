/* A pod as the control thread sees it: given to a worker, told to stop, reported back. The worker's struct pod is never touched
 * from here; errands and reports travel through the two loops. Control thread, unless noted. */
#ifndef AMBAR_ZTUNNEL_POD_ASSIGNMENT_H
#define AMBAR_ZTUNNEL_POD_ASSIGNMENT_H

#include "base/result.h"
#include "net/loop.h"
#include "ztunnel/enrolment_report.h"
#include "ztunnel/pod.h"

struct pod_assignment;

struct pod_assignment_events {
    /* Once, unless the assignment was stopped first: listeners are bound, or why not (the assignment then stops by itself). */
    void (*on_started)(void *context, const struct result *outcome);
    /* Once, last: the pod is gone from its worker; the assignment is freed after this returns. */
    void (*on_stopped)(void *context);
    /* Now and then, while the pod runs: what the proof of its enrolment found. NULL: nobody asks. */
    void (*on_enrolment)(void *context, const struct enrolment_report *report);
};

struct pod_assignment *pod_assignment_start(struct loop *control, struct worker *worker,
    struct pod_information *information, uint32_t namespace_handle, const struct pod_assignment_events *events,
    void *context);

/* No new connections; what exists may go on for `deadline_ms`, 0 cuts it now. May be called again with a shorter deadline. */
void pod_assignment_stop(struct pod_assignment *assignment, uint64_t deadline_ms);

#endif
