/* What workloads share: the places where they run and the kinds of them (workload.h), equal ones kept once. Any thread. */
#ifndef AMBAR_MESH_WORKLOAD_SHARED_H
#define AMBAR_MESH_WORKLOAD_SHARED_H

#include "mesh/workload.h"

/* Of a spec that was checked; referenced for the caller. */
const struct workload_place *workload_place_get(const struct workload_spec *spec);
void workload_place_release(const struct workload_place *place);
const struct workload_kind *workload_kind_get(const struct workload_spec *spec);
void workload_kind_release(const struct workload_kind *kind);

#endif
