/* Waypoints and bindings. */
#include "ambard/waypoint_binding.h"

#include "ambard/wire.h"
#include "base/address.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"

#define HBONE_PORT 15008
#define LABEL_USE_WAYPOINT "istio.io/use-waypoint"
#define LABEL_GATEWAY_NAME "gateway.networking.k8s.io/gateway-name"

struct waypoint_table {
    struct hash_map *by_key; /* "namespace/name" -> struct waypoint, in the conversion's arena */
};

/* ---- candidates ---- */

static const struct kube_object *class_of(const struct conversion *conversion, const struct kube_gateway *gateway)
{
    return kube_store_get(conversion->store, KUBE_GATEWAY_CLASS, "", gateway->class_name);
}

static void read_traffic_type(const struct conversion *conversion, struct waypoint *waypoint)
{
    const char *type = kube_labels_get(&waypoint->gateway->object.metadata.labels, "istio.io/waypoint-for");
    const struct kube_object *class_ = class_of(conversion, waypoint->gateway);
    if (type == NULL && class_ != NULL) {
        type = kube_labels_get(&class_->metadata.labels, "istio.io/waypoint-for");
    }
    bool is_all = type != NULL && strcmp(type, "all") == 0;
    waypoint->serves_services = type == NULL || is_all || strcmp(type, "service") == 0;
    waypoint->serves_workloads = type != NULL && (is_all || strcmp(type, "workload") == 0);
}

/* "PROXY", "PROXY/15088", "NONE/8080": anything else is as good as absent. */
static void read_inbound_binding(const struct conversion *conversion, struct waypoint *waypoint)
{
    static const char *const annotation = "ambient.istio.io/waypoint-inbound-binding";
    const char *text = kube_labels_get(&waypoint->gateway->object.metadata.annotations, annotation);
    const struct kube_object *class_ = class_of(conversion, waypoint->gateway);
    if (text == NULL && class_ != NULL) {
        text = kube_labels_get(&class_->metadata.annotations, annotation);
    }
    if (text == NULL) {
        return;
    }
    struct bytes rest = bytes_of_string(text);
    struct bytes protocol;
    struct bytes port_text;
    uint64_t port = 0;
    bytes_split(&rest, '/', &protocol);
    if (bytes_split(&rest, '/', &port_text) && !bytes_to_u64(port_text, 65535, &port)) {
        return;
    }
    bool is_proxy = bytes_equal_string(protocol, "PROXY");
    waypoint->has_inbound_binding = is_proxy || bytes_equal_string(protocol, "NONE");
    waypoint->inbound_protocol = is_proxy ? 1 : 0;
    waypoint->inbound_port = waypoint->has_inbound_binding ? (uint32_t)port : 0;
}

static bool is_main_listener(const struct waypoint *waypoint, const struct kube_listener *listener)
{
    if (waypoint->has_inbound_binding && waypoint->inbound_port != 0) {
        return listener->port == waypoint->inbound_port;
    }
    if (waypoint->has_inbound_binding && waypoint->inbound_protocol == 1) {
        return strcmp(listener->protocol, "istio.io/PROXY") == 0;
    }
    return listener->port == HBONE_PORT && strcmp(listener->protocol, "HBONE") == 0;
}

static void read_allowed_namespaces(struct waypoint *waypoint)
{
    waypoint->route_namespaces = KUBE_ROUTES_SAME;
    for (size_t i = 0; i < waypoint->gateway->listeners.count; i++) {
        const struct kube_listener *listener = &waypoint->gateway->listeners.items[i];
        if (is_main_listener(waypoint, listener)) {
            waypoint->route_namespaces = listener->route_namespaces;
            waypoint->route_selector = listener->route_selector;
            return;
        }
    }
}

static const struct kube_gateway_address *first_address(const struct kube_gateway *gateway, bool wants_hostname)
{
    for (size_t i = 0; i < gateway->status_addresses.count; i++) {
        const char *type = gateway->status_addresses.items[i].type;
        bool is_hostname = strcmp(type, "Hostname") == 0;
        bool is_ip = type[0] == '\0' || strcmp(type, "IPAddress") == 0;
        if (wants_hostname ? is_hostname : is_ip) {
            return &gateway->status_addresses.items[i];
        }
    }
    return NULL;
}

