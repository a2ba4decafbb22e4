/* Service: its tables and what Kubernetes would refuse. */
#include "kube/service.h"

#include "base/address.h"
#include "kube/kinds.h"

static const struct kube_field port_fields[] = {
    KUBE_FIELD(struct kube_service_port, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_service_port, app_protocol, "appProtocol", KUBE_FIELD_STRING),
    KUBE_FIELD(
        struct kube_service_port, port, "port", KUBE_FIELD_NUMBER, .minimum = 1, .maximum = 65535, .is_required = true),
    KUBE_FIELD(
        struct kube_service_port, target_port, "targetPort", KUBE_FIELD_INT_OR_STRING, .minimum = 1, .maximum = 65535),
    KUBE_FIELD(struct kube_service_port, protocol, "protocol", KUBE_FIELD_CHOICE, .choices = kube_protocol_names),
};
static const struct kube_schema port_schema = KUBE_SCHEMA(struct kube_service_port, false, port_fields, NULL);

static bool is_cluster_ip(const char *text)
{
    struct ip_address ip;
    return strcmp(text, "None") == 0 || ip_parse(text, &ip);
}

static void validate_addresses(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_service *service)
{
    if (service->spec.cluster_ip[0] != '\0' && !is_cluster_ip(service->spec.cluster_ip)) {
        kube_decode_error(
            decode, node, "clusterIP", -1, "\"%s\" is neither an IP address nor None", service->spec.cluster_ip);
    }
    for (size_t i = 0; i < service->spec.cluster_ips.count; i++) {
        if (!is_cluster_ip(service->spec.cluster_ips.items[i])) {
            kube_decode_error(decode, node, "clusterIPs", (long)i, "\"%s\" is neither an IP address nor None",
                service->spec.cluster_ips.items[i]);
        }
    }
    for (size_t i = 0; i < service->spec.ip_families.count; i++) {
        const char *family = service->spec.ip_families.items[i];
        if (strcmp(family, "IPv4") != 0 && strcmp(family, "IPv6") != 0) {
            kube_decode_error(decode, node, "ipFamilies", (long)i, "\"%s\" is not one of IPv4, IPv6", family);
        }
    }
    if (service->spec.ip_families.count > 2) {
        kube_decode_error(decode, node, "ipFamilies", -1, "there are two families at most");
    }
}

static void validate_spec(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_service *service = value;
    validate_addresses(decode, node, service);
    for (size_t i = 0; i < service->spec.ports.count; i++) {
        const struct kube_service_port *port = &service->spec.ports.items[i];
        if (service->spec.ports.count > 1 && port->name[0] == '\0') {
            kube_decode_error(decode, node, "ports", (long)i, "must have a name where there are several ports");
        }
        for (size_t j = 0; j < i; j++) {
            const struct kube_service_port *other = &service->spec.ports.items[j];
            if (other->port == port->port && other->protocol == port->protocol) {
                kube_decode_error(decode, node, "ports", (long)i, "port %u is there twice", port->port);
            }
            if (strcmp(other->name, port->name) == 0 && port->name[0] != '\0') {
                kube_decode_error(decode, node, "ports", (long)i, "the name %s is there twice", port->name);
            }
        }
        if (i == 1000) { /* what fits into a Service's 1 MiB is more, but no use; the check above is quadratic */
            kube_decode_error(decode, node, "ports", -1, "there are too many ports");
            return;
        }
    }
}

static const char *const types[] = { "ClusterIP", "NodePort", "LoadBalancer", "ExternalName", NULL };
static const char *const internal_policies[] = { "Cluster", "Local", NULL };
static const char *const distributions[] = { "", "PreferClose", "PreferSameZone", "PreferSameNode", NULL };
static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_service, spec.type, "type", KUBE_FIELD_CHOICE, .choices = types),
    KUBE_FIELD(struct kube_service, spec.cluster_ip, "clusterIP", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_service, spec.cluster_ips, "clusterIPs", KUBE_FIELD_STRINGS),
    KUBE_FIELD(struct kube_service, spec.ports, "ports", KUBE_FIELD_LIST, .schema = &port_schema),
    KUBE_FIELD(struct kube_service, spec.selector, "selector", KUBE_FIELD_STRING_MAP),
    KUBE_FIELD(struct kube_service, spec.ip_families, "ipFamilies", KUBE_FIELD_STRINGS),
    KUBE_FIELD(struct kube_service, spec.internal_traffic_policy, "internalTrafficPolicy", KUBE_FIELD_CHOICE,
        .choices = internal_policies),
    KUBE_FIELD(struct kube_service, spec.traffic_distribution, "trafficDistribution", KUBE_FIELD_CHOICE,
        .choices = distributions),
    KUBE_FIELD(struct kube_service, spec.publishes_not_ready_addresses, "publishNotReadyAddresses", KUBE_FIELD_BOOL),
};
static const struct kube_schema spec_schema = KUBE_SCHEMA(struct kube_service, false, spec_fields, validate_spec);

static const struct kube_field service_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &spec_schema },
};
const struct kube_schema kube_service_schema = KUBE_SCHEMA(struct kube_service, false, service_fields, NULL);
