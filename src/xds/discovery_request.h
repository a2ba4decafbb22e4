/* One DeltaDiscoveryRequest as a server reads it (wire-protocols §6, §10.3). */
#ifndef AMBAR_XDS_DISCOVERY_REQUEST_H
#define AMBAR_XDS_DISCOVERY_REQUEST_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/result.h"

struct discovery_named_version {
    const char *name;
    const char *version;
};

/* Everything in the arena given to the decoder. */
struct discovery_request {
    bool has_node;
    const char *node_id;
    const char *node_namespace; /* metadata NAMESPACE, else the first label of the id's fourth part; "" when neither */
    const char *node_service_account; /* metadata SERVICE_ACCOUNT; "" when absent */
    const char *node_name;            /* metadata NODE_NAME; "" when absent */
    const char *instance_ips;         /* metadata INSTANCE_IPS; "" when absent */
    const char *istio_version;        /* metadata ISTIO_VERSION; "" when absent */
    const char *cluster_id;           /* metadata CLUSTER_ID; "" when absent */
    const char *type_url;
    const char *const *subscribe;
    size_t subscribe_count;
    const char *const *unsubscribe;
    size_t unsubscribe_count;
    const struct discovery_named_version *initial;
    size_t initial_count;
    const char *nonce;
    bool is_refusal; /* error_detail is present, whatever its code (ztunnel sends 0) */
    const char *refusal;
};

struct result discovery_request_decode(struct bytes message, struct arena *arena, struct discovery_request *request);

#endif
