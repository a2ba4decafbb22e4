#include "xds/discovery_request.h"

#include "proto/discovery.pb-c.h"
#include "xds/protobuf.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest Request;
typedef Envoy__Service__Discovery__V3__Node Node;

static const char *metadata_string(const Node *node, const char *key)
{
    const WellKnown__Struct *metadata = node->metadata;
    for (size_t i = 0; metadata != NULL && i < metadata->n_fields; i++) {
        const WellKnown__Struct__FieldsEntry *entry = metadata->fields[i];
        if (entry->value != NULL && strcmp(entry->key, key) == 0 &&
            entry->value->kind_case == WELL_KNOWN__VALUE__KIND_STRING_VALUE) {
            return entry->value->string_value;
        }
    }
    return "";
}

/* "ztunnel~IP~POD.NS~NS.svc.cluster.local": NS of the fourth part. */
static const char *namespace_of_id(const char *id, struct arena *arena)
{
    const char *at = id;
    for (int parts = 0; parts < 3; parts++) {
        at = strchr(at, '~');
        if (at == NULL) {
            return "";
        }
        at++;
    }
    return arena_string_bytes(arena, bytes_of(at, strcspn(at, ".")));
}

static void read_node(const Node *node, struct arena *arena, struct discovery_request *request)
{
    request->has_node = true;
    request->node_id = node->id;
    request->node_namespace = metadata_string(node, "NAMESPACE");
    if (request->node_namespace[0] == '\0') {
        request->node_namespace = namespace_of_id(node->id, arena);
    }
    request->node_service_account = metadata_string(node, "SERVICE_ACCOUNT");
    request->node_name = metadata_string(node, "NODE_NAME");
    request->instance_ips = metadata_string(node, "INSTANCE_IPS");
    request->istio_version = metadata_string(node, "ISTIO_VERSION");
    request->cluster_id = metadata_string(node, "CLUSTER_ID");
}

struct result discovery_request_decode(struct bytes message, struct arena *arena, struct discovery_request *request)
{
    ProtobufCMessage *decoded;
    RESULT_TRY(
        protobuf_decode(&envoy__service__discovery__v3__delta_discovery_request__descriptor, message, arena, &decoded));
    const Request *wire = (const Request *)(const void *)decoded;
    *request = (struct discovery_request){ .node_id = "",
        .node_namespace = "",
        .node_service_account = "",
        .node_name = "",
        .instance_ips = "",
        .istio_version = "",
        .cluster_id = "",
        .refusal = "" };
    if (wire->node != NULL) {
        read_node(wire->node, arena, request);
    }
    request->type_url = wire->type_url;
    request->subscribe = (const char *const *)wire->resource_names_subscribe;
    request->subscribe_count = wire->n_resource_names_subscribe;
    request->unsubscribe = (const char *const *)wire->resource_names_unsubscribe;
    request->unsubscribe_count = wire->n_resource_names_unsubscribe;
    request->nonce = wire->response_nonce;
    request->is_refusal = wire->error_detail != NULL;
    request->refusal = request->is_refusal ? wire->error_detail->message : "";
    struct discovery_named_version *initial =
        arena_allocate(arena, wire->n_initial_resource_versions * sizeof *initial);
    for (size_t i = 0; i < wire->n_initial_resource_versions; i++) {
        initial[i] = (struct discovery_named_version){ wire->initial_resource_versions[i]->key,
            wire->initial_resource_versions[i]->value };
    }
    request->initial = initial;
    request->initial_count = wire->n_initial_resource_versions;
    return result_ok();
}
