/* What has become of a workload and address that something was sent to (issue 6, dead peers). Pure. */
#ifndef AMBAR_MESH_DESTINATION_H
#define AMBAR_MESH_DESTINATION_H

#include "mesh/version.h"

enum mesh_destination {
    MESH_DESTINATION_PRESENT,
    MESH_DESTINATION_GONE,  /* the workload has left the mesh, or has given up the address */
    MESH_DESTINATION_TAKEN, /* and the address is another workload's now */
};

/* A workload without uid cannot be told apart from others and counts as present; so does every address of one that is known by a
 * name only, while it is known. */
enum mesh_destination mesh_find_destination(
    const struct mesh_version *version, const char *uid, const struct ip_address *address);

#endif
