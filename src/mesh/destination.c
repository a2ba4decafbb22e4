#include "mesh/destination.h"

enum mesh_destination mesh_find_destination(
    const struct mesh_version *version, const char *uid, const struct ip_address *address)
{
    if (uid[0] == '\0') {
        return MESH_DESTINATION_PRESENT;
    }
    const struct workload *workload = mesh_workload_by_uid(version, bytes_of_string(uid));
    if (workload != NULL && (workload->address_count == 0 || workload_has_address(workload, address))) {
        return MESH_DESTINATION_PRESENT;
    }
    return mesh_workload_by_address(version, mesh_version_network(version), address) != NULL ? MESH_DESTINATION_TAKEN
                                                                                             : MESH_DESTINATION_GONE;
}
