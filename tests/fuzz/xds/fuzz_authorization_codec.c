/* Authorization messages: either a policy or a reason, and a policy with something unreadable in each of its matches
 * never allows. */
#include "base/memory.h"
#include "mesh/authorization.h"
#include "xds/authorization_codec.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* True when every clause of every rule consists of unreadable matches alone. */
static bool is_wholly_unreadable(const struct policy *policy)
{
    for (uint32_t i = 0; i < policy->match_count; i++) {
        if (policy->matches[i].unparsable_fields == 0 && !policy->matches[i].has_unknown_field) {
            return false;
        }
    }
    for (uint32_t i = 0; i < policy->clause_count; i++) {
        if (policy->clauses[i].count == 0) {
            return false;
        }
    }
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        if (policy->rules[i].count == 0) {
            return false;
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy *policy = NULL;
    struct result result = authorization_decode(bytes_of(data, size), bytes_of_string("ns/name"), &policy);
    expect(result_is_ok(&result) == (policy != NULL));
    if (policy == NULL) {
        expect(result.message[0] != '\0');
        return 0;
    }
    struct spiffe_identity *identity = spiffe_identity_new("cluster.local", "a", "client");
    struct authorization_request request = { .identity = identity, .destination.port = 80 };
    expect(ip_parse("10.0.0.1", &request.source_ip) && ip_parse("10.0.0.2", &request.destination.ip));
    bool matches = policy_matches(policy, &request);
    expect(!(matches && policy->action == POLICY_ALLOW && is_wholly_unreadable(policy)));
    request.identity = NULL;
    policy_matches(policy, &request);
    spiffe_identity_free(identity);
    policy_release(policy);
    return 0;
}
