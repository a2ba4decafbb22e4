/* Enrolling one pod, step by step; a step that fails undoes those before it (cni §5.3). */
#include "cni/agent.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "cni/namespace_pin.h"

#include <unistd.h>

#define TARGET "cni::agent"

struct enrol {
    struct operation operation;
    struct enrolment *pod;
    const char *step;     /* what is being done; told when it fails */
    bool has_captured;    /* rules and routing are ours to undo */
    bool has_pinned;      /* the pin is ours to undo */
    bool has_asked_proxy; /* a proxy may know the pod */
    uint64_t proxy_asked; /* which one */
};

/* The enrolment that this one replaces or confirms; NULL for a new pod. */
static struct enrolment *previous_of(const struct enrol *enrol)
{
    char key[ENROLMENT_KEY_SIZE];
    return enrolment_table_find(&enrol->operation.agent->enrolments, enrolment_key_of(enrol->pod, key));
}

static struct result check_is_free(const struct agent *agent, const struct enrolment *pod)
{
    char key[ENROLMENT_KEY_SIZE];
    enrolment_key_of(pod, key);
    if (agent_is_busy_with(agent, pod)) {
        return result_fail(
            RESULT_UNAVAILABLE, "pod %s: another request about it, its uid or its namespace is in progress", key);
    }
    const struct enrolment *same_network = enrolment_table_find_network(&agent->enrolments, &pod->network);
    if (same_network != NULL && same_network != enrolment_table_find(&agent->enrolments, key)) {
        return result_fail(RESULT_DENIED, "the network namespace is enrolled as pod %s/%s already",
            same_network->namespace_, same_network->name);
    }
    const struct enrolment *same_uid = enrolment_table_find_uid(&agent->enrolments, pod->uid);
    if (same_uid != NULL && same_uid != enrolment_table_find(&agent->enrolments, key)) {
        return result_fail(
            RESULT_DENIED, "uid %s is that of pod %s/%s", pod->uid, same_uid->namespace_, same_uid->name);
    }
    if (enrolment_table_find(&agent->enrolments, key) == NULL &&
        enrolment_table_count(&agent->enrolments) >= ENROLMENTS_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "%d pods are enrolled on this node already", ENROLMENTS_MAXIMUM);
    }
    return result_ok();
}

/* The namespace must be a pod's own: capturing what it does not own would take another pod's identity. */
static struct result check_ownership(const struct agent *agent, const struct enrolment *pod)
{
    char text[IP_TEXT_SIZE];
    if (network_namespace_equal(&pod->network, &agent->home)) {
        return result_fail(RESULT_DENIED, "the network namespace is the agent's own, not a pod's");
    }
    for (size_t i = 0; i < pod->address_count; i++) {
        bool owns = false;
        RESULT_TRY(network_namespace_owns(&pod->network, &pod->addresses[i], &owns));
        if (!owns) {
            return result_fail(
                RESULT_DENIED, "the network namespace does not own address %s", ip_format(&pod->addresses[i], text));
        }
    }
    return result_ok();
}

static void enrol_free(struct enrol *enrol)
{
    list_remove(&enrol->operation.link);
    enrolment_free(enrol->pod);
    memory_free(enrol);
}

/* A proxy that refused keeps trying on its own, so it must be told to forget, or to return to what was. */
static void undo_proxy(struct enrol *enrol, const struct enrolment *previous)
{
    struct agent *agent = enrol->operation.agent;
    if (previous == NULL || !text_equal(previous->uid, enrol->pod->uid)) {
        proxy_server_delete(agent->proxies, enrol->pod->uid, NULL, NULL);
    } else if (previous->network.descriptor >= 0) {
        proxy_server_add(agent->proxies, previous, NULL, NULL);
    }
}

static void undo_pin(struct enrol *enrol, const struct enrolment *previous)
{
    const char *directory = enrol->operation.agent->pin_directory;
    if (previous != NULL && text_equal(previous->uid, enrol->pod->uid)) {
        if (previous->network.descriptor >= 0) {
            (void)namespace_pin_make(directory, previous->uid, &previous->network);
        }
        return;
    }
    namespace_pin_remove(directory, enrol->pod->uid);
}

static void undo_capture(struct enrol *enrol, const struct enrolment *previous)
{
    if (previous != NULL && network_namespace_equal(&previous->network, &enrol->pod->network)) {
        return; /* it was captured before, and stays so */
    }
    struct result result = capture_remove(&enrol->operation.agent->capture, &enrol->pod->network);
    if (!result_is_ok(&result)) {
        log_print(LOG_ERROR, TARGET, "undoing an enrolment: %s", result.message);
    }
}

static void fail(struct enrol *enrol, const struct result *result)
{
    const struct enrolment *previous = previous_of(enrol);
    char key[ENROLMENT_KEY_SIZE];
    if (enrol->has_asked_proxy) {
        undo_proxy(enrol, previous);
    }
    if (enrol->has_pinned) {
        undo_pin(enrol, previous);
    }
    if (enrol->has_captured) {
        undo_capture(enrol, previous);
    }
    LOG_EVENT(LOG_WARN, TARGET, "enrolment failed", LOG_STRING("pod", enrolment_key_of(enrol->pod, key)),
        LOG_STRING("step", enrol->step), LOG_STRING("error", result->message));
    agent_answer_failure(enrol->operation.call, enrol->step, result);
    enrol_free(enrol);
}

