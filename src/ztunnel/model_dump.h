/* The model as /config_dump shows it: names, shapes and order of keys are a contract (ztunnel-management §7.3,
 * wire-protocols §17). Pure: version in, JSON out. */
#ifndef AMBAR_ZTUNNEL_MODEL_DUMP_H
#define AMBAR_ZTUNNEL_MODEL_DUMP_H

#include "base/json_writer.h"
#include "mesh/version.h"

void dump_workload(const struct workload *workload, struct json_writer *json);
void dump_service(const struct mesh_version *version, const struct service *service, struct json_writer *json);
void dump_policy(const struct policy *policy, struct json_writer *json);
void dump_endpoint(const struct mesh_endpoint *endpoint, struct json_writer *json);

#endif
