/* The node agent: which pods are enrolled, and the two sockets on which proxies and commands come. One thread, one loop.
 *
 * Enrolling and removing are operations of several steps with a wait for the proxy in the middle (enrol.c, removal.c); at most one at a
 * time for a pod. */
#ifndef AMBAR_CNI_AGENT_H
#define AMBAR_CNI_AGENT_H

#include "base/list.h"
#include "cni/capture.h"
#include "cni/control_server.h"
#include "cni/enrolment.h"
#include "cni/enrolment_store.h"
#include "cni/proxy_server.h"
#include "cni/settings.h"

struct yaml_node;

struct agent {
    struct loop *loop;
    const char *pin_directory;
    struct capture_settings capture;
    struct network_namespace home; /* the agent's own, which is never enrolled */
    struct enrolment_table enrolments;
    struct enrolment_store store;
    struct proxy_server *proxies;
    struct control_server *control;
    struct list operations; /* in progress */
};

/* An enrolment that is being made or removed. The first member of what enrol.c and removal.c keep. */
struct operation {
    struct list link;
    struct agent *agent;
    struct control_call *call;
    const struct enrolment *pod; /* wanted or leaving */
};

/* Reads the state, finds the namespaces again and makes sure that their rules are in force, then listens. */
struct result agent_new(struct loop *loop, const struct agent_settings *settings, struct agent **agent);
/* Rules, pins and state stay: pods go on, and the next agent finds them. NULL is allowed. */
void agent_free(struct agent *agent);

/* Runs until SIGTERM or SIGINT. */
struct result agent_run(const struct agent_settings *settings);

/* For enrol.c and removal.c. */

void agent_enrol(struct agent *agent, struct control_call *call, const struct yaml_node *request, int descriptor);
void agent_remove(struct agent *agent, struct control_call *call, const struct yaml_node *request);

/* Whether an operation in progress concerns this pod, uid or namespace. */
bool agent_is_busy_with(const struct agent *agent, const struct enrolment *pod);

/* {"ok":true,"enrolment":{...}} or {"ok":false,"step":...,"code":...,"error":...} */
void agent_answer(struct control_call *call, const struct enrolment *pod);
void agent_answer_failure(struct control_call *call, const char *step, const struct result *result);

#endif
