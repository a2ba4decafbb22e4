/* AuthorizationPolicy. */
#ifndef AMBAR_KUBE_AUTHORIZATION_POLICY_H
#define AMBAR_KUBE_AUTHORIZATION_POLICY_H

#include "kube/object.h"
#include "kube/selector.h"

#include <assert.h>

struct kube_policy_source {
    struct kube_strings principals, not_principals;
    struct kube_strings request_principals, not_request_principals;
    struct kube_strings namespaces, not_namespaces;
    struct kube_strings ip_blocks, not_ip_blocks;
    struct kube_strings remote_ip_blocks, not_remote_ip_blocks;
    struct kube_strings service_accounts, not_service_accounts;
};

struct kube_policy_operation {
    struct kube_strings hosts, not_hosts;
    struct kube_strings ports, not_ports;
    struct kube_strings methods, not_methods;
    struct kube_strings paths, not_paths;
};

struct kube_policy_from {
    struct kube_policy_source *source; /* never NULL in a valid policy */
};

struct kube_policy_to {
    struct kube_policy_operation *operation; /* never NULL in a valid policy */
};

struct kube_policy_when {
    const char *key;
    struct kube_strings values, not_values;
};

struct kube_policy_rule {
    struct {
        struct kube_policy_from *items;
        size_t count;
    } from;
    struct {
        struct kube_policy_to *items;
        size_t count;
    } to;
    struct {
        struct kube_policy_when *items;
        size_t count;
    } when;
};

struct kube_policy_target {
    const char *group;
    const char *kind;
    const char *name;
    const char *namespace_;
};

enum kube_policy_action { KUBE_POLICY_ALLOW, KUBE_POLICY_DENY, KUBE_POLICY_AUDIT, KUBE_POLICY_CUSTOM };

struct kube_authorization_policy {
    struct kube_object object;
    int action;                              /* enum kube_policy_action */
    struct kube_workload_selector *selector; /* NULL when absent */
    struct kube_policy_target *target;       /* the older targetRef; NULL when absent */
    struct {
        struct kube_policy_target *items;
        size_t count;
    } targets;
    struct {
        struct kube_policy_rule *items;
        size_t count;
    } rules;
    struct {
        const char *name;
    } * provider;
};

static inline const struct kube_authorization_policy *kube_as_authorization_policy(const struct kube_object *object)
{
    assert(object->kind == KUBE_AUTHORIZATION_POLICY);
    return (const struct kube_authorization_policy *)object;
}

static inline bool kube_authorization_policy_has_target(const struct kube_authorization_policy *policy)
{
    return policy->target != NULL || policy->targets.count > 0;
}

#endif
