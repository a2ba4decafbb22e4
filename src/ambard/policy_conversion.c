/* AuthorizationPolicies for ztunnel. */
#include "ambard/policy_conversion.h"

#include "ambard/selector_index.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>

struct policy_table {
    struct selector_index *selectors; /* of the emitted policies; items are their names */
};

/* ---- rules to groups ---- */

struct rule_conversion {
    struct arena *arena;
    const char **http_attributes;
    size_t http_count;
    size_t http_capacity;
    bool has_http; /* in this rule */
};

static void note_http(struct rule_conversion *conversion, const char *attribute)
{
    conversion->has_http = true;
    for (size_t i = 0; i < conversion->http_count; i++) {
        if (strcmp(conversion->http_attributes[i], attribute) == 0) {
            return;
        }
    }
    if (conversion->http_count == conversion->http_capacity) {
        conversion->http_capacity = conversion->http_capacity == 0 ? 8 : conversion->http_capacity * 2;
        conversion->http_attributes =
            memory_resize(conversion->http_attributes, conversion->http_capacity, sizeof *conversion->http_attributes);
    }
    conversion->http_attributes[conversion->http_count++] = attribute;
}

static void note_http_list(struct rule_conversion *conversion, const struct kube_strings *values, const char *attribute)
{
    if (values->count > 0) {
        note_http(conversion, attribute);
    }
}

static struct authorization_match convert_operation(
    struct rule_conversion *conversion, const struct kube_policy_operation *operation)
{
    note_http_list(conversion, &operation->hosts, "hosts");
    note_http_list(conversion, &operation->not_hosts, "notHosts");
    note_http_list(conversion, &operation->methods, "methods");
    note_http_list(conversion, &operation->not_methods, "notMethods");
    note_http_list(conversion, &operation->paths, "paths");
    note_http_list(conversion, &operation->not_paths, "notPaths");
    return (struct authorization_match){
        .destination_ports = operation->ports,
        .not_destination_ports = operation->not_ports,
    };
}

static struct authorization_match convert_source(
    struct rule_conversion *conversion, const struct kube_policy_source *source)
{
    note_http_list(conversion, &source->request_principals, "requestPrincipals");
    note_http_list(conversion, &source->not_request_principals, "notRequestPrincipals");
    note_http_list(conversion, &source->remote_ip_blocks, "remoteIpBlocks");
    note_http_list(conversion, &source->not_remote_ip_blocks, "notRemoteIpBlocks");
    return (struct authorization_match){
        .namespaces = source->namespaces,
        .not_namespaces = source->not_namespaces,
        .principals = source->principals,
        .not_principals = source->not_principals,
        .source_ips = source->ip_blocks,
        .not_source_ips = source->not_ip_blocks,
        .service_accounts = source->service_accounts,
        .not_service_accounts = source->not_service_accounts,
    };
}

static struct authorization_match convert_when(struct rule_conversion *conversion, const struct kube_policy_when *when)
{
    struct authorization_match match = { 0 };
    const struct {
        const char *key;
        struct kube_strings *values, *not_values;
    } keys[] = {
        { "source.namespace", &match.namespaces, &match.not_namespaces },
        { "source.principal", &match.principals, &match.not_principals },
        { "source.ip", &match.source_ips, &match.not_source_ips },
        { "destination.ip", &match.destination_ips, &match.not_destination_ips },
        { "destination.port", &match.destination_ports, &match.not_destination_ports },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        if (strcmp(keys[i].key, when->key) == 0) {
            *keys[i].values = when->values;
            *keys[i].not_values = when->not_values;
            return match;
        }
    }
    note_http(conversion, when->key);
    return match;
}

static struct authorization_match *add_clause(
    struct rule_conversion *conversion, struct authorization_group *group, size_t count)
{
    struct authorization_match *matches = arena_allocate(conversion->arena, count * sizeof *matches);
    group->clauses[group->count++] = (struct authorization_clause){ matches, count };
    return matches;
}

