/* What the broker process may do, once it runs: its capabilities and its system calls; and giving up all capabilities. Capabilities
 * belong to the calling thread: to be called while the process has one. */
#ifndef AMBAR_NET_BROKER_SANDBOX_H
#define AMBAR_NET_BROKER_SANDBOX_H

#include "net/broker.h"

/* Of these capabilities keeps those the process has, and no others. */
struct result broker_sandbox_narrow_capabilities(const unsigned *wanted, size_t count);
/* Keeps CAP_NET_ADMIN, for BROKER_ALL_NAMESPACES also CAP_SYS_ADMIN, as far as the process has them; no others. */
struct result broker_sandbox_keep_capabilities(enum broker_mode mode);
/* No capability at all, in any set, and none to be gained by exec. */
struct result broker_sandbox_drop_capabilities(void);
/* Kills the process at the first system call that the broker's work under these settings does not need. */
struct result broker_sandbox_filter_system_calls(const struct broker_settings *settings);

#endif
