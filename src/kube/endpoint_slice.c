/* EndpointSlice: its tables. */
#include "kube/endpoint_slice.h"

#include "base/address.h"
#include "kube/kinds.h"

static const struct kube_field reference_fields[] = {
    KUBE_FIELD(struct kube_object_reference, kind, "kind", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_object_reference, namespace_, "namespace", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_object_reference, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_object_reference, uid, "uid", KUBE_FIELD_STRING),
};
static const struct kube_schema reference_schema =
    KUBE_SCHEMA(struct kube_object_reference, false, reference_fields, NULL);

static const struct kube_field condition_fields[] = {
    KUBE_FIELD(struct kube_endpoint, is_ready, "ready", KUBE_FIELD_TRISTATE),
};
static const struct kube_schema condition_schema = KUBE_SCHEMA(struct kube_endpoint, false, condition_fields, NULL);

static const struct kube_field endpoint_fields[] = {
    KUBE_FIELD(struct kube_endpoint, addresses, "addresses", KUBE_FIELD_STRINGS, .is_required = true),
    { .name = "conditions", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &condition_schema },
    KUBE_FIELD(struct kube_endpoint, target_ref, "targetRef", KUBE_FIELD_POINTER, .schema = &reference_schema),
};
static const struct kube_schema endpoint_schema = KUBE_SCHEMA(struct kube_endpoint, false, endpoint_fields, NULL);

static const struct kube_field port_fields[] = {
    KUBE_FIELD(struct kube_endpoint_port, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_endpoint_port, port, "port", KUBE_FIELD_NUMBER, .maximum = 65535),
    KUBE_FIELD(struct kube_endpoint_port, protocol, "protocol", KUBE_FIELD_CHOICE, .choices = kube_protocol_names),
};
static const struct kube_schema port_schema = KUBE_SCHEMA(struct kube_endpoint_port, false, port_fields, NULL);

static void validate(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_endpoint_slice *slice = value;
    const struct yaml_node *endpoints = yaml_get(node, "endpoints");
    if (slice->address_type == KUBE_ADDRESS_FQDN) {
        return;
    }
    uint8_t family = slice->address_type == KUBE_ADDRESS_IPV6 ? IP_V6 : IP_V4;
    for (size_t i = 0; i < slice->endpoints.count; i++) {
        const struct kube_strings *addresses = &slice->endpoints.items[i].addresses;
        for (size_t j = 0; j < addresses->count; j++) {
            struct ip_address ip;
            if (!ip_parse(addresses->items[j], &ip) || ip.family != family) {
                kube_decode_error(decode, endpoints->children.items[i].value, "addresses", (long)j,
                    "\"%s\" is no address of the slice's addressType", addresses->items[j]);
            }
        }
    }
}

static const char *const address_types[] = { "IPv4", "IPv6", "FQDN", NULL };
static const struct kube_field slice_fields[] = {
    KUBE_OBJECT_FIELDS,
    KUBE_FIELD(struct kube_endpoint_slice, address_type, "addressType", KUBE_FIELD_CHOICE, .choices = address_types,
        .is_required = true),
    KUBE_FIELD(struct kube_endpoint_slice, endpoints, "endpoints", KUBE_FIELD_LIST, .schema = &endpoint_schema),
    KUBE_FIELD(struct kube_endpoint_slice, ports, "ports", KUBE_FIELD_LIST, .schema = &port_schema),
};
const struct kube_schema kube_endpoint_slice_schema =
    KUBE_SCHEMA(struct kube_endpoint_slice, false, slice_fields, validate);
