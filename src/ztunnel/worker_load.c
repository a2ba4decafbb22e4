#include "ztunnel/worker_load.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ztunnel/worker.h"

#include <time.h>

#define STALE_NS (4 * (uint64_t)NANOSECONDS_PER_SECOND) /* housekeeping refreshes more often */

struct worker_load {
    const struct worker *workers;
    size_t worker_count;
    uint64_t sampled_ns; /* 0: never */
    struct {
        uint64_t processor_ns;
        unsigned busy_percent;
    } of[];
};

struct worker_load *worker_load_new(const struct worker *workers, size_t worker_count)
{
    struct worker_load *load = memory_allocate_zeroed(1, sizeof *load + worker_count * sizeof load->of[0]);
    load->workers = workers;
    load->worker_count = worker_count;
    return load;
}

void worker_load_free(struct worker_load *load)
{
    memory_free(load);
}

static uint64_t processor_time_ns(const struct worker *worker)
{
    clockid_t clock;
    struct timespec time;
    if (pthread_getcpuclockid(worker->thread, &clock) != 0 || clock_gettime(clock, &time) != 0) {
        return 0;
    }
    return (uint64_t)time.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static unsigned share_percent(uint64_t part_ns, uint64_t whole_ns)
{
    return part_ns >= whole_ns ? 100 : (unsigned)(part_ns * 100 / whole_ns);
}

void worker_load_refresh(struct worker_load *load, uint64_t now_ns)
{
    uint64_t window_ns = now_ns - load->sampled_ns;
    if (window_ns < WORKER_LOAD_WINDOW_MS * (uint64_t)NANOSECONDS_PER_MILLISECOND) {
        return;
    }
    bool is_comparable = load->sampled_ns != 0 && window_ns <= STALE_NS;
    for (size_t i = 0; i < load->worker_count; i++) {
        uint64_t processor_ns = processor_time_ns(&load->workers[i]);
        uint64_t used_ns = processor_ns - load->of[i].processor_ns;
        load->of[i].busy_percent = is_comparable ? share_percent(used_ns, window_ns) : 0;
        load->of[i].processor_ns = processor_ns;
    }
    load->sampled_ns = now_ns;
}

static size_t least_busy(const struct worker_load *load, size_t home, unsigned limit_percent, const bool *helps)
{
    size_t best = WORKER_LOAD_NONE;
    unsigned best_percent = limit_percent + 1;
    for (size_t i = 0; i < load->worker_count; i++) {
        bool is_candidate = i != home && (helps == NULL || helps[i]);
        if (is_candidate && load->of[i].busy_percent < best_percent) {
            best = i;
            best_percent = load->of[i].busy_percent;
        }
    }
    return best;
}

size_t worker_load_relief(const struct worker_load *load, size_t home, unsigned saturated_percent, const bool *helps)
{
    unsigned home_percent = load->of[home].busy_percent;
    if (home_percent < saturated_percent || home_percent < WORKER_LOAD_MARGIN_PERCENT) {
        return WORKER_LOAD_NONE;
    }
    unsigned limit_percent = home_percent - WORKER_LOAD_MARGIN_PERCENT;
    size_t helper = least_busy(load, home, limit_percent, helps);
    return helper != WORKER_LOAD_NONE ? helper : least_busy(load, home, limit_percent, NULL);
}

void worker_load_set(struct worker_load *load, size_t worker, unsigned busy_percent)
{
    load->of[worker].busy_percent = busy_percent;
}
