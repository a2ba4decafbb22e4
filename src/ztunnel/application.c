#include "ztunnel/application.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/processor_slice.h"
#include "base/text.h"
#include "mesh/change.h"
#include "net/stop_signals.h"
#include "tls/policy.h"
#include "xds/local_file.h"
#include "ztunnel/admin.h"
#include "ztunnel/certificate_setup.h"
#include "ztunnel/control_target.h"
#include "ztunnel/idle_code.h"
#include "ztunnel/inpod_manager.h"
#include "ztunnel/metrics.h"
#include "ztunnel/metrics_server.h"
#include "ztunnel/own_identity.h"
#include "ztunnel/pod_assignment.h"
#include "ztunnel/process_sandbox.h"
#include "ztunnel/readiness.h"
#include "ztunnel/revocation_watch.h"
#include "ztunnel/start_log.h"
#include "ztunnel/version_notice.h"
#include "ztunnel/worker.h"
#include "ztunnel/xds_feed.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define HOUSEKEEPING_MS 1000
#define METRICS_EXPIRE_EVERY 60 /* times of housekeeping */
#define CONTROL_CHANNEL 0
#define RESOLVER_FILE "/etc/resolv.conf"

struct application {
    const struct configuration *configuration;
    struct shared_state shared;
    struct loop *loop;
    struct buffer_pool *buffers;
    struct metric_shard *shard;
    struct broker_client *broker;
    struct worker *workers;
    size_t worker_count;
    struct readiness *readiness;
    struct admin *admin;
    struct metrics_source metrics_source;
    struct metrics_server *metrics_server;
    struct arena texts; /* of the control plane's settings */
    struct resolver_file resolver;
    struct xds_feed *feed;
    struct revocation_watch *revocations; /* NULL: off */
    struct pod_launch_site launch_site;
    struct mesh_version *local_version; /* what the local file made; NULL: there was none */
    struct live_view *live;
    struct inpod_manager *pods;
    bool have_pods_stopped;
    struct own_identity *own; /* shared mode; NULL: none */
    bool has_own_stopped;
    struct pod_assignment **dedicated; /* one per worker */
    size_t dedicated_started;
    size_t dedicated_running;
    struct io_watch signals;
    struct timer housekeeping;
    struct version_notice version_notice;
    unsigned housekeeping_count;
    struct idle_code idle_code;
    bool is_gate_open; /* the model is there: traffic may be taken */
    bool is_stopping;
    int stop_signal;
    struct result failure;
};

static void begin_stop(struct application *application);

static void fail_and_stop(struct application *application, const struct result *failure)
{
    if (result_is_ok(&application->failure)) {
        application->failure = *failure;
    }
    begin_stop(application);
}

static void notice_version(void *context)
{
    struct application *application = context;
    version_notice_published(&application->version_notice);
}

/* Replaced versions wait for the workers' next turn; somebody has to come back and release them. */
static void on_housekeeping(struct timer *timer)
{
    struct application *application = CONTAINER_OF(timer, struct application, housekeeping);
    qsbr_reclaim(application->shared.readers);
    if (application->readiness != NULL && readiness_is_ready(application->readiness)) {
        idle_code_watch(&application->idle_code);
    }
    if (++application->housekeeping_count % METRICS_EXPIRE_EVERY == 0) {
        metric_registry_expire(application->shared.metrics, clock_monotonic_ns());
    }
    timer_arm_after_ms(application->loop, timer, HOUSEKEEPING_MS);
}

/* What only starting needed is given back as soon as the start is over. */
static void complete(struct application *application, enum readiness_task task)
{
    if (application->readiness == NULL) {
        return; /* asked to stop in the middle of the start */
    }
    readiness_complete(application->readiness, task);
    if (readiness_is_ready(application->readiness)) {
        timer_arm_after_ms(application->loop, &application->housekeeping, 1);
    }
}

static void complete_servers(struct application *application)
{
    complete(application, READINESS_PROXY);
    complete(application, READINESS_DNS_PROXY);
}

static void on_dedicated_started(void *context, const struct result *outcome)
{
    struct application *application = context;
    if (!result_is_ok(outcome)) {
        fail_and_stop(application, outcome);
        return;
    }
    if (++application->dedicated_started == application->worker_count) {
        complete_servers(application);
    }
}

