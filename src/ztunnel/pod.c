#include "ztunnel/pod.h"

#include "base/log.h"
#include "base/memory.h"
#include "net/socket.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/dns_proxy.h"
#include "ztunnel/enrolment_proof.h"
#include "ztunnel/inbound.h"
#include "ztunnel/inner_tunnel.h"
#include "ztunnel/live_walk.h"
#include "ztunnel/outbound.h"
#include "ztunnel/passthrough.h"
#include "ztunnel/pod_spread.h"
#include "ztunnel/socks5.h"
#include "ztunnel/tunnel_opener.h"
#include "ztunnel/worker.h"

#include <stdio.h>
#include <unistd.h>

#define TIMEOUT_LINES_A_SECOND 10 /* every connection of the pod may wait */

/* The captures of a pod, in the order in which they are bound (ztunnel-management §6.3), and SOCKS5 where it is wanted. */
static const struct {
    uint16_t port;
    const char *component;
    uint8_t flags;
    bool is_local; /* at 127.0.0.1 only */
    void (*accept)(struct pod *pod, int descriptor, const struct socket_address *peer);
} CAPTURES[POD_LISTENER_COUNT] = {
    /* HTTP/2 PINGs watch tunnels, keepalive watches applications. */
    [POD_LISTENER_HBONE] = { INBOUND_HBONE_PORT, "inbound", SOCKET_TUNNEL, false, inbound_accept },
    [POD_LISTENER_PLAINTEXT] = { INBOUND_PLAINTEXT_PORT, "inbound plaintext", SOCKET_KEEPALIVE | SOCKET_ENDS_BY_RESET,
        false, passthrough_accept },
    [POD_LISTENER_OUTBOUND] = { OUTBOUND_PORT, "outbound", SOCKET_KEEPALIVE | SOCKET_LOCAL_LEG | SOCKET_ENDS_BY_RESET,
        false, outbound_accept },
    [POD_LISTENER_SOCKS5] = { SOCKS5_PORT, "socks5", SOCKET_LOCAL_LEG | SOCKET_ENDS_BY_RESET, true, socks5_accept },
};

/* Longer than a handshake takes that was begun before a successor got all new ones. */
#define LISTENERS_END_MS 100

static void bind_next(struct pod *pod);

static void free_pod(struct pod *pod)
{
    for (int i = 0; i < POD_LISTENER_COUNT; i++) {
        proxy_listener_close(&pod->listeners[i]);
    }
    broker_call_cancel(&pod->start_call);
    timer_disarm(&pod->drain_deadline);
    timer_disarm(&pod->listeners_end);
    enrolment_proof_free(pod->enrolment);
    dns_proxy_free(pod->dns);
    hbone_pool_free(pod->tunnels);
    for (int kind = 0; kind < POD_STOCK_COUNT; kind++) {
        socket_stock_free(pod->stocks[kind][0]);
        socket_stock_free(pod->stocks[kind][1]);
    }
    pod_spread_free(pod->spread);
    if (pod->namespace_handle != BROKER_OWN_NAMESPACE_HANDLE && !pod->is_extension) {
        broker_forget_namespace(pod->worker->broker, pod->namespace_handle);
    }
    live_walks_skip_pod(pod->worker, pod);
    loop_account_close(pod->worker->loop, &pod->turns);
    list_remove(&pod->link);
    if (pod->on_stopped != NULL) {
        pod->on_stopped(pod->information.uid, pod->context);
    }
    pod_information_free(&pod->information);
    if (pod->totals != pod->worker->shared->dedicated_totals && !pod->is_extension) {
        memory_free(pod->totals);
    }
    memory_free(pod);
}

static bool is_idle(const struct pod *pod)
{
    return list_is_empty(&pod->connections) && list_is_empty(&pod->inbound_tunnels) &&
           list_is_empty(&pod->inner_tunnels) && list_is_empty(&pod->socks5_clients) && dns_proxy_is_idle(pod->dns);
}

