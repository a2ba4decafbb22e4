#include "ambard/daemon.h"

#include "ambard/authority_keeper.h"
#include "ambard/certificate_service.h"
#include "ambard/debug_pages.h"
#include "ambard/discovery.h"
#include "ambard/metrics.h"
#include "ambard/services.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "kube/folder.h"
#include "net/buffer_pool.h"
#include "net/loop.h"
#include "net/socket.h"
#include "net/stop_signals.h"
#include "tls/context.h"
#include "tls/policy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAEMON_TARGET "ambard"
#define SERVING_LIFETIME_S (365 * 86400LL)
#define SERVING_RENEWAL_S 86400
#define AUTHORITY_CHECK_MS (60ULL * 1000)

struct daemon {
    const struct ambard_settings *settings;
    struct loop *loop;
    struct buffer_pool *buffers;
    struct metric_registry *metrics;
    struct metric_shard *shard;
    struct kube_folder *folder;
    struct ambient_index *index;
    struct authority_keeper *authority;
    struct token_key *token_key;
    struct caller_check callers;
    struct discovery *discovery;
    struct certificate_service *certificates;
    struct ambard_services services;
    struct grpc_server *secure;
    struct grpc_server *plain;
    struct debug_pages *pages;
    struct tls_context *serving;
    struct io_watch signals;
    int64_t serving_made_s;
    struct timer authority_check;
};

static void on_start(struct grpc_server_call *call, void *context)
{
    const struct ambard_services *services = context;
    discovery_on_start(call, services->discovery);
}

static void on_certificate_request(struct grpc_server_call *call, struct bytes message)
{
    const struct ambard_services *services = grpc_server_call_context(call);
    certificate_service_on_message(services->certificates, call, message);
}

static const struct grpc_method METHODS[] = {
    { DISCOVERY_DELTA_PATH, on_start, discovery_on_message, discovery_on_end_of_messages, discovery_on_writable,
        discovery_on_closed },
    { CERTIFICATE_SERVICE_PATH, NULL, on_certificate_request, NULL, NULL, NULL },
};

static void print_problems(const struct daemon *daemon, bool to_log)
{
    const struct kube_problems *problems = kube_folder_problems(daemon->folder);
    for (size_t i = 0; i < problems->count; i++) {
        struct writer line = writer_growing();
        kube_problem_format(&problems->items[i], &line);
        if (to_log) {
            log_print(problems->items[i].severity == KUBE_ERROR ? LOG_ERROR : LOG_INFO, "ambard::configuration", "%s",
                writer_string(&line));
        } else {
            fprintf(stderr, "%s\n", writer_string(&line));
        }
        writer_free(&line);
    }
}

static void on_folder_change(void *context)
{
    struct daemon *daemon = context;
    struct ambient_changes changes;
    print_problems(daemon, true);
    struct result updated = ambient_index_update(daemon->index, kube_folder_store(daemon->folder), &changes);
    if (!result_is_ok(&updated)) {
        log_print(LOG_ERROR, "ambard::configuration", "%s", updated.message);
    }
    metric_count(daemon->shard, METRIC_CONFIG_CHANGES, 1);
    log_print(LOG_INFO, "ambard::configuration", "configuration applied: %zu resources changed", changes.count);
    discovery_push(daemon->discovery, &changes);
}

static struct result make_directory(const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return result_system(errno, "cannot make the state directory %s", path);
    }
    return result_ok();
}

static const char *const DEFAULT_SERVING_NAMES[] = { "localhost", "127.0.0.1", "::1", "istiod.istio-system.svc",
    "istiod-remote.istio-system.svc", "istio-pilot.istio-system.svc" };

static struct result renew_serving_certificate(struct daemon *daemon)
{
    const struct option_list *given = &daemon->settings->serving_names;
    const char *const *names = given->count > 0 ? (const char *const *)given->items : DEFAULT_SERVING_NAMES;
    size_t count = given->count > 0 ? given->count : ARRAY_LENGTH(DEFAULT_SERVING_NAMES);
    struct certificate_bundle *bundle;
    int64_t now_s = clock_wall_s();
    RESULT_TRY(certificate_authority_issue_bundle(
        authority_keeper_current(daemon->authority), names, count, SERVING_LIFETIME_S, now_s, &bundle));
    struct tls_context *context;
    struct result made = tls_context_new_server(bundle, &context);
    certificate_bundle_release(bundle);
    RESULT_TRY(made);
    tls_context_release(daemon->serving);
    daemon->serving = context;
    daemon->serving_made_s = now_s;
    return result_ok();
}

