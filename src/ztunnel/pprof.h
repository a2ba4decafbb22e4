/* A CPU profile in pprof's format: the protobuf message perftools.profiles.Profile, with the mappings of the process and the
 * names of functions, so that `go tool pprof` and any other reader shows names without the binary at hand. */
#ifndef AMBAR_ZTUNNEL_PPROF_H
#define AMBAR_ZTUNNEL_PPROF_H

#include "base/writer.h"
#include "ztunnel/cpu_sampler.h"

struct pprof_profile {
    int64_t started_ns; /* wall clock */
    uint64_t duration_ns;
    unsigned frequency;
    /* The stacks: false at the end. `*position` starts at 0. */
    bool (*next)(size_t *position, struct cpu_stack *stack);
};

void pprof_write(const struct pprof_profile *profile, struct writer *out);

#endif