static void on_dedicated_stopped(void *context)
{
    struct application *application = context;
    if (--application->dedicated_running == 0 && application->is_stopping) {
        loop_stop(application->loop);
    }
}

static const struct pod_assignment_events DEDICATED_EVENTS = { on_dedicated_started, on_dedicated_stopped, NULL };

static void start_dedicated(struct application *application)
{
    application->dedicated = memory_allocate_zeroed(application->worker_count, sizeof(struct pod_assignment *));
    for (size_t i = 0; i < application->worker_count; i++) {
        struct pod_information information;
        struct result parsed =
            pod_information_parse(application->configuration->proxy_workload_information, &information);
        if (!result_is_ok(&parsed)) {
            fail_and_stop(application, &parsed);
            return;
        }
        application->dedicated_running++;
        application->dedicated[i] = pod_assignment_start(application->loop, &application->workers[i], &information,
            BROKER_OWN_NAMESPACE_HANDLE, &DEDICATED_EVENTS, application);
    }
}

static void on_pods_ready_change(void *context, bool is_ready)
{
    struct application *application = context;
    if (is_ready) {
        complete(application, READINESS_WORKLOAD_MANAGER);
    } else {
        readiness_await(application->readiness, READINESS_WORKLOAD_MANAGER);
    }
}

static void stop_when_empty(struct application *application)
{
    if (application->have_pods_stopped && (application->own == NULL || application->has_own_stopped)) {
        loop_stop(application->loop);
    }
}

static void on_pods_stopped(void *context)
{
    struct application *application = context;
    application->have_pods_stopped = true;
    stop_when_empty(application);
}

static void on_own_stopped(void *context)
{
    struct application *application = context;
    application->has_own_stopped = true;
    stop_when_empty(application);
}

static void start_shared(struct application *application)
{
    application->own = own_identity_start(application->loop, &application->workers[0]);
    application->launch_site = (struct pod_launch_site){
        .control = application->loop,
        .broker = application->broker,
        .workers = application->workers,
        .worker_count = application->worker_count,
    };
    const struct inpod_manager_settings settings = {
        .socket_path = application->configuration->inpod_socket_path,
        .launcher = pod_launcher_of(&application->launch_site),
        .metrics = application->shard,
        .own_namespace = application->own != NULL ? own_identity_namespace(application->own) : NULL,
        .on_ready_change = on_pods_ready_change,
        .on_stopped = on_pods_stopped,
        .context = application,
    };
    application->pods = inpod_manager_new(application->loop, &settings);
    admin_set_pods(application->admin, application->pods);
    complete_servers(application);
}

/* Nothing is accepted, and the node agent is not even dialled, before the model is there (§2, "Gate"). */
static void open_gate(void *context)
{
    struct application *application = context;
    if (application->is_gate_open || application->is_stopping) {
        return;
    }
    application->is_gate_open = true;
    complete(application, READINESS_STATE_MANAGER);
    if (application->configuration->proxy_mode == PROXY_MODE_SHARED) {
        start_shared(application);
    } else {
        start_dedicated(application);
    }
}

static void begin_stop(struct application *application)
{
    if (application->is_stopping) {
        return;
    }
    application->is_stopping = true;
    uint64_t deadline_ms = application->configuration->termination_deadline_ns / NANOSECONDS_PER_MILLISECOND;
    readiness_free(application->readiness);
    application->readiness = NULL;
    if (application->pods != NULL) {
        if (application->own != NULL) {
            own_identity_stop(application->own, deadline_ms, on_own_stopped, application);
        }
        inpod_manager_stop(application->pods, deadline_ms);
        return;
    }
    for (size_t i = 0; application->dedicated != NULL && i < application->worker_count; i++) {
        if (application->dedicated[i] != NULL) {
            pod_assignment_stop(application->dedicated[i], deadline_ms);
        }
    }
    if (application->dedicated_running == 0) {
        loop_stop(application->loop);
    }
}

