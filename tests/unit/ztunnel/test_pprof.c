#include "ztunnel/pprof.h"

#include "cmocka_all.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ztunnel/cpu_sampler.h"
#include "ztunnel/memory_map.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* A function with a name that must be found again; not inlined, not made a tail call. */
__attribute__((noinline)) uint64_t burn_processor_time(uint64_t until_ns)
{
    uint64_t turns = 0;
    while (clock_monotonic_ns() < until_ns) {
        turns++;
    }
    return turns + 1;
}

static bool contains(const struct writer *out, const char *text)
{
    return memmem(out->data, out->length, text, strlen(text)) != NULL;
}

static void a_profile_names_the_function_that_used_the_processor(void **state)
{
    (void)state;
    cpu_sampler_prepare();
    struct result started = cpu_sampler_start(1000);
    assert_true(result_is_ok(&started));
    assert_true(burn_processor_time(clock_monotonic_ns() + 300 * NANOSECONDS_PER_MILLISECOND) > 0);
    cpu_sampler_stop();
    assert_true(cpu_sampler_is_quiet());
    uint64_t samples = 0;
    size_t position = 0;
    struct cpu_stack stack;
    while (cpu_sampler_next(&position, &stack)) {
        samples += stack.count;
    }
    assert_true(samples >= 5); /* of some 300; a busy machine may give us little */
    struct writer out = writer_growing();
    const struct pprof_profile profile = {
        .started_ns = 1, .duration_ns = 2, .frequency = 1000, .next = cpu_sampler_next
    };
    pprof_write(&profile, &out);
    cpu_sampler_free();
    assert_true(contains(&out, "burn_processor_time"));
    assert_true(contains(&out, "nanoseconds"));
    writer_free(&out);
}

static void only_one_profile_runs_at_a_time(void **state)
{
    (void)state;
    struct result first = cpu_sampler_start(100);
    assert_true(result_is_ok(&first));
    struct result second = cpu_sampler_start(100);
    assert_string_equal(second.message, "a profile is running already");
    cpu_sampler_stop();
    cpu_sampler_free();
    struct result third = cpu_sampler_start(100);
    assert_true(result_is_ok(&third));
    cpu_sampler_stop();
    cpu_sampler_free();
}

static _Atomic bool is_hammering;

/* Somebody outside sends what the profiler's timers would. */
static void *hammer(void *unused)
{
    (void)unused;
    while (is_hammering) {
        (void)raise(SIGPROF);
    }
    return NULL;
}

/* The kernel counts timers among the signals that may wait. */
static void a_profile_for_which_no_timer_starts_leaves_nothing_a_signal_could_touch(void **state)
{
    (void)state;
    struct rlimit before;
    pthread_t thread;
    struct result first = cpu_sampler_start(1); /* the handler stays in place */
    assert_true(result_is_ok(&first));
    cpu_sampler_stop();
    cpu_sampler_free();
    assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &before), 0);
    const struct rlimit none = { 0, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    is_hammering = true;
    assert_int_equal(pthread_create(&thread, NULL, hammer, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        struct result refused = cpu_sampler_start(100);
        assert_string_equal(refused.message, "no timer of CPU time could be made");
    }
    is_hammering = false;
    pthread_join(thread, NULL);
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &before), 0);
    assert_true(cpu_sampler_is_quiet());
    struct result started = cpu_sampler_start(100);
    assert_true(result_is_ok(&started));
    cpu_sampler_stop();
    cpu_sampler_free();
}

static void an_address_of_this_program_is_found_with_its_name(void **state)
{
    (void)state;
    struct memory_map *map = NEW(struct memory_map);
    memory_map_read(map);
    uint64_t address = (uint64_t)(uintptr_t)burn_processor_time + 4;
    const struct mapping *mapping = memory_map_find(map, address);
    assert_non_null(mapping);
    const struct symbol *symbol = mapping_find_symbol(mapping, address);
    assert_non_null(symbol);
    assert_string_equal(symbol->name, "burn_processor_time");
    assert_null(memory_map_find(map, 1));
    memory_map_free(map);
    memory_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_names_the_function_that_used_the_processor),
        cmocka_unit_test(only_one_profile_runs_at_a_time),
        cmocka_unit_test(a_profile_for_which_no_timer_starts_leaves_nothing_a_signal_could_touch),
        cmocka_unit_test(an_address_of_this_program_is_found_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
