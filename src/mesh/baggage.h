/* The `baggage` header: what a peer says about itself for telemetry, never for decisions (wire-protocols §11.5). */
#ifndef AMBAR_MESH_BAGGAGE_H
#define AMBAR_MESH_BAGGAGE_H

#include "mesh/workload.h"

/* Borrowed from the header; empty is unset. */
struct baggage {
    struct bytes cluster_id;
    struct bytes namespace_;
    struct bytes workload_name;
    struct bytes workload_type; /* "deployment", "cronjob", "pod" or "job" */
    struct bytes canonical_name;
    struct bytes canonical_revision;
    struct bytes region;
    struct bytes zone;
};

/* Appends the header value for a workload; may append nothing. */
void baggage_format(const struct workload *workload, struct writer *out);

/* Adds one header line to what earlier lines gave. False for a value that is not visible ASCII: then the whole baggage
 * is to be ignored, and `*baggage` is empty. */
bool baggage_parse(struct bytes value, struct baggage *baggage);

#endif
