#include "ztunnel/worker_load.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ztunnel/worker.h"

#define STALE_NS (4 * (uint64_t)NANOSECONDS_PER_SECOND) /* housekeeping refreshes more often */

struct worker_load {
    const struct worker *workers;
    size_t worker_count;
    uint64_t sampled_ns;    /* 0: never */
    uint64_t *processor_ns; /* by worker, at the last sample */
    unsigned busy_percent[];
};

struct worker_load *worker_load_new(const struct worker *workers, size_t worker_count)
{
    struct worker_load *load = memory_allocate_zeroed(1, sizeof *load + worker_count * sizeof load->busy_percent[0]);
    load->workers = workers;
    load->worker_count = worker_count;
    load->processor_ns = memory_allocate_zeroed(worker_count, sizeof *load->processor_ns);
    return load;
}

void worker_load_free(struct worker_load *load)
{
    if (load != NULL) {
        memory_free(load->processor_ns);
        memory_free(load);
    }
}

static uint64_t processor_time_ns(const struct worker *worker)
{
    clockid_t clock;
    return pthread_getcpuclockid(worker->thread, &clock) == 0 ? clock_read_ns(clock) : 0;
}

static unsigned share_percent(uint64_t part_ns, uint64_t whole_ns)
{
    return part_ns >= whole_ns ? 100 : (unsigned)(part_ns * 100 / whole_ns);
}

const unsigned *worker_load_refresh(struct worker_load *load, uint64_t now_ns)
{
    uint64_t window_ns = now_ns - load->sampled_ns;
    if (window_ns < WORKER_LOAD_WINDOW_MS * (uint64_t)NANOSECONDS_PER_MILLISECOND) {
        return load->busy_percent;
    }
    bool is_comparable = load->sampled_ns != 0 && window_ns <= STALE_NS;
    for (size_t i = 0; i < load->worker_count; i++) {
        uint64_t processor_ns = processor_time_ns(&load->workers[i]);
        uint64_t used_ns = processor_ns - load->processor_ns[i];
        load->busy_percent[i] = is_comparable ? share_percent(used_ns, window_ns) : 0;
        load->processor_ns[i] = processor_ns;
    }
    load->sampled_ns = now_ns;
    return load->busy_percent;
}

static size_t least_busy(
    const unsigned *busy_percent, size_t worker_count, size_t home, unsigned limit_percent, const bool *helps)
{
    size_t best = WORKER_LOAD_NONE;
    unsigned best_percent = limit_percent + 1;
    for (size_t i = 0; i < worker_count; i++) {
        bool is_candidate = i != home && (helps == NULL || helps[i]);
        if (is_candidate && busy_percent[i] < best_percent) {
            best = i;
            best_percent = busy_percent[i];
        }
    }
    return best;
}

size_t worker_load_relief(
    const unsigned *busy_percent, size_t worker_count, size_t home, unsigned saturated_percent, const bool *helps)
{
    if (busy_percent[home] < saturated_percent || busy_percent[home] < WORKER_LOAD_MARGIN_PERCENT) {
        return WORKER_LOAD_NONE;
    }
    unsigned limit_percent = busy_percent[home] - WORKER_LOAD_MARGIN_PERCENT;
    size_t helper =
        helps != NULL ? least_busy(busy_percent, worker_count, home, limit_percent, helps) : WORKER_LOAD_NONE;
    return helper != WORKER_LOAD_NONE ? helper : least_busy(busy_percent, worker_count, home, limit_percent, NULL);
}
