/* AuthorizationPolicy: its tables, and the policies that contradict themselves. */
#include "kube/authorization_policy.h"

#include "base/address.h"
#include "base/text.h"
#include "kube/kinds.h"

/* ---- values ---- */

static void refuse_empty_texts(
    struct kube_decode *decode, const struct yaml_node *node, const char *field, const struct kube_strings *values)
{
    for (size_t i = 0; i < values->count; i++) {
        if (values->items[i][0] == '\0') {
            kube_decode_error(decode, node, field, (long)i, "must not be empty");
        }
    }
}

static void check_blocks(
    struct kube_decode *decode, const struct yaml_node *node, const char *field, const struct kube_strings *values)
{
    for (size_t i = 0; i < values->count; i++) {
        struct cidr block;
        if (!cidr_parse(values->items[i], &block)) {
            kube_decode_error(
                decode, node, field, (long)i, "\"%s\" is neither an IP address nor a CIDR block", values->items[i]);
        }
    }
}

static void check_ports(
    struct kube_decode *decode, const struct yaml_node *node, const char *field, const struct kube_strings *values)
{
    for (size_t i = 0; i < values->count; i++) {
        uint64_t port;
        if (!text_to_u64(values->items[i], 65535, &port)) {
            kube_decode_error(decode, node, field, (long)i, "\"%s\" is no port number", values->items[i]);
        }
    }
}

static void check_service_accounts(
    struct kube_decode *decode, const struct yaml_node *node, const char *field, const struct kube_strings *values)
{
    for (size_t i = 0; i < values->count; i++) {
        struct bytes rest = bytes_of_string(values->items[i]);
        struct bytes piece;
        size_t parts = 0;
        bool has_empty = false;
        while (bytes_split(&rest, '/', &piece)) {
            parts++;
            has_empty = has_empty || piece.length == 0;
        }
        if (parts > 2 || has_empty || strchr(values->items[i], '*') != NULL) {
            kube_decode_error(decode, node, field, (long)i,
                "\"%s\" is neither a service account nor namespace/service-account; wildcards are not understood here",
                values->items[i]);
        }
    }
}

/* ---- from ---- */

#define STRINGS(type, member, name) KUBE_FIELD(type, member, name, KUBE_FIELD_STRINGS)

static const struct kube_field source_fields[] = {
    STRINGS(struct kube_policy_source, principals, "principals"),
    STRINGS(struct kube_policy_source, not_principals, "notPrincipals"),
    STRINGS(struct kube_policy_source, request_principals, "requestPrincipals"),
    STRINGS(struct kube_policy_source, not_request_principals, "notRequestPrincipals"),
    STRINGS(struct kube_policy_source, namespaces, "namespaces"),
    STRINGS(struct kube_policy_source, not_namespaces, "notNamespaces"),
    STRINGS(struct kube_policy_source, ip_blocks, "ipBlocks"),
    STRINGS(struct kube_policy_source, not_ip_blocks, "notIpBlocks"),
    STRINGS(struct kube_policy_source, remote_ip_blocks, "remoteIpBlocks"),
    STRINGS(struct kube_policy_source, not_remote_ip_blocks, "notRemoteIpBlocks"),
    STRINGS(struct kube_policy_source, service_accounts, "serviceAccounts"),
    STRINGS(struct kube_policy_source, not_service_accounts, "notServiceAccounts"),
};

/* Every list of a struct that consists of lists only. Says whether any value is given. */
static bool check_lists(struct kube_decode *decode, const struct yaml_node *node, const struct kube_field *fields,
    size_t count, const void *value)
{
    bool has_values = false;
    for (size_t i = 0; i < count; i++) {
        const struct kube_strings *values = (const void *)((const char *)value + fields[i].offset);
        refuse_empty_texts(decode, node, fields[i].name, values);
        has_values = has_values || values->count > 0;
    }
    return has_values;
}

static void validate_source(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_policy_source *source = value;
    if (!check_lists(decode, node, source_fields, ARRAY_LENGTH(source_fields), source)) {
        kube_decode_error(decode, node, "", -1, "must say at least one thing about the source");
    }
    check_blocks(decode, node, "ipBlocks", &source->ip_blocks);
    check_blocks(decode, node, "notIpBlocks", &source->not_ip_blocks);
    check_blocks(decode, node, "remoteIpBlocks", &source->remote_ip_blocks);
    check_blocks(decode, node, "notRemoteIpBlocks", &source->not_remote_ip_blocks);
    check_service_accounts(decode, node, "serviceAccounts", &source->service_accounts);
    check_service_accounts(decode, node, "notServiceAccounts", &source->not_service_accounts);
    bool has_accounts = source->service_accounts.count + source->not_service_accounts.count > 0;
    bool has_others = source->principals.count + source->not_principals.count + source->namespaces.count +
                          source->not_namespaces.count >
                      0;
    if (has_accounts && has_others) {
        kube_decode_error(
            decode, node, "serviceAccounts", -1, "cannot stand beside principals or namespaces in one source");
    }
}
static const struct kube_schema source_schema =
    KUBE_SCHEMA(struct kube_policy_source, true, source_fields, validate_source);

