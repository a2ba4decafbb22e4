#include "cni/capture.h"

#include "cni/routing.h"
#include "cni/rules.h"

#include <unistd.h>

/* Asked of the kernel, not of the pod: a pod that gets its IPv6 address later must not find a way around the rules. Without IPv6 in
 * the kernel its routing could not be set. */
static bool with_ipv6(const struct capture_settings *settings)
{
    switch (settings->ipv6) {
    case CAPTURE_IPV6_ALWAYS:
        return true;
    case CAPTURE_IPV6_NEVER:
        return false;
    default:
        return access("/proc/self/net/if_inet6", F_OK) == 0;
    }
}

static struct rules_choice choice_of(const struct capture_settings *settings)
{
    return (struct rules_choice){ .with_ipv6 = with_ipv6(settings), .with_dns = settings->dns };
}

struct result capture_verify(const struct capture_settings *settings, const struct network_namespace *namespace_)
{
    struct rules_choice choice = choice_of(settings);
    RESULT_TRY(result_in(rules_verify(settings->nft_path, namespace_, &choice), "verifying the rules"));
    return result_in(routing_verify(namespace_, choice.with_ipv6), "verifying the routing");
}

struct result capture_apply(const struct capture_settings *settings, const struct network_namespace *namespace_)
{
    struct rules_choice choice = choice_of(settings);
    RESULT_TRY(result_in(rules_apply(settings->nft_path, namespace_, &choice), "applying the rules"));
    RESULT_TRY(result_in(routing_apply(namespace_, choice.with_ipv6), "applying the routing"));
    return capture_verify(settings, namespace_);
}

struct result capture_remove(const struct capture_settings *settings, const struct network_namespace *namespace_)
{
    struct result rules = result_in(rules_remove(settings->nft_path, namespace_), "removing the rules");
    struct result routing = result_in(routing_remove(namespace_), "removing the routing");
    return result_is_ok(&rules) ? routing : rules;
}
