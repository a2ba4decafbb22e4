/* Which services there are, and what is emitted of each. The bytes are service_encoding.c's. */
#include "ambard/service_conversion.h"

#include "ambard/auto_allocation.h"
#include "ambard/selector_index.h"
#include "ambard/service_encoding.h"
#include "ambard/waypoint_binding.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>

struct service_table {
    struct hash_map *by_name;    /* "namespace/hostname" -> struct mesh_service: the winners */
    struct hash_map *kubernetes; /* "namespace/name" -> struct mesh_service of a Service */
    struct hash_map *by_entry;   /* key of a ServiceEntry -> struct mesh_service_list */
    struct hash_map *canonical;  /* hostname -> struct mesh_service */
    struct selector_index *selectors;
    struct mesh_service_list all; /* in the order they are emitted */
    size_t capacity;
};

/* ---- who wins a hostname ---- */

static struct mesh_service *add_service(
    struct conversion *conversion, struct service_table *table, const char *hostname, const struct kube_object *object)
{
    const char *namespace_ = object->metadata.namespace_;
    const char *name = arena_format(conversion->arena, "%s/%s", namespace_, hostname);
    if (hash_map_get(table->by_name, bytes_of_string(name)) != NULL) {
        return NULL;
    }
    struct mesh_service *service = ARENA_NEW(conversion->arena, struct mesh_service);
    service->name = name;
    service->namespace_ = namespace_;
    service->hostname = hostname;
    service->object = object;
    hash_map_put(table->by_name, bytes_of_string(name), service);
    if (table->all.count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        table->all.items = memory_resize(table->all.items, table->capacity, sizeof *table->all.items);
    }
    table->all.items[table->all.count++] = service;
    return service;
}

static void add_kubernetes_services(struct conversion *conversion, struct service_table *table)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_SERVICE);
    for (size_t i = 0; i < list.count; i++) {
        const struct kube_service *object = kube_as_service(list.items[i]);
        const struct kube_metadata *metadata = &object->object.metadata;
        if (object->spec.type == KUBE_SERVICE_EXTERNAL_NAME ||
            !conversion_sees_namespace(conversion, metadata->namespace_)) {
            continue;
        }
        const char *hostname = arena_format(
            conversion->arena, "%s.%s.svc.%s", metadata->name, metadata->namespace_, conversion->settings->domain);
        struct mesh_service *service = add_service(conversion, table, hostname, &object->object);
        service->service = object;
        hash_map_put(table->canonical, bytes_of_string(hostname), service);
        const char *key = arena_format(conversion->arena, "%s/%s", metadata->namespace_, metadata->name);
        hash_map_put(table->kubernetes, bytes_of_string(key), service);
        if (object->spec.selector.count > 0) {
            selector_index_add(table->selectors, metadata->namespace_, &object->spec.selector, service);
        }
    }
}

static int visibility_of(const struct conversion *conversion, const struct kube_service_entry *entry)
{
    const struct kube_service_entry_visibility *visibility = conversion->mesh->service_entry_visibility;
    if (visibility == NULL) {
        return KUBE_VISIBILITY_PUBLIC;
    }
    const struct kube_labels *labels = conversion_namespace_labels(conversion, entry->object.metadata.namespace_);
    for (size_t i = 0; i < visibility->policies.count; i++) {
        const struct kube_visibility_policy *policy = &visibility->policies.items[i];
        bool matches = true;
        for (size_t j = 0; j < policy->rules.count; j++) {
            const struct kube_selector *selector = policy->rules.items[j].namespace_selector;
            matches = matches && (selector == NULL || kube_selector_matches(selector, labels));
        }
        if (matches) {
            return policy->visibility;
        }
    }
    return visibility->default_visibility;
}

static void add_entry(
    struct conversion *conversion, struct service_table *table, const struct kube_service_entry *entry)
{
    int visibility = visibility_of(conversion, entry);
    if (visibility == KUBE_VISIBILITY_NONE) {
        return;
    }
    struct mesh_service_list *hosts = ARENA_NEW(conversion->arena, struct mesh_service_list);
    hosts->items = arena_allocate(conversion->arena, entry->hosts.count * sizeof *hosts->items);
    hash_map_put(table->by_entry, bytes_of_string(entry->object.key), hosts);
    for (size_t i = 0; i < entry->hosts.count; i++) {
        struct mesh_service *service = add_service(conversion, table, entry->hosts.items[i], &entry->object);
        if (service == NULL) {
            continue; /* a Service, an older entry or this very one has it */
        }
        service->entry = entry;
        service->visibility = visibility;
        hosts->items[hosts->count++] = service;
        bool is_taken = hash_map_get(table->canonical, bytes_of_string(service->hostname)) != NULL;
        if (visibility == KUBE_VISIBILITY_PUBLIC && !is_taken) {
            hash_map_put(table->canonical, bytes_of_string(service->hostname), service);
        }
        if (entry->workload_selector != NULL && entry->workload_selector->match_labels.count > 0) {
            selector_index_add(table->selectors, service->namespace_, &entry->workload_selector->match_labels, service);
        }
    }
}