/* False when no address is of a type that can be sent. */
static bool encode_address(struct conversion *conversion, struct waypoint *waypoint)
{
    const struct kube_gateway *gateway = waypoint->gateway;
    const struct kube_gateway_address *hostname = first_address(gateway, true);
    const struct kube_gateway_address *address = first_address(gateway, false);
    struct ip_address ip;
    struct writer out = writer_growing();
    if (hostname != NULL) {
        size_t mark = wire_begin(&out, 1);
        wire_string(&out, 1, gateway->object.metadata.namespace_);
        wire_string(&out, 2, hostname->value);
        wire_end(&out, mark);
    } else if (address != NULL && ip_parse(address->value, &ip)) {
        size_t mark = wire_begin(&out, 2);
        wire_string(&out, 1, conversion->network);
        wire_bytes(&out, 2, ip_bytes(&ip));
        wire_end(&out, mark);
    } else {
        return false;
    }
    wire_number(&out, 3, HBONE_PORT);
    uint8_t *copy = arena_allocate(conversion->arena, out.length);
    memcpy(copy, out.data, out.length);
    waypoint->address = bytes_of(copy, out.length);
    writer_free(&out);
    return true;
}

struct waypoint_table *waypoint_table_new(struct conversion *conversion)
{
    struct waypoint_table *table = NEW(struct waypoint_table);
    table->by_key = hash_map_new();
    struct kube_object_list gateways = kube_store_list(conversion->store, KUBE_GATEWAY);
    for (size_t i = 0; i < gateways.count; i++) {
        const struct kube_gateway *gateway = kube_as_gateway(gateways.items[i]);
        const struct kube_metadata *metadata = &gateway->object.metadata;
        struct waypoint *waypoint = ARENA_NEW(conversion->arena, struct waypoint);
        waypoint->gateway = gateway;
        if (!conversion_sees_namespace(conversion, metadata->namespace_) || !encode_address(conversion, waypoint)) {
            continue;
        }
        waypoint->key = arena_format(conversion->arena, "%s/%s", metadata->namespace_, metadata->name);
        read_traffic_type(conversion, waypoint);
        read_inbound_binding(conversion, waypoint);
        read_allowed_namespaces(waypoint);
        hash_map_put(table->by_key, bytes_of_string(waypoint->key), waypoint);
    }
    return table;
}

void waypoint_table_free(struct waypoint_table *table)
{
    hash_map_free(table->by_key, NULL);
    memory_free(table);
}

const struct waypoint *waypoint_find(const struct conversion *conversion, const char *namespace_, const char *name)
{
    char memory[512];
    struct writer key = writer_fixed(memory, sizeof memory);
    writer_print(&key, "%s/%s", namespace_, name);
    return key.has_overflowed ? NULL : hash_map_get(conversion->waypoints->by_key, writer_bytes(&key));
}

const struct waypoint *waypoint_of_instance(
    const struct conversion *conversion, const char *namespace_, const struct kube_labels *labels)
{
    const char *gateway = kube_labels_get(labels, LABEL_GATEWAY_NAME);
    return gateway == NULL ? NULL : waypoint_find(conversion, namespace_, gateway);
}

/* ---- binding ---- */

struct request {
    const char *namespace_;
    const char *name; /* NULL: none, or opted out */
    bool is_inherited;
};

static struct request read_request(
    const struct kube_labels *labels, const char *own_namespace, const char *name_label, const char *namespace_label)
{
    const char *name = kube_labels_get(labels, name_label);
    const char *namespace_ = kube_labels_get(labels, namespace_label);
    bool is_none = name == NULL || strcmp(name, "none") == 0;
    return (struct request){ namespace_ == NULL ? own_namespace : namespace_, is_none ? NULL : name, false };
}

/* The object's own label, `none` included, ends the search. */
static struct request find_request(
    const struct conversion *conversion, const struct kube_labels *labels, const char *namespace_)
{
    bool is_own = kube_labels_get(labels, LABEL_USE_WAYPOINT) != NULL;
    struct request request = read_request(is_own ? labels : conversion_namespace_labels(conversion, namespace_),
        namespace_, LABEL_USE_WAYPOINT, LABEL_USE_WAYPOINT "-namespace");
    request.is_inherited = !is_own;
    return request;
}

