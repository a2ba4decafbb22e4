#include "mesh/authorization.h"

#include "base/memory.h"
#include "base/writer.h"

const char *authorization_event_message(enum authorization_event event)
{
    static const char *const messages[] = {
        [AUTHORIZATION_UNKNOWN_POLICY] = "skipping unknown policy",
        [AUTHORIZATION_DRY_RUN_DENY_MATCH] = "dry-run: deny policy match",
        [AUTHORIZATION_DENY_MATCH] = "deny policy match",
        [AUTHORIZATION_DRY_RUN_ALLOW_MATCH] = "dry-run: allow policy match",
        [AUTHORIZATION_DRY_RUN_NO_ALLOW_MATCH] = "dry-run: no allow policies match",
        [AUTHORIZATION_NO_ALLOW_POLICIES] = "no allow policies, allow",
        [AUTHORIZATION_ALLOW_MATCH] = "allow policy match",
        [AUTHORIZATION_NO_ALLOW_MATCH] = "no allow policies matched",
        [AUTHORIZATION_CONSIDERED] = NULL,
    };
    return messages[event];
}

static bool text_matches(const union policy_value *value, struct bytes text)
{
    size_t length = value->text.length;
    switch ((enum policy_text_kind)value->text.kind) {
    case POLICY_EXACT:
        return bytes_equal(text, bytes_of(value->text.text, length));
    case POLICY_PREFIX:
        return text.length >= length && memcmp(text.data, value->text.text, length) == 0;
    case POLICY_SUFFIX:
        return text.length >= length && memcmp(text.data + text.length - length, value->text.text, length) == 0;
    case POLICY_PRESENCE:
        return text.length > 0;
    }
    return false;
}

static bool account_matches(const union policy_value *value, const struct spiffe_identity *identity)
{
    return identity != NULL && strcmp(value->account.namespace_, identity->namespace_) == 0 &&
           strcmp(value->account.service_account, identity->service_account) == 0;
}

static bool principal_matches(const union policy_value *value, const struct spiffe_identity *identity)
{
    return identity != NULL && text_matches(value, bytes_of_string(identity->uri + strlen(SPIFFE_PREFIX)));
}

/* Without an identity every positive predicate on it is false, so that its negation holds: a DENY of
 * not_principals [presence] denies plaintext. */
static bool value_matches(
    enum policy_field field, const union policy_value *value, const struct authorization_request *request)
{
    const struct spiffe_identity *identity = request->identity;
    switch (field) {
    case POLICY_NAMESPACES:
    case POLICY_NOT_NAMESPACES:
        return text_matches(value, bytes_of_string(identity != NULL ? identity->namespace_ : ""));
    case POLICY_PRINCIPALS:
    case POLICY_NOT_PRINCIPALS:
        return principal_matches(value, identity);
    case POLICY_SOURCE_IPS:
    case POLICY_NOT_SOURCE_IPS:
        return cidr_contains(&value->cidr, &request->source_ip);
    case POLICY_DESTINATION_IPS:
    case POLICY_NOT_DESTINATION_IPS:
        return cidr_contains(&value->cidr, &request->destination.ip);
    case POLICY_DESTINATION_PORTS:
    case POLICY_NOT_DESTINATION_PORTS:
        return value->port == request->destination.port;
    case POLICY_SERVICE_ACCOUNTS:
    case POLICY_NOT_SERVICE_ACCOUNTS:
        return account_matches(value, identity);
    case POLICY_FIELD_END:
        break;
    }
    return false;
}

static bool list_is_met(const struct policy *policy, const struct policy_range *list, enum policy_field field,
    const struct authorization_request *request)
{
    bool any_matches = false;
    for (uint32_t i = 0; i < list->count && !any_matches; i++) {
        any_matches = value_matches(field, &policy->values[list->first + i], request);
    }
    return any_matches != policy_field_is_negated(field);
}

