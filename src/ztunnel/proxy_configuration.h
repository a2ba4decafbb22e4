/* The mesh's proxy configuration: the object `defaultConfig` of the mesh file, the same object in PROXY_CONFIG, and the
 * metadata that ISTIO_META_* variables add (ztunnel-management §1.1). Later sources win over earlier ones. */
#ifndef AMBAR_ZTUNNEL_PROXY_CONFIGURATION_H
#define AMBAR_ZTUNNEL_PROXY_CONFIGURATION_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

#define MESH_FILE_PATH "./etc/istio/config/mesh"

/* One entry of the proxy's metadata; both texts are owned by the proxy_configuration. */
struct proxy_metadata {
    char *key, *value;
};

struct proxy_configuration {
    char *discovery_address; /* NULL: not said */
    bool has_admin_port, has_stats_port, has_concurrency;
    uint16_t admin_port, stats_port, concurrency;
    struct proxy_metadata *metadata; /* sorted by key, no key twice */
    size_t metadata_count;
};

/* Reads the mesh file (absent: skipped), PROXY_CONFIG and ISTIO_META_*. After a failure free it too. */
struct result proxy_configuration_read(const char *mesh_file_path, struct proxy_configuration *configuration);
void proxy_configuration_free(struct proxy_configuration *configuration);

/* The value of a metadata key; NULL: not there. */
const char *proxy_configuration_metadata(const struct proxy_configuration *configuration, const char *key);

#endif
