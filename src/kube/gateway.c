/* Gateway and GatewayClass: their tables. Lenient: much of these objects is for other controllers. */
#include "kube/gateway.h"

#include "base/address.h"
#include "kube/kinds.h"
#include "kube/selector.h"

static const char *const route_namespaces[] = { "Same", "All", "Selector", "None", NULL };
static const struct kube_field namespaces_fields[] = {
    KUBE_FIELD(struct kube_listener, route_namespaces, "from", KUBE_FIELD_CHOICE, .choices = route_namespaces),
    KUBE_FIELD(
        struct kube_listener, route_selector, "selector", KUBE_FIELD_POINTER, .schema = &kube_label_selector_schema),
};
static const struct kube_schema namespaces_schema = KUBE_SCHEMA(struct kube_listener, false, namespaces_fields, NULL);

static const struct kube_field allowed_routes_fields[] = {
    { .name = "namespaces", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &namespaces_schema },
};
static const struct kube_schema allowed_routes_schema =
    KUBE_SCHEMA(struct kube_listener, false, allowed_routes_fields, NULL);

static void validate_listener(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_listener *listener = value;
    if (listener->route_namespaces == KUBE_ROUTES_SELECTOR && listener->route_selector == NULL) {
        kube_decode_error(decode, node, "allowedRoutes", -1, "namespaces.from is Selector, but there is no selector");
    }
}

static const struct kube_field listener_fields[] = {
    KUBE_FIELD(struct kube_listener, name, "name", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_listener, protocol, "protocol", KUBE_FIELD_STRING),
    KUBE_FIELD(
        struct kube_listener, port, "port", KUBE_FIELD_NUMBER, .minimum = 1, .maximum = 65535, .is_required = true),
    { .name = "allowedRoutes", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &allowed_routes_schema },
};
static const struct kube_schema listener_schema =
    KUBE_SCHEMA(struct kube_listener, false, listener_fields, validate_listener);

static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_gateway, class_name, "gatewayClassName", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_gateway, listeners, "listeners", KUBE_FIELD_LIST, .schema = &listener_schema),
};
static const struct kube_schema spec_schema = KUBE_SCHEMA(struct kube_gateway, false, spec_fields, NULL);

static void validate_address(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_gateway_address *address = value;
    struct ip_address ip;
    bool is_ip = address->type[0] == '\0' || strcmp(address->type, "IPAddress") == 0;
    if (is_ip && !ip_parse(address->value, &ip)) {
        kube_decode_error(decode, node, "value", -1, "\"%s\" is no IP address", address->value);
    }
}

static const struct kube_field address_fields[] = {
    KUBE_FIELD(struct kube_gateway_address, type, "type", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_gateway_address, value, "value", KUBE_FIELD_STRING),
};
static const struct kube_schema address_schema =
    KUBE_SCHEMA(struct kube_gateway_address, false, address_fields, validate_address);

static const struct kube_field status_fields[] = {
    KUBE_FIELD(struct kube_gateway, status_addresses, "addresses", KUBE_FIELD_LIST, .schema = &address_schema),
};
static const struct kube_schema status_schema = KUBE_SCHEMA(struct kube_gateway, false, status_fields, NULL);

static const struct kube_field gateway_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &spec_schema },
    { .name = "status", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &status_schema },
};
const struct kube_schema kube_gateway_schema = KUBE_SCHEMA(struct kube_gateway, false, gateway_fields, NULL);

static const struct kube_field class_spec_fields[] = {
    KUBE_FIELD(struct kube_gateway_class, controller_name, "controllerName", KUBE_FIELD_STRING),
};
static const struct kube_schema class_spec_schema =
    KUBE_SCHEMA(struct kube_gateway_class, false, class_spec_fields, NULL);

static const struct kube_field gateway_class_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "spec", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &class_spec_schema },
};
const struct kube_schema kube_gateway_class_schema =
    KUBE_SCHEMA(struct kube_gateway_class, false, gateway_class_fields, NULL);
