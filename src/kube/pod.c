/* Pod: its tables, and what is read off it. */
#include "kube/pod.h"

#include "base/address.h"
#include "kube/kinds.h"

const char *const kube_protocol_names[] = { "TCP", "UDP", "SCTP", NULL };

static const struct kube_field container_port_fields[] = {
    KUBE_FIELD(struct kube_container_port, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_container_port, container_port, "containerPort", KUBE_FIELD_NUMBER, .minimum = 1,
        .maximum = 65535, .is_required = true),
    KUBE_FIELD(struct kube_container_port, protocol, "protocol", KUBE_FIELD_CHOICE, .choices = kube_protocol_names),
};
static const struct kube_schema container_port_schema =
    KUBE_SCHEMA(struct kube_container_port, false, container_port_fields, NULL);

static const struct kube_field container_fields[] = {
    KUBE_FIELD(struct kube_container, restart_policy, "restartPolicy", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_container, ports, "ports", KUBE_FIELD_LIST, .schema = &container_port_schema),
};
static const struct kube_schema container_schema = KUBE_SCHEMA(struct kube_container, false, container_fields, NULL);

static const struct kube_field condition_fields[] = {
    KUBE_FIELD(struct kube_pod_condition, type, "type", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_pod_condition, status, "status", KUBE_FIELD_STRING),
};
static const struct kube_schema condition_schema =
    KUBE_SCHEMA(struct kube_pod_condition, false, condition_fields, NULL);

static void validate_ip(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_pod_ip *pod_ip = value;
    struct ip_address ip;
    if (!ip_parse(pod_ip->ip, &ip)) {
        kube_decode_error(decode, node, "ip", -1, "\"%s\" is no IP address", pod_ip->ip);
    }
}

static const struct kube_field ip_fields[] = {
    KUBE_FIELD(struct kube_pod_ip, ip, "ip", KUBE_FIELD_STRING, .is_required = true),
};
static const struct kube_schema ip_schema = KUBE_SCHEMA(struct kube_pod_ip, false, ip_fields, validate_ip);

/* The schemas of spec and status count offsets from the beginning of the whole pod, where both are embedded at 0. */
static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_pod, spec.node_name, "nodeName", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_pod, spec.service_account, "serviceAccountName", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_pod, spec.deprecated_service_account, "serviceAccount", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_pod, spec.is_host_network, "hostNetwork", KUBE_FIELD_BOOL),
    KUBE_FIELD(struct kube_pod, spec.containers, "containers", KUBE_FIELD_LIST, .schema = &container_schema),
    KUBE_FIELD(struct kube_pod, spec.init_containers, "initContainers", KUBE_FIELD_LIST, .schema = &container_schema),
};
static const struct kube_schema spec_schema = KUBE_SCHEMA(struct kube_pod, false, spec_fields, NULL);

static void validate_status(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_pod *pod = value;
    struct ip_address ip;
    if (pod->status.pod_ip[0] != '\0' && !ip_parse(pod->status.pod_ip, &ip)) {
        kube_decode_error(decode, node, "podIP", -1, "\"%s\" is no IP address", pod->status.pod_ip);
    }
}

static const char *const phases[] = { "", "Pending", "Running", "Succeeded", "Failed", "Unknown", NULL };
static const struct kube_field status_fields[] = {
    KUBE_FIELD(struct kube_pod, status.phase, "phase", KUBE_FIELD_CHOICE, .choices = phases),
    KUBE_FIELD(struct kube_pod, status.pod_ip, "podIP", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_pod, status.pod_ips, "podIPs", KUBE_FIELD_LIST, .schema = &ip_schema),
    KUBE_FIELD(struct kube_pod, status.conditions, "conditions", KUBE_FIELD_LIST, .schema = &condition_schema),
};
static const struct kube_schema status_schema = KUBE_SCHEMA(struct kube_pod, false, status_fields, validate_status);

static void complete_pod(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    (void)decode;
    (void)node;
    struct kube_pod *pod = value;
    if (pod->spec.service_account[0] == '\0') {
        pod->spec.service_account = pod->spec.deprecated_service_account;
    }
    if (pod->spec.service_account[0] == '\0') {
        pod->spec.service_account = "default";
    }
}

static const struct kube_field pod_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &spec_schema },
    { .name = "status", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &status_schema },
};
const struct kube_schema kube_pod_schema = KUBE_SCHEMA(struct kube_pod, false, pod_fields, complete_pod);

bool kube_pod_is_ready(const struct kube_pod *pod)
{
    if (pod->object.metadata.deletion_ns != 0) {
        return false;
    }
    for (size_t i = 0; i < pod->status.conditions.count; i++) {
        if (strcmp(pod->status.conditions.items[i].type, "Ready") == 0) {
            return strcmp(pod->status.conditions.items[i].status, "True") == 0;
        }
    }
    return false;
}

bool kube_pod_is_finished(const struct kube_pod *pod)
{
    return pod->status.phase == KUBE_POD_SUCCEEDED || pod->status.phase == KUBE_POD_FAILED;
}

static uint16_t named_port_in(const struct kube_container *container, const char *name)
{
    for (size_t i = 0; i < container->ports.count; i++) {
        const struct kube_container_port *port = &container->ports.items[i];
        if (port->protocol == KUBE_PROTOCOL_TCP && strcmp(port->name, name) == 0) {
            return (uint16_t)port->container_port;
        }
    }
    return 0;
}

uint16_t kube_pod_named_port(const struct kube_pod *pod, const char *name)
{
    uint16_t port = 0;
    for (size_t i = 0; i < pod->spec.containers.count && port == 0; i++) {
        port = named_port_in(&pod->spec.containers.items[i], name);
    }
    for (size_t i = 0; i < pod->spec.init_containers.count && port == 0; i++) {
        const struct kube_container *container = &pod->spec.init_containers.items[i];
        port = strcmp(container->restart_policy, "Always") == 0 ? named_port_in(container, name) : 0;
    }
    return port;
}
