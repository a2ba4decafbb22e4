#include "ztunnel/cpu_sampler.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define STACKS_MAXIMUM 4096 /* different ones; a power of two */
#define PROBES_MAXIMUM 32
#define THREADS_MAXIMUM 512
#define HANDLER_FRAMES 3 /* of the handler itself and the return from a signal, at most */

struct slot {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic uint64_t count;
    _Atomic uint32_t depth; /* 0: its frames are not complete yet */
    uintptr_t frames[CPU_SAMPLER_DEPTH];
};

/* The handler's world: never freed while a handler may run. */
static struct slot *table;
static _Atomic bool is_running;
static _Atomic unsigned handlers;
static _Atomic uint64_t lost;

static timer_t timers[THREADS_MAXIMUM];
static size_t timer_count;
static bool is_busy;

static uintptr_t interrupted_address(const void *context)
{
    const ucontext_t *interrupted = context;
#if defined(__x86_64__)
    return (uintptr_t)interrupted->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)interrupted->uc_mcontext.pc;
#else
    (void)interrupted;
    return 0;
#endif
}

/* FNV-1a over the addresses; never 0. */
static uint64_t hash_of(const uintptr_t *frames, size_t depth)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < depth; i++) {
        hash = (hash ^ frames[i]) * 0x100000001b3ULL;
        hash ^= hash >> 29;
    }
    return hash != 0 ? hash : 1;
}

static void count_stack(const uintptr_t *frames, size_t depth)
{
    uint64_t hash = hash_of(frames, depth);
    for (size_t probe = 0; probe < PROBES_MAXIMUM; probe++) {
        struct slot *slot = &table[(hash + probe) & (STACKS_MAXIMUM - 1)];
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&slot->hash, &found, hash)) {
            memcpy(slot->frames, frames, depth * sizeof *frames);
            atomic_store(&slot->depth, (uint32_t)depth);
            found = hash;
        }
        if (found == hash) {
            atomic_fetch_add(&slot->count, 1);
            return;
        }
    }
    atomic_fetch_add(&lost, 1);
}

/* The frames of this handler lie on top: the stack begins where it was interrupted. */
static size_t first_frame(void *const *found, size_t count, uintptr_t interrupted)
{
    for (size_t i = 0; i < count; i++) {
        if ((uintptr_t)found[i] == interrupted) {
            return i;
        }
    }
    return count < HANDLER_FRAMES ? count : HANDLER_FRAMES - 1;
}

static void on_signal(int number, siginfo_t *information, void *context)
{
    (void)number;
    (void)information;
    int saved_errno = errno;
    atomic_fetch_add(&handlers, 1);
    if (atomic_load(&is_running)) {
        void *found[CPU_SAMPLER_DEPTH + HANDLER_FRAMES];
        uintptr_t frames[CPU_SAMPLER_DEPTH];
        int count = backtrace(found, CPU_SAMPLER_DEPTH + HANDLER_FRAMES);
        size_t first = first_frame(found, (size_t)count, interrupted_address(context));
        size_t depth = 0;
        for (size_t i = first; i < (size_t)count && depth < CPU_SAMPLER_DEPTH; i++) {
            frames[depth++] = (uintptr_t)found[i];
        }
        if (depth > 0) {
            count_stack(frames, depth);
        }
    }
    atomic_fetch_sub(&handlers, 1);
    errno = saved_errno;
}

void cpu_sampler_prepare(void)
{
    void *frames[4];
    (void)backtrace(frames, 4);
}

static void start_timer(int thread, uint64_t interval_ns)
{
    /* The CPU clock of another thread of this process, as the kernel numbers them (pthread_getcpuclockid does the same). */
    clockid_t clock = (clockid_t)((~(unsigned)thread << 3) | 6);
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
    event.sigev_notify_thread_id = thread;
    const struct timespec interval = { .tv_sec = (time_t)(interval_ns / NANOSECONDS_PER_SECOND),
        .tv_nsec = (long)(interval_ns % NANOSECONDS_PER_SECOND) };
    const struct itimerspec when = { .it_interval = interval, .it_value = interval };
    if (timer_count == THREADS_MAXIMUM || timer_create(clock, &event, &timers[timer_count]) != 0) {
        return; /* the thread has just ended */
    }
    if (timer_settime(timers[timer_count], 0, &when, NULL) == 0) {
        timer_count++;
    } else {
        timer_delete(timers[timer_count]);
    }
}

static struct result start_timers(uint64_t interval_ns)
{
    DIR *directory = opendir("/proc/self/task");
    if (directory == NULL) {
        return result_system(errno, "the threads of this process cannot be listed");
    }
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        uint64_t thread;
        if (text_to_u64(entry->d_name, INT32_MAX, &thread)) {
            start_timer((int)thread, interval_ns);
        }
    }
    closedir(directory);
    return timer_count > 0 ? result_ok() : result_fail(RESULT_UNSUPPORTED, "no timer of CPU time could be made");
}

struct result cpu_sampler_start(unsigned frequency)
{
    if (is_busy) {
        return result_fail(RESULT_UNAVAILABLE, "a profile is running already");
    }
    void *memory =
        mmap(NULL, STACKS_MAXIMUM * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return result_system(errno, "no memory for a profile");
    }
    struct sigaction action = { .sa_flags = SA_SIGINFO | SA_RESTART };
    action.sa_sigaction = on_signal;
    sigemptyset(&action.sa_mask);
    table = memory;
    is_busy = true;
    atomic_store(&lost, 0);
    sigaction(SIGPROF, &action, NULL);
    struct result started = start_timers(NANOSECONDS_PER_SECOND / frequency);
    if (!result_is_ok(&started)) {
        cpu_sampler_free(); /* which no handler has looked at */
        return started;
    }
    atomic_store(&is_running, true);
    return started;
}

void cpu_sampler_stop(void)
{
    while (timer_count > 0) {
        timer_delete(timers[--timer_count]);
    }
    atomic_store(&is_running, false);
}

bool cpu_sampler_is_quiet(void)
{
    return atomic_load(&handlers) == 0;
}

bool cpu_sampler_next(size_t *position, struct cpu_stack *stack)
{
    while (*position < STACKS_MAXIMUM) {
        const struct slot *slot = &table[(*position)++];
        uint32_t depth = atomic_load(&slot->depth);
        if (depth > 0) {
            *stack = (struct cpu_stack){ atomic_load(&slot->count), depth, slot->frames };
            return true;
        }
    }
    return false;
}

uint64_t cpu_sampler_lost(void)
{
    return atomic_load(&lost);
}

/* The handler stays: a signal that is still on its way would end the process otherwise. */
void cpu_sampler_free(void)
{
    munmap(table, STACKS_MAXIMUM * sizeof *table);
    table = NULL;
    is_busy = false;
}
