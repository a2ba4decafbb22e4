/* PeerAuthentication: its tables and what Istio would refuse. */
#include "kube/peer_authentication.h"

#include "base/text.h"
#include "kube/kinds.h"

#include <stdlib.h>

static const char *const modes[] = { "UNSET", "DISABLE", "PERMISSIVE", "STRICT", NULL };

static const struct kube_field mtls_fields[] = {
    KUBE_FIELD(struct kube_peer_authentication, mode, "mode", KUBE_FIELD_CHOICE, .choices = modes),
};
static const struct kube_schema mtls_schema = KUBE_SCHEMA(struct kube_peer_authentication, true, mtls_fields, NULL);

static const struct kube_field port_fields[] = {
    KUBE_FIELD(struct kube_port_mtls, mode, "mode", KUBE_FIELD_CHOICE, .choices = modes),
};
static const struct kube_schema port_schema = KUBE_SCHEMA(struct kube_port_mtls, true, port_fields, NULL);

static int compare_ports(const void *left, const void *right)
{
    const struct kube_port_mtls *left_port = left;
    const struct kube_port_mtls *right_port = right;
    return left_port->port < right_port->port ? -1 : left_port->port > right_port->port;
}

static void validate_spec(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    struct kube_peer_authentication *policy = value;
    const struct yaml_node *ports = yaml_get(node, "portLevelMtls");
    for (size_t i = 0; i < policy->ports.count; i++) {
        struct kube_port_mtls *port = &policy->ports.items[i];
        uint64_t number = 0;
        if (!text_to_u64(port->key, 65535, &number) || number == 0) {
            kube_decode_error(
                decode, ports->children.items[i].value, "", -1, "portLevelMtls: %s is no port number", port->key);
        }
        port->port = (uint32_t)number;
    }
    if (policy->ports.count > 0) {
        qsort(policy->ports.items, policy->ports.count, sizeof *policy->ports.items, compare_ports);
    }
    if (ports != NULL && policy->ports.count == 0) {
        kube_decode_error(decode, node, "portLevelMtls", -1, "must name at least one port");
    }
    if (ports != NULL && !kube_peer_authentication_has_selector(policy)) {
        kube_decode_error(
            decode, node, "portLevelMtls", -1, "needs a selector: ports belong to workloads, not to a namespace");
    }
}

static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_peer_authentication, selector, "selector", KUBE_FIELD_POINTER,
        .schema = &kube_workload_selector_schema),
    { .name = "mtls", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &mtls_schema },
    KUBE_FIELD(struct kube_peer_authentication, ports, "portLevelMtls", KUBE_FIELD_KEYED_LIST, .schema = &port_schema),
};
static const struct kube_schema spec_schema =
    KUBE_SCHEMA(struct kube_peer_authentication, true, spec_fields, validate_spec);

static const struct kube_field policy_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &spec_schema },
    KUBE_IGNORED("status"),
};
const struct kube_schema kube_peer_authentication_schema =
    KUBE_SCHEMA(struct kube_peer_authentication, true, policy_fields, NULL);
