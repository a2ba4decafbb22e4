#include "ztunnel/enrolment_proof.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PROOF_TARGET "ztunnel::enrolment"
#define FIRST_CHECK_MS 200
#define CONFIRM_MS 3000
#define RECHECK_UNPROVEN_MS 5000
#define RECHECK_PROVEN_MS 60000
#define RECHECK_JITTER_PERCENT 20
#define STEP_DEADLINE_MS 2000
#define ADDRESSES_MAXIMUM 8 /* a pod has one or two */

/* Where captured probes go: nobody answers there, and nothing routes there. */
#define PROBE_PORT 9
static const struct ip_address PROBE_IPV4 = { .family = IP_V4, .bytes = { 192, 0, 2, 192 } };
static const struct ip_address PROBE_IPV6 = { .family = IP_V6,
    .bytes = { 0x20, 0x01, 0x0d, 0xb8, [4] = 0x5e, [5] = 0xc0, [15] = 0x92 } };
/* Where probes of the listeners come from and go to. */
static const struct ip_address PROBE_SOURCE = { .family = IP_V4, .bytes = { 127, 0, 2, 192 } };
static const struct ip_address LOOPBACK = { .family = IP_V4, .bytes = { 127, 0, 0, 1 } };

enum step_kind { STEP_ADDRESS, STEP_LISTENER, STEP_CAPTURE };

struct step {
    enum step_kind kind;
    uint8_t family;
    uint8_t listener;              /* enum pod_listener: where it is to arrive */
    struct socket_address address; /* the workload's own, or where to connect to */
};

struct enrolment_proof {
    struct pod *pod;
    void (*on_report)(void *context, const struct enrolment_report *report);
    void *context;
    struct timer next_check;

    /* the check under way */
    struct step steps[ADDRESSES_MAXIMUM + POD_CAPTURE_COUNT + 2];
    unsigned step_count, step;
    unsigned captured; /* probes that were */
    char undecided[160];
    struct broker_call call;
    int descriptor; /* of the step; -1: none */
    struct io_watch watch;
    struct timer deadline;
    struct socket_address source; /* of the step's connection */
    bool is_connected, has_arrived;

    bool was_failing; /* the last check failed and has not been confirmed */
    struct enrolment_report report;
};

static void begin_step(struct enrolment_proof *proof);

static void end_step(struct enrolment_proof *proof)
{
    timer_disarm(&proof->deadline);
    loop_unwatch(&proof->watch);
    if (proof->descriptor >= 0) {
        /* Not by FIN: nothing is to linger in the pod's namespace. */
        socket_close_with_reset(proof->descriptor);
        proof->descriptor = -1;
    }
    proof->is_connected = proof->has_arrived = false;
}

static void log_report(const struct enrolment_proof *proof, const struct enrolment_report *before)
{
    const struct enrolment_report *report = &proof->report;
    const struct pod_information *information = &proof->pod->information;
    if (report->state == before->state && strcmp(report->reason, before->reason) == 0) {
        return;
    }
    bool is_bad = report->state == ENROLMENT_FAILED;
    LOG_EVENT(is_bad                                 ? LOG_ERROR
              : report->state == ENROLMENT_UNDECIDED ? LOG_WARN
                                                     : LOG_INFO,
        PROOF_TARGET, is_bad ? "enrolment failed: traffic of this pod may escape the mesh" : "enrolment checked",
        LOG_STRING("uid", information->uid), LOG_STRING("name", information->name),
        LOG_STRING("namespace", information->namespace_), LOG_STRING("state", enrolment_state_name(report->state)),
        LOG_STRING("reason", report->reason[0] == '\0' ? NULL : report->reason));
}

static void conclude(
    struct enrolment_proof *proof, enum enrolment_state state, enum enrolment_gap gap, const char *reason)
{
    bool is_confirmed = state != ENROLMENT_FAILED || proof->was_failing;
    proof->was_failing = state == ENROLMENT_FAILED;
    uint64_t wait_ms = !is_confirmed ? CONFIRM_MS : state == ENROLMENT_PROVEN ? RECHECK_PROVEN_MS : RECHECK_UNPROVEN_MS;
    timer_arm_after_ms(proof->pod->worker->loop, &proof->next_check, random_jitter(wait_ms, RECHECK_JITTER_PERCENT));
    if (!is_confirmed) {
        return;
    }
    struct enrolment_report before = proof->report;
    proof->report = (struct enrolment_report){ .state = state, .gap = gap, .checked_wall_s = clock_wall_s() };
    snprintf(proof->report.reason, sizeof proof->report.reason, "%.190s", reason);
    log_report(proof, &before);
    proof->on_report(proof->context, &proof->report);
}

static void fail(struct enrolment_proof *proof, enum enrolment_gap gap, const char *reason)
{
    end_step(proof);
    conclude(proof, ENROLMENT_FAILED, gap, reason);
}

/* The step neither succeeded nor failed: the rest of the check goes on, but proves nothing. */
static void note_undecided(struct enrolment_proof *proof, const char *reason)
{
    if (proof->undecided[0] == '\0') {
        snprintf(proof->undecided, sizeof proof->undecided, "%.150s", reason);
    }
}

