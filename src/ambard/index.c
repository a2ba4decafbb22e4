/* One conversion after the other, and the difference between them. */
#include "ambard/index.h"

#include "ambard/auto_allocation.h"
#include "ambard/conversion.h"
#include "ambard/identity_table.h"
#include "ambard/network_gateway.h"
#include "ambard/peer_authentication.h"
#include "ambard/policy_conversion.h"
#include "ambard/resource_table.h"
#include "ambard/service_conversion.h"
#include "ambard/waypoint_binding.h"
#include "ambard/workload_conversion.h"
#include "base/memory.h"

#include <stdlib.h>

struct ambient_index {
    struct ambient_index_settings settings; /* texts owned by `texts` */
    struct arena texts;
    struct auto_allocation *allocation;

    struct resource_table *resources;
    struct resource_table *previous; /* keeps what was removed alive until the next update */
    struct identity_table *identities;
    struct ambient_change *changes;
    size_t change_count;
    size_t change_capacity;

    struct arena arena; /* of the last conversion: texts of conditions, trust domain, root namespace */
    struct ambient_condition *conditions;
    size_t condition_count;
    const char *trust_domain;
    const char *root_namespace;
};

static const char *text_or(struct arena *arena, const char *text, const char *fallback)
{
    return arena_string(arena, text == NULL ? fallback : text);
}

struct result ambient_index_new(const struct ambient_index_settings *settings, struct ambient_index **index)
{
    struct auto_allocation *allocation;
    RESULT_TRY(auto_allocation_open(settings->state_directory, settings->is_read_only, &allocation));
    struct ambient_index *made = NEW(struct ambient_index);
    made->allocation = allocation;
    made->settings = (struct ambient_index_settings){
        .cluster_id = text_or(&made->texts, settings->cluster_id, "Kubernetes"),
        .domain = text_or(&made->texts, settings->domain, "cluster.local"),
        .root_namespace = text_or(&made->texts, settings->root_namespace, "istio-system"),
        .trust_domain = text_or(&made->texts, settings->trust_domain, "cluster.local"),
        .revision = text_or(&made->texts, settings->revision, "default"),
    };
    made->trust_domain = made->settings.trust_domain;
    made->root_namespace = made->settings.root_namespace;
    made->resources = resource_table_new();
    *index = made;
    return result_ok();
}

static void free_conditions(struct ambient_index *index)
{
    for (size_t i = 0; i < index->condition_count; i++) {
        struct kube_object *object;
        memcpy(&object, &index->conditions[i].object, sizeof object); /* the reference we took */
        kube_object_release(object);
    }
    memory_free(index->conditions);
    index->conditions = NULL;
    index->condition_count = 0;
}

void ambient_index_free(struct ambient_index *index)
{
    if (index == NULL) {
        return;
    }
    free_conditions(index);
    identity_table_free(index->identities);
    resource_table_free(index->resources);
    resource_table_free(index->previous);
    auto_allocation_free(index->allocation);
    memory_free(index->changes);
    arena_free(&index->arena);
    arena_free(&index->texts);
    memory_free(index);
}

/* ---- one conversion ---- */

static void emit(void *context, const struct ambient_draft *draft)
{
    struct ambient_index *index = context;
    resource_table_add(index->resources, index->previous, draft);
}

static int compare_conditions(const void *left, const void *right)
{
    const struct ambient_condition *left_condition = left;
    const struct ambient_condition *right_condition = right;
    int order = strcmp(left_condition->object->key, right_condition->object->key);
    return order != 0 ? order : strcmp(left_condition->type, right_condition->type);
}

/* Waypoints before services, services and policies before workloads. */
static void convert(struct conversion *conversion)
{
    conversion_read_mesh(conversion);
    conversion->waypoints = waypoint_table_new(conversion);
    conversion->network_gateways = network_gateway_table_new(conversion);
    conversion->services = service_table_new(conversion);
    conversion->policies = policy_table_new(conversion);
    conversion->peer_authentication = peer_authentication_table_new(conversion);
    policy_add_target_conditions(conversion);
    workloads_convert(conversion);
    peer_authentication_table_free(conversion->peer_authentication);
    policy_table_free(conversion->policies);
    service_table_free(conversion->services);
    network_gateway_table_free(conversion->network_gateways);
    waypoint_table_free(conversion->waypoints);
}

