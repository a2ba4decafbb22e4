#include "ztunnel/revocation_watch.h"

#include "base/clock.h"
#include "base/file_stamp.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/revocation.h"
#include "ztunnel/metrics.h"
#include "ztunnel/revoked_tunnels.h"
#include "ztunnel/worker.h"

#define LOG_TARGET "ztunnel::tls::crl"
#define LOOK_EVERY_MS 1000
#define DEBOUNCE_NS (2 * NANOSECONDS_PER_SECOND)

struct revocation_watch {
    struct loop *loop;
    struct metric_shard *metrics;
    char *path;
    struct worker *workers;
    size_t worker_count;
    struct timer look;
    struct file_stamp stamp; /* as last seen */
    uint64_t changed_ns;     /* when it was first seen so; 0: what is there was read */
    bool has_loaded;         /* once */
};

static void count_reload(struct revocation_watch *watch, bool is_success)
{
    const char *labels[] = { "crl", is_success ? "success" : "failure" };
    metric_count_labelled(watch->metrics, METRIC_ROOT_RELOADS, labels, 1);
}

static struct result load(struct revocation_watch *watch)
{
    struct revocation_lists *lists;
    RESULT_TRY(revocation_lists_read_file(watch->path, &lists));
    log_print(LOG_INFO, LOG_TARGET, "loaded %zu certificate revocation lists from %s", revocation_lists_count(lists),
        watch->path);
    watch->has_loaded = true;
    revocation_put_into_force(lists);
    return result_ok();
}

static void reload(struct revocation_watch *watch)
{
    struct result outcome = load(watch);
    count_reload(watch, result_is_ok(&outcome));
    if (!result_is_ok(&outcome)) {
        log_print(LOG_WARN, LOG_TARGET, "failed to reload crl, the old one stays in force: %s", outcome.message);
        return;
    }
    for (size_t i = 0; i < watch->worker_count; i++) {
        worker_run(&watch->workers[i], revoked_tunnels_cut, NULL);
    }
}

static void on_look(struct timer *timer)
{
    struct revocation_watch *watch = CONTAINER_OF(timer, struct revocation_watch, look);
    struct file_stamp now;
    bool is_there = file_stamp_take(watch->path, &now);
    if (!file_stamp_equal(&now, &watch->stamp)) {
        watch->stamp = now;
        watch->changed_ns = clock_monotonic_ns();
    }
    bool is_settled = clock_monotonic_ns() - watch->changed_ns >= DEBOUNCE_NS || !watch->has_loaded;
    if (watch->changed_ns != 0 && is_there && is_settled) {
        watch->changed_ns = 0;
        reload(watch);
    }
    timer_arm_after_ms(watch->loop, timer, LOOK_EVERY_MS);
}

struct revocation_watch *revocation_watch_new(struct loop *control, struct metric_shard *metrics, const char *path)
{
    if (text_is_empty(path)) {
        return NULL;
    }
    struct revocation_watch *watch = NEW(struct revocation_watch);
    watch->loop = control;
    watch->metrics = metrics;
    watch->path = string_duplicate(path);
    watch->look.on_expire = on_look;
    file_stamp_take(path, &watch->stamp);
    struct result outcome = load(watch);
    if (outcome.code == RESULT_NOT_FOUND) {
        log_print(LOG_WARN, LOG_TARGET, "crl file not found, will retry on first validation: %s", path);
        revocation_put_into_force(revocation_lists_none());
    } else if (!result_is_ok(&outcome)) {
        log_print(LOG_WARN, LOG_TARGET, "failed to initialize crl manager: %s", outcome.message);
        revocation_watch_free(watch);
        return NULL;
    }
    timer_arm_after_ms(control, &watch->look, LOOK_EVERY_MS);
    return watch;
}

void revocation_watch_set_workers(struct revocation_watch *watch, struct worker *workers, size_t count)
{
    if (watch != NULL) {
        watch->workers = workers;
        watch->worker_count = count;
    }
}

void revocation_watch_free(struct revocation_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    timer_disarm(&watch->look);
    memory_free(watch->path);
    memory_free(watch);
}
