/* The three kinds of object a local file holds, each read in a file of its own; for local_file.c. */
#ifndef AMBAR_XDS_LOCAL_FILE_INTERNAL_H
#define AMBAR_XDS_LOCAL_FILE_INTERNAL_H

#include "mesh/policy.h"
#include "mesh/service.h"
#include "mesh/workload.h"
#include "xds/yaml_reader.h"

/* NULL with the reader's error set when the node is not one. */
struct workload *local_workload_read(struct yaml_reader *reader, struct fy_node *node);
struct service *local_service_read(struct yaml_reader *reader, struct fy_node *node);
struct policy *local_policy_read(struct yaml_reader *reader, struct fy_node *node);

/* Readers that workloads and services share. */
bool local_gateway_read(struct yaml_reader *reader, struct fy_node *node, void *target); /* struct gateway_spec */
/* A mapping servicePort -> targetPort. */
bool local_ports_read(
    struct yaml_reader *reader, struct fy_node *node, const struct port_mapping **ports, size_t *count);
bool local_health_read(struct yaml_reader *reader, struct fy_node *node, void *target); /* bool: Healthy, Unhealthy */
/* "left/right" at the first "/". */
bool local_pair_split(struct bytes text, struct bytes *left, struct bytes *right);

#endif
