#include "ztunnel/inpod_manager.h"

#include "base/hash_map.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/writer.h"
#include "net/network_namespace.h"
#include "xds/zds.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod_assignment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define INPOD_TARGET "ztunnel::inpod"
#define RETRY_POD_MS 5000
#define CONNECT_BACKOFF_FIRST_MS 20
#define CONNECT_BACKOFF_MAXIMUM_MS 15000

struct managed_pod {
    struct inpod_manager *manager;
    struct pod_information information;
    struct network_namespace namespace_;
    struct pod_assignment *assignment; /* NULL: not started, or failed and waiting for the next try */
    struct broker_call registration;
    struct timer retry;
    bool is_up;
    bool is_removed;     /* off the map; freed when its assignment has ended */
    bool is_in_snapshot; /* named since the connection began */
    bool awaits_answer;  /* the agent waits for the outcome of this start */
};

struct inpod_manager {
    struct loop *loop;
    struct inpod_manager_settings settings;
    struct hash_map *pods; /* uid -> struct managed_pod */
    size_t leaving;        /* removed pods whose assignments still end */
    unsigned next_worker;
    int socket; /* -1: not connected */
    struct io_watch watch;
    struct timer reconnect;
    uint64_t backoff_ms;
    bool has_snapshot; /* SnapshotSent came on this connection */
    bool is_busy;      /* a request is being worked on: nothing more is read */
    bool is_stopping;
    bool was_ready;
};

static void connect_agent(struct inpod_manager *manager);
static void start_pod(struct managed_pod *pod);

static size_t pending_count(const struct inpod_manager *manager)
{
    size_t pending = 0;
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        pending += ((struct managed_pod *)value)->is_up ? 0 : 1;
    }
    return pending;
}

static void set_gauge(const struct inpod_manager *manager, enum ztunnel_metric family, size_t value)
{
    metric_set_labelled(manager->settings.metrics, family, NULL, (int64_t)value);
}

static void report_state(struct inpod_manager *manager)
{
    size_t pending = pending_count(manager);
    set_gauge(manager, METRIC_PENDING_PROXIES, pending);
    set_gauge(manager, METRIC_ACTIVE_PROXIES, hash_map_count(manager->pods) - pending);
    bool is_ready = manager->has_snapshot && pending == 0;
    if (is_ready != manager->was_ready && !manager->is_stopping) {
        manager->was_ready = is_ready;
        manager->settings.on_ready_change(manager->settings.context, is_ready);
    }
    if (manager->is_stopping && hash_map_count(manager->pods) == 0 && manager->leaving == 0) {
        manager->settings.on_stopped(manager->settings.context);
    }
}

static void free_pod(struct managed_pod *pod)
{
    timer_disarm(&pod->retry);
    broker_call_cancel(&pod->registration);
    network_namespace_close(&pod->namespace_);
    pod_information_free(&pod->information);
    memory_free(pod);
}

/* Off the map at once; what still runs on a worker ends in its own time. */
static void remove_pod(struct managed_pod *pod, uint64_t deadline_ms)
{
    struct inpod_manager *manager = pod->manager;
    hash_map_remove(manager->pods, bytes_of_string(pod->information.uid));
    timer_disarm(&pod->retry);
    pod->is_removed = true;
    if (pod->is_up) {
        metric_count(manager->settings.metrics, METRIC_PROXIES_STOPPED, 1);
    }
    bool is_registering = broker_call_is_pending(&pod->registration);
    if (pod->assignment == NULL && !is_registering) {
        free_pod(pod);
        return;
    }
    manager->leaving++;
    if (is_registering) {
        return; /* on_registered gives the namespace back */
    }
    pod_assignment_stop(pod->assignment, deadline_ms);
}

static void hang_up(struct inpod_manager *manager, uint64_t reconnect_after_ms)
{
    if (manager->socket >= 0) {
        loop_unwatch(&manager->watch);
        close(manager->socket);
        manager->socket = -1;
    }
    manager->has_snapshot = false;
    manager->is_busy = false;
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        struct managed_pod *pod = value;
        pod->is_in_snapshot = false;
        pod->awaits_answer = false;
    }
    if (!manager->is_stopping) {
        timer_arm_after_ms(manager->loop, &manager->reconnect, reconnect_after_ms);
    }
    report_state(manager);
}

static uint64_t next_backoff(struct inpod_manager *manager)
{
    uint64_t wait = manager->backoff_ms;
    manager->backoff_ms = wait * 2 > CONNECT_BACKOFF_MAXIMUM_MS ? CONNECT_BACKOFF_MAXIMUM_MS : wait * 2;
    return random_jitter(wait, 20);
}

