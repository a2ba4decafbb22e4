/* LOCAL_XDS: workloads, services and policies from one YAML document (ztunnel-management §4), read once at start. */
#ifndef AMBAR_XDS_LOCAL_FILE_H
#define AMBAR_XDS_LOCAL_FILE_H

#include "mesh/change.h"

struct local_file_counts {
    size_t workloads, policies, services;
};

/* Adds everything in the text to the change, or nothing when it fails. `source_name` stands in messages:
 * "NAME:LINE: workloads[0]: unknown key `x`". Unknown keys are errors except in a match or a locality. */
struct result local_file_load(
    struct bytes text, const char *source_name, struct mesh_change *change, struct local_file_counts *counts);

/* The same for LOCAL_XDS_PATH or for LOCAL_XDS, the document itself; either may be NULL, not both set. Logs
 * `local config initialized num_workloads=N num_policies=M`. */
struct result local_file_initialise(const char *path, const char *text, struct mesh_change *change);

#endif