static void publish_root_expiry(struct daemon *daemon)
{
    int64_t not_before_s;
    int64_t not_after_s;
    certificate_validity(
        certificate_authority_signer(authority_keeper_current(daemon->authority)), &not_before_s, &not_after_s);
    ambard_set(daemon->shard, METRIC_ROOT_EXPIRY, not_after_s);
}

static void on_authority_check(struct timer *timer)
{
    struct daemon *daemon = CONTAINER_OF(timer, struct daemon, authority_check);
    int64_t now_s = clock_wall_s();
    timer_arm_after_ms(daemon->loop, timer, AUTHORITY_CHECK_MS);
    bool has_changed = authority_keeper_check(daemon->authority, now_s);
    if (!has_changed && now_s - daemon->serving_made_s < SERVING_RENEWAL_S) {
        return;
    }
    publish_root_expiry(daemon);
    struct result renewed = renew_serving_certificate(daemon);
    if (result_is_ok(&renewed)) {
        grpc_server_set_tls(daemon->secure, daemon->serving);
    } else {
        log_print(LOG_ERROR, DAEMON_TARGET, "the serving certificate was not renewed: %s", renewed.message);
    }
}

static struct result listen_plain(struct daemon *daemon)
{
    if (daemon->settings->plain_port == 0) {
        return result_ok();
    }
    struct socket_address loopback = { .port = daemon->settings->plain_port };
    ip_parse("127.0.0.1", &loopback.ip);
    RESULT_TRY(result_in(grpc_server_listen(daemon->plain, &loopback, NULL, NULL), "plain port"));
    ip_parse("::1", &loopback.ip);
    /* A host without IPv6 on its loopback is served on IPv4. */
    (void)grpc_server_listen(daemon->plain, &loopback, NULL, NULL);
    return result_ok();
}

static struct result listen_secure(struct daemon *daemon)
{
    struct socket_address address = { .port = daemon->settings->secure_port };
    if (!ip_parse(daemon->settings->listen_address, &address.ip)) {
        return result_fail(
            RESULT_INVALID, "invalid flag --listen %s (expected an IP address)", daemon->settings->listen_address);
    }
    RESULT_TRY(renew_serving_certificate(daemon));
    daemon->authority_check.on_expire = on_authority_check;
    timer_arm_after_ms(daemon->loop, &daemon->authority_check, AUTHORITY_CHECK_MS);
    return result_in(grpc_server_listen(daemon->secure, &address, daemon->serving, NULL), "secure port");
}

static struct result check_trusted_accounts(const struct option_list *accounts)
{
    for (size_t i = 0; i < accounts->count; i++) {
        const char *slash = strchr(accounts->items[i], '/');
        if (slash == NULL || slash == accounts->items[i] || slash[1] == '\0' || strchr(slash + 1, '/') != NULL) {
            return result_fail(RESULT_INVALID,
                "invalid env var CA_TRUSTED_NODE_ACCOUNTS=%s (expected namespace/account)", accounts->items[i]);
        }
    }
    return result_ok();
}

static struct result read_folder(struct daemon *daemon)
{
    const struct ambard_settings *settings = daemon->settings;
    daemon->folder = kube_folder_new(settings->config_directory, settings->overlay_directory);
    kube_folder_scan(daemon->folder);
    const struct kube_problems *problems = kube_folder_problems(daemon->folder);
    if (problems->error_count > 0) {
        print_problems(daemon, false);
        return result_fail(RESULT_INVALID,
            "%s: %zu error%s and no earlier good state to go on with (ambard check %s says the same)",
            settings->config_directory, problems->error_count, problems->error_count == 1 ? "" : "s",
            settings->config_directory);
    }
    struct ambient_index_settings index_settings = ambard_settings_index(settings);
    RESULT_TRY(ambient_index_new(&index_settings, &daemon->index));
    struct ambient_changes changes;
    return ambient_index_update(daemon->index, kube_folder_store(daemon->folder), &changes);
}

static struct grpc_server *new_grpc_server(struct daemon *daemon)
{
    const struct grpc_server_settings settings = {
        .methods = METHODS,
        .method_count = ARRAY_LENGTH(METHODS),
        .context = &daemon->services,
        .log_target = "ambard::grpc",
    };
    return grpc_server_new(daemon->loop, daemon->buffers, &settings);
}

