#include "ztunnel/debug_profile.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "net/loop.h"
#include "ztunnel/cpu_sampler.h"
#include "ztunnel/pprof.h"

#define SECONDS_DEFAULT 10
#define SECONDS_MAXIMUM 300
#define FREQUENCY_DEFAULT 100
#define FREQUENCY_MAXIMUM 1000
#define QUIET_CHECK_MS 10

struct debug_profile {
    struct loop *loop;
    struct timer timer;
    struct http1_exchange *exchange; /* NULL: none is running */
    struct pprof_profile profile;
    uint64_t started_monotonic_ns;
    bool is_stopped;
};

static void answer(struct debug_profile *running)
{
    struct writer out = writer_growing();
    pprof_write(&running->profile, &out);
    if (cpu_sampler_lost() > 0) {
        log_print(LOG_WARN, "ztunnel::admin", "the profile left out %llu samples: too many different stacks",
            (unsigned long long)cpu_sampler_lost());
    }
    cpu_sampler_free();
    struct http1_exchange *exchange = running->exchange;
    running->exchange = NULL;
    http1_respond(exchange, 200, "application/octet-stream", writer_bytes(&out));
    writer_free(&out);
}

static void on_timer(struct timer *timer)
{
    struct debug_profile *running = CONTAINER_OF(timer, struct debug_profile, timer);
    if (!running->is_stopped) {
        running->is_stopped = true;
        running->profile.duration_ns = clock_monotonic_ns() - running->started_monotonic_ns;
        cpu_sampler_stop();
    } else if (cpu_sampler_is_quiet()) {
        answer(running);
        return;
    }
    timer_arm_after_ms(running->loop, timer, QUIET_CHECK_MS);
}

struct debug_profile *debug_profile_new(struct loop *control)
{
    struct debug_profile *profile = NEW(struct debug_profile);
    profile->loop = control;
    profile->timer.on_expire = on_timer;
    cpu_sampler_prepare();
    return profile;
}

void debug_profile_free(struct debug_profile *profile)
{
    if (profile == NULL) {
        return;
    }
    timer_disarm(&profile->timer);
    if (profile->exchange != NULL && !profile->is_stopped) {
        cpu_sampler_stop();
    }
    memory_free(profile);
}

/* False: answered with 400. */
static bool read_number(
    struct http1_exchange *exchange, const char *name, unsigned initial, unsigned maximum, unsigned *value)
{
    char *AUTO_FREE text = http1_query(exchange, name);
    uint64_t number = initial;
    if (text != NULL && (!text_to_u64(text, maximum, &number) || number == 0)) {
        char *AUTO_FREE refusal = string_format("invalid %s value; expected 1-%u\n", name, maximum);
        http1_respond_text(exchange, 400, refusal);
        return false;
    }
    *value = (unsigned)number;
    return true;
}

void debug_answer_profile(struct http1_exchange *exchange, struct debug_profile *profile)
{
    unsigned seconds;
    unsigned frequency;
    if (!read_number(exchange, "seconds", SECONDS_DEFAULT, SECONDS_MAXIMUM, &seconds) ||
        !read_number(exchange, "frequency", FREQUENCY_DEFAULT, FREQUENCY_MAXIMUM, &frequency)) {
        return;
    }
    struct result started = cpu_sampler_start(frequency);
    if (!result_is_ok(&started)) {
        http1_respond_failure(exchange, &started);
        return;
    }
    profile->exchange = exchange;
    profile->is_stopped = false;
    profile->started_monotonic_ns = clock_monotonic_ns();
    profile->profile =
        (struct pprof_profile){ .started_ns = clock_wall_ns(), .frequency = frequency, .next = cpu_sampler_next };
    timer_arm_after_ms(profile->loop, &profile->timer, (uint64_t)seconds * 1000);
}