/* The order of clauses is part of the bytes: all `to`, all `from`, then each `when`. */
static struct authorization_group convert_rule(struct rule_conversion *conversion, const struct kube_policy_rule *rule)
{
    struct authorization_group group = { 0 };
    group.clauses = arena_allocate(conversion->arena, (2 + rule->when.count) * sizeof *group.clauses);
    conversion->has_http = false;
    if (rule->to.count > 0) {
        struct authorization_match *matches = add_clause(conversion, &group, rule->to.count);
        for (size_t i = 0; i < rule->to.count; i++) {
            matches[i] = convert_operation(conversion, rule->to.items[i].operation);
        }
    }
    if (rule->from.count > 0) {
        struct authorization_match *matches = add_clause(conversion, &group, rule->from.count);
        for (size_t i = 0; i < rule->from.count; i++) {
            matches[i] = convert_source(conversion, rule->from.items[i].source);
        }
    }
    for (size_t i = 0; i < rule->when.count; i++) {
        *add_clause(conversion, &group, 1) = convert_when(conversion, &rule->when.items[i]);
    }
    return group;
}

static const char *join_attributes(struct rule_conversion *conversion)
{
    struct writer text = writer_growing();
    if (conversion->http_count > 0) {
        qsort(conversion->http_attributes, conversion->http_count, sizeof(char *), compare_texts);
    }
    for (size_t i = 0; i < conversion->http_count; i++) {
        writer_print(&text, "%s%s", i == 0 ? "" : ", ", conversion->http_attributes[i]);
    }
    const char *joined = arena_string(conversion->arena, writer_string(&text));
    writer_free(&text);
    memory_free(conversion->http_attributes);
    return joined;
}

struct authorization policy_convert(const struct kube_authorization_policy *policy, const char *root_namespace,
    struct arena *arena, const char **http_attributes)
{
    const struct kube_metadata *metadata = &policy->object.metadata;
    bool is_global = strcmp(metadata->namespace_, root_namespace) == 0;
    struct authorization authorization = {
        .name = metadata->name,
        .namespace_ = metadata->namespace_,
        .scope = policy->selector != NULL ? AUTHORIZATION_WORKLOAD_SELECTOR
                 : is_global              ? AUTHORIZATION_GLOBAL
                                          : AUTHORIZATION_NAMESPACE,
        .action = policy->action == KUBE_POLICY_DENY ? AUTHORIZATION_DENY : AUTHORIZATION_ALLOW,
        .groups = arena_allocate(arena, policy->rules.count * sizeof *authorization.groups),
    };
    struct rule_conversion conversion = { .arena = arena };
    for (size_t i = 0; i < policy->rules.count; i++) {
        struct authorization_group group = convert_rule(&conversion, &policy->rules.items[i]);
        if (!conversion.has_http || authorization.action == AUTHORIZATION_DENY) {
            authorization.groups[authorization.group_count++] = group;
        }
    }
    *http_attributes = join_attributes(&conversion);
    return authorization;
}

/* ---- what is sent ---- */

void policy_emit(struct conversion *conversion, const struct authorization *authorization)
{
    struct writer body = writer_growing();
    authorization_encode(authorization, &body);
    char *AUTO_FREE name = string_format("%s/%s", authorization->namespace_, authorization->name);
    const struct ambient_draft draft = {
        .type = AMBIENT_AUTHORIZATION,
        .name = name,
        .body = writer_bytes(&body),
        .node = "",
    };
    conversion->emit(conversion->emit_context, &draft);
    writer_free(&body);
}

/* Says why a policy is not for ztunnel at all; true when it is. */
static bool check_support(struct conversion *conversion, const struct kube_authorization_policy *policy)
{
    const struct kube_metadata *metadata = &policy->object.metadata;
    if (policy->action == KUBE_POLICY_AUDIT || policy->action == KUBE_POLICY_CUSTOM) {
        conversion_add_condition(conversion, &policy->object, "ZtunnelAccepted", false, "UnsupportedValue",
            "ztunnel does not support the %s action", policy->action == KUBE_POLICY_AUDIT ? "AUDIT" : "CUSTOM");
        return false;
    }
    bool is_dry_run = false;
    if (kube_parse_bool(kube_labels_text(&metadata->annotations, "istio.io/dry-run"), &is_dry_run) && is_dry_run) {
        conversion_add_condition(conversion, &policy->object, "ZtunnelAccepted", false, "UnsupportedValue",
            "found policy \"%s/%s\" using dry-run annotation, but support for ambient dry-run authorizationPolicies "
            "isn't enabled",
            metadata->namespace_, metadata->name);
        return false;
    }
    return true;
}

