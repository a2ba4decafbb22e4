#include "ztunnel/inpod_manager.h"

#include "base/hash_map.h"
#include "base/log.h"
#include "base/memory.h"
#include "ztunnel/agent_connection.h"
#include "ztunnel/metrics.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define INPOD_TARGET "ztunnel::inpod"
#define RETRY_POD_MS 5000

enum pod_phase {
    PHASE_WAITING,  /* for its own last try, or for another holder of its namespace, to be gone */
    PHASE_STARTING, /* launched, listeners not bound yet */
    PHASE_UP,
    PHASE_FAILED, /* until the next try */
};

struct managed_pod {
    struct inpod_manager *manager;
    struct list departing; /* manager->departing, once off the map */
    struct pod_information information;
    struct network_namespace namespace_;
    enum pod_phase phase;
    struct pod_launch *launch; /* NULL: none; of a failed or removed pod: one that is ending */
    struct timer retry;
    char *failure;
    bool is_removed;
    bool is_in_snapshot; /* named since the connection began */
    bool awaits_answer;  /* the agent waits for the outcome of this start */
    struct enrolment_report enrolment;
};

struct inpod_manager {
    struct loop *loop;
    struct inpod_manager_settings settings;
    struct agent_connection *agent; /* NULL once stopping */
    struct hash_map *pods;          /* uid -> struct managed_pod */
    struct list departing;          /* removed, still ending */
    size_t departing_count;
    bool has_snapshot; /* SnapshotSent came on this connection */
    bool is_stopping;
    bool was_ready;
};

static void start_pod(struct managed_pod *pod);

static size_t pending_count(const struct inpod_manager *manager)
{
    size_t pending = 0;
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        pending += ((struct managed_pod *)value)->phase == PHASE_UP ? 0 : 1;
    }
    return pending;
}

static void set_gauge(const struct inpod_manager *manager, enum ztunnel_metric family, size_t value)
{
    metric_set_labelled(manager->settings.metrics, family, NULL, (int64_t)value);
}

/* Pods whose capture is not proven, by what stands in the way. */
static void report_unproven(const struct inpod_manager *manager)
{
    size_t unproven[ENROLMENT_GAP_COUNT] = { 0 };
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        const struct enrolment_report *report = &((struct managed_pod *)value)->enrolment;
        unproven[report->gap] += report->state == ENROLMENT_PROVEN ? 0 : 1;
    }
    for (int gap = 0; gap < ENROLMENT_GAP_COUNT; gap++) {
        const char *reason = gap == ENROLMENT_NO_GAP ? "undecided" : enrolment_gap_name((enum enrolment_gap)gap);
        struct metric_series *series = metric_series_get(manager->settings.metrics, METRIC_UNENROLLED_PODS, &reason);
        metric_set(series, (int64_t)unproven[gap]);
        metric_series_put(series);
    }
}

static void report_state(struct inpod_manager *manager)
{
    report_unproven(manager);
    size_t pending = pending_count(manager);
    set_gauge(manager, METRIC_PENDING_PROXIES, pending);
    set_gauge(manager, METRIC_ACTIVE_PROXIES, hash_map_count(manager->pods) - pending);
    bool is_ready = manager->has_snapshot && pending == 0;
    if (is_ready != manager->was_ready && !manager->is_stopping) {
        manager->was_ready = is_ready;
        manager->settings.on_ready_change(manager->settings.context, is_ready);
    }
    if (manager->is_stopping && hash_map_count(manager->pods) == 0 && manager->departing_count == 0) {
        manager->settings.on_stopped(manager->settings.context);
    }
}

static void free_pod(struct managed_pod *pod)
{
    timer_disarm(&pod->retry);
    network_namespace_close(&pod->namespace_);
    pod_information_free(&pod->information);
    memory_free(pod->failure);
    memory_free(pod);
}

/* Off the map at once; what still runs ends in its own time, and nobody else gets the namespace before. */
static void remove_pod(struct managed_pod *pod, uint64_t deadline_ms)
{
    struct inpod_manager *manager = pod->manager;
    hash_map_remove(manager->pods, bytes_of_string(pod->information.uid));
    timer_disarm(&pod->retry);
    pod->is_removed = true;
    if (pod->phase == PHASE_UP) {
        metric_count(manager->settings.metrics, METRIC_PROXIES_STOPPED, 1);
    }
    if (pod->launch == NULL) {
        free_pod(pod);
        return;
    }
    list_append(&manager->departing, &pod->departing);
    manager->departing_count++;
    manager->settings.launcher.stop(pod->launch, deadline_ms);
}

