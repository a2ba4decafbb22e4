#include "ztunnel/policy_log.h"

#include "base/log.h"
#include "ztunnel/metrics.h"
#include "ztunnel/worker.h"

#define POLICY_TARGET "ztunnel::state"

static void on_event(void *context, enum authorization_event event, const struct policy *policy, const char *key)
{
    (void)policy;
    const struct worker *worker = context;
    if (event == AUTHORIZATION_UNKNOWN_POLICY) {
        static struct log_limit limit;
        uint64_t dropped;
        if (log_limit_allows(&limit, 5, &dropped)) {
            log_print(LOG_WARN, POLICY_TARGET, "skipping unknown policy %s", key);
        }
        return;
    }
    const char *message = authorization_event_message(event);
    enum log_level level = worker->shared->configuration->policy_information_logging ? LOG_INFO : LOG_DEBUG;
    if (message != NULL) {
        LOG_EVENT(level, POLICY_TARGET, message, LOG_STRING("policy", key[0] != '\0' ? key : NULL));
    }
}

struct authorization_verdict policy_log_authorize(struct worker *worker, const struct mesh_version *version,
    const struct workload *destination, const struct authorization_request *request)
{
    struct authorization_verdict verdict = mesh_authorize(version, destination, request, on_event, worker);
    if (verdict.unknown_policies > 0) {
        metric_count(worker->metrics, METRIC_UNKNOWN_POLICIES, verdict.unknown_policies);
    }
    return verdict;
}
