/* Keeps a pod's network namespace reachable under a path of the agent's own: a bind mount DIRECTORY/UID, as `ip netns` makes them.
 * The path under which a pod was enrolled may be a process's, which ends; the agent must find the namespace after its own restart.
 * The agent's thread; needs CAP_SYS_ADMIN. */
#ifndef AMBAR_CNI_NAMESPACE_PIN_H
#define AMBAR_CNI_NAMESPACE_PIN_H

#include "base/result.h"
#include "net/network_namespace.h"

/* Idempotent; a pin of the same uid on another namespace is replaced. */
struct result namespace_pin_make(const char *directory, const char *uid, const struct network_namespace *namespace_);

/* Opens what is pinned; RESULT_NOT_FOUND or RESULT_INVALID when nothing is. */
struct result namespace_pin_open(const char *directory, const char *uid, struct network_namespace *namespace_);

/* Idempotent. */
void namespace_pin_remove(const char *directory, const char *uid);

#endif