static bool allows_namespace(
    const struct conversion *conversion, const struct waypoint *waypoint, const char *namespace_)
{
    switch ((enum kube_route_namespaces)waypoint->route_namespaces) {
    case KUBE_ROUTES_ALL:
        return true;
    case KUBE_ROUTES_SAME:
        return strcmp(waypoint->gateway->object.metadata.namespace_, namespace_) == 0;
    case KUBE_ROUTES_SELECTOR:
        return waypoint->route_selector != NULL &&
               kube_selector_matches(waypoint->route_selector, conversion_namespace_labels(conversion, namespace_));
    case KUBE_ROUTES_NONE:
        return false;
    }
    return false;
}

/* The waypoint asked for, or why it cannot be had. */
static const struct waypoint *resolve(const struct conversion *conversion, const struct request *request,
    const char *namespace_, enum waypoint_failure *failure)
{
    const struct waypoint *waypoint = waypoint_find(conversion, request->namespace_, request->name);
    *failure = WAYPOINT_FINE;
    if (waypoint == NULL) {
        *failure = WAYPOINT_IS_NOT_READY;
    } else if (!allows_namespace(conversion, waypoint, namespace_)) {
        *failure = WAYPOINT_ATTACHMENT_DENIED;
    }
    return *failure == WAYPOINT_FINE ? waypoint : NULL;
}

static const struct waypoint *resolve_for_service(const struct conversion *conversion, const struct request *request,
    const char *namespace_, bool is_limited_to_namespace, enum waypoint_failure *failure)
{
    const struct waypoint *waypoint = resolve(conversion, request, namespace_, failure);
    if (waypoint == NULL) {
        return NULL;
    }
    if (!waypoint->serves_services) {
        *failure = WAYPOINT_UNSUPPORTED_TRAFFIC_TYPE;
    } else if (is_limited_to_namespace && strcmp(request->namespace_, namespace_) != 0) {
        *failure = WAYPOINT_CROSS_NAMESPACE;
    }
    return *failure == WAYPOINT_FINE ? waypoint : NULL;
}

static const char *describe_failure(
    struct arena *arena, enum waypoint_failure failure, const char *requested, const char *traffic_type)
{
    switch (failure) {
    case WAYPOINT_FINE:
        break;
    case WAYPOINT_IS_NOT_READY:
        return arena_format(arena, "waypoint \"%s\" is not ready", requested);
    case WAYPOINT_ATTACHMENT_DENIED:
        return arena_format(
            arena, "we are not permitted to attach to waypoint \"%s\" (missing allowedRoutes?)", requested);
    case WAYPOINT_UNSUPPORTED_TRAFFIC_TYPE:
        return arena_format(arena,
            "attempting to bind to traffic type \"%s\" which the waypoint \"%s\" does not support", traffic_type,
            requested);
    case WAYPOINT_CROSS_NAMESPACE:
        return arena_format(
            arena, "waypoint \"%s\" is outside the namespace that this ServiceEntry is limited to", requested);
    }
    return "";
}

static uint32_t read_weight(const struct kube_labels *annotations)
{
    const char *annotation = kube_labels_get(annotations, LABEL_USE_WAYPOINT "-canary-weight");
    uint64_t weight = 0;
    return annotation != NULL && text_to_u64(annotation, 100, &weight) ? (uint32_t)weight : 0;
}

/* Where the name of the primary comes from, its canary comes from. */
static void bind_canary(struct conversion *conversion, const struct kube_object *object, bool is_limited_to_namespace,
    struct waypoint_binding *binding)
{
    const char *namespace_ = object->metadata.namespace_;
    bool is_own = kube_labels_get(&object->metadata.labels, LABEL_USE_WAYPOINT) != NULL;
    const struct kube_labels *labels =
        is_own ? &object->metadata.labels : conversion_namespace_labels(conversion, namespace_);
    const struct kube_labels *annotations =
        is_own ? &object->metadata.annotations : conversion_namespace_annotations(conversion, namespace_);
    struct request request =
        read_request(labels, namespace_, LABEL_USE_WAYPOINT "-canary", LABEL_USE_WAYPOINT "-canary-namespace");
    if (request.name == NULL) {
        return;
    }
    enum waypoint_failure failure;
    binding->canary = resolve_for_service(conversion, &request, namespace_, is_limited_to_namespace, &failure);
    binding->canary_weight = read_weight(annotations);
    if (binding->canary == NULL) {
        const char *requested = arena_format(conversion->arena, "%s/%s", request.namespace_, request.name);
        binding->canary_error = describe_failure(conversion->arena, failure, requested, "service");
    }
}