static void answer(struct inpod_manager *manager, const char *error)
{
    manager->is_busy = false;
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer response = writer_fixed(memory, sizeof memory);
    zds_response_encode(error, &response);
    int failure = zds_send(manager->socket, writer_bytes(&response), -1);
    if (failure != 0) {
        log_print(LOG_WARN, INPOD_TARGET, "failed to answer the node agent: %s", strerror(failure));
        hang_up(manager, next_backoff(manager));
        return;
    }
    loop_watch_for(&manager->watch, EPOLLIN);
    report_state(manager);
}

static void answer_start(struct managed_pod *pod, const struct result *outcome)
{
    if (!pod->awaits_answer) {
        return;
    }
    pod->awaits_answer = false;
    if (result_is_ok(outcome)) {
        answer(pod->manager, NULL);
        return;
    }
    char error[sizeof outcome->message + sizeof ZDS_FAILED_TO_START];
    snprintf(error, sizeof error, ZDS_FAILED_TO_START "%s", outcome->message);
    answer(pod->manager, error);
}

static void on_retry(struct timer *timer)
{
    struct managed_pod *pod = CONTAINER_OF(timer, struct managed_pod, retry);
    log_print(LOG_INFO, INPOD_TARGET, "retrying workload %s", pod->information.uid);
    start_pod(pod);
}

static void fail_start(struct managed_pod *pod, const struct result *outcome)
{
    log_print(LOG_ERROR, INPOD_TARGET, "failed to start proxy of pod %s/%s (%s): %s", pod->information.namespace_,
        pod->information.name, pod->information.uid, outcome->message);
    pod->retry.on_expire = on_retry;
    timer_arm_after_ms(pod->manager->loop, &pod->retry, RETRY_POD_MS);
    answer_start(pod, outcome);
    report_state(pod->manager);
}

static void on_started(void *context, const struct result *outcome)
{
    struct managed_pod *pod = context;
    if (!result_is_ok(outcome)) {
        fail_start(pod, outcome);
        return;
    }
    pod->is_up = true;
    metric_count(pod->manager->settings.metrics, METRIC_PROXIES_STARTED, 1);
    answer_start(pod, outcome);
    report_state(pod->manager);
}

static void on_stopped(void *context)
{
    struct managed_pod *pod = context;
    struct inpod_manager *manager = pod->manager;
    pod->assignment = NULL;
    if (pod->is_removed) {
        manager->leaving--;
        free_pod(pod);
    }
    report_state(manager);
}

static const struct pod_assignment_events ASSIGNMENT_EVENTS = { on_started, on_stopped };

static char *copy(const char *text)
{
    return string_duplicate(text);
}

static void on_registered(struct broker_call *call, struct broker_answer *broker_answer)
{
    struct managed_pod *pod = CONTAINER_OF(call, struct managed_pod, registration);
    struct inpod_manager *manager = pod->manager;
    if (pod->is_removed) {
        if (result_is_ok(&broker_answer->result)) {
            broker_forget_namespace(manager->settings.broker, broker_answer->namespace_handle);
        }
        manager->leaving--;
        free_pod(pod);
        report_state(manager);
        return;
    }
    if (!result_is_ok(&broker_answer->result)) {
        fail_start(pod, &broker_answer->result);
        return;
    }
    struct pod_information information = { copy(pod->information.uid), copy(pod->information.name),
        copy(pod->information.namespace_), copy(pod->information.service_account) };
    struct worker *home = &manager->settings.workers[manager->next_worker++ % manager->settings.worker_count];
    pod->assignment = pod_assignment_start(
        manager->loop, home, &information, broker_answer->namespace_handle, &ASSIGNMENT_EVENTS, pod);
}

static void start_pod(struct managed_pod *pod)
{
    if (pod->assignment != NULL) {
        /* The last try is still being cleared away. */
        timer_arm_after_ms(pod->manager->loop, &pod->retry, RETRY_POD_MS);
        return;
    }
    pod->registration.on_answer = on_registered;
    broker_register_namespace(pod->manager->settings.broker, &pod->registration, pod->namespace_.descriptor);
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
            log_print(LOG_WARN, INPOD_TARGET, "pod %s took over the network namespace of pod %.*s",
                (const char *)uid.data, (int)other_uid.length, (const char *)other_uid.data);
            remove_pod(other, 0);
            return;
        }
    }
}

static char *copy_bytes(struct bytes text)
{
    return string_duplicate_n((const char *)text.data, text.length);
}