static void on_signal(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct application *application = CONTAINER_OF(watch, struct application, signals);
    int number;
    while ((number = stop_signals_take(watch)) != 0) {
        if (application->is_stopping) {
            if (number == SIGINT && application->stop_signal == SIGINT) {
                log_print(LOG_INFO, "ztunnel::signal", "Double Ctrl+C, exit immediately");
                log_stop();
                _exit(0);
            }
            continue;
        }
        application->stop_signal = number;
        log_print(LOG_INFO, "ztunnel::signal", "received signal %s, starting shutdown",
            number == SIGTERM ? "SIGTERM" : "SIGINT");
        begin_stop(application);
    }
}

static struct result watch_signals(struct application *application)
{
    signal(SIGPIPE, SIG_IGN);
    application->signals.on_ready = on_signal;
    return stop_signals_watch(application->loop, &application->signals);
}

static void on_quit(void *context)
{
    struct application *application = context;
    if (!application->is_stopping) {
        log_print(LOG_INFO, "ztunnel::signal", "received explicit shutdown signal");
    }
    begin_stop(application);
}

static void on_broker_death(void *context, const struct result *reason)
{
    fail_and_stop(context, reason);
}

static struct result start_broker(struct application *application)
{
    const struct configuration *configuration = application->configuration;
    static const enum socket_transparency TRANSPARENCY[] = {
        [ORIGINAL_SOURCE_TRY] = TRANSPARENCY_IF_POSSIBLE,
        [ORIGINAL_SOURCE_MUST] = TRANSPARENCY_REQUIRED,
        [ORIGINAL_SOURCE_NEVER] = TRANSPARENCY_NEVER,
    };
    struct socket_settings *sockets = &application->shared.sockets;
    *sockets = (struct socket_settings){
        .mark = configuration->packet_mark,
        .transparency = TRANSPARENCY[configuration->original_source],
        .keepalive_is_enabled = configuration->keepalive_enabled,
        .user_timeout_is_enabled = configuration->user_timeout_enabled,
        .keepalive_time_s = (uint32_t)(configuration->keepalive_time_ns / NANOSECONDS_PER_SECOND),
        .keepalive_interval_s = (uint32_t)(configuration->keepalive_interval_ns / NANOSECONDS_PER_SECOND),
        .keepalive_retries = configuration->keepalive_retries,
    };
    const struct broker_settings settings = {
        .mode = configuration->proxy_mode == PROXY_MODE_SHARED ? BROKER_ALL_NAMESPACES : BROKER_NONE,
        .channel_count = configuration->worker_count + 1,
        .raises_big_tcp = configuration->big_tcp_enabled,
        .sockets = *sockets,
        .listener_ports = { INBOUND_HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, DNS_PROXY_PORT, SOCKS5_PORT },
    };
    RESULT_TRY(broker_start(&settings, &application->shared.broker));
    return configuration->proxy_mode == PROXY_MODE_SHARED
               ? broker_drop_privileges()
               : broker_narrow_privileges(sockets, configuration_has_privileged_ports(configuration));
}

static struct result load_local_file(struct application *application)
{
    const struct configuration *configuration = application->configuration;
    const char *path = text_is_empty(configuration->local_xds_path) ? NULL : configuration->local_xds_path;
    const char *text = text_is_empty(configuration->local_xds) ? NULL : configuration->local_xds;
    if (path == NULL && text == NULL) {
        return result_ok();
    }
    struct mesh_change *change = mesh_change_begin(mesh_publication_read(application->shared.publication));
    struct result loaded = local_file_initialise(path, text, change);
    if (!result_is_ok(&loaded)) {
        mesh_change_discard(change);
        return loaded;
    }
    struct mesh_version *version = mesh_change_commit(change);
    application->local_version = mesh_version_reference(version);
    malloc_trim(0); /* parsing a large file took many times its size */
    mesh_publication_publish(application->shared.publication, version);
    return result_ok();
}

static struct result start_model(struct application *application)
{
    const struct configuration *configuration = application->configuration;
    RESULT_TRY(load_local_file(application));
    if (configuration->xds_address[0] == '\0') {
        return result_ok();
    }
    struct control_plane_settings control_plane;
    RESULT_TRY(control_target_settings(configuration, CONTROL_TARGET_XDS, &application->texts, &control_plane));
    const struct xds_feed_settings settings = {
        .configuration = configuration,
        .publication = application->shared.publication,
        .certificates = application->shared.certificates,
        .metrics = application->shard,
        .on_published = notice_version,
        .on_ready = open_gate,
        .context = application,
    };
    application->feed = xds_feed_new(application->loop, application->buffers, &settings, &control_plane);
    application->shared.feed = application->feed;
    return result_ok();
}

