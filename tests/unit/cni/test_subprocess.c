/* Programs run to their end: input, output, failures, deadlines, namespaces. */
#include "base/clock.h"
#include "base/writer.h"
#include "cni/subprocess.h"
#include "unit/cni/support.h"

#include <stdio.h>
#include <string.h>

static struct result run_shell(const struct network_namespace *namespace_, const char *script, const char *input,
    unsigned timeout_ms, struct writer *output)
{
    const char *const arguments[] = { "/bin/sh", "-c", script, NULL };
    const struct subprocess shell = {
        .arguments = arguments,
        .namespace_ = namespace_,
        .input = bytes_of_string(input),
        .timeout_ms = timeout_ms,
        .output = output,
    };
    return subprocess_run(&shell);
}

static void a_program_is_fed_and_heard(void **state)
{
    (void)state;
    struct writer output = writer_growing();
    assert_ok(run_shell(NULL, "cat; echo seen >&2", "given\n", 10000, &output));
    assert_string_equal(writer_string(&output), "given\nseen\n");
    writer_free(&output);
}

static void a_failure_tells_the_code_and_the_first_line(void **state)
{
    (void)state;
    struct writer output = writer_growing();
    struct result result = run_shell(NULL, "echo no; echo further; exit 3", "", 10000, &output);
    assert_string_equal(result.message, "/bin/sh exited with 3: no");
    writer_free(&output);
}

static void a_program_that_is_not_there_is_named(void **state)
{
    (void)state;
    static const char *const arguments[] = { "/nonexistent/nft", NULL };
    struct writer output = writer_growing();
    const struct subprocess missing = { .arguments = arguments, .timeout_ms = 1000, .output = &output };
    struct result result = subprocess_run(&missing);
    assert_string_equal(result.message, "/nonexistent/nft: cannot be run");
    writer_free(&output);
}

static void a_program_that_does_not_end_is_killed(void **state)
{
    (void)state;
    struct writer output = writer_growing();
    uint64_t before_ns = clock_monotonic_ns();
    struct result result = run_shell(NULL, "exec sleep 100", "", 100, &output);
    assert_int_equal(result.code, RESULT_TIMEOUT);
    assert_true(clock_monotonic_ns() - before_ns < 50 * NANOSECONDS_PER_SECOND);
    writer_free(&output);
}

static void output_beyond_the_maximum_is_dropped(void **state)
{
    (void)state;
    struct writer output = writer_growing();
    assert_ok(run_shell(NULL, "head -c 3000000 /dev/zero", "", 20000, &output));
    assert_true(output.length <= SUBPROCESS_OUTPUT_BYTES_MAXIMUM);
    writer_free(&output);
}

static void a_program_runs_inside_the_namespace(void **state)
{
    (void)state;
    skip_without_root();
    struct network_namespace pod = new_namespace();
    struct writer output = writer_growing();
    char expected[64];
    (void)snprintf(expected, sizeof expected, "net:[%llu]\n", (unsigned long long)pod.inode);
    assert_ok(run_shell(&pod, "readlink /proc/self/ns/net", "", 10000, &output));
    assert_string_equal(writer_string(&output), expected);
    writer_free(&output);
    network_namespace_close(&pod);
}

static void no_descriptor_is_inherited(void **state)
{
    (void)state;
    struct writer output = writer_growing();
    int leaked = dup(0); /* not closed on exec */
    assert_ok(
        run_shell(NULL, "for f in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$f ] && echo $f; done; true", "", 10000, &output));
    assert_string_equal(writer_string(&output), "");
    (void)close(leaked);
    writer_free(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_fed_and_heard),
        cmocka_unit_test(a_failure_tells_the_code_and_the_first_line),
        cmocka_unit_test(a_program_that_is_not_there_is_named),
        cmocka_unit_test(a_program_that_does_not_end_is_killed),
        cmocka_unit_test(output_beyond_the_maximum_is_dropped),
        cmocka_unit_test(a_program_runs_inside_the_namespace),
        cmocka_unit_test(no_descriptor_is_inherited),
    };
    return cmocka_run_group_tests_name("subprocess", tests, NULL, NULL);
}
