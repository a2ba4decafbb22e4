/* Everything that is done inside a pod's namespace so that its traffic goes through the node proxy: rules and routing, applied,
 * verified, undone. Blocks for as long as nft takes (tens of milliseconds). The agent's thread. */
#ifndef AMBAR_CNI_CAPTURE_H
#define AMBAR_CNI_CAPTURE_H

#include "base/result.h"

struct network_namespace;

enum capture_ipv6 { CAPTURE_IPV6_AUTO, CAPTURE_IPV6_ALWAYS, CAPTURE_IPV6_NEVER };

struct capture_settings {
    const char *nft_path; /* absolute */
    int ipv6;             /* enum capture_ipv6 */
    bool dns;             /* whether the node proxy answers DNS, too */
};

/* Idempotent. Afterwards everything is in force, or the sentence says what is not; what was done stays for the caller to undo. */
struct result capture_apply(const struct capture_settings *settings, const struct network_namespace *namespace_);
/* Whether everything is in force. */
struct result capture_verify(const struct capture_settings *settings, const struct network_namespace *namespace_);
/* Idempotent; goes on after a failure and reports the first. */
struct result capture_remove(const struct capture_settings *settings, const struct network_namespace *namespace_);

#endif