static int compare_age(const void *left, const void *right)
{
    return kube_object_compare_age(*(const struct kube_object *const *)left, *(const struct kube_object *const *)right);
}

/* The entries we take, the oldest first. The array is the caller's. */
static const struct kube_object **entries_by_age(const struct conversion *conversion, size_t *count)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_SERVICE_ENTRY);
    const struct kube_object **entries = memory_allocate((list.count + 1) * sizeof *entries);
    *count = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (conversion_takes(conversion, list.items[i])) {
            entries[(*count)++] = list.items[i];
        }
    }
    qsort(entries, *count, sizeof(struct kube_object *), compare_age);
    return entries;
}

/* ---- addresses of their own ---- */

static bool takes_allocation(const struct kube_service_entry *entry)
{
    const char *label = kube_labels_text(&entry->object.metadata.labels, "networking.istio.io/enable-autoallocate-ip");
    return entry->addresses.count == 0 && entry->resolution != KUBE_RESOLUTION_NONE && strcmp(label, "false") != 0;
}

static const char *entry_name(struct conversion *conversion, const struct kube_object *entry)
{
    return arena_format(conversion->arena, "%s/%s", entry->metadata.namespace_, entry->metadata.name);
}

static void seed_allocations(struct conversion *conversion, const struct kube_object *const *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct kube_service_entry *entry = kube_as_service_entry(entries[i]);
        for (size_t j = 0; takes_allocation(entry) && j < entry->status_addresses.count; j++) {
            struct ip_address ip;
            if (ip_parse(entry->status_addresses.items[j].value, &ip)) {
                auto_allocation_seed(conversion->allocation, entry_name(conversion, entries[i]),
                    entry->status_addresses.items[j].host, &ip);
            }
        }
    }
}

static struct service_addresses allocate_addresses(struct conversion *conversion, const struct mesh_service *service)
{
    struct service_addresses addresses = { arena_allocate(conversion->arena, 2 * sizeof *addresses.items), 0 };
    bool is_wildcard = text_starts_with(service->hostname, "*");
    if (!takes_allocation(service->entry) ||
        (is_wildcard && service->entry->resolution != KUBE_RESOLUTION_DYNAMIC_DNS)) {
        return addresses;
    }
    struct ip_address ips[2];
    auto_allocation_assign(
        conversion->allocation, entry_name(conversion, service->object), service->hostname, &ips[0], &ips[1]);
    for (int i = 0; i < 2; i++) {
        if (ips[i].family != IP_NONE) {
            addresses.items[addresses.count++] = (struct cidr){ ips[i], ips[i].family == IP_V4 ? 32 : 128 };
        }
    }
    return addresses;
}

static struct service_addresses addresses_of(struct conversion *conversion, const struct mesh_service *service)
{
    struct service_addresses addresses = service->service != NULL
                                             ? service_cluster_addresses(conversion->arena, service->service)
                                             : service_entry_addresses(conversion->arena, service->entry);
    if (service->entry != NULL && addresses.count == 0) {
        addresses = allocate_addresses(conversion, service);
    }
    return addresses;
}

/* ---- emitting ---- */

static const char **aliases_of(struct conversion *conversion, const struct service_addresses *addresses)
{
    const char **aliases = arena_allocate(conversion->arena, addresses->count * sizeof *aliases);
    for (size_t i = 0; i < addresses->count; i++) {
        const struct cidr *address = &addresses->items[i];
        char text[IP_TEXT_SIZE];
        ip_format(&address->ip, text);
        aliases[i] = service_address_is_single(address)
                         ? arena_format(conversion->arena, "%s/%s", conversion->network, text)
                         : arena_format(conversion->arena, "%s/%s/%u", conversion->network, text, address->prefix_bits);
    }
    return aliases;
}

static void emit_service(
    struct conversion *conversion, const struct service_table *table, const struct mesh_service *service)
{
    struct service_parts parts = {
        .service = service,
        .addresses = addresses_of(conversion, service),
        .binding = waypoint_bind_service(conversion, service->object, service->visibility == KUBE_VISIBILITY_NAMESPACE),
        .is_canonical = hash_map_get(table->canonical, bytes_of_string(service->hostname)) == service,
    };
    bool is_given;
    parts.uses_waypoint_for_ingress =
        parts.binding.waypoint != NULL && waypoint_wants_ingress(conversion, service->object, &is_given);
    struct writer body = writer_growing();
    service_encode(conversion, &parts, &body);
    const struct ambient_draft draft = {
        .type = AMBIENT_SERVICE,
        .name = service->name,
        .body = writer_bytes(&body),
        .aliases = aliases_of(conversion, &parts.addresses),
        .alias_count = parts.addresses.count,
        .node = "",
    };
    conversion->emit(conversion->emit_context, &draft);
    writer_free(&body);
}