void pod_check_drained(struct pod *pod)
{
    /* While connections are being cut one by one, the pod must survive the loop over them. */
    if (pod->state == POD_DRAINING && !pod->is_held && !timer_is_armed(&pod->listeners_end) && is_idle(pod) &&
        pod_spread_is_over(pod)) {
        free_pod(pod);
    }
}

static void tell_started(struct pod *pod, const struct result *outcome)
{
    void (*on_started)(struct pod *, const struct result *, void *) = pod->on_started;
    pod->on_started = NULL;
    on_started(pod, outcome, pod->context);
}

static struct socket_address capture_address(const struct pod *pod, unsigned which)
{
    struct socket_address address = { .port = CAPTURES[which].port };
    if (CAPTURES[which].is_local) {
        (void)ip_parse("127.0.0.1", &address.ip);
    } else {
        address.ip.family = pod->worker->shared->configuration->ipv6_enabled ? IP_V6 : IP_V4;
    }
    return address;
}

bool pod_logs_listeners(const struct pod *pod)
{
    return pod->worker->shared->configuration->proxy_mode == PROXY_MODE_SHARED || pod->worker->index == 0;
}

static void log_listening(const struct pod *pod, enum pod_listener which, bool is_transparent)
{
    if (!pod_logs_listeners(pod)) {
        return;
    }
    char address[SOCKET_ADDRESS_TEXT_SIZE];
    struct socket_address bound = capture_address(pod, which);
    POD_EVENT(pod, LOG_INFO, "ztunnel::proxy", "listener established",
        LOG_DISPLAY("address", socket_address_format(&bound, address)),
        LOG_STRING("component", CAPTURES[which].component), LOG_BOOL("transparent", is_transparent));
}

static void on_listener(struct broker_call *call, struct broker_answer *answer)
{
    struct pod *pod = CONTAINER_OF(call, struct pod, start_call);
    if (!result_is_ok(&answer->result)) {
        tell_started(pod, &answer->result);
        return;
    }
    enum pod_listener which = (enum pod_listener)pod->listeners_ready;
    struct proxy_listener *listener = &pod->listeners[which];
    listener->pod = pod;
    listener->place = which;
    listener->accept = CAPTURES[which].accept;
    struct result opened =
        proxy_listener_open(listener, pod->worker->loop, answer->descriptors[0], answer->is_transparent);
    if (!result_is_ok(&opened)) {
        tell_started(pod, &opened);
        return;
    }
    log_listening(pod, which, answer->is_transparent);
    pod->listeners_ready++;
    bind_next(pod);
}

static unsigned wanted_captures(const struct pod *pod)
{
    if (pod->is_proxy_itself) {
        return POD_LISTENER_HBONE + 1;
    }
    const struct configuration *configuration = pod->worker->shared->configuration;
    if (!configuration->proxy_enabled) {
        return 0;
    }
    return configuration->socks5_enabled ? POD_LISTENER_SOCKS5 + 1 : POD_LISTENER_SOCKS5;
}

static void on_dns_started(struct pod *pod, const struct result *outcome)
{
    if (result_is_ok(outcome)) {
        pod->state = POD_RUNNING;
    }
    tell_started(pod, outcome);
}

/* Last: the DNS proxy, where there is one. */
static void start_dns(struct pod *pod)
{
    if (!pod->is_proxy_itself && pod->worker->shared->configuration->dns_proxy_enabled) {
        pod->dns = dns_proxy_new(pod);
        dns_proxy_start(pod->dns, on_dns_started);
    } else {
        struct result ok = result_ok();
        on_dns_started(pod, &ok);
    }
}

