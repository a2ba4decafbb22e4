/* Proof of a pod's enrolment, at its start and now and then: the namespace owns the workload's addresses, our listeners answer
 * inside it, and a connection made inside it really arrives at the outbound listener.
 *
 * The connections are made with unmarked sockets, as an application would, and never leave the machine if all is well: the captured
 * ones go to an address of RFC 5737 or RFC 3849, the others come from an address of lo that nobody else uses. Any proxy of ours
 * knows them by these addresses and closes them without log line or metric. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_ENROLMENT_PROOF_H
#define AMBAR_ZTUNNEL_ENROLMENT_PROOF_H

#include "ztunnel/enrolment_report.h"
#include "ztunnel/pod.h"

struct enrolment_proof;

/* The first check starts in a moment. `on_report` is called when a check has found something; a failure only once it has been seen
 * twice, because rules may be made after the pod was handed over. */
struct enrolment_proof *enrolment_proof_new(
    struct pod *pod, void (*on_report)(void *context, const struct enrolment_report *report), void *context);
void enrolment_proof_free(struct enrolment_proof *proof); /* NULL is allowed */

/* Look at an accepted connection first: a probe is noted and closed, and is nobody else's business. */
bool enrolment_proof_takes_direct(
    struct pod *pod, enum pod_listener listener, int descriptor, const struct socket_address *peer);
/* Whether it waits for a connection of its own to arrive; false for NULL. */
bool enrolment_proof_is_waiting(const struct enrolment_proof *proof);
/* At the outbound listener; `dialled`: the original destination. */
bool enrolment_proof_takes_captured(
    struct pod *pod, int descriptor, const struct socket_address *peer, const struct socket_address *dialled);

#endif