static void handle_add(struct inpod_manager *manager, const struct zds_request *request, int descriptor)
{
    struct network_namespace namespace_;
    struct result opened = network_namespace_from_descriptor(descriptor, &namespace_);
    if (!result_is_ok(&opened)) {
        char error[sizeof opened.message + sizeof ZDS_FAILED_TO_START];
        snprintf(error, sizeof error, ZDS_FAILED_TO_START "%s", opened.message);
        answer(manager, error);
        return;
    }
    struct managed_pod *known = hash_map_get(manager->pods, request->uid);
    if (known != NULL && network_namespace_equal(&known->namespace_, &namespace_)) {
        network_namespace_close(&namespace_);
        known->is_in_snapshot = true;
        answer(manager, NULL);
        return;
    }
    if (known != NULL) {
        remove_pod(known, 0);
    }
    struct managed_pod *pod = NEW(struct managed_pod);
    pod->manager = manager;
    pod->namespace_ = namespace_;
    pod->information = (struct pod_information){ copy_bytes(request->uid), copy_bytes(request->name),
        copy_bytes(request->namespace_), copy_bytes(request->service_account) };
    cut_other_holder(manager, &namespace_, bytes_of_string(pod->information.uid));
    pod->is_in_snapshot = true;
    pod->awaits_answer = true;
    hash_map_put(manager->pods, bytes_of_string(pod->information.uid), pod);
    LOG_EVENT(LOG_INFO, INPOD_TARGET, "pod received, starting proxy", LOG_STRING("uid", pod->information.uid),
        LOG_STRING("name", pod->information.name), LOG_STRING("namespace", pod->information.namespace_),
        LOG_STRING("serviceAccount", pod->information.service_account));
    report_state(manager);
    start_pod(pod);
}

static void handle_keep(struct inpod_manager *manager, struct bytes uid)
{
    struct managed_pod *pod = hash_map_get(manager->pods, uid);
    if (pod != NULL) {
        pod->is_in_snapshot = true;
    }
    answer(manager, NULL);
}

static void handle_delete(struct inpod_manager *manager, struct bytes uid)
{
    struct managed_pod *pod = hash_map_get(manager->pods, uid);
    if (pod != NULL && !manager->has_snapshot && pod->is_up) {
        /* Before the snapshot is complete a running proxy is only taken off its list (§6.3). */
        pod->is_in_snapshot = false;
    } else if (pod != NULL) {
        LOG_EVENT(
            LOG_INFO, INPOD_TARGET, "pod delete request, shutting down proxy", LOG_STRING("uid", pod->information.uid));
        remove_pod(pod, 0);
    }
    answer(manager, NULL);
}

static void handle_snapshot_sent(struct inpod_manager *manager)
{
    LOG_EVENT(LOG_INFO, INPOD_TARGET, "received snapshot sent", LOG_NUMBER("pods", hash_map_count(manager->pods)));
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        struct managed_pod *pod = value;
        if (!pod->is_in_snapshot) {
            remove_pod(pod, 0);
        }
    }
    manager->has_snapshot = true;
    manager->backoff_ms = CONNECT_BACKOFF_FIRST_MS;
    answer(manager, NULL);
}

/* The agent broke the protocol: it is told, and the connection ends; the process and its pods go on. */
static void refuse_protocol(struct inpod_manager *manager, const char *error)
{
    log_print(LOG_ERROR, INPOD_TARGET, "protocol mismatch error while processing stream: %s", error);
    answer(manager, error);
    hang_up(manager, next_backoff(manager));
}

static void handle(struct inpod_manager *manager, const struct zds_request *request, int descriptor)
{
    manager->is_busy = true;
    loop_watch_for(&manager->watch, 0);
    switch (request->kind) {
    case ZDS_ADD:
        if (!request->has_workload_info) {
            close(descriptor);
            refuse_protocol(manager, ZDS_NO_WORKLOAD_INFO);
            return;
        }
        handle_add(manager, request, descriptor);
        return;
    case ZDS_DELETE:
        handle_delete(manager, request->uid);
        return;
    case ZDS_KEEP:
        if (manager->has_snapshot) {
            refuse_protocol(manager, ZDS_KEEP_AFTER_SNAPSHOT);
            return;
        }
        handle_keep(manager, request->uid);
        return;
    case ZDS_SNAPSHOT_SENT:
        if (manager->has_snapshot) {
            refuse_protocol(manager, ZDS_SECOND_SNAPSHOT);
            return;
        }
        handle_snapshot_sent(manager);
        return;
    case ZDS_NO_REQUEST:
        refuse_protocol(manager, ZDS_FAILED_TO_READ "no payload");
        return;
    }
}