struct waypoint_binding waypoint_bind_service(
    struct conversion *conversion, const struct kube_object *object, bool is_limited_to_namespace)
{
    struct waypoint_binding binding = { 0 };
    const char *managed = kube_labels_text(&object->metadata.labels, "gateway.istio.io/managed");
    bool is_waypoint_itself = object->kind == KUBE_SERVICE && (strcmp(managed, "istio.io-mesh-controller") == 0 ||
                                                                  strcmp(managed, "istio.io-eastwest-controller") == 0);
    struct request request = find_request(conversion, &object->metadata.labels, object->metadata.namespace_);
    if (is_waypoint_itself || request.name == NULL) {
        return binding;
    }
    binding.requested = arena_format(conversion->arena, "%s/%s", request.namespace_, request.name);
    binding.waypoint = resolve_for_service(
        conversion, &request, object->metadata.namespace_, is_limited_to_namespace, &binding.failure);
    if (binding.waypoint != NULL) {
        bind_canary(conversion, object, is_limited_to_namespace, &binding);
    }
    return binding;
}

struct waypoint_binding waypoint_bind_workload(
    struct conversion *conversion, const char *namespace_, const struct kube_labels *labels)
{
    struct waypoint_binding binding = { 0 };
    struct request request = find_request(conversion, labels, namespace_);
    if (request.name == NULL || waypoint_of_instance(conversion, namespace_, labels) != NULL) {
        return binding;
    }
    binding.waypoint = resolve(conversion, &request, namespace_, &binding.failure);
    if (binding.waypoint != NULL && !binding.waypoint->serves_workloads) {
        binding.waypoint = NULL;
        if (request.is_inherited) {
            return binding; /* the namespace's waypoint is for its services */
        }
        binding.failure = WAYPOINT_UNSUPPORTED_TRAFFIC_TYPE;
    }
    binding.requested = arena_format(conversion->arena, "%s/%s", request.namespace_, request.name);
    return binding;
}

bool waypoint_wants_ingress(const struct conversion *conversion, const struct kube_object *object, bool *is_given)
{
    const char *text = kube_labels_get(&object->metadata.labels, "istio.io/ingress-use-waypoint");
    if (text == NULL) {
        text = kube_labels_get(
            conversion_namespace_labels(conversion, object->metadata.namespace_), "istio.io/ingress-use-waypoint");
    }
    bool is_wanted = false;
    *is_given = text != NULL && kube_parse_bool(text, &is_wanted);
    return is_wanted;
}

void waypoint_add_condition(struct conversion *conversion, const struct kube_object *object,
    const struct waypoint_binding *binding, bool has_ingress)
{
    static const char *const reasons[] = {
        [WAYPOINT_FINE] = "WaypointAccepted",
        [WAYPOINT_IS_NOT_READY] = "WaypointIsNotReady",
        [WAYPOINT_ATTACHMENT_DENIED] = "AttachmentDenied",
        [WAYPOINT_UNSUPPORTED_TRAFFIC_TYPE] = "UnsupportedTrafficType",
        [WAYPOINT_CROSS_NAMESPACE] = "CrossNamespaceWaypointForbidden",
    };
    static const char *const type = "istio.io/WaypointBound";
    if (binding->requested == NULL) {
        return;
    }
    if (binding->waypoint == NULL) {
        conversion_add_condition(conversion, object, type, false, reasons[binding->failure], "%s",
            describe_failure(
                conversion->arena, binding->failure, binding->requested, has_ingress ? "service" : "workload"));
        return;
    }
    bool is_given = false;
    bool wants_ingress = has_ingress && waypoint_wants_ingress(conversion, object, &is_given);
    const char *ingress = wants_ingress ? ". Ingress traffic will traverse the waypoint"
                          : is_given
                              ? ". Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint "
                                "label to true if desired."
                              : "";
    conversion_add_condition(conversion, object, type, true, reasons[WAYPOINT_FINE],
        "Successfully attached to waypoint %s%s%s%s", binding->requested, ingress,
        binding->canary_error == NULL ? "" : ". Canary waypoint not attached: ",
        binding->canary_error == NULL ? "" : binding->canary_error);
}
