/* What the main process may do, once it runs: it holds keys and parses peers' bytes, so it gets the system calls that carrying
 * bytes needs and no others (docs/security.md). One table says which and why. */
#ifndef AMBAR_ZTUNNEL_PROCESS_SANDBOX_H
#define AMBAR_ZTUNNEL_PROCESS_SANDBOX_H

#include "base/result.h"

/* For the whole process, for good: no core dumps, no debugger without CAP_SYS_PTRACE, no new privileges, only the listed system
 * calls. Before the first key and the first other thread, which inherit it. Calls that no honest code of ours makes (exec,
 * fork, ptrace, setns, ...) end the process; any other call that is not listed fails with EPERM. Builds with a sanitizer, whose
 * run-time libraries need more, go without. */
struct result process_sandbox_enter(void);

/* False in builds with a sanitizer. */
bool process_sandbox_is_built(void);

#endif