static void on_readable(struct io_watch *watch, uint32_t events)
{
    struct inpod_manager *manager = CONTAINER_OF(watch, struct inpod_manager, watch);
    if (manager->is_busy && (events & (EPOLLHUP | EPOLLERR)) == 0) {
        return;
    }
    struct zds_datagram datagram;
    struct zds_request request;
    struct result reason;
    switch (zds_receive_request(manager->socket, &datagram, &request, &reason)) {
    case ZDS_RECEIVED:
        handle(manager, &request, datagram.descriptor);
        return;
    case ZDS_NOTHING_YET:
        return;
    case ZDS_ENDED:
        log_print(LOG_WARN, INPOD_TARGET, "process stream ended with eof");
        hang_up(manager, next_backoff(manager));
        return;
    case ZDS_REFUSED: {
        char error[sizeof reason.message + sizeof ZDS_FAILED_TO_READ];
        snprintf(error, sizeof error, ZDS_FAILED_TO_READ "%s", reason.message);
        refuse_protocol(manager, error);
        return;
    }
    case ZDS_BROKEN:
        log_print(LOG_WARN, INPOD_TARGET, "lost the node agent: %s", reason.message);
        hang_up(manager, next_backoff(manager));
        return;
    }
}

static int dial(const char *path, struct result *failure)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        *failure = result_fail(RESULT_INVALID, "INPOD_UDS=%s: longer than a socket path may be", path);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0 || connect(descriptor, (const struct sockaddr *)&address, sizeof address) != 0) {
        *failure = result_fail(RESULT_SYSTEM, "%s (os error %d)", strerror(errno), errno);
        if (descriptor >= 0) {
            close(descriptor);
        }
        return -1;
    }
    return descriptor;
}

static void connect_agent(struct inpod_manager *manager)
{
    struct result failure;
    int descriptor = dial(manager->settings.socket_path, &failure);
    if (descriptor < 0) {
        uint64_t wait_ms = next_backoff(manager);
        log_print(LOG_WARN, INPOD_TARGET,
            "failed to connect to the Istio CNI node agent over \"%s\", is the node agent healthy? details: %s "
            "retrying in %llums",
            manager->settings.socket_path, failure.message, (unsigned long long)wait_ms);
        timer_arm_after_ms(manager->loop, &manager->reconnect, wait_ms);
        return;
    }
    manager->socket = descriptor;
    LOG_EVENT(LOG_INFO, INPOD_TARGET, "handling new stream");
    uint8_t memory[16];
    struct writer hello = writer_fixed(memory, sizeof memory);
    zds_hello_encode(&hello);
    int error = zds_send(descriptor, writer_bytes(&hello), -1);
    struct result watched = error == 0 ? loop_watch(manager->loop, &manager->watch, descriptor, EPOLLIN)
                                       : result_system(error, "node agent announcement failed");
    if (!result_is_ok(&watched)) {
        log_print(LOG_WARN, INPOD_TARGET, "%s", watched.message);
        hang_up(manager, next_backoff(manager));
    }
}

static void on_reconnect(struct timer *timer)
{
    connect_agent(CONTAINER_OF(timer, struct inpod_manager, reconnect));
}

struct inpod_manager *inpod_manager_new(struct loop *control, const struct inpod_manager_settings *settings)
{
    struct inpod_manager *manager = NEW(struct inpod_manager);
    manager->loop = control;
    manager->settings = *settings;
    manager->pods = hash_map_new();
    manager->socket = -1;
    manager->backoff_ms = CONNECT_BACKOFF_FIRST_MS;
    manager->watch.on_ready = on_readable;
    manager->reconnect.on_expire = on_reconnect;
    timer_arm_after_ms(control, &manager->reconnect, 0);
    return manager;
}

void inpod_manager_stop(struct inpod_manager *manager, uint64_t deadline_ms)
{
    manager->is_stopping = true;
    timer_disarm(&manager->reconnect);
    size_t position = 0;
    struct bytes uid;
    void *value;
    while (hash_map_next(manager->pods, &position, &uid, &value)) {
        remove_pod(value, deadline_ms);
    }
    hang_up(manager, 0);
}

void inpod_manager_free(struct inpod_manager *manager)
{
    if (manager != NULL) {
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
        const struct inpod_view view = { pod->information.uid, pod->information.name, pod->information.namespace_,
            pod->information.service_account, pod->is_up, pod->is_up ? pod->assignment : NULL };
        visit(&view, context);
    }
}
