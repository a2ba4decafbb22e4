/* The Node a ztunnel introduces itself with: its id and its metadata (ztunnel-management §3.3). */
#ifndef AMBAR_XDS_NODE_H
#define AMBAR_XDS_NODE_H

#include "base/writer.h"

struct node_settings {
    const char *instance_ip; /* NULL or "": 1.1.1.1 in the id, an empty metadata value */
    const char *pod_name;
    const char *pod_namespace;
    const char *node_name;
    /* Proxy metadata (ISTIO_META_<K>), then JSON metadata (ISTIO_METAJSON_<K>): each overrides what came before. */
    const struct node_metadata *metadata;
    size_t metadata_count;
    const struct node_metadata *json_metadata; /* a value that is not JSON is logged and skipped */
    size_t json_metadata_count;
};

struct node_metadata {
    const char *key;
    const char *value;
};

/* The serialised envoy Node message, at the end of `out`. */
void node_encode(const struct node_settings *settings, struct writer *out);

#endif