/* What the pod was before, where it is no longer that: another uid, another sandbox. */
static void retire_previous(struct enrol *enrol, const struct enrolment *previous)
{
    struct agent *agent = enrol->operation.agent;
    bool has_other_network = !network_namespace_equal(&previous->network, &enrol->pod->network);
    if (!text_equal(previous->uid, enrol->pod->uid)) {
        proxy_server_delete(agent->proxies, previous->uid, NULL, NULL);
        namespace_pin_remove(agent->pin_directory, previous->uid);
    }
    if (has_other_network && previous->network.descriptor >= 0) {
        struct result result = capture_remove(&agent->capture, &previous->network);
        if (!result_is_ok(&result)) {
            log_print(LOG_WARN, TARGET, "the pod's former network namespace: %s", result.message);
        }
    }
}

static struct result record(struct enrol *enrol)
{
    struct agent *agent = enrol->operation.agent;
    enrol->step = "saving the state";
    RESULT_TRY(enrolment_store_save(&agent->store, enrol->pod));
    enrol->step = "writing the overlay";
    struct result result = enrolment_store_write_overlay(&agent->store, enrol->pod);
    if (!result_is_ok(&result)) {
        const struct enrolment *previous = previous_of(enrol);
        struct result undone = previous == NULL ? enrolment_store_forget(&agent->store, enrol->pod)
                                                : enrolment_store_save(&agent->store, previous);
        if (!result_is_ok(&undone)) {
            log_print(LOG_ERROR, TARGET, "undoing an enrolment: %s", undone.message);
        }
    }
    return result;
}

static void complete(struct enrol *enrol)
{
    struct agent *agent = enrol->operation.agent;
    struct enrolment *pod = enrol->pod;
    const struct enrolment *previous = previous_of(enrol);
    char key[ENROLMENT_KEY_SIZE];
    if (previous != NULL) {
        retire_previous(enrol, previous);
    }
    enrol->pod = NULL;
    enrolment_table_put(&agent->enrolments, pod);
    if (proxy_server_newest(agent->proxies) != enrol->proxy_asked) {
        /* A proxy that came while the other one was asked may have had its snapshot without this pod. */
        proxy_server_add(agent->proxies, pod, NULL, NULL);
    }
    LOG_EVENT(LOG_INFO, TARGET, "pod enrolled", LOG_STRING("pod", enrolment_key_of(pod, key)),
        LOG_DISPLAY("uid", pod->uid), LOG_NUMBER("inode", pod->network.inode));
    agent_answer(enrol->operation.call, pod);
    enrol_free(enrol);
}

static void proxy_answered(void *context, const struct result *result)
{
    struct enrol *enrol = context;
    if (!result_is_ok(result)) {
        fail(enrol, result);
        return;
    }
    struct result recorded = record(enrol);
    if (!result_is_ok(&recorded)) {
        fail(enrol, &recorded);
        return;
    }
    complete(enrol);
}

/* Everything up to the proxy. */
static struct result prepare(struct enrol *enrol, const struct yaml_node *request)
{
    struct agent *agent = enrol->operation.agent;
    struct enrolment *pod = enrol->pod;
    struct network_namespace network = pod->network;
    enrol->step = "reading the request";
    if (network.descriptor < 0) {
        return result_fail(RESULT_INVALID, "no network namespace came with the request");
    }
    RESULT_TRY(enrolment_from_json(request, pod));
    pod->network = network;
    const struct enrolment *previous = previous_of(enrol);
    if (pod->uid == NULL) {
        char made[37];
        random_uuid(made);
        pod->uid = string_duplicate(previous != NULL ? previous->uid : made);
    }
    RESULT_TRY(check_is_free(agent, pod));
    list_append(&agent->operations, &enrol->operation.link);
    enrol->step = "checking the addresses";
    RESULT_TRY(check_ownership(agent, pod));
    enrol->step = "capturing the traffic";
    enrol->has_captured = true;
    RESULT_TRY(capture_apply(&agent->capture, &pod->network));
    enrol->step = "keeping the network namespace";
    enrol->has_pinned = true;
    return namespace_pin_make(agent->pin_directory, pod->uid, &pod->network);
}

void agent_enrol(struct agent *agent, struct control_call *call, const struct yaml_node *request, int descriptor)
{
    struct enrol *enrol = NEW(struct enrol);
    list_initialise(&enrol->operation.link);
    enrol->pod = enrolment_new();
    enrol->operation.agent = agent;
    enrol->operation.call = call;
    enrol->operation.pod = enrol->pod;
    enrol->step = "opening the network namespace";
    struct result result = result_ok();
    if (descriptor >= 0) {
        result = network_namespace_from_descriptor(descriptor, &enrol->pod->network);
    }
    if (result_is_ok(&result)) {
        result = prepare(enrol, request);
    }
    if (!result_is_ok(&result)) {
        fail(enrol, &result);
        return;
    }
    enrol->step = "handing over to ztunnel";
    enrol->has_asked_proxy = true;
    enrol->proxy_asked = proxy_server_newest(agent->proxies);
    proxy_server_add(agent->proxies, enrol->pod, proxy_answered, enrol);
}
