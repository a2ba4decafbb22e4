/* Whether a connection is allowed (ztunnel-dataplane §13). Pure; the same walk serves enforcement, logs and explanations. */
#ifndef AMBAR_MESH_AUTHORIZATION_H
#define AMBAR_MESH_AUTHORIZATION_H

#include "base/spiffe.h"
#include "mesh/version.h"

struct authorization_request {
    const struct spiffe_identity *identity; /* NULL: plaintext */
    struct ip_address source_ip;
    struct socket_address destination; /* with the application's final port */
};

enum authorization_event {
    AUTHORIZATION_UNKNOWN_POLICY, /* a name in the workload's list that no policy has: skipped */
    AUTHORIZATION_DRY_RUN_DENY_MATCH,
    AUTHORIZATION_DENY_MATCH,
    AUTHORIZATION_DRY_RUN_ALLOW_MATCH,
    AUTHORIZATION_DRY_RUN_NO_ALLOW_MATCH,
    AUTHORIZATION_NO_ALLOW_POLICIES,
    AUTHORIZATION_ALLOW_MATCH,
    AUTHORIZATION_NO_ALLOW_MATCH,
    AUTHORIZATION_CONSIDERED, /* a policy was looked at and did not match; has no log line */
};
/* The reference's log message, e.g. "deny policy match"; NULL for AUTHORIZATION_CONSIDERED. */
const char *authorization_event_message(enum authorization_event event);

/* Called for each event in order. `policy` may be NULL; `key` names the policy ("" when none is concerned). */
typedef void authorization_visitor(
    void *context, enum authorization_event event, const struct policy *policy, const char *key);

struct authorization_verdict {
    bool is_allowed;
    const struct policy *policy; /* the one that decided; NULL when none did */
    uint32_t unknown_policies;   /* names skipped, to be counted */
};

/* `destination` is a workload of this version (the current one of that uid, when a live connection is checked again). */
struct authorization_verdict mesh_authorize(const struct mesh_version *version, const struct workload *destination,
    const struct authorization_request *request, authorization_visitor *visit, void *context);

/* "explicitly denied by: NS/NAME" or "allow policies exist, but none allowed"; "" when allowed. */
void authorization_reason(const struct authorization_verdict *verdict, struct writer *out);

/* Every policy that applies to a workload, in the order in which it is looked at, and (NULL) the names in its list that no policy has. */
void mesh_visit_policies(const struct mesh_version *version, const struct workload *destination,
    void (*visit)(void *context, const struct policy *policy, const char *key), void *context);

/* Why one rule of a policy holds or not. */
struct rule_explanation {
    bool is_met;
    uint32_t clause;                  /* the first that does not hold, from 0 */
    const struct policy_match *match; /* its first match */
    enum policy_field field; /* the first list of that match that is not met; POLICY_FIELD_END: it cannot be read */
};
void policy_explain_rule(const struct policy *policy, uint32_t rule, const struct authorization_request *request,
    struct rule_explanation *explanation);

/* One policy alone, whatever its action and dry run: does it match? */
bool policy_matches(const struct policy *policy, const struct authorization_request *request);

#endif
