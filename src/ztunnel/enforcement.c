#include "ztunnel/enforcement.h"

#include "base/log.h"
#include "mesh/authorization.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

#define POLICY_TARGET "ztunnel::state"
#define UNKNOWN_POLICIES_A_SECOND 5

static void on_event(void *context, enum authorization_event event, const struct policy *policy, const char *key)
{
    (void)policy;
    struct connection *connection = context;
    const struct worker *worker = connection->pod->worker;
    if (event == AUTHORIZATION_UNKNOWN_POLICY) {
        LOG_PRINT_LIMITED(UNKNOWN_POLICIES_A_SECOND, connection_spans(connection, &(struct proxy_spans){ 0 }), LOG_WARN,
            POLICY_TARGET, "skipping unknown policy %s", key);
        return;
    }
    const char *message = authorization_event_message(event);
    enum log_level level = worker->shared->configuration->policy_information_logging ? LOG_INFO : LOG_DEBUG;
    if (message != NULL) {
        CONNECTION_EVENT(connection, level, POLICY_TARGET, message, LOG_STRING("policy", key[0] != '\0' ? key : NULL));
    }
}

static struct authorization_request request_of(const struct connection *connection)
{
    return (struct authorization_request){
        .identity = connection->source_identity,
        .source_ip = connection->peer.ip,
        .destination = connection->dialled,
    };
}

bool enforcement_allows(struct connection *connection, const struct mesh_version *version, const struct workload *local,
    struct writer *error)
{
    struct worker *worker = connection->pod->worker;
    struct authorization_request request = request_of(connection);
    struct authorization_verdict verdict = mesh_authorize(version, local, &request, on_event, connection);
    if (verdict.unknown_policies > 0) {
        metric_count(worker->metrics, METRIC_UNKNOWN_POLICIES, verdict.unknown_policies);
    }
    if (verdict.is_allowed) {
        connection_pass(connection, STAGE_AUTHORIZED);
        return true;
    }
    connection_note(connection, EVENT_DENIED, 0);
    writer_add_string(error, "connection closed due to policy rejection: ");
    authorization_reason(&verdict, error);
    return false;
}

bool enforcement_still_allows(struct connection *connection, const struct mesh_version *version)
{
    const struct workload *local = pod_workload(connection->pod);
    struct authorization_request request = request_of(connection);
    return local == NULL || mesh_authorize(version, local, &request, NULL, NULL).is_allowed;
}
