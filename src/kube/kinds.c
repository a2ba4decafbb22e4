/* The table of kinds. */
#include "kube/kinds.h"

#include "kube/authorization_policy.h"
#include "kube/endpoint_slice.h"
#include "kube/gateway.h"
#include "kube/mesh_config.h"
#include "kube/peer_authentication.h"
#include "kube/pod.h"
#include "kube/service.h"
#include "kube/service_entry.h"
#include "kube/workload_entry.h"

static const struct kube_field owner_fields[] = {
    KUBE_FIELD(struct kube_owner_reference, kind, "kind", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_owner_reference, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_owner_reference, is_controller, "controller", KUBE_FIELD_BOOL),
};
static const struct kube_schema owner_schema = KUBE_SCHEMA(struct kube_owner_reference, false, owner_fields, NULL);

static const struct kube_field metadata_fields[] = {
    KUBE_FIELD(struct kube_metadata, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_metadata, namespace_, "namespace", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_metadata, generate_name, "generateName", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_metadata, uid, "uid", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_metadata, creation_ns, "creationTimestamp", KUBE_FIELD_TIME),
    KUBE_FIELD(struct kube_metadata, deletion_ns, "deletionTimestamp", KUBE_FIELD_TIME),
    KUBE_FIELD(struct kube_metadata, labels, "labels", KUBE_FIELD_STRING_MAP),
    KUBE_FIELD(struct kube_metadata, annotations, "annotations", KUBE_FIELD_STRING_MAP),
    KUBE_FIELD(struct kube_metadata, owner_references, "ownerReferences", KUBE_FIELD_LIST, .schema = &owner_schema),
};
const struct kube_schema kube_metadata_schema = KUBE_SCHEMA(struct kube_metadata, false, metadata_fields, NULL);

static const struct kube_field plain_fields[] = { KUBE_OBJECT_FIELDS };
const struct kube_schema kube_plain_object_schema = KUBE_SCHEMA(struct kube_object, false, plain_fields, NULL);

static const char *const v1[] = { "v1", NULL };
static const char *const discovery_versions[] = { "v1", "v1beta1", NULL };
static const char *const security_versions[] = { "v1", "v1beta1", NULL };
static const char *const networking_versions[] = { "v1", "v1beta1", "v1alpha3", NULL };
static const char *const gateway_versions[] = { "v1", "v1beta1", "v1alpha2", NULL };

#define CORE ""
#define DISCOVERY "discovery.k8s.io"
#define SECURITY "security.istio.io"
#define NETWORKING "networking.istio.io"
#define GATEWAY_API "gateway.networking.k8s.io"

static const struct kube_kind_description kinds[KUBE_KIND_COUNT] = {
    [KUBE_NAMESPACE] = { "Namespace", CORE, v1, false, &kube_plain_object_schema },
    [KUBE_NODE] = { "Node", CORE, v1, false, &kube_plain_object_schema },
    [KUBE_SERVICE_ACCOUNT] = { "ServiceAccount", CORE, v1, true, &kube_plain_object_schema },
    [KUBE_POD] = { "Pod", CORE, v1, true, &kube_pod_schema },
    [KUBE_SERVICE] = { "Service", CORE, v1, true, &kube_service_schema },
    [KUBE_ENDPOINT_SLICE] = { "EndpointSlice", DISCOVERY, discovery_versions, true, &kube_endpoint_slice_schema },
    [KUBE_MESH_CONFIG] = { "ConfigMap", CORE, v1, true, &kube_mesh_config_schema },
    [KUBE_PEER_AUTHENTICATION] = { "PeerAuthentication", SECURITY, security_versions, true,
        &kube_peer_authentication_schema },
    [KUBE_AUTHORIZATION_POLICY] = { "AuthorizationPolicy", SECURITY, security_versions, true,
        &kube_authorization_policy_schema },
    [KUBE_SERVICE_ENTRY] = { "ServiceEntry", NETWORKING, networking_versions, true, &kube_service_entry_schema },
    [KUBE_WORKLOAD_ENTRY] = { "WorkloadEntry", NETWORKING, networking_versions, true, &kube_workload_entry_schema },
    [KUBE_GATEWAY] = { "Gateway", GATEWAY_API, gateway_versions, true, &kube_gateway_schema },
    [KUBE_GATEWAY_CLASS] = { "GatewayClass", GATEWAY_API, gateway_versions, false, &kube_gateway_class_schema },
};

const struct kube_kind_description *kube_kind_describe(enum kube_kind kind)
{
    return &kinds[kind];
}