static void answer_start(struct managed_pod *pod, const struct result *outcome)
{
    if (!pod->awaits_answer) {
        return;
    }
    pod->awaits_answer = false;
    if (result_is_ok(outcome)) {
        agent_connection_answer(pod->manager->agent, NULL);
        return;
    }
    char error[sizeof outcome->message + sizeof ZDS_FAILED_TO_START];
    snprintf(error, sizeof error, ZDS_FAILED_TO_START "%s", outcome->message);
    agent_connection_answer(pod->manager->agent, error);
}

static void on_retry(struct timer *timer)
{
    struct managed_pod *pod = CONTAINER_OF(timer, struct managed_pod, retry);
    log_print(LOG_INFO, INPOD_TARGET, "retrying workload %s", pod->information.uid);
    start_pod(pod);
}

static void on_launch_started(void *context, const struct result *outcome)
{
    struct managed_pod *pod = context;
    memory_free(pod->failure);
    pod->failure = NULL;
    if (result_is_ok(outcome)) {
        pod->phase = PHASE_UP;
        metric_count(pod->manager->settings.metrics, METRIC_PROXIES_STARTED, 1);
    } else {
        log_print(LOG_ERROR, INPOD_TARGET, "failed to start proxy of pod %s/%s (%s): %s", pod->information.namespace_,
            pod->information.name, pod->information.uid, outcome->message);
        pod->phase = PHASE_FAILED;
        pod->failure = string_duplicate(outcome->message);
        timer_arm_after_ms(pod->manager->loop, &pod->retry, RETRY_POD_MS);
    }
    answer_start(pod, outcome);
    report_state(pod->manager);
}

static void start_waiting_pods(struct inpod_manager *manager)
{
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        struct managed_pod *pod = value;
        if (pod->phase == PHASE_WAITING) {
            start_pod(pod);
        }
    }
}

static void on_launch_stopped(void *context)
{
    struct managed_pod *pod = context;
    struct inpod_manager *manager = pod->manager;
    pod->launch = NULL;
    if (pod->is_removed) {
        list_remove(&pod->departing);
        manager->departing_count--;
        free_pod(pod);
    }
    start_waiting_pods(manager);
    report_state(manager);
}

static void on_enrolment(void *context, const struct enrolment_report *report)
{
    struct managed_pod *pod = context;
    pod->enrolment = *report;
    report_state(pod->manager);
}

static const struct pod_assignment_events LAUNCH_EVENTS = { on_launch_started, on_launch_stopped, on_enrolment };

static bool somebody_is_leaving(const struct inpod_manager *manager, const struct network_namespace *namespace_)
{
    LIST_FOR_EACH(link, &manager->departing) {
        const struct managed_pod *pod = LIST_ENTRY(link, struct managed_pod, departing);
        if (network_namespace_equal(&pod->namespace_, namespace_)) {
            return true;
        }
    }
    return false;
}

static void start_pod(struct managed_pod *pod)
{
    struct inpod_manager *manager = pod->manager;
    timer_disarm(&pod->retry);
    if (pod->launch != NULL || somebody_is_leaving(manager, &pod->namespace_)) {
        pod->phase = PHASE_WAITING;
        return;
    }
    const struct pod_launcher *launcher = &manager->settings.launcher;
    pod->phase = PHASE_STARTING;
    pod->launch = launcher->start(launcher->context, &pod->namespace_, &pod->information, &LAUNCH_EVENTS, pod);
}

static void refuse_add(struct inpod_manager *manager, const struct result *reason)
{
    char error[sizeof reason->message + sizeof ZDS_FAILED_TO_START];
    snprintf(error, sizeof error, ZDS_FAILED_TO_START "%s", reason->message);
    log_print(LOG_WARN, INPOD_TARGET, "%s", error);
    agent_connection_answer(manager->agent, error);
}

