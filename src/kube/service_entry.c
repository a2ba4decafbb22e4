/* ServiceEntry: its tables and what Istio would refuse. */
#include "kube/service_entry.h"

#include "base/address.h"
#include "base/text.h"
#include "kube/kinds.h"

#define QUADRATIC_CHECKS_MAXIMUM 1000

static void validate_port(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    static const char *const protocols[] = { "", "tcp", "udp", "tls", "https", "http", "http2", "http_proxy", "grpc",
        "grpc-web", "mongo", "mysql", "redis", "hbone", "double-hbone" };
    const struct kube_service_entry_port *port = value;
    for (size_t i = 0; i < ARRAY_LENGTH(protocols); i++) {
        if (text_equal_ignoring_case(port->protocol, protocols[i])) {
            return;
        }
    }
    kube_decode_error(decode, node, "protocol", -1, "\"%s\" is no protocol Istio knows", port->protocol);
}

static const struct kube_field port_fields[] = {
    KUBE_FIELD(struct kube_service_entry_port, name, "name", KUBE_FIELD_STRING, .is_required = true),
    KUBE_FIELD(struct kube_service_entry_port, protocol, "protocol", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_service_entry_port, number, "number", KUBE_FIELD_NUMBER, .minimum = 1, .maximum = 65535,
        .is_required = true),
    KUBE_FIELD(
        struct kube_service_entry_port, target_port, "targetPort", KUBE_FIELD_NUMBER, .minimum = 1, .maximum = 65535),
};
static const struct kube_schema port_schema =
    KUBE_SCHEMA(struct kube_service_entry_port, true, port_fields, validate_port);

static void validate_hosts(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_service_entry *entry)
{
    if (entry->hosts.count == 0) {
        kube_decode_error(decode, node, "hosts", -1, "must name at least one host");
    }
    bool is_dns = entry->resolution == KUBE_RESOLUTION_DNS || entry->resolution == KUBE_RESOLUTION_DNS_ROUND_ROBIN;
    for (size_t i = 0; i < entry->hosts.count; i++) {
        const char *host = entry->hosts.items[i];
        bool is_wildcard = text_starts_with(host, "*.");
        if (host[0] == '\0' || strpbrk(host + (is_wildcard ? 1 : 0), " */") != NULL) {
            kube_decode_error(decode, node, "hosts", (long)i, "\"%s\" is no hostname", host);
        }
        if (is_dns && is_wildcard && entry->endpoints.count == 0) {
            kube_decode_error(decode, node, "hosts", (long)i, "\"%s\" cannot be resolved by DNS; give endpoints", host);
        }
    }
}

static void validate_addresses(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_service_entry *entry)
{
    for (size_t i = 0; i < entry->addresses.count; i++) {
        struct cidr block;
        const char *address = entry->addresses.items[i];
        if (!cidr_parse(address, &block)) {
            kube_decode_error(
                decode, node, "addresses", (long)i, "\"%s\" is neither an IP address nor a CIDR block", address);
        } else if (strchr(address, '/') != NULL && entry->resolution != KUBE_RESOLUTION_NONE &&
                   entry->resolution != KUBE_RESOLUTION_STATIC) {
            kube_decode_error(decode, node, "addresses", (long)i, "a CIDR block needs the resolution NONE or STATIC");
        }
    }
}

static void validate_ports(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_service_entry *entry)
{
    if (entry->ports.count > QUADRATIC_CHECKS_MAXIMUM) {
        kube_decode_error(decode, node, "ports", -1, "there are too many ports");
        return;
    }
    for (size_t i = 0; i < entry->ports.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (entry->ports.items[i].number == entry->ports.items[j].number) {
                kube_decode_error(
                    decode, node, "ports", (long)i, "port %u is there twice", entry->ports.items[i].number);
            }
            if (strcmp(entry->ports.items[i].name, entry->ports.items[j].name) == 0) {
                kube_decode_error(
                    decode, node, "ports", (long)i, "the name %s is there twice", entry->ports.items[i].name);
            }
        }
    }
}