static void bind_next(struct pod *pod)
{
    const struct configuration *configuration = pod->worker->shared->configuration;
    if (pod->listeners_ready == wanted_captures(pod)) {
        start_dns(pod);
        return;
    }
    bool is_shared = configuration->proxy_mode == PROXY_MODE_SHARED;
    uint8_t flags = CAPTURES[pod->listeners_ready].flags;
    /* In dedicated mode several workers listen side by side; marks are for pods' sockets (dataplane §3). */
    if (configuration->inpod_port_reuse || !is_shared) {
        flags |= SOCKET_REUSES_PORT;
    }
    if (!pod->is_proxy_itself) {
        flags |= SOCKET_TRANSPARENT;
    }
    if (is_shared && !pod->is_proxy_itself) {
        flags |= SOCKET_MARKED;
    }
    const struct listener_options options = {
        .address = capture_address(pod, pod->listeners_ready),
        .flags = flags,
    };
    pod->start_call.on_answer = on_listener;
    broker_make_listener(pod->worker->broker, &pod->start_call, pod->namespace_handle, &options);
}

void pod_count_stream(struct pod *pod, int change)
{
    pod->account.streams += (uint32_t)change;
    atomic_fetch_add_explicit(&pod->totals->streams, change, memory_order_relaxed);
}

void pod_count_handshake(struct pod *pod, int change)
{
    atomic_fetch_add_explicit(&pod->totals->handshakes, change, memory_order_relaxed);
}

struct hbone_settings pod_hbone_settings(struct pod *pod, enum hbone_role role)
{
    struct hbone_settings settings = worker_hbone_settings(pod->worker, role);
    settings.account = &pod->turns;
    settings.pinned = &pod->account.pinned;
    return settings;
}

static struct hbone_pool *make_tunnel_pool(struct pod *pod)
{
    const struct configuration *configuration = pod->worker->shared->configuration;
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    settings.session = pod_hbone_settings(pod, HBONE_CLIENT);
    settings.streams_per_tunnel = configuration->pool_maximum_streams;
    settings.unused_release_ms = configuration->pool_unused_release_timeout_ns / 1000000;
    return hbone_pool_new(pod->worker->loop, &settings, &TUNNEL_OPENER, pod);
}

static struct pod *make_pod(struct worker *worker, struct pod_information *information, uint32_t namespace_handle,
    struct pod_totals *totals, void *context)
{
    struct pod *pod = NEW(struct pod);
    pod->worker = worker;
    pod->information = *information;
    *information = (struct pod_information){ 0 };
    pod->namespace_handle = namespace_handle;
    pod->context = context;
    pod->is_proxy_itself = namespace_handle == BROKER_OWN_NAMESPACE_HANDLE &&
                           worker->shared->configuration->proxy_mode == PROXY_MODE_SHARED;
    pod->totals = totals;
    pod->account.pinned.whole = &worker->pinned;
    loop_account_initialise(&pod->turns);
    list_initialise(&pod->inbound_tunnels);
    list_initialise(&pod->inner_tunnels);
    list_initialise(&pod->connections);
    list_initialise(&pod->workload_waits);
    list_initialise(&pod->socks5_clients);
    for (int i = 0; i < POD_LISTENER_COUNT; i++) {
        pod->listeners[i].descriptor = -1;
    }
    pod->tunnels = make_tunnel_pool(pod);
    list_append(&worker->pods, &pod->link);
    return pod;
}

struct pod *pod_start(struct worker *worker, struct pod_information *information, uint32_t namespace_handle,
    void (*on_started)(struct pod *, const struct result *, void *), void *context)
{
    struct pod_totals *dedicated = worker->shared->dedicated_totals;
    struct pod *pod = make_pod(
        worker, information, namespace_handle, dedicated != NULL ? dedicated : NEW_LINES(struct pod_totals), context);
    pod->on_started = on_started;
    bind_next(pod);
    return pod;
}

