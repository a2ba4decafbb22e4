#include "ambard/endpoint_conversion.h"

#include "ambard/membership.h"
#include "ambard/workload_naming.h"
#include "ambard/workload_reading.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"
#include "kube/endpoint_slice.h"

/* An IP address, or else a name to resolve. */
static void read_address(struct conversion *conversion, const char *address, struct workload_parts *parts)
{
    parts->addresses = arena_allocate(conversion->arena, sizeof *parts->addresses);
    if (ip_parse(address, parts->addresses)) {
        parts->address_count = 1;
    } else {
        parts->hostname = address;
    }
}

/* region/zone/subzone */
static void read_locality(struct conversion *conversion, const char *locality, struct workload_parts *parts)
{
    const char **fields[] = { &parts->region, &parts->zone, &parts->subzone };
    struct bytes rest = bytes_of_string(locality);
    struct bytes piece;
    for (size_t i = 0; i < ARRAY_LENGTH(fields) && bytes_split(&rest, '/', &piece); i++) {
        *fields[i] = arena_string_bytes(conversion->arena, piece);
    }
}

static void read_spec(
    struct conversion *conversion, const struct kube_workload_entry_spec *spec, struct workload_parts *parts)
{
    read_address(conversion, spec->address, parts);
    read_locality(conversion, spec->locality, parts);
    parts->service_account = spec->service_account;
    parts->capacity = spec->weight;
    parts->type = WORKLOAD_TYPE_POD;
    if (spec->network[0] != '\0') {
        parts->network = spec->network;
    }
}

/* ---- WorkloadEntry ---- */

static void convert_workload_entry(struct conversion *conversion, const struct kube_workload_entry *entry)
{
    const struct kube_metadata *metadata = &entry->object.metadata;
    const char *group = kube_labels_text(&metadata->annotations, "istio.io/autoRegistrationGroup");
    const char *label = kube_labels_text(&entry->labels, "service.istio.io/workload-name");
    struct waypoint_binding binding = waypoint_bind_workload(conversion, metadata->namespace_, &metadata->labels);

    struct workload_parts parts = workload_parts_new(conversion);
    read_spec(conversion, &entry->spec, &parts);
    parts.uid = arena_format(conversion->arena, "%s/networking.istio.io/WorkloadEntry/%s/%s",
        conversion->settings->cluster_id, metadata->namespace_, metadata->name);
    parts.name = metadata->name;
    parts.namespace_ = metadata->namespace_;
    parts.workload_name = group[0] != '\0' ? group : label[0] != '\0' ? label : metadata->name;
    parts.canonical_name = workload_canonical_name(&entry->labels, parts.workload_name);
    parts.canonical_revision = workload_canonical_revision(&entry->labels);
    parts.node = kube_labels_text(&metadata->annotations, ANNOTATION_NODE);
    parts.waypoint = binding.waypoint;
    parts.instance_of = waypoint_of_instance(conversion, metadata->namespace_, &metadata->labels);
    workload_read_tunnel(&parts, &entry->labels, &metadata->annotations);
    workload_read_policies(conversion, &parts, &entry->labels);
    membership_of_workload_entry(conversion, entry, &parts);
    workload_emit(conversion, &parts);
    waypoint_add_condition(conversion, &entry->object, &binding, false);
}

void workload_entries_convert(struct conversion *conversion)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_WORKLOAD_ENTRY);
    for (size_t i = 0; i < list.count; i++) {
        if (conversion_takes(conversion, list.items[i])) {
            convert_workload_entry(conversion, kube_as_workload_entry(list.items[i]));
        }
    }
}

/* ---- endpoints of a ServiceEntry ---- */

static void convert_endpoint(struct conversion *conversion, const struct kube_service_entry *entry,
    const struct kube_workload_entry_spec *endpoint, const char *network, const struct mesh_service_list *services)
{
    const struct kube_metadata *metadata = &entry->object.metadata;
    struct workload_parts parts = workload_parts_new(conversion);
    read_spec(conversion, endpoint, &parts);
    parts.network = network;
    parts.uid = arena_format(conversion->arena, "%s/networking.istio.io/ServiceEntry/%s/%s/%s",
        conversion->settings->cluster_id, metadata->namespace_, metadata->name, endpoint->address);
    parts.name = metadata->name;
    parts.namespace_ = metadata->namespace_;
    parts.workload_name = metadata->name;
    parts.canonical_name = workload_canonical_name(&metadata->labels, parts.workload_name);
    parts.canonical_revision = workload_canonical_revision(&metadata->labels);
    parts.waypoint = waypoint_bind_workload(conversion, metadata->namespace_, &endpoint->labels).waypoint;
    workload_read_tunnel(&parts, &metadata->labels, &metadata->annotations);
    workload_read_policies(conversion, &parts, &metadata->labels);
    membership_of_endpoint(conversion, endpoint, services, &parts);
    workload_emit(conversion, &parts);
}