static void make_services(struct daemon *daemon)
{
    const struct ambard_settings *settings = daemon->settings;
    daemon->callers = (struct caller_check){ daemon->token_key, daemon->index };
    const struct discovery_settings discovery = { daemon->index, &daemon->callers, daemon->shard };
    daemon->discovery = discovery_new(&discovery);
    const struct certificate_service_settings certificates = {
        .authority = daemon->authority,
        .index = daemon->index,
        .callers = &daemon->callers,
        .metrics = daemon->shard,
        .trusted_accounts = settings->trusted_accounts.items,
        .trusted_count = settings->trusted_accounts.count,
        .default_lifetime_s = (int64_t)(settings->default_certificate_ttl_ns / NANOSECONDS_PER_SECOND),
        .maximum_lifetime_s = (int64_t)(settings->maximum_certificate_ttl_ns / NANOSECONDS_PER_SECOND),
    };
    daemon->certificates = certificate_service_new(&certificates);
    daemon->services = (struct ambard_services){ daemon->discovery, daemon->certificates };
    daemon->secure = new_grpc_server(daemon);
    daemon->plain = new_grpc_server(daemon);
    const struct debug_pages_settings pages = { settings, daemon->index, daemon->discovery,
        kube_folder_problems(daemon->folder), daemon->metrics, daemon->shard };
    daemon->pages = debug_pages_new(daemon->loop, &pages);
    publish_root_expiry(daemon);
}

static struct result start(struct daemon *daemon)
{
    const struct tls_policy policy = { .allows_tls12 = true };
    RESULT_TRY(check_trusted_accounts(&daemon->settings->trusted_accounts));
    RESULT_TRY(tls_start(&policy));
    RESULT_TRY(make_directory(daemon->settings->state_directory));
    RESULT_TRY(read_folder(daemon));
    RESULT_TRY(authority_keeper_open(daemon->settings->ca_directory, daemon->settings->state_directory,
        ambient_index_trust_domain(daemon->index), clock_wall_s(), &daemon->authority));
    RESULT_TRY(token_key_open(daemon->settings->state_directory, true, &daemon->token_key));
    make_services(daemon);
    RESULT_TRY(kube_folder_watch(daemon->folder, daemon->loop, on_folder_change, daemon));
    RESULT_TRY(listen_secure(daemon));
    RESULT_TRY(listen_plain(daemon));
    return debug_pages_listen(daemon->pages);
}

static void on_signal(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct daemon *daemon = CONTAINER_OF(watch, struct daemon, signals);
    int number = stop_signals_take(watch);
    if (number != 0) {
        log_print(LOG_INFO, DAEMON_TARGET, "received signal %s, stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
        loop_stop(daemon->loop);
    }
}

static struct result watch_signals(struct daemon *daemon)
{
    signal(SIGPIPE, SIG_IGN);
    daemon->signals.on_ready = on_signal;
    return stop_signals_watch(daemon->loop, &daemon->signals);
}

static void free_all(struct daemon *daemon)
{
    debug_pages_free(daemon->pages);
    if (daemon->secure != NULL) {
        grpc_server_free(daemon->secure);
        grpc_server_free(daemon->plain);
        certificate_service_free(daemon->certificates);
        discovery_free(daemon->discovery);
    }
    kube_folder_free(daemon->folder);
    ambient_index_free(daemon->index);
    tls_context_release(daemon->serving);
    authority_keeper_free(daemon->authority);
    token_key_free(daemon->token_key);
    timer_disarm(&daemon->authority_check);
    stop_signals_unwatch(&daemon->signals);
    metric_registry_free(daemon->metrics);
    buffer_pool_free(daemon->buffers);
    loop_free(daemon->loop);
    memory_free(daemon);
}

struct result daemon_run(const struct ambard_settings *settings)
{
    if (text_is_empty(settings->config_directory)) {
        return result_fail(RESULT_INVALID, "flag --config-dir is missing (the folder with your Kubernetes objects)");
    }
    struct daemon *daemon = NEW(struct daemon);
    daemon->settings = settings;
    daemon->loop = loop_new();
    daemon->buffers = buffer_pool_new();
    daemon->metrics = metric_registry_new(AMBARD_METRICS, AMBARD_METRIC_COUNT);
    daemon->shard = metric_shard_new(daemon->metrics);
    socket_raise_descriptor_limit();
    const struct log_settings log = {
        .is_json = settings->log_format == 1, .filter = settings->log_filter, .output = STDOUT_FILENO
    };
    struct result outcome = watch_signals(daemon);
    if (result_is_ok(&outcome)) {
        outcome = log_start(&log);
    }
    if (result_is_ok(&outcome)) {
        outcome = start(daemon);
    }
    if (result_is_ok(&outcome)) {
        log_print(LOG_INFO, DAEMON_TARGET,
            "serving %s: workload API and CA on %u, metrics on %u, ready and debug on %u", settings->config_directory,
            settings->secure_port, settings->metrics_port, settings->http_port);
        loop_run(daemon->loop);
    }
    free_all(daemon);
    log_stop();
    return outcome;
}