static const struct kube_field from_fields[] = {
    KUBE_FIELD(
        struct kube_policy_from, source, "source", KUBE_FIELD_POINTER, .schema = &source_schema, .is_required = true),
};
static const struct kube_schema from_schema = KUBE_SCHEMA(struct kube_policy_from, true, from_fields, NULL);

/* ---- to ---- */

static const struct kube_field operation_fields[] = {
    STRINGS(struct kube_policy_operation, hosts, "hosts"),
    STRINGS(struct kube_policy_operation, not_hosts, "notHosts"),
    STRINGS(struct kube_policy_operation, ports, "ports"),
    STRINGS(struct kube_policy_operation, not_ports, "notPorts"),
    STRINGS(struct kube_policy_operation, methods, "methods"),
    STRINGS(struct kube_policy_operation, not_methods, "notMethods"),
    STRINGS(struct kube_policy_operation, paths, "paths"),
    STRINGS(struct kube_policy_operation, not_paths, "notPaths"),
};

static void validate_operation(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_policy_operation *operation = value;
    if (!check_lists(decode, node, operation_fields, ARRAY_LENGTH(operation_fields), operation)) {
        kube_decode_error(decode, node, "", -1, "must say at least one thing about the operation");
    }
    check_ports(decode, node, "ports", &operation->ports);
    check_ports(decode, node, "notPorts", &operation->not_ports);
}
static const struct kube_schema operation_schema =
    KUBE_SCHEMA(struct kube_policy_operation, true, operation_fields, validate_operation);

static const struct kube_field to_fields[] = {
    KUBE_FIELD(struct kube_policy_to, operation, "operation", KUBE_FIELD_POINTER, .schema = &operation_schema,
        .is_required = true),
};
static const struct kube_schema to_schema = KUBE_SCHEMA(struct kube_policy_to, true, to_fields, NULL);

/* ---- when ---- */

static bool is_known_key(const char *key)
{
    static const char *const keys[] = { "source.ip", "remote.ip", "source.namespace", "source.principal",
        "source.serviceAccount", "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
        "destination.ip", "destination.port", "connection.sni" };
    static const char *const prefixes[] = { "request.headers[", "request.auth.claims[", "experimental.envoy.filters." };
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(prefixes); i++) {
        if (text_starts_with(key, prefixes[i])) {
            return true;
        }
    }
    return false;
}

static void validate_when(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_policy_when *when = value;
    if (when->values.count + when->not_values.count == 0) {
        kube_decode_error(decode, node, "", -1, "must have values or notValues");
    }
    if (!is_known_key(when->key)) {
        kube_decode_error(decode, node, "key", -1, "\"%s\" is no attribute that a condition can test", when->key);
    }
    refuse_empty_texts(decode, node, "values", &when->values);
    refuse_empty_texts(decode, node, "notValues", &when->not_values);
    if (strcmp(when->key, "source.ip") == 0 || strcmp(when->key, "destination.ip") == 0 ||
        strcmp(when->key, "remote.ip") == 0) {
        check_blocks(decode, node, "values", &when->values);
        check_blocks(decode, node, "notValues", &when->not_values);
    } else if (strcmp(when->key, "destination.port") == 0) {
        check_ports(decode, node, "values", &when->values);
        check_ports(decode, node, "notValues", &when->not_values);
    }
}

static const struct kube_field when_fields[] = {
    KUBE_FIELD(struct kube_policy_when, key, "key", KUBE_FIELD_STRING, .is_required = true),
    STRINGS(struct kube_policy_when, values, "values"),
    STRINGS(struct kube_policy_when, not_values, "notValues"),
};
static const struct kube_schema when_schema = KUBE_SCHEMA(struct kube_policy_when, true, when_fields, validate_when);

/* ---- rules and the whole ---- */

static void refuse_empty_list(struct kube_decode *decode, const struct yaml_node *node, const char *field)
{
    const struct yaml_node *list = yaml_get(node, field);
    if (list != NULL && list->kind == YAML_SEQUENCE && list->children.count == 0) {
        kube_decode_error(decode, node, field, -1, "must not be an empty list; leave it out to match everything");
    }
}