static bool has_wildcard(const struct kube_service_entry *entry)
{
    for (size_t i = 0; i < entry->hosts.count; i++) {
        if (entry->hosts.items[i][0] == '*') {
            return true;
        }
    }
    return false;
}

/* Such entries are of use only behind a waypoint. */
static void add_missing_waypoint_condition(struct conversion *conversion, const struct kube_service_entry *entry)
{
    const char *strategy = kube_labels_text(&entry->object.metadata.annotations, "istio.io/connect-strategy");
    if (has_wildcard(entry)) {
        conversion_add_condition(conversion, &entry->object, "istio.io/WaypointMissing", true,
            "NoWaypointForWildcardService", "a wildcard host needs a waypoint, and none is attached");
    } else if (strcmp(strategy, "RACE_FIRST_TCP_CONNECT") == 0) {
        conversion_add_condition(conversion, &entry->object, "istio.io/WaypointMissing", true,
            "NoWaypointForRacingConnectStrategy", "the connect strategy needs a waypoint, and none is attached");
    }
}

static void add_conditions(struct conversion *conversion, const struct kube_object *object)
{
    bool is_entry = object->kind == KUBE_SERVICE_ENTRY;
    int visibility = is_entry ? visibility_of(conversion, kube_as_service_entry(object)) : KUBE_VISIBILITY_PUBLIC;
    if (visibility == KUBE_VISIBILITY_NONE) {
        return;
    }
    struct waypoint_binding binding =
        waypoint_bind_service(conversion, object, visibility == KUBE_VISIBILITY_NAMESPACE);
    waypoint_add_condition(conversion, object, &binding, true);
    if (is_entry && binding.waypoint == NULL) {
        add_missing_waypoint_condition(conversion, kube_as_service_entry(object));
    }
    if (is_entry && conversion->mesh->service_entry_visibility != NULL) {
        bool is_public = visibility == KUBE_VISIBILITY_PUBLIC;
        conversion_add_condition(conversion, object, "istio.io/VisibilityApplied", true,
            is_public ? "Public" : "Namespace",
            is_public ? "visible to the whole mesh" : "visible in its own namespace only");
    }
}

struct service_table *service_table_new(struct conversion *conversion)
{
    struct service_table *table = NEW(struct service_table);
    table->by_name = hash_map_new();
    table->kubernetes = hash_map_new();
    table->by_entry = hash_map_new();
    table->canonical = hash_map_new();
    table->selectors = selector_index_new();

    add_kubernetes_services(conversion, table);
    size_t entry_count;
    const struct kube_object **entries = entries_by_age(conversion, &entry_count);
    for (size_t i = 0; i < entry_count; i++) {
        add_entry(conversion, table, kube_as_service_entry(entries[i]));
    }
    seed_allocations(conversion, entries, entry_count);
    for (size_t i = 0; i < table->all.count; i++) {
        emit_service(conversion, table, table->all.items[i]);
        if (table->all.items[i]->service != NULL) {
            add_conditions(conversion, table->all.items[i]->object);
        }
    }
    for (size_t i = 0; i < entry_count; i++) {
        add_conditions(conversion, entries[i]);
    }
    memory_free(entries);
    return table;
}

void service_table_free(struct service_table *table)
{
    hash_map_free(table->by_name, NULL);
    hash_map_free(table->kubernetes, NULL);
    hash_map_free(table->by_entry, NULL);
    hash_map_free(table->canonical, NULL);
    selector_index_free(table->selectors);
    memory_free(table->all.items);
    memory_free(table);
}

/* ---- look-ups ---- */

const struct mesh_service *service_find(const struct conversion *conversion, const char *namespace_, const char *name)
{
    char memory[512];
    struct writer key = writer_fixed(memory, sizeof memory);
    writer_print(&key, "%s/%s", namespace_, name);
    return key.has_overflowed ? NULL : hash_map_get(conversion->services->kubernetes, writer_bytes(&key));
}

struct mesh_service_list services_of_entry(const struct conversion *conversion, const struct kube_service_entry *entry)
{
    const struct mesh_service_list *list =
        hash_map_get(conversion->services->by_entry, bytes_of_string(entry->object.key));
    return list == NULL ? (struct mesh_service_list){ 0 } : *list;
}

void services_selecting(const struct conversion *conversion, const char *namespace_, const struct kube_labels *labels,
    void (*visit)(void *context, const void *service), void *context)
{
    selector_index_visit(conversion->services->selectors, namespace_, labels, visit, context);
}