struct pod *pod_start_extension(
    struct worker *worker, struct pod_information *information, const struct pod_extension_settings *settings)
{
    struct pod *pod = make_pod(worker, information, settings->namespace_handle, settings->totals, settings->context);
    pod->on_stopped = settings->on_stopped;
    pod->is_extension = true;
    for (unsigned i = 0; i < POD_LISTENER_COUNT; i++) {
        pod->listeners[i].is_transparent = (settings->transparent_listeners >> i & 1) != 0;
    }
    pod->state = POD_RUNNING;
    return pod;
}

void pod_take(struct pod *pod, enum pod_listener place, int descriptor, const struct socket_address *peer)
{
    if (!connection_refuse_over_limit(pod, place, descriptor, peer)) {
        CAPTURES[place].accept(pod, descriptor, peer);
    }
}

static void cut_connections(struct pod *pod, const char *reason)
{
    pod->is_held = true;
    while (!list_is_empty(&pod->connections)) {
        struct connection *connection = LIST_ENTRY(pod->connections.next, struct connection, link);
        connection->cut(connection, RESPONSE_NONE, reason);
    }
    LIST_FOR_EACH(link, &pod->inbound_tunnels) {
        inbound_tunnel_close(LIST_ENTRY(link, struct inbound_tunnel, link), reason);
    }
    inner_tunnels_abort(&pod->inner_tunnels);
    socks5_cut(pod);
    dns_proxy_cut(pod->dns);
    pod->is_held = false;
}

static void close_listeners(struct pod *pod)
{
    timer_disarm(&pod->listeners_end);
    for (int i = 0; i < POD_LISTENER_COUNT; i++) {
        if (pod->listeners[i].watch.loop != NULL && pod_logs_listeners(pod)) {
            POD_EVENT(
                pod, LOG_INFO, "ztunnel::proxy", "listener drained", LOG_STRING("component", CAPTURES[i].component));
        }
        proxy_listener_close(&pod->listeners[i]);
    }
}

static void on_drain_deadline(struct timer *timer)
{
    struct pod *pod = CONTAINER_OF(timer, struct pod, drain_deadline);
    if (!is_idle(pod)) {
        POD_EVENT(pod, LOG_WARN, "ztunnel::drain",
            "drain duration expired with pending connections, forcefully shutting down");
    }
    close_listeners(pod);
    cut_connections(pod, "connection closed due to connection drain");
    pod_check_drained(pod);
}

static void on_listeners_end(struct timer *timer)
{
    struct pod *pod = CONTAINER_OF(timer, struct pod, listeners_end);
    close_listeners(pod);
    pod_check_drained(pod);
}

/* New connections go to a successor from now on; those whose handshake is under way are still ours. */
static void yield_listeners(struct pod *pod)
{
    for (int i = 0; i < POD_LISTENER_COUNT; i++) {
        if (pod->listeners[i].descriptor >= 0) {
            socket_yield_to_successor(pod->listeners[i].descriptor);
        }
    }
    pod->listeners_end.on_expire = on_listeners_end;
    timer_arm_after_ms(pod->worker->loop, &pod->listeners_end, LISTENERS_END_MS);
}

static void begin_drain(struct pod *pod)
{
    pod->state = POD_DRAINING;
    broker_call_cancel(&pod->start_call);
    enrolment_proof_free(pod->enrolment);
    pod->enrolment = NULL;
    yield_listeners(pod);
    dns_proxy_drain(pod->dns);
    LIST_FOR_EACH(link, &pod->inbound_tunnels) {
        inbound_tunnel_drain(LIST_ENTRY(link, struct inbound_tunnel, link));
    }
}

void pod_drain(struct pod *pod, uint64_t deadline_ms)
{
    if (pod->state != POD_DRAINING) {
        begin_drain(pod);
    }
    pod_spread_drain(pod, deadline_ms);
    if (deadline_ms == 0) {
        close_listeners(pod);
    }
    /* Always by a timer, so that the pod is never freed under its caller. */
    pod->drain_deadline.on_expire = on_drain_deadline;
    timer_arm_after_ms(pod->worker->loop, &pod->drain_deadline, deadline_ms);
}

