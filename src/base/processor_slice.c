#include "base/processor_slice.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000 /* the kernel's least */

static bool get_attributes(struct sched_attr *attributes)
{
    return syscall(SYS_sched_getattr, 0, attributes, sizeof *attributes, 0) == 0 &&
           attributes->sched_policy == SCHED_NORMAL;
}

bool processor_slice_shorten(void)
{
    struct sched_attr attributes = { 0 };
    if (!get_attributes(&attributes)) {
        return false;
    }
    attributes.size = sizeof attributes;
    attributes.sched_runtime = SLICE_NS;
    /* Older kernels take the call and ignore the time: what they answer afterwards tells. */
    return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0 && get_attributes(&attributes) &&
           attributes.sched_runtime == SLICE_NS;
}