static void convert_inline_endpoints(
    struct conversion *conversion, const struct kube_service_entry *entry, const struct mesh_service_list *services)
{
    /* An endpoint without a network is in that of the one before it, as in istiod. */
    const char *network = conversion->network;
    struct hash_map *seen = hash_map_new();
    for (size_t i = 0; i < entry->endpoints.count; i++) {
        const struct kube_workload_entry_spec *endpoint = &entry->endpoints.items[i];
        network = endpoint->network[0] != '\0' ? endpoint->network : network;
        bool is_repeated = hash_map_put(seen, bytes_of_string(endpoint->address), seen) != NULL;
        if (!is_repeated) {
            convert_endpoint(conversion, entry, endpoint, network, services);
        }
    }
    hash_map_free(seen, NULL);
}

/* An entry that is only resolved by DNS has its own hosts for endpoints. */
static void convert_implicit_endpoints(
    struct conversion *conversion, const struct kube_service_entry *entry, const struct mesh_service_list *services)
{
    for (size_t i = 0; i < services->count; i++) {
        const struct kube_workload_entry_spec endpoint = {
            .address = services->items[i]->hostname,
            .network = "",
            .locality = "",
            .service_account = "",
        };
        const struct mesh_service_list only = { &services->items[i], 1 };
        convert_endpoint(conversion, entry, &endpoint, conversion->network, &only);
    }
}

void service_entry_endpoints_convert(struct conversion *conversion)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_SERVICE_ENTRY);
    for (size_t i = 0; i < list.count; i++) {
        const struct kube_service_entry *entry = kube_as_service_entry(list.items[i]);
        const struct mesh_service_list services = services_of_entry(conversion, entry);
        bool is_dns = entry->resolution >= KUBE_RESOLUTION_DNS;
        if (services.count == 0) {
            continue;
        }
        if (entry->endpoints.count > 0) {
            convert_inline_endpoints(conversion, entry, &services);
        } else if (entry->workload_selector == NULL && is_dns) {
            convert_implicit_endpoints(conversion, entry, &services);
        }
    }
}

/* ---- EndpointSlices made by hand ---- */

static const struct kube_endpoint_port *find_slice_port(const struct kube_endpoint_slice *slice, const char *name)
{
    for (size_t i = 0; i < slice->ports.count; i++) {
        const struct kube_endpoint_port *port = &slice->ports.items[i];
        if (port->protocol == KUBE_PROTOCOL_TCP && strcmp(port->name, name) == 0) {
            return port;
        }
    }
    return NULL;
}

static void read_slice_ports(struct conversion *conversion, const struct kube_endpoint_slice *slice,
    const struct mesh_service *service, struct workload_parts *parts)
{
    size_t count = service->service->spec.ports.count;
    struct workload_service *member = ARENA_NEW(conversion->arena, struct workload_service);
    member->name = service->name;
    member->ports = arena_allocate(conversion->arena, count * sizeof *member->ports);
    for (size_t i = 0; i < count; i++) {
        const struct kube_service_port *port = &service->service->spec.ports.items[i];
        const struct kube_endpoint_port *slice_port = find_slice_port(slice, port->name);
        if (slice_port != NULL && slice_port->port != 0) {
            member->ports[member->port_count++] = (struct workload_port){ port->port, slice_port->port };
        }
    }
    parts->services = member;
    parts->service_count = 1;
}

static void convert_slice_endpoint(struct conversion *conversion, const struct kube_endpoint_slice *slice,
    const struct kube_endpoint *endpoint, const struct mesh_service *service)
{
    const struct kube_metadata *metadata = &slice->object.metadata;
    struct workload_parts parts = workload_parts_new(conversion);
    parts.addresses = arena_allocate(conversion->arena, endpoint->addresses.count * sizeof *parts.addresses);
    for (size_t i = 0; i < endpoint->addresses.count; i++) {
        parts.address_count += ip_parse(endpoint->addresses.items[i], &parts.addresses[parts.address_count]);
    }
    parts.uid = arena_format(conversion->arena, "%s/discovery.k8s.io/EndpointSlice/%s/%s/%s",
        conversion->settings->cluster_id, metadata->namespace_, metadata->name, endpoint->addresses.items[0]);
    parts.name = metadata->name;
    parts.namespace_ = metadata->namespace_;
    parts.is_host_network = true;
    parts.is_unhealthy = endpoint->is_ready == KUBE_FALSE;
    read_slice_ports(conversion, slice, service, &parts);
    workload_emit(conversion, &parts);
}

void endpoint_slices_convert(struct conversion *conversion)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_ENDPOINT_SLICE);
    for (size_t i = 0; i < list.count; i++) {
        const struct kube_endpoint_slice *slice = kube_as_endpoint_slice(list.items[i]);
        const struct kube_metadata *metadata = &slice->object.metadata;
        const char *service_name = kube_labels_text(&metadata->labels, "kubernetes.io/service-name");
        const struct mesh_service *service = service_find(conversion, metadata->namespace_, service_name);
        if (service == NULL || slice->address_type == KUBE_ADDRESS_FQDN) {
            continue;
        }
        for (size_t j = 0; j < slice->endpoints.count; j++) {
            const struct kube_endpoint *endpoint = &slice->endpoints.items[j];
            bool is_pod = endpoint->target_ref != NULL && strcmp(endpoint->target_ref->kind, "Pod") == 0;
            if (!is_pod && endpoint->addresses.count > 0) {
                convert_slice_endpoint(conversion, slice, endpoint, service);
            }
        }
    }
}