static void validate_rule(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    (void)value;
    refuse_empty_list(decode, node, "from");
    refuse_empty_list(decode, node, "to");
    refuse_empty_list(decode, node, "when");
}

static const struct kube_field rule_fields[] = {
    KUBE_FIELD(struct kube_policy_rule, from, "from", KUBE_FIELD_LIST, .schema = &from_schema),
    KUBE_FIELD(struct kube_policy_rule, to, "to", KUBE_FIELD_LIST, .schema = &to_schema),
    KUBE_FIELD(struct kube_policy_rule, when, "when", KUBE_FIELD_LIST, .schema = &when_schema),
};
static const struct kube_schema rule_schema = KUBE_SCHEMA(struct kube_policy_rule, true, rule_fields, validate_rule);

static const struct kube_field target_fields[] = {
    KUBE_FIELD(struct kube_policy_target, group, "group", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_policy_target, kind, "kind", KUBE_FIELD_STRING, .is_required = true),
    KUBE_FIELD(struct kube_policy_target, name, "name", KUBE_FIELD_STRING, .is_required = true),
    KUBE_FIELD(struct kube_policy_target, namespace_, "namespace", KUBE_FIELD_STRING),
};
static const struct kube_schema target_schema = KUBE_SCHEMA(struct kube_policy_target, true, target_fields, NULL);

struct provider {
    const char *name;
};
static const struct kube_field provider_fields[] = {
    KUBE_FIELD(struct provider, name, "name", KUBE_FIELD_STRING),
};
static const struct kube_schema provider_schema = KUBE_SCHEMA(struct provider, true, provider_fields, NULL);

static void validate_action(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_authorization_policy *policy)
{
    bool is_custom = policy->action == KUBE_POLICY_CUSTOM;
    if (policy->rules.count == 0 && (is_custom || policy->action == KUBE_POLICY_DENY)) {
        kube_decode_error(decode, node, "rules", -1,
            "a %s policy without rules never acts; add an empty rule {} to match every request",
            is_custom ? "CUSTOM" : "DENY");
    }
    if (is_custom && (policy->provider == NULL || policy->provider->name[0] == '\0')) {
        kube_decode_error(decode, node, "provider", -1, "is required for the action CUSTOM");
    }
    if (!is_custom && policy->provider != NULL) {
        kube_decode_error(decode, node, "provider", -1, "is for the action CUSTOM only");
    }
}

static void validate_spec(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_authorization_policy *policy = value;
    validate_action(decode, node, policy);
    if (policy->selector != NULL && kube_authorization_policy_has_target(policy)) {
        kube_decode_error(decode, node, policy->target != NULL ? "targetRef" : "targetRefs", -1,
            "cannot stand beside a selector: a policy is for workloads or for a waypoint");
    }
    if (policy->target != NULL && policy->targets.count > 0) {
        kube_decode_error(decode, node, "targetRef", -1, "cannot stand beside targetRefs");
    }
    for (size_t i = 0; i < policy->targets.count; i++) {
        const char *namespace_ = policy->targets.items[i].namespace_;
        if (namespace_[0] != '\0' && strcmp(namespace_, decode->namespace_) != 0) {
            kube_decode_error(decode, node, "targetRefs", (long)i, "a target in another namespace is not allowed");
        }
    }
}

static const char *const actions[] = { "ALLOW", "DENY", "AUDIT", "CUSTOM", NULL };
static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_authorization_policy, action, "action", KUBE_FIELD_CHOICE, .choices = actions),
    KUBE_FIELD(struct kube_authorization_policy, selector, "selector", KUBE_FIELD_POINTER,
        .schema = &kube_workload_selector_schema),
    KUBE_FIELD(struct kube_authorization_policy, target, "targetRef", KUBE_FIELD_POINTER, .schema = &target_schema),
    KUBE_FIELD(struct kube_authorization_policy, targets, "targetRefs", KUBE_FIELD_LIST, .schema = &target_schema),
    KUBE_FIELD(struct kube_authorization_policy, rules, "rules", KUBE_FIELD_LIST, .schema = &rule_schema),
    KUBE_FIELD(struct kube_authorization_policy, provider, "provider", KUBE_FIELD_POINTER, .schema = &provider_schema),
};
static const struct kube_schema spec_schema =
    KUBE_SCHEMA(struct kube_authorization_policy, true, spec_fields, validate_spec);

static const struct kube_field policy_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &spec_schema },
    KUBE_IGNORED("status"),
};
const struct kube_schema kube_authorization_policy_schema =
    KUBE_SCHEMA(struct kube_authorization_policy, true, policy_fields, NULL);