static struct result convert_all(struct ambient_index *index, const struct kube_store *store)
{
    struct arena arena = { 0 };
    struct conversion conversion = {
        .settings = &index->settings,
        .store = store,
        .allocation = index->allocation,
        .arena = &arena,
        .emit = emit,
        .emit_context = index,
    };
    auto_allocation_begin(index->allocation);
    convert(&conversion);
    struct result result = auto_allocation_end(index->allocation);

    index->trust_domain = arena_string(&arena, conversion.trust_domain);
    index->root_namespace = arena_string(&arena, conversion.root_namespace);
    free_conditions(index);
    arena_free(&index->arena);
    index->arena = arena;
    index->conditions = conversion.conditions;
    index->condition_count = conversion.condition_count;
    if (index->condition_count > 1) {
        qsort(index->conditions, index->condition_count, sizeof *index->conditions, compare_conditions);
    }
    return result;
}

/* ---- the difference ---- */

static void add_change(struct ambient_index *index, enum ambient_resource_type type, const char *name,
    const struct ambient_resource *resource)
{
    if (index->change_count == index->change_capacity) {
        index->change_capacity = index->change_capacity == 0 ? 64 : index->change_capacity * 2;
        index->changes = memory_resize(index->changes, index->change_capacity, sizeof *index->changes);
    }
    index->changes[index->change_count++] = (struct ambient_change){ type, name, resource };
}

/* Both lists are sorted by name. */
static void compare_lists(struct ambient_index *index, enum ambient_resource_type type)
{
    struct ambient_resource_list old_list = resource_table_list(index->previous, type);
    struct ambient_resource_list new_list = resource_table_list(index->resources, type);
    size_t old_at = 0;
    size_t new_at = 0;
    while (old_at < old_list.count || new_at < new_list.count) {
        const struct ambient_resource *before = old_at < old_list.count ? old_list.items[old_at] : NULL;
        const struct ambient_resource *after = new_at < new_list.count ? new_list.items[new_at] : NULL;
        int order = before == NULL ? 1 : after == NULL ? -1 : strcmp(before->name, after->name);
        if (order < 0) {
            add_change(index, type, before->name, NULL);
        } else if (before != after) {
            add_change(index, type, after->name, after);
        }
        old_at += order <= 0;
        new_at += order >= 0;
    }
}

struct result ambient_index_update(
    struct ambient_index *index, const struct kube_store *store, struct ambient_changes *changes)
{
    resource_table_free(index->previous);
    index->previous = index->resources;
    index->resources = resource_table_new();
    struct result result = convert_all(index, store);
    resource_table_finish(index->resources);
    identity_table_free(index->identities);
    index->identities = identity_table_new(store);

    index->change_count = 0;
    compare_lists(index, AMBIENT_WORKLOAD);
    compare_lists(index, AMBIENT_SERVICE);
    compare_lists(index, AMBIENT_AUTHORIZATION);
    *changes = (struct ambient_changes){ index->changes, index->change_count };
    return result;
}

/* ---- look-ups ---- */

const struct ambient_resource *ambient_index_get(
    const struct ambient_index *index, enum ambient_resource_type type, const char *name)
{
    return resource_table_get(index->resources, type, name);
}

struct ambient_resource_list ambient_index_list(const struct ambient_index *index, enum ambient_resource_type type)
{
    return resource_table_list(index->resources, type);
}

struct ambient_resource_list ambient_index_at_alias(const struct ambient_index *index, const char *alias)
{
    return resource_table_at_alias(index->resources, alias);
}

struct ambient_resource_list ambient_index_workloads_of_service(
    const struct ambient_index *index, const char *service_name)
{
    return resource_table_of_service(index->resources, service_name);
}

struct ambient_resource_list ambient_index_workloads_on_node(const struct ambient_index *index, const char *node)
{
    return resource_table_on_node(index->resources, node);
}

bool ambient_index_has_node(const struct ambient_index *index, const char *node)
{
    return index->identities != NULL && identity_table_has_node(index->identities, node);
}

bool ambient_index_identity_is_on_node(
    const struct ambient_index *index, const char *namespace_, const char *service_account, const char *node)
{
    return index->identities != NULL && identity_table_has(index->identities, namespace_, service_account, node);
}

const char *ambient_index_trust_domain(const struct ambient_index *index)
{
    return index->trust_domain;
}

const char *ambient_index_root_namespace(const struct ambient_index *index)
{
    return index->root_namespace;
}

struct ambient_condition_list ambient_index_conditions(const struct ambient_index *index)
{
    return (struct ambient_condition_list){ index->conditions, index->condition_count };
}
