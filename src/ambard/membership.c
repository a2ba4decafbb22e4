/* Workloads as endpoints of services. */
#include "ambard/membership.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "kube/endpoint_slice.h"

struct service_set {
    const struct mesh_service **items;
    size_t count;
    size_t capacity;
};

static void set_add(void *context, const void *item)
{
    struct service_set *set = context;
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] == item) {
            return;
        }
    }
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 4 : set->capacity * 2;
        set->items = memory_resize(set->items, set->capacity, sizeof *set->items);
    }
    set->items[set->count++] = item;
}

/* ---- EndpointSlices that name pods ---- */

struct slice_memberships {
    struct hash_map *by_pod; /* -> struct service_set */
};

static void add_membership(struct slice_memberships *memberships, const char *namespace_,
    const struct kube_object_reference *pod, const struct mesh_service *service)
{
    char *AUTO_FREE key = string_format("%s/%s/%s", namespace_, pod->name, pod->uid);
    struct service_set *set = hash_map_get(memberships->by_pod, bytes_of_string(key));
    if (set == NULL) {
        set = NEW(struct service_set);
        hash_map_put(memberships->by_pod, bytes_of_string(key), set);
    }
    set_add(set, service);
}

static void add_slice(
    struct conversion *conversion, struct slice_memberships *memberships, const struct kube_endpoint_slice *slice)
{
    const struct kube_metadata *metadata = &slice->object.metadata;
    const char *service_name = kube_labels_text(&metadata->labels, "kubernetes.io/service-name");
    const struct mesh_service *service = service_find(conversion, metadata->namespace_, service_name);
    if (service == NULL || slice->address_type == KUBE_ADDRESS_FQDN) {
        return;
    }
    for (size_t i = 0; i < slice->endpoints.count; i++) {
        const struct kube_object_reference *target = slice->endpoints.items[i].target_ref;
        if (target == NULL || strcmp(target->kind, "Pod") != 0) {
            continue;
        }
        bool is_same_namespace = target->namespace_[0] == '\0' || strcmp(target->namespace_, metadata->namespace_) == 0;
        if (is_same_namespace) {
            add_membership(memberships, metadata->namespace_, target, service);
        }
    }
}

struct slice_memberships *slice_memberships_new(struct conversion *conversion)
{
    struct slice_memberships *memberships = NEW(struct slice_memberships);
    memberships->by_pod = hash_map_new();
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_ENDPOINT_SLICE);
    for (size_t i = 0; i < list.count; i++) {
        add_slice(conversion, memberships, kube_as_endpoint_slice(list.items[i]));
    }
    return memberships;
}

static void set_free(void *value)
{
    struct service_set *set = value;
    memory_free(set->items);
    memory_free(set);
}

void slice_memberships_free(struct slice_memberships *memberships)
{
    hash_map_free(memberships->by_pod, set_free);
    memory_free(memberships);
}

/* ---- ports ---- */

/* Room for every port of the service; those that cannot be had stay out. */
static struct workload_service begin_service(struct conversion *conversion, const struct mesh_service *service)
{
    size_t count = service->service != NULL ? service->service->spec.ports.count : service->entry->ports.count;
    return (struct workload_service){
        .name = service->name,
        .ports = arena_allocate(conversion->arena, count * sizeof(struct workload_port)),
    };
}

static void add_port(struct workload_service *service, uint32_t service_port, uint32_t target_port)
{
    if (target_port != 0) {
        service->ports[service->port_count++] = (struct workload_port){ service_port, target_port };
    }
}

static uint32_t numeric_target(const struct kube_service_port *port)
{
    return port->target_port.number != 0 ? port->target_port.number : port->port;
}

static uint32_t entry_target(const struct kube_service_entry_port *port)
{
    return port->target_port != 0 ? port->target_port : port->number;
}

static struct workload_service pod_in_service(
    struct conversion *conversion, const struct kube_pod *pod, const struct mesh_service *service)
{
    struct workload_service member = begin_service(conversion, service);
    for (size_t i = 0; service->service != NULL && i < service->service->spec.ports.count; i++) {
        const struct kube_service_port *port = &service->service->spec.ports.items[i];
        bool is_named = port->target_port.name[0] != '\0';
        add_port(
            &member, port->port, is_named ? kube_pod_named_port(pod, port->target_port.name) : numeric_target(port));
    }
    for (size_t i = 0; service->entry != NULL && i < service->entry->ports.count; i++) {
        const struct kube_service_entry_port *port = &service->entry->ports.items[i];
        uint16_t named = kube_pod_named_port(pod, port->name);
        add_port(&member, port->number, named != 0 ? named : entry_target(port));
    }
    return member;
}

static struct workload_service entry_in_service(
    struct conversion *conversion, const struct kube_workload_entry_spec *spec, const struct mesh_service *service)
{
    struct workload_service member = begin_service(conversion, service);
    for (size_t i = 0; service->service != NULL && i < service->service->spec.ports.count; i++) {
        const struct kube_service_port *port = &service->service->spec.ports.items[i];
        bool is_named = port->target_port.name[0] != '\0';
        add_port(&member, port->port,
            is_named ? kube_workload_entry_port(spec, port->target_port.name, 0)
                     : kube_workload_entry_port(spec, port->name, numeric_target(port)));
    }
    for (size_t i = 0; service->entry != NULL && i < service->entry->ports.count; i++) {
        const struct kube_service_entry_port *port = &service->entry->ports.items[i];
        add_port(&member, port->number, kube_workload_entry_port(spec, port->name, entry_target(port)));
    }
    return member;
}

/* ---- whole workloads ---- */

void membership_of_pod(struct conversion *conversion, const struct slice_memberships *memberships,
    const struct kube_pod *pod, struct workload_parts *parts)
{
    const struct kube_metadata *metadata = &pod->object.metadata;
    struct service_set set = { 0 };
    services_selecting(conversion, metadata->namespace_, &metadata->labels, set_add, &set);
    if (hash_map_count(memberships->by_pod) > 0) {
        char *AUTO_FREE key = string_format("%s/%s/%s", metadata->namespace_, metadata->name, metadata->uid);
        const struct service_set *named = hash_map_get(memberships->by_pod, bytes_of_string(key));
        for (size_t i = 0; named != NULL && i < named->count; i++) {
            set_add(&set, named->items[i]);
        }
    }
    parts->services = arena_allocate(conversion->arena, set.count * sizeof *parts->services);
    for (size_t i = 0; i < set.count; i++) {
        parts->services[parts->service_count++] = pod_in_service(conversion, pod, set.items[i]);
    }
    memory_free(set.items);
}

void membership_of_workload_entry(
    struct conversion *conversion, const struct kube_workload_entry *entry, struct workload_parts *parts)
{
    struct service_set set = { 0 };
    services_selecting(conversion, entry->object.metadata.namespace_, &entry->labels, set_add, &set);
    parts->services = arena_allocate(conversion->arena, set.count * sizeof *parts->services);
    for (size_t i = 0; i < set.count; i++) {
        parts->services[parts->service_count++] = entry_in_service(conversion, &entry->spec, set.items[i]);
    }
    memory_free(set.items);
}

void membership_of_endpoint(struct conversion *conversion, const struct kube_workload_entry_spec *endpoint,
    const struct mesh_service_list *services, struct workload_parts *parts)
{
    parts->services = arena_allocate(conversion->arena, services->count * sizeof *parts->services);
    for (size_t i = 0; i < services->count; i++) {
        parts->services[parts->service_count++] = entry_in_service(conversion, endpoint, services->items[i]);
    }
}
