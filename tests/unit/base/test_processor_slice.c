#include "base/processor_slice.h"

#include "cmocka_all.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sched_attr attributes_here(void)
{
    struct sched_attr attributes = { 0 };
    assert_int_equal(syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0), 0);
    return attributes;
}

/* A kernel without slices is asked in vain, and that is told. */
static void shorter_slices_change_nothing_else_and_their_lack_is_told(void **state)
{
    (void)state;
    struct sched_attr before = attributes_here();
    bool is_shortened = processor_slice_shorten();
    struct sched_attr after = attributes_here();
    assert_int_equal(after.sched_policy, before.sched_policy);
    assert_int_equal(after.sched_nice, before.sched_nice);
    assert_int_equal(after.sched_flags, before.sched_flags);
    assert_int_equal(is_shortened, after.sched_policy == SCHED_NORMAL && after.sched_runtime == 100000);
    assert_int_equal(processor_slice_shorten(), is_shortened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shorter_slices_change_nothing_else_and_their_lack_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