/* The agent names a pod again that is not up: its outcome is the answer, and a failed one is tried at once. */
static void start_again(struct managed_pod *pod)
{
    pod->awaits_answer = true;
    if (pod->phase == PHASE_FAILED) {
        start_pod(pod);
    }
}

/* One namespace is served once: whoever held it under another uid is cut first. */
static void cut_other_holder(
    struct inpod_manager *manager, const struct network_namespace *namespace_, struct bytes uid)
{
    size_t position = 0;
    struct bytes other_uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &other_uid, &value)) {
        struct managed_pod *other = value;
        if (!bytes_equal(other_uid, uid) && network_namespace_equal(&other->namespace_, namespace_)) {
            log_print(LOG_WARN, INPOD_TARGET, "pod %.*s took over the network namespace of pod %s", (int)uid.length,
                (const char *)uid.data, other->information.uid);
            remove_pod(other, 0);
            return;
        }
    }
}

static char *copy_bytes(struct bytes text)
{
    return string_duplicate_n((const char *)text.data, text.length);
}

static struct result check_new_pod(const struct inpod_manager *manager, const struct network_namespace *namespace_)
{
    if (manager->settings.own_namespace != NULL &&
        network_namespace_equal(manager->settings.own_namespace, namespace_)) {
        return result_fail(RESULT_INVALID, "the network namespace is ztunnel's own");
    }
    if (hash_map_count(manager->pods) + manager->departing_count >= INPOD_PODS_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "%d pods are served already", INPOD_PODS_MAXIMUM);
    }
    return result_ok();
}

static void add_pod(
    struct inpod_manager *manager, const struct zds_request *request, const struct network_namespace *namespace_)
{
    struct managed_pod *pod = NEW(struct managed_pod);
    pod->manager = manager;
    pod->namespace_ = *namespace_;
    pod->information = (struct pod_information){ copy_bytes(request->uid), copy_bytes(request->name),
        copy_bytes(request->namespace_), copy_bytes(request->service_account) };
    pod->retry.on_expire = on_retry;
    list_initialise(&pod->departing);
    pod->is_in_snapshot = true;
    pod->awaits_answer = true;
    hash_map_put(manager->pods, request->uid, pod);
    LOG_EVENT(LOG_INFO, INPOD_TARGET, "pod received, starting proxy", LOG_STRING("uid", pod->information.uid),
        LOG_STRING("name", pod->information.name), LOG_STRING("namespace", pod->information.namespace_),
        LOG_STRING("serviceAccount", pod->information.service_account));
    start_pod(pod);
    report_state(manager);
}

static void handle_add(struct inpod_manager *manager, const struct zds_request *request, int descriptor)
{
    struct network_namespace namespace_;
    struct result opened = network_namespace_from_descriptor(descriptor, &namespace_);
    if (!result_is_ok(&opened)) {
        refuse_add(manager, &opened);
        return;
    }
    struct managed_pod *known = hash_map_get(manager->pods, request->uid);
    if (known != NULL && network_namespace_equal(&known->namespace_, &namespace_)) {
        network_namespace_close(&namespace_);
        known->is_in_snapshot = true;
        if (known->phase == PHASE_UP) {
            agent_connection_answer(manager->agent, NULL);
        } else {
            start_again(known);
        }
        return;
    }
    if (known != NULL) {
        remove_pod(known, 0);
    }
    cut_other_holder(manager, &namespace_, request->uid);
    struct result acceptable = check_new_pod(manager, &namespace_);
    if (!result_is_ok(&acceptable)) {
        network_namespace_close(&namespace_);
        refuse_add(manager, &acceptable);
        report_state(manager);
        return;
    }
    add_pod(manager, request, &namespace_);
}

static void handle_keep(struct inpod_manager *manager, struct bytes uid)
{
    struct managed_pod *pod = hash_map_get(manager->pods, uid);
    if (pod != NULL) {
        pod->is_in_snapshot = true;
    }
    agent_connection_answer(manager->agent, NULL);
}