static void add_accepted_condition(struct conversion *conversion, const struct kube_authorization_policy *policy,
    const struct authorization *authorization, const char *http_attributes)
{
    if (http_attributes[0] == '\0') {
        conversion_add_condition(
            conversion, &policy->object, "ZtunnelAccepted", true, "Accepted", "attached to ztunnel");
        return;
    }
    const char *effect = "Within an ALLOW policy, rules matching HTTP attributes are omitted. This will be more "
                         "restrictive than requested.";
    if (authorization->action == AUTHORIZATION_DENY) {
        effect = authorization_can_fire(authorization)
                     ? "DENY policy with HTTP attributes is enforced without the HTTP rules. This will be more "
                       "restrictive than "
                       "requested."
                     : "After omitting unsupported HTTP attributes, this DENY policy has no enforceable rules at "
                       "ztunnel and "
                       "will have no effect. Deploy a waypoint proxy and use a targetRef to enforce this policy.";
    }
    conversion_add_condition(conversion, &policy->object, "ZtunnelAccepted", true, "UnsupportedValue",
        "ztunnel does not support HTTP attributes (found: %s). In ambient mode you must use a waypoint proxy to "
        "enforce HTTP "
        "rules. %s",
        http_attributes, effect);
}

static void convert_policy(
    struct conversion *conversion, struct policy_table *table, const struct kube_authorization_policy *policy)
{
    if (kube_authorization_policy_has_target(policy) || !check_support(conversion, policy)) {
        return;
    }
    const char *http_attributes;
    struct authorization authorization =
        policy_convert(policy, conversion->root_namespace, conversion->arena, &http_attributes);
    policy_emit(conversion, &authorization);
    add_accepted_condition(conversion, policy, &authorization, http_attributes);
    if (policy->selector != NULL) {
        const char *name = arena_format(conversion->arena, "%s/%s", authorization.namespace_, authorization.name);
        selector_index_add(table->selectors, authorization.namespace_, &policy->selector->match_labels, name);
    }
}

struct policy_table *policy_table_new(struct conversion *conversion)
{
    struct policy_table *table = NEW(struct policy_table);
    table->selectors = selector_index_new();
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_AUTHORIZATION_POLICY);
    for (size_t i = 0; i < list.count; i++) {
        if (conversion_takes(conversion, list.items[i])) {
            convert_policy(conversion, table, kube_as_authorization_policy(list.items[i]));
        }
    }
    return table;
}

void policy_table_free(struct policy_table *table)
{
    selector_index_free(table->selectors);
    memory_free(table);
}

/* ---- which workloads list which ---- */

struct collection {
    const char **items;
    size_t count;
    size_t capacity;
};

static void collect(void *context, const void *item)
{
    struct collection *collection = context;
    if (collection->count == collection->capacity) {
        collection->capacity = collection->capacity == 0 ? 8 : collection->capacity * 2;
        collection->items = memory_resize(collection->items, collection->capacity, sizeof *collection->items);
    }
    collection->items[collection->count++] = item;
}

struct kube_strings policies_of_workload(
    struct conversion *conversion, const char *namespace_, const struct kube_labels *labels)
{
    struct collection found = { 0 };
    const struct selector_index *selectors = conversion->policies->selectors;
    selector_index_visit(selectors, namespace_, labels, collect, &found);
    if (strcmp(namespace_, conversion->root_namespace) != 0) {
        selector_index_visit(selectors, conversion->root_namespace, labels, collect, &found);
    }
    struct kube_strings names = { NULL, found.count };
    if (found.count > 0) {
        qsort(found.items, found.count, sizeof(char *), compare_texts);
        names.items = arena_allocate(conversion->arena, found.count * sizeof *names.items);
        memcpy(names.items, found.items, found.count * sizeof *names.items);
    }
    memory_free(found.items);
    return names;
}
