/* The model as /config_dump shows it: names, shapes and order of keys are a contract (ztunnel-management §7.3,
 * wire-protocols §17). Pure: version in, JSON out. */
#ifndef AMBAR_ZTUNNEL_MODEL_DUMP_H
#define AMBAR_ZTUNNEL_MODEL_DUMP_H

#include "base/json_writer.h"
#include "mesh/version.h"

/* NULL is null. */
void dump_gateway(const struct gateway_address *gateway, struct json_writer *json);
void dump_workload(const struct workload *workload, struct json_writer *json);
/* The same with `services` as a local file states them: a map of ports each (staticConfig). */
void dump_local_workload(const struct workload *workload, struct json_writer *json);

/* A service may have any number of endpoints: between the two halves they are written one by one, each a key (the
 * workload's uid) and dump_endpoint. */
void dump_service_begin(const struct service *service, struct json_writer *json);
void dump_service_end(const struct service *service, struct json_writer *json);
/* The endpoints that a local file lists in the service itself: members of the object between the two halves. */
void dump_listed_endpoints(const struct service *service, struct json_writer *json);
void dump_policy(const struct policy *policy, struct json_writer *json);
/* "notPrincipals" and its values. */
const char *policy_field_key(enum policy_field field);
void dump_policy_list(
    const struct policy *policy, const struct policy_match *match, enum policy_field field, struct json_writer *json);
void dump_endpoint(const struct mesh_endpoint *endpoint, struct json_writer *json);

#endif
