/* AuthorizationPolicy to Authorization (control-plane §§5.1, 5.3), and which workloads list which. */
#ifndef AMBAR_AMBARD_POLICY_CONVERSION_H
#define AMBAR_AMBARD_POLICY_CONVERSION_H

#include "ambard/authorization.h"
#include "ambard/conversion.h"
#include "kube/authorization_policy.h"

/* A policy converted for ztunnel. What is HTTP in it is left out: a whole rule of an ALLOW policy, of a DENY policy only the
 * attributes. `http_attributes` are their names, sorted and joined by ", "; "" when there are none. In the arena. */
struct authorization policy_convert(const struct kube_authorization_policy *policy, const char *root_namespace,
    struct arena *arena, const char **http_attributes);

/* Emits every policy and adds every condition ZtunnelAccepted; remembers those with a selector. */
struct policy_table *policy_table_new(struct conversion *conversion);
void policy_table_free(struct policy_table *table);

/* The conditions WaypointAccepted of policies with targets; after waypoints and services are known. */
void policy_add_target_conditions(struct conversion *conversion);

/* The names of the selector policies of a workload, sorted. In the conversion's arena. */
struct kube_strings policies_of_workload(
    struct conversion *conversion, const char *namespace_, const struct kube_labels *labels);

/* Serializes an authorization and emits it. */
void policy_emit(struct conversion *conversion, const struct authorization *authorization);

#endif