static struct result read_resolver_file(struct application *application)
{
    struct result read = resolver_file_read(RESOLVER_FILE, &application->resolver);
    application->shared.resolver = &application->resolver;
    return application->configuration->dns_proxy_enabled ? result_in(read, "DNS proxy") : result_ok();
}

static struct result start_workers(struct application *application)
{
    application->workers =
        memory_allocate_lines(application->configuration->worker_count * sizeof *application->workers);
    application->shared.workers = application->workers;
    version_notice_begin(&application->version_notice, application->loop, application->shared.readers,
        application->workers, &application->worker_count);
    for (size_t i = 0; i < application->configuration->worker_count; i++) {
        RESULT_TRY(worker_start(&application->workers[i], (unsigned)i, &application->shared));
        application->worker_count++;
    }
    application->metrics_source.workers = application->workers;
    application->metrics_source.worker_count = application->worker_count;
    return result_ok();
}

static void make_shared_state(struct application *application)
{
    const struct configuration *configuration = application->configuration;
    struct shared_state *shared = &application->shared;
    shared->configuration = configuration;
    shared->limits = limits_resolve(configuration);
    shared->sources = source_accounts_new();
    shared->dedicated_totals = configuration->proxy_mode == PROXY_MODE_DEDICATED ? NEW_LINES(struct pod_totals) : NULL;
    shared->illegal_ports =
        (struct illegal_ports){ { OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, INBOUND_HBONE_PORT, SOCKS5_PORT },
            configuration->socks5_enabled ? 4 : 3 };
    shared->readers = qsbr_new();
    shared->metrics = metric_registry_new(ZTUNNEL_METRICS, METRIC_COUNT);
    const struct mesh_settings mesh = { configuration->network, configuration->node_name };
    shared->publication = mesh_publication_new(shared->readers, mesh_version_new(&mesh));
    application->shard = metric_shard_new(shared->metrics);
}

static struct result start_servers(struct application *application)
{
    const struct configuration *configuration = application->configuration;
    application->readiness = readiness_new(application->loop);
    readiness_await(application->readiness, READINESS_STATE_MANAGER);
    if (configuration->proxy_enabled) {
        readiness_await(application->readiness, READINESS_PROXY);
    }
    if (configuration->dns_proxy_enabled) {
        readiness_await(application->readiness, READINESS_DNS_PROXY);
    }
    if (configuration->proxy_mode == PROXY_MODE_SHARED) {
        readiness_await(application->readiness, READINESS_WORKLOAD_MANAGER);
    }
    RESULT_TRY(
        result_in(readiness_listen(application->readiness, configuration->readiness_port, configuration->ipv6_enabled),
            "readiness port"));
    const struct admin_settings settings = {
        .source = { .configuration = configuration,
            .publication = application->shared.publication,
            .certificates = application->shared.certificates },
        .on_quit = on_quit,
        .context = application,
    };
    application->admin = admin_new(application->loop, &settings);
    RESULT_TRY(admin_listen(application->admin));
    application->metrics_source = (struct metrics_source){ configuration, application->shared.metrics,
        application->shard, application->shared.publication, application->shared.certificates, NULL, 0 };
    application->metrics_server = metrics_server_new(application->loop, &application->metrics_source);
    return metrics_server_listen(application->metrics_server);
}

static struct result start(struct application *application)
{
    RESULT_TRY(certificate_setup(application->configuration, application->loop, application->buffers,
        application->shard, &application->texts, &application->shared.certificates));
    RESULT_TRY(start_servers(application));
    application->revocations =
        revocation_watch_new(application->loop, application->shard, application->configuration->crl_path);
    RESULT_TRY(read_resolver_file(application));
    RESULT_TRY(start_workers(application));
    revocation_watch_set_workers(application->revocations, application->workers, application->worker_count);
    RESULT_TRY(start_model(application));
    application->live = live_view_new(application->loop, application->workers, application->worker_count);
    admin_set_state(application->admin, application->live, application->local_version);
    if (application->configuration->proxy_mode == PROXY_MODE_SHARED) {
        RESULT_TRY(broker_watch_death(application->shared.broker, application->loop, on_broker_death, application));
    }
    application->housekeeping.on_expire = on_housekeeping;
    timer_arm_after_ms(application->loop, &application->housekeeping, HOUSEKEEPING_MS);
    if (application->feed != NULL) {
        xds_feed_start(application->feed);
    } else {
        open_gate(application);
    }
    return result_ok();
}