static void next_step(struct enrolment_proof *proof)
{
    end_step(proof);
    if (++proof->step < proof->step_count) {
        begin_step(proof);
    } else if (proof->undecided[0] != '\0') {
        conclude(proof, ENROLMENT_UNDECIDED, ENROLMENT_NO_GAP, proof->undecided);
    } else if (proof->captured == 0) {
        conclude(proof, ENROLMENT_UNDECIDED, ENROLMENT_NO_GAP, "the namespace has no route that a probe could take");
    } else {
        conclude(proof, ENROLMENT_PROVEN, ENROLMENT_NO_GAP, "");
    }
}

static const struct step *step_of(const struct enrolment_proof *proof)
{
    return &proof->steps[proof->step];
}

static void check_address(struct enrolment_proof *proof)
{
    const struct step *step = step_of(proof);
    int error = socket_bind_owned(proof->descriptor, &step->address.ip);
    if (error == EADDRNOTAVAIL) {
        char address[IP_TEXT_SIZE], reason[160];
        snprintf(reason, sizeof reason, "the network namespace does not own the workload's address %s",
            ip_format(&step->address.ip, address));
        fail(proof, ENROLMENT_GAP_ADDRESS, reason);
        return;
    }
    if (error != 0) {
        note_undecided(proof, strerror(error));
    }
    next_step(proof);
}

/* The connection was refused or went nowhere. */
static void lose_probe(struct enrolment_proof *proof, const char *how)
{
    const struct step *step = step_of(proof);
    char address[SOCKET_ADDRESS_TEXT_SIZE], reason[160];
    socket_address_format(&step->address, address);
    if (step->kind == STEP_LISTENER) {
        snprintf(reason, sizeof reason, "the listener at %s does not answer: %s", address, how);
        fail(proof, ENROLMENT_GAP_LISTENER, reason);
    } else {
        snprintf(reason, sizeof reason, "a connection to %s was not captured: %s", address, how);
        fail(proof, ENROLMENT_GAP_CAPTURE, reason);
    }
}

static void on_deadline(struct timer *timer)
{
    struct enrolment_proof *proof = CONTAINER_OF(timer, struct enrolment_proof, deadline);
    if (!proof->is_connected) {
        lose_probe(proof, "no answer");
        return;
    }
    /* While a predecessor drains or a successor starts, two proxies share the ports. */
    note_undecided(proof, "another process answers at the proxy's ports, too");
    next_step(proof);
}

static void finish_if_arrived(struct enrolment_proof *proof)
{
    if (proof->has_arrived) {
        proof->captured += step_of(proof)->kind == STEP_CAPTURE;
        next_step(proof);
    }
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct enrolment_proof *proof = CONTAINER_OF(watch, struct enrolment_proof, watch);
    if (proof->is_connected) {
        /* Closed by whoever accepted it; the listener's side says whether that was us. */
        loop_unwatch(&proof->watch);
        return;
    }
    int error = socket_take_error(proof->descriptor);
    if (error != 0 && error != ECONNRESET) {
        lose_probe(proof, strerror(error));
        return;
    }
    proof->is_connected = true;
    loop_watch_for(&proof->watch, 0);
    finish_if_arrived(proof);
}

static bool connect_fails_without_route(int error)
{
    return error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL;
}

static void send_probe(struct enrolment_proof *proof)
{
    const struct step *step = step_of(proof);
    static const char *const CANNOT = "a probe could not be sent";
    if (step->kind == STEP_LISTENER) {
        (void)socket_bind_owned(proof->descriptor, &PROBE_SOURCE);
    }
    int error = socket_connect(proof->descriptor, &step->address);
    if (step->kind == STEP_CAPTURE && connect_fails_without_route(error)) {
        next_step(proof); /* what has no route cannot escape by it */
        return;
    }
    if (error != 0 && error != EINPROGRESS) {
        lose_probe(proof, strerror(error));
        return;
    }
    struct loop *loop = proof->pod->worker->loop;
    struct result watched = loop_watch(loop, &proof->watch, proof->descriptor, EPOLLOUT);
    if (!result_is_ok(&watched) || !socket_local_address(proof->descriptor, &proof->source)) {
        note_undecided(proof, CANNOT);
        next_step(proof);
        return;
    }
    timer_arm_after_ms(loop, &proof->deadline, STEP_DEADLINE_MS);
}

static void on_socket(struct broker_call *call, struct broker_answer *answer)
{
    struct enrolment_proof *proof = CONTAINER_OF(call, struct enrolment_proof, call);
    if (!result_is_ok(&answer->result)) {
        note_undecided(proof, answer->result.message);
        next_step(proof);
        return;
    }
    proof->descriptor = answer->descriptors[0];
    if (step_of(proof)->kind == STEP_ADDRESS) {
        check_address(proof);
    } else {
        send_probe(proof);
    }
}