/* `*unmet`: the first list that is not met, POLICY_FIELD_END when it is not for a list. */
static bool match_is_met(const struct policy *policy, const struct policy_match *match,
    const struct authorization_request *request, enum policy_field *unmet)
{
    bool is_readable = match->unparsable_fields == 0 && !match->has_unknown_field;
    *unmet = POLICY_FIELD_END;
    if (!is_readable && policy->action == POLICY_ALLOW) {
        return false;
    }
    bool has_constraint = !is_readable;
    for (unsigned field = POLICY_NAMESPACES; field < POLICY_FIELD_END; field++) {
        const struct policy_range *list = &match->lists[field - 1];
        bool counts_as_met = (match->unparsable_fields & (1U << field)) != 0;
        if (list->count == 0 || counts_as_met) {
            continue;
        }
        has_constraint = true;
        if (!list_is_met(policy, list, field, request)) {
            *unmet = (enum policy_field)field;
            return false;
        }
    }
    return has_constraint;
}

/* A clause without matches holds; matches without any constraint never do. */
static bool clause_is_met(
    const struct policy *policy, const struct policy_range *clause, const struct authorization_request *request)
{
    enum policy_field unmet;
    for (uint32_t i = 0; i < clause->count; i++) {
        if (match_is_met(policy, &policy->matches[clause->first + i], request, &unmet)) {
            return true;
        }
    }
    return clause->count == 0;
}

static bool rule_is_met(
    const struct policy *policy, const struct policy_range *rule, const struct authorization_request *request)
{
    for (uint32_t i = 0; i < rule->count; i++) {
        if (!clause_is_met(policy, &policy->clauses[rule->first + i], request)) {
            return false;
        }
    }
    return true;
}

bool policy_matches(const struct policy *policy, const struct authorization_request *request)
{
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        if (rule_is_met(policy, &policy->rules[i], request)) {
            return true;
        }
    }
    return false;
}

void policy_explain_rule(const struct policy *policy, uint32_t rule, const struct authorization_request *request,
    struct rule_explanation *explanation)
{
    *explanation = (struct rule_explanation){ .is_met = true, .field = POLICY_FIELD_END };
    for (uint32_t i = 0; i < policy->rules[rule].count; i++) {
        const struct policy_range *clause = &policy->clauses[policy->rules[rule].first + i];
        if (!clause_is_met(policy, clause, request)) {
            explanation->is_met = false;
            explanation->clause = i;
            explanation->match = &policy->matches[clause->first];
            (void)match_is_met(policy, explanation->match, request, &explanation->field);
            return;
        }
    }
}

/* The policies that apply to one workload: of its namespace, global, and by name. */
struct applicable {
    struct mesh_policies of_namespace, global;
    const struct policy **named;
    size_t named_count;
};

struct walk {
    const struct authorization_request *request;
    authorization_visitor *visit;
    void *context;
};

static void tell(const struct walk *walk, enum authorization_event event, const struct policy *policy)
{
    if (walk->visit != NULL) {
        walk->visit(walk->context, event, policy, policy != NULL ? policy->key : "");
    }
}

static size_t applicable_count(const struct applicable *applicable)
{
    return applicable->of_namespace.count + applicable->global.count + applicable->named_count;
}

static const struct policy *applicable_at(const struct applicable *applicable, size_t position)
{
    if (position < applicable->of_namespace.count) {
        return applicable->of_namespace.policies[position];
    }
    position -= applicable->of_namespace.count;
    if (position < applicable->global.count) {
        return applicable->global.policies[position];
    }
    return applicable->named[position - applicable->global.count];
}

/* The first policy of a kind that matches. `*exists` says whether there was any of that kind. */
static const struct policy *first_match(const struct walk *walk, const struct applicable *applicable,
    enum policy_action action, bool is_dry_run, bool *exists)
{
    *exists = false;
    for (size_t i = 0; i < applicable_count(applicable); i++) {
        const struct policy *policy = applicable_at(applicable, i);
        if (policy->action != action || policy->is_dry_run != is_dry_run) {
            continue;
        }
        *exists = true;
        if (policy_matches(policy, walk->request)) {
            return policy;
        }
        tell(walk, AUTHORIZATION_CONSIDERED, policy);
    }
    return NULL;
}