static bool has_port_name(const struct kube_service_entry *entry, const char *name)
{
    for (size_t i = 0; i < entry->ports.count; i++) {
        if (strcmp(entry->ports.items[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void validate_endpoints(
    struct kube_decode *decode, const struct yaml_node *node, const struct kube_service_entry *entry)
{
    if (entry->endpoints.count == 0) {
        return;
    }
    if (entry->workload_selector != NULL) {
        kube_decode_error(decode, node, "endpoints", -1, "cannot stand beside a workloadSelector");
    }
    if (entry->resolution == KUBE_RESOLUTION_NONE) {
        kube_decode_error(decode, node, "endpoints", -1, "the resolution NONE takes no endpoints");
    }
    if (entry->resolution == KUBE_RESOLUTION_DNS_ROUND_ROBIN && entry->endpoints.count > 1) {
        kube_decode_error(decode, node, "endpoints", -1, "the resolution DNS_ROUND_ROBIN takes one endpoint at most");
    }
    for (size_t i = 0; i < entry->endpoints.count; i++) {
        const struct kube_workload_entry_spec *endpoint = &entry->endpoints.items[i];
        struct ip_address ip;
        if (entry->resolution == KUBE_RESOLUTION_STATIC && endpoint->address[0] != '\0' &&
            !ip_parse(endpoint->address, &ip)) {
            kube_decode_error(decode, node, "endpoints", (long)i,
                "address \"%s\" is no IP address, as the resolution STATIC wants", endpoint->address);
        }
        for (size_t j = 0; j < endpoint->ports.count; j++) {
            if (!has_port_name(entry, endpoint->ports.items[j].key)) {
                kube_decode_error(decode, node, "endpoints", (long)i, "port %s is not among the entry's ports",
                    endpoint->ports.items[j].key);
            }
        }
    }
}

static void validate_spec(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_service_entry *entry = value;
    validate_hosts(decode, node, entry);
    validate_addresses(decode, node, entry);
    validate_ports(decode, node, entry);
    validate_endpoints(decode, node, entry);
}

static const char *const resolutions[] = { "NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS", NULL };
static const char *const locations[] = { "MESH_EXTERNAL", "MESH_INTERNAL", NULL };
static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_service_entry, hosts, "hosts", KUBE_FIELD_STRINGS, .is_required = true),
    KUBE_FIELD(struct kube_service_entry, addresses, "addresses", KUBE_FIELD_STRINGS),
    KUBE_FIELD(struct kube_service_entry, ports, "ports", KUBE_FIELD_LIST, .schema = &port_schema),
    KUBE_FIELD(struct kube_service_entry, resolution, "resolution", KUBE_FIELD_CHOICE, .choices = resolutions),
    KUBE_FIELD(struct kube_service_entry, location, "location", KUBE_FIELD_CHOICE, .choices = locations),
    KUBE_FIELD(
        struct kube_service_entry, endpoints, "endpoints", KUBE_FIELD_LIST, .schema = &kube_workload_entry_spec_schema),
    KUBE_FIELD(struct kube_service_entry, workload_selector, "workloadSelector", KUBE_FIELD_POINTER,
        .schema = &kube_service_entry_selector_schema),
    KUBE_FIELD(struct kube_service_entry, subject_alt_names, "subjectAltNames", KUBE_FIELD_STRINGS),
    KUBE_IGNORED("exportTo"),
};
static const struct kube_schema spec_schema = KUBE_SCHEMA(struct kube_service_entry, true, spec_fields, validate_spec);

static void validate_allocated(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_allocated_address *address = value;
    struct ip_address ip;
    if (!ip_parse(address->value, &ip)) {
        kube_decode_error(decode, node, "value", -1, "\"%s\" is no IP address", address->value);
    }
}

static const struct kube_field allocated_fields[] = {
    KUBE_FIELD(struct kube_allocated_address, value, "value", KUBE_FIELD_STRING, .is_required = true),
    KUBE_FIELD(struct kube_allocated_address, host, "host", KUBE_FIELD_STRING),
};
static const struct kube_schema allocated_schema =
    KUBE_SCHEMA(struct kube_allocated_address, false, allocated_fields, validate_allocated);

static const struct kube_field status_fields[] = {
    KUBE_FIELD(struct kube_service_entry, status_addresses, "addresses", KUBE_FIELD_LIST, .schema = &allocated_schema),
};
static const struct kube_schema status_schema = KUBE_SCHEMA(struct kube_service_entry, false, status_fields, NULL);

static const struct kube_field entry_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &spec_schema },
    { .name = "status", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &status_schema },
};
const struct kube_schema kube_service_entry_schema = KUBE_SCHEMA(struct kube_service_entry, true, entry_fields, NULL);