/* Every step has a socket of its own, without the mark that would let it pass the capture rules. */
static void begin_step(struct enrolment_proof *proof)
{
    proof->call.on_answer = on_socket;
    broker_make_sockets(proof->pod->worker->broker, &proof->call, proof->pod->namespace_handle,
        (enum ip_family)step_of(proof)->family, 0, 1);
}

static void add_step(struct enrolment_proof *proof, enum step_kind kind, enum pod_listener listener,
    const struct ip_address *ip, uint16_t port)
{
    proof->steps[proof->step_count++] = (struct step){
        .kind = kind, .family = ip->family, .listener = (uint8_t)listener, .address = { .ip = *ip, .port = port }
    };
}

static void plan_check(struct enrolment_proof *proof, const struct workload *workload)
{
    static const uint16_t PORTS[POD_CAPTURE_COUNT] = {
        [POD_LISTENER_HBONE] = INBOUND_HBONE_PORT,
        [POD_LISTENER_PLAINTEXT] = INBOUND_PLAINTEXT_PORT,
        [POD_LISTENER_OUTBOUND] = OUTBOUND_PORT,
    };
    bool has_family[IP_V6 + 1] = { false };
    proof->step_count = 0;
    for (size_t i = 0; i < workload->address_count && i < ADDRESSES_MAXIMUM; i++) {
        const struct ip_address *ip = &workload->addresses[i];
        has_family[ip->family] = true;
        add_step(proof, STEP_ADDRESS, POD_CAPTURE_COUNT, ip, 0);
    }
    for (int i = 0; i < POD_CAPTURE_COUNT; i++) {
        if (proof->pod->listeners[i].descriptor >= 0) {
            add_step(proof, STEP_LISTENER, (enum pod_listener)i, &LOOPBACK, PORTS[i]);
        }
    }
    if (has_family[IP_V4]) {
        add_step(proof, STEP_CAPTURE, POD_LISTENER_OUTBOUND, &PROBE_IPV4, PROBE_PORT);
    }
    if (has_family[IP_V6] && proof->pod->worker->shared->configuration->ipv6_enabled) {
        add_step(proof, STEP_CAPTURE, POD_LISTENER_OUTBOUND, &PROBE_IPV6, PROBE_PORT);
    }
}

static void on_next_check(struct timer *timer)
{
    struct enrolment_proof *proof = CONTAINER_OF(timer, struct enrolment_proof, next_check);
    const struct workload *workload = pod_workload(proof->pod);
    proof->undecided[0] = '\0';
    proof->captured = 0;
    proof->step = 0;
    if (workload == NULL) {
        conclude(proof, ENROLMENT_UNDECIDED, ENROLMENT_NO_GAP, "the control plane has not named this workload");
        return;
    }
    plan_check(proof, workload);
    begin_step(proof);
}

struct enrolment_proof *enrolment_proof_new(
    struct pod *pod, void (*on_report)(void *context, const struct enrolment_report *report), void *context)
{
    struct enrolment_proof *proof = NEW(struct enrolment_proof);
    proof->pod = pod;
    proof->on_report = on_report;
    proof->context = context;
    proof->descriptor = -1;
    proof->watch.on_ready = on_ready;
    proof->deadline.on_expire = on_deadline;
    proof->next_check.on_expire = on_next_check;
    timer_arm_after_ms(pod->worker->loop, &proof->next_check, FIRST_CHECK_MS);
    return proof;
}

void enrolment_proof_free(struct enrolment_proof *proof)
{
    if (proof != NULL) {
        broker_call_cancel(&proof->call);
        end_step(proof);
        timer_disarm(&proof->next_check);
        memory_free(proof);
    }
}

/* Closed in any case: one that is not this check's is an older one's, or that of another proxy of this node. */
static void note_arrival(struct pod *pod, enum pod_listener listener, int descriptor, const struct socket_address *peer)
{
    socket_close_with_reset(descriptor);
    struct enrolment_proof *proof = pod->enrolment;
    if (proof == NULL || proof->descriptor < 0 || step_of(proof)->listener != listener ||
        !socket_address_equal(&proof->source, peer)) {
        return;
    }
    proof->has_arrived = true;
    if (proof->is_connected) {
        finish_if_arrived(proof);
    }
}

bool enrolment_proof_is_waiting(const struct enrolment_proof *proof)
{
    return proof != NULL && proof->descriptor >= 0;
}

bool enrolment_proof_takes_direct(
    struct pod *pod, enum pod_listener listener, int descriptor, const struct socket_address *peer)
{
    if (!ip_equal(&peer->ip, &PROBE_SOURCE)) {
        return false;
    }
    note_arrival(pod, listener, descriptor, peer);
    return true;
}

bool enrolment_proof_takes_captured(
    struct pod *pod, int descriptor, const struct socket_address *peer, const struct socket_address *dialled)
{
    if (dialled->port != PROBE_PORT || !(ip_equal(&dialled->ip, &PROBE_IPV4) || ip_equal(&dialled->ip, &PROBE_IPV6))) {
        return false;
    }
    note_arrival(pod, POD_LISTENER_OUTBOUND, descriptor, peer);
    return true;
}