/* In the reverse order of start; everything that may still be absent after a failed start is allowed to be. */
static void free_all(struct application *application)
{
    xds_feed_free(application->feed);
    revocation_watch_free(application->revocations);
    for (size_t i = 0; i < application->worker_count; i++) {
        worker_stop(&application->workers[i]);
    }
    for (size_t i = 0; i < application->worker_count; i++) {
        worker_free(&application->workers[i]);
    }
    if (application->live != NULL) {
        live_view_workers_gone(application->live);
    }
    memory_free(application->workers);
    memory_free(application->dedicated);
    admin_free(application->admin);
    live_view_free(application->live);
    mesh_version_release(application->local_version);
    metrics_server_free(application->metrics_server);
    readiness_free(application->readiness);
    inpod_manager_free(application->pods);
    own_identity_free(application->own);
    if (application->shared.certificates != NULL) {
        certificate_store_free(application->shared.certificates);
    }
    broker_client_free(application->broker);
    broker_stop(application->shared.broker);
    source_accounts_free(application->shared.sources);
    memory_free(application->shared.dedicated_totals);
    mesh_publication_free(application->shared.publication);
    qsbr_free(application->shared.readers);
    metric_registry_free(application->shared.metrics);
    arena_free(&application->texts);
    timer_disarm(&application->housekeeping);
    version_notice_end(&application->version_notice);
    stop_signals_unwatch(&application->signals);
    buffer_pool_free(application->buffers);
    loop_free(application->loop);
}

static struct tls_policy tls_policy_of(const struct configuration *configuration)
{
    static const enum tls_engine engines[] = {
        [TLS_ENGINE_SETTING_AUTO] = TLS_ENGINE_AUTO,
        [TLS_ENGINE_SETTING_NATIVE] = TLS_ENGINE_NATIVE,
        [TLS_ENGINE_SETTING_OPENSSL] = TLS_ENGINE_OPENSSL,
    };
    return (struct tls_policy){
        .allows_tls12 = configuration->tls12_enabled,
        .is_post_quantum_only = configuration->compliance_policy == 1,
        .engine = engines[configuration->tls_engine],
        .prefers_aes128 = configuration->tls_cipher_preference == 1,
    };
}

struct result application_run(const struct configuration *configuration)
{
    struct application *application = NEW(struct application);
    application->configuration = configuration;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    socket_raise_descriptor_limit();
    /* The broker is forked first: before any key, any thread and any log writer exists. */
    struct result started = start_broker(application);
    /* All threads get it from this one; inside the sandbox nobody may ask. */
    application->shared.has_short_slices = processor_slice_shorten();
    if (result_is_ok(&started)) {
        started = process_sandbox_enter();
    }
    if (!result_is_ok(&started)) {
        memory_free(application);
        return started;
    }
    const struct log_settings log = {
        .is_json = configuration->log_format == 1,
        .filter = configuration->log_filter,
        .output = STDOUT_FILENO,
        .always = "hickory_server::server=off", /* what the reference prints and takes (management §9) */
    };
    const struct tls_policy policy = tls_policy_of(configuration);
    memory_return_bound_arenas((unsigned)configuration->worker_count);
    application->loop = loop_new();
    application->buffers = buffer_pool_new();
    make_shared_state(application);
    application->broker = broker_client_new(application->shared.broker, CONTROL_CHANNEL, application->loop);
    started = watch_signals(application);
    if (result_is_ok(&started)) {
        started = log_start(&log);
    }
    if (result_is_ok(&started)) {
        started = tls_start(&policy);
    }
    if (result_is_ok(&started)) {
        start_log_write(configuration, limit.rlim_cur);
        started = start(application);
    }
    if (result_is_ok(&started)) {
        loop_run(application->loop);
        log_print(LOG_INFO, "ztunnel", "shutdown complete");
        started = application->failure;
    }
    free_all(application);
    memory_free(application);
    log_stop();
    return started;
}