const struct workload *pod_workload(const struct pod *pod)
{
    return mesh_local_workload(worker_version(pod->worker), pod->information.name, pod->information.namespace_,
        pod->information.service_account);
}

static void on_workload_deadline(struct timer *timer)
{
    struct workload_wait *wait = CONTAINER_OF(timer, struct workload_wait, deadline);
    const struct pod_information *information = &wait->pod->information;
    LOG_PRINT_LIMITED(TIMEOUT_LINES_A_SECOND, pod_spans(wait->pod, &(struct proxy_spans){ 0 }), LOG_WARN,
        "ztunnel::state", "timed out waiting for workload '%s.%s (%s)' from xds", information->service_account,
        information->namespace_, information->name);
    list_remove(&wait->link);
    wait->on_workload(wait, NULL);
}

void workload_wait_start(struct workload_wait *wait, struct pod *pod)
{
    wait->pod = pod;
    list_initialise(&wait->link);
    const struct workload *workload = pod_workload(pod);
    if (workload != NULL) {
        wait->on_workload(wait, workload);
        return;
    }
    list_append(&pod->workload_waits, &wait->link);
    wait->deadline.on_expire = on_workload_deadline;
    timer_arm_after_ms(pod->worker->loop, &wait->deadline, WORKLOAD_WAIT_MS);
}

void workload_wait_cancel(struct workload_wait *wait)
{
    if (wait->pod != NULL) {
        timer_disarm(&wait->deadline);
        list_remove(&wait->link);
    }
}

struct result pod_unknown_workload(const struct pod *pod)
{
    const struct pod_information *information = &pod->information;
    return result_fail(RESULT_UNAVAILABLE, "failed to fetch information about local workload: %s.%s (%s)",
        information->service_account, information->namespace_, information->name);
}

static void wake_waiters(struct pod *pod)
{
    const struct workload *workload = list_is_empty(&pod->workload_waits) ? NULL : pod_workload(pod);
    while (workload != NULL && !list_is_empty(&pod->workload_waits)) {
        struct workload_wait *wait = LIST_ENTRY(list_take_first(&pod->workload_waits), struct workload_wait, link);
        timer_disarm(&wait->deadline);
        wait->on_workload(wait, workload);
    }
}

void pod_notice_version(struct pod *pod, bool policies_changed)
{
    pod->is_held = true;
    wake_waiters(pod);
    if (policies_changed) {
        connections_enforce(&pod->connections, worker_version(pod->worker));
    }
    pod->is_held = false;
    pod_check_drained(pod);
}

struct socket_stock *pod_stock(struct pod *pod, enum dial_purpose purpose, enum ip_family family)
{
    static const uint8_t FLAGS[POD_STOCK_COUNT] = {
        [DIAL_TUNNEL] = SOCKET_MARKED | SOCKET_TUNNEL,
        [DIAL_UPSTREAM] = SOCKET_MARKED | SOCKET_KEEPALIVE | SOCKET_ENDS_BY_RESET,
        [DIAL_APPLICATION] =
            SOCKET_MARKED | SOCKET_KEEPALIVE | SOCKET_LOCAL_LEG | SOCKET_TRANSPARENT | SOCKET_ENDS_BY_RESET,
    };
    struct socket_stock **stock = &pod->stocks[purpose][family == IP_V6];
    if (*stock == NULL) {
        uint8_t flags = FLAGS[purpose];
        if (pod->is_proxy_itself) {
            flags &= (uint8_t) ~(SOCKET_TRANSPARENT | SOCKET_MARKED);
        }
        *stock = socket_stock_new(pod->worker->broker, pod->namespace_handle, family, flags);
    }
    return *stock;
}

bool pod_keeps_source(const struct pod *pod, enum pod_listener listener)
{
    return !pod->is_proxy_itself && pod->listeners[listener].is_transparent;
}