static void handle_delete(struct inpod_manager *manager, struct bytes uid)
{
    struct managed_pod *pod = hash_map_get(manager->pods, uid);
    if (pod != NULL && !manager->has_snapshot && pod->phase == PHASE_UP) {
        /* Before the snapshot is complete a running proxy is only taken off its list (§6.3). */
        pod->is_in_snapshot = false;
    } else if (pod != NULL) {
        LOG_EVENT(
            LOG_INFO, INPOD_TARGET, "pod delete request, shutting down proxy", LOG_STRING("uid", pod->information.uid));
        remove_pod(pod, 0);
    }
    agent_connection_answer(manager->agent, NULL);
    report_state(manager);
}

static void remove_unnamed_pods(struct inpod_manager *manager)
{
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        struct managed_pod *pod = value;
        if (!pod->is_in_snapshot) {
            remove_pod(pod, 0);
        }
    }
}

static void handle_snapshot_sent(struct inpod_manager *manager)
{
    remove_unnamed_pods(manager);
    LOG_EVENT(LOG_INFO, INPOD_TARGET, "received snapshot sent", LOG_NUMBER("pods", hash_map_count(manager->pods)));
    manager->has_snapshot = true;
    agent_connection_settle(manager->agent);
    agent_connection_answer(manager->agent, NULL);
    report_state(manager);
}

static void on_request(void *context, const struct zds_request *request, int descriptor)
{
    struct inpod_manager *manager = context;
    switch (request->kind) {
    case ZDS_ADD:
        if (request->has_workload_info) {
            handle_add(manager, request, descriptor);
        } else {
            close(descriptor);
            agent_connection_refuse(manager->agent, ZDS_NO_WORKLOAD_INFO);
        }
        return;
    case ZDS_DELETE:
        handle_delete(manager, request->uid);
        return;
    case ZDS_KEEP:
        if (manager->has_snapshot) {
            agent_connection_refuse(manager->agent, ZDS_KEEP_AFTER_SNAPSHOT);
        } else {
            handle_keep(manager, request->uid);
        }
        return;
    case ZDS_SNAPSHOT_SENT:
        if (manager->has_snapshot) {
            agent_connection_refuse(manager->agent, ZDS_SECOND_SNAPSHOT);
        } else {
            handle_snapshot_sent(manager);
        }
        return;
    case ZDS_NO_REQUEST:
        agent_connection_refuse(manager->agent, ZDS_FAILED_TO_READ "no payload");
        return;
    }
}

/* What runs goes on; the next connection says anew which pods there are. */
static void on_lost(void *context)
{
    struct inpod_manager *manager = context;
    manager->has_snapshot = false;
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        struct managed_pod *pod = value;
        pod->is_in_snapshot = false;
        pod->awaits_answer = false;
    }
    report_state(manager);
}

static const struct agent_connection_events AGENT_EVENTS = { on_request, on_lost };

struct inpod_manager *inpod_manager_new(struct loop *control, const struct inpod_manager_settings *settings)
{
    struct inpod_manager *manager = NEW(struct inpod_manager);
    manager->loop = control;
    manager->settings = *settings;
    manager->pods = hash_map_new();
    list_initialise(&manager->departing);
    manager->agent = agent_connection_new(control, manager->settings.socket_path, &AGENT_EVENTS, manager);
    return manager;
}

void inpod_manager_stop(struct inpod_manager *manager, uint64_t deadline_ms)
{
    manager->is_stopping = true;
    agent_connection_free(manager->agent);
    manager->agent = NULL;
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        struct managed_pod *pod = value;
        pod->awaits_answer = false;
        remove_pod(pod, deadline_ms);
    }
    report_state(manager);
}

void inpod_manager_free(struct inpod_manager *manager)
{
    if (manager != NULL) {
        agent_connection_free(manager->agent);
        hash_map_free(manager->pods, NULL);
        memory_free(manager);
    }
}

void inpod_manager_visit(
    const struct inpod_manager *manager, void (*visit)(const struct inpod_view *view, void *context), void *context)
{
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        const struct managed_pod *pod = value;
        bool is_up = pod->phase == PHASE_UP;
        const struct inpod_view view = { pod->information.uid, pod->information.name, pod->information.namespace_,
            pod->information.service_account, is_up, is_up ? manager->settings.launcher.assignment(pod->launch) : NULL,
            pod->failure, &pod->enrolment };
        visit(&view, context);
    }
}
