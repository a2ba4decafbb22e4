/* WaypointAccepted: whether the targets of an AuthorizationPolicy have a waypoint that enforces it (control-plane §4.3). */
#include "ambard/policy_conversion.h"
#include "ambard/waypoint_binding.h"

#include "base/memory.h"

#define TYPE "WaypointAccepted"

struct target_state {
    const char *bound_to; /* NULL: why not is in reason and message */
    const char *reason;
    const char *message;
};

static struct target_state bound(const char *key)
{
    return (struct target_state){ key, "Accepted", "" };
}

static struct target_state unbound(const char *reason, const char *message)
{
    return (struct target_state){ NULL, reason, message };
}

static struct target_state check_class(
    struct conversion *conversion, const struct kube_policy_target *target, const char *namespace_)
{
    const struct kube_object *class_ = kube_store_get(conversion->store, KUBE_GATEWAY_CLASS, "", target->name);
    if (class_ == NULL) {
        return unbound(
            "TargetNotFound", arena_format(conversion->arena, "GatewayClass %s was not found", target->name));
    }
    if (strcmp(namespace_, conversion->root_namespace) != 0) {
        return unbound("Invalid", "a policy for a GatewayClass must be in the root namespace");
    }
    if (strcmp(kube_as_gateway_class(class_)->controller_name, "istio.io/mesh-controller") != 0) {
        return unbound(
            "Invalid", arena_format(conversion->arena, "GatewayClass %s is not that of a waypoint", target->name));
    }
    return bound(target->name);
}

static struct target_state check_service(
    struct conversion *conversion, const struct kube_policy_target *target, enum kube_kind kind, const char *namespace_)
{
    const struct kube_object *object = kube_store_get(conversion->store, kind, namespace_, target->name);
    if (object == NULL) {
        return unbound("TargetNotFound",
            arena_format(conversion->arena, "%s %s/%s was not found", kube_kind_name(kind), namespace_, target->name));
    }
    struct waypoint_binding binding = waypoint_bind_service(conversion, object, false);
    if (binding.waypoint == NULL) {
        return unbound("AncestorNotBound", arena_format(conversion->arena, "%s %s/%s is not bound to a waypoint",
                                               kube_kind_name(kind), namespace_, target->name));
    }
    return bound(binding.waypoint->key);
}

static struct target_state check_target(
    struct conversion *conversion, const struct kube_policy_target *target, const char *namespace_)
{
    if (strcmp(target->kind, "GatewayClass") == 0) {
        return check_class(conversion, target, namespace_);
    }
    if (strcmp(target->kind, "Service") == 0) {
        return check_service(conversion, target, KUBE_SERVICE, namespace_);
    }
    if (strcmp(target->kind, "ServiceEntry") == 0) {
        return check_service(conversion, target, KUBE_SERVICE_ENTRY, namespace_);
    }
    bool is_gateway = strcmp(target->kind, "Gateway") == 0;
    if (!is_gateway) {
        return unbound(
            "Invalid", arena_format(conversion->arena, "a %s cannot be the target of a policy", target->kind));
    }
    const char *key = arena_format(conversion->arena, "%s/%s", namespace_, target->name);
    return kube_store_get(conversion->store, KUBE_GATEWAY, namespace_, target->name) != NULL
               ? bound(key)
               : unbound("TargetNotFound", arena_format(conversion->arena, "Gateway %s was not found", key));
}

static void add_condition_of_one(
    struct conversion *conversion, const struct kube_object *policy, const struct kube_policy_target *target)
{
    struct target_state state = check_target(conversion, target, policy->metadata.namespace_);
    if (state.bound_to != NULL) {
        conversion_add_condition(conversion, policy, TYPE, true, state.reason, "bound to %s", state.bound_to);
    } else {
        conversion_add_condition(conversion, policy, TYPE, false, state.reason, "%s", state.message);
    }
}

static void add_condition_of_several(struct conversion *conversion, const struct kube_authorization_policy *policy)
{
    const char *namespace_ = policy->object.metadata.namespace_;
    struct writer bound_to = writer_growing();
    struct writer invalid = writer_growing();
    for (size_t i = 0; i < policy->targets.count; i++) {
        const struct kube_policy_target *target = &policy->targets.items[i];
        struct target_state state = check_target(conversion, target, namespace_);
        if (state.bound_to != NULL) {
            writer_print(&bound_to, "%s%s", bound_to.length == 0 ? "" : ", ", state.bound_to);
        } else {
            writer_print(&invalid, "%s%s.%s:%s/%s", invalid.length == 0 ? "" : ", ", target->kind,
                target->group[0] == '\0' ? "core" : target->group, namespace_, target->name);
        }
    }
    bool is_any_bound = bound_to.length > 0;
    if (invalid.length == 0) {
        conversion_add_condition(
            conversion, &policy->object, TYPE, true, "Accepted", "bound to %s", writer_string(&bound_to));
    } else {
        conversion_add_condition(conversion, &policy->object, TYPE, is_any_bound,
            is_any_bound ? "PartiallyInvalid" : "Invalid", "Invalid targetRefs: %s", writer_string(&invalid));
    }
    writer_free(&bound_to);
    writer_free(&invalid);
}

void policy_add_target_conditions(struct conversion *conversion)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_AUTHORIZATION_POLICY);
    for (size_t i = 0; i < list.count; i++) {
        const struct kube_authorization_policy *policy = kube_as_authorization_policy(list.items[i]);
        if (!kube_authorization_policy_has_target(policy) || !conversion_takes(conversion, list.items[i])) {
            continue;
        }
        if (policy->target != NULL) {
            add_condition_of_one(conversion, list.items[i], policy->target);
        } else if (policy->targets.count == 1) {
            add_condition_of_one(conversion, list.items[i], &policy->targets.items[0]);
        } else {
            add_condition_of_several(conversion, policy);
        }
    }
}