static struct authorization_verdict verdict_of(const struct walk *walk, const struct applicable *applicable)
{
    bool exists;
    const struct policy *policy = first_match(walk, applicable, POLICY_DENY, true, &exists);
    if (policy != NULL) {
        tell(walk, AUTHORIZATION_DRY_RUN_DENY_MATCH, policy);
    }
    policy = first_match(walk, applicable, POLICY_DENY, false, &exists);
    if (policy != NULL) {
        tell(walk, AUTHORIZATION_DENY_MATCH, policy);
        return (struct authorization_verdict){ .is_allowed = false, .policy = policy };
    }
    policy = first_match(walk, applicable, POLICY_ALLOW, true, &exists);
    if (policy != NULL) {
        tell(walk, AUTHORIZATION_DRY_RUN_ALLOW_MATCH, policy);
    } else if (exists) {
        tell(walk, AUTHORIZATION_DRY_RUN_NO_ALLOW_MATCH, NULL);
    }
    policy = first_match(walk, applicable, POLICY_ALLOW, false, &exists);
    if (!exists) {
        tell(walk, AUTHORIZATION_NO_ALLOW_POLICIES, NULL);
        return (struct authorization_verdict){ .is_allowed = true };
    }
    tell(walk, policy != NULL ? AUTHORIZATION_ALLOW_MATCH : AUTHORIZATION_NO_ALLOW_MATCH, policy);
    return (struct authorization_verdict){ .is_allowed = policy != NULL, .policy = policy };
}

/* `few` is used while it is enough; `*many` is the caller's to free. Names that no policy has are told to the visitor. */
static uint32_t find_applicable(const struct mesh_version *version, const struct workload *destination,
    struct applicable *applicable, const struct policy **few, size_t few_count, const struct policy ***many,
    const struct walk *walk)
{
    *applicable = (struct applicable){
        .of_namespace = mesh_policies_of_namespace(version, workload_text(destination, WORKLOAD_NAMESPACE)),
        .global = mesh_global_policies(version),
        .named = few,
    };
    if (destination->policy_count > few_count) {
        *many = memory_allocate_zeroed(destination->policy_count, sizeof **many);
        applicable->named = *many;
    }
    uint32_t unknown_policies = 0;
    for (size_t i = 0; i < destination->policy_count; i++) {
        const char *key = destination->policy_keys[i];
        const struct policy *policy = mesh_policy_by_key(version, bytes_of_string(key));
        if (policy != NULL) {
            applicable->named[applicable->named_count++] = policy;
            continue;
        }
        unknown_policies++;
        if (walk->visit != NULL) {
            walk->visit(walk->context, AUTHORIZATION_UNKNOWN_POLICY, NULL, key);
        }
    }
    return unknown_policies;
}

struct authorization_verdict mesh_authorize(const struct mesh_version *version, const struct workload *destination,
    const struct authorization_request *request, authorization_visitor *visit, void *context)
{
    const struct policy *few[16];
    const struct policy **AUTO_FREE many = NULL;
    struct walk walk = { request, visit, context };
    struct applicable applicable;
    uint32_t unknown_policies =
        find_applicable(version, destination, &applicable, few, ARRAY_LENGTH(few), &many, &walk);
    struct authorization_verdict verdict = verdict_of(&walk, &applicable);
    verdict.unknown_policies = unknown_policies;
    return verdict;
}

struct policy_visit {
    void (*visit)(void *context, const struct policy *policy, const char *key);
    void *context;
};

static void visit_unknown(void *context, enum authorization_event event, const struct policy *policy, const char *key)
{
    const struct policy_visit *visit = context;
    (void)event;
    visit->visit(visit->context, policy, key);
}

void mesh_visit_policies(const struct mesh_version *version, const struct workload *destination,
    void (*visit)(void *context, const struct policy *policy, const char *key), void *context)
{
    const struct policy *few[16];
    const struct policy **AUTO_FREE many = NULL;
    struct policy_visit wanted = { visit, context };
    struct walk walk = { NULL, visit_unknown, &wanted };
    struct applicable applicable;
    (void)find_applicable(version, destination, &applicable, few, ARRAY_LENGTH(few), &many, &walk);
    for (size_t i = 0; i < applicable_count(&applicable); i++) {
        const struct policy *policy = applicable_at(&applicable, i);
        visit(context, policy, policy->key);
    }
}

void authorization_reason(const struct authorization_verdict *verdict, struct writer *out)
{
    if (verdict->is_allowed) {
        return;
    }
    if (verdict->policy != NULL) {
        writer_print(out, "explicitly denied by: %s/%s", verdict->policy->namespace_, verdict->policy->name);
        return;
    }
    writer_add_string(out, "allow policies exist, but none allowed");
}
