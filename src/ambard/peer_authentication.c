/* PeerAuthentication to what ztunnel enforces. */
#include "ambard/peer_authentication.h"

#include "ambard/policy_conversion.h"
#include "ambard/selector_index.h"
#include "base/hash_map.h"
#include "base/memory.h"

#define STATIC_STRICT "istio_converted_static_strict"
#define CONVERTED_PREFIX "converted_peer_authentication_"

struct peer_authentication_table {
    const struct kube_peer_authentication
        *mesh;                        /* the oldest of the root namespace without a selector; NULL when none */
    struct hash_map *namespaces;      /* namespace -> its oldest without a selector */
    struct selector_index *selectors; /* those with one, outside the root namespace */
};

static bool is_strict(const struct kube_peer_authentication *policy)
{
    return policy != NULL && policy->mode == KUBE_MTLS_STRICT;
}

static bool is_unset(const struct kube_peer_authentication *policy)
{
    return policy == NULL || policy->mode == KUBE_MTLS_UNSET;
}

static bool is_lax(int mode)
{
    return mode == KUBE_MTLS_PERMISSIVE || mode == KUBE_MTLS_DISABLE;
}

/* ---- the policy made of port-level modes ---- */

/* Denies what has no identity of the mesh. */
static void require_identity(struct authorization_match *match)
{
    static const char *any[] = { "*" };
    match->not_principals = (struct kube_strings){ any, 1 };
}

static struct kube_strings port_text(struct arena *arena, uint32_t port)
{
    struct kube_strings ports = { arena_allocate(arena, sizeof *ports.items), 1 };
    ports.items[0] = arena_format(arena, "%u", port);
    return ports;
}

static struct authorization_match *add_clause(struct arena *arena, struct authorization_group *group)
{
    struct authorization_match *match = ARENA_NEW(arena, struct authorization_match);
    group->clauses[group->count++] = (struct authorization_clause){ match, 1 };
    return match;
}

static struct authorization_group new_group(struct arena *arena, size_t clauses)
{
    return (struct authorization_group){ arena_allocate(arena, clauses * sizeof(struct authorization_clause)), 0 };
}

struct parents {
    bool is_namespace_strict;
    bool is_namespace_unset;    /* or absent */
    bool has_lenient_namespace; /* it exists and is not STRICT; UNSET counts, as it does in Istio */
    bool is_mesh_strict;
    bool is_strict; /* mesh STRICT with namespace absent, UNSET or STRICT; or namespace STRICT */
};

static struct parents read_parents(
    const struct kube_peer_authentication *namespace_policy, const struct kube_peer_authentication *mesh_policy)
{
    struct parents parents = {
        .is_namespace_strict = is_strict(namespace_policy),
        .is_namespace_unset = is_unset(namespace_policy),
        .has_lenient_namespace = namespace_policy != NULL && !is_strict(namespace_policy),
        .is_mesh_strict = is_strict(mesh_policy),
    };
    parents.is_strict = parents.is_namespace_strict || (parents.is_mesh_strict && parents.is_namespace_unset);
    return parents;
}

static bool needs_strict_port(int mode, const struct parents *parents)
{
    bool is_covered = mode == KUBE_MTLS_STRICT || (mode == KUBE_MTLS_UNSET && parents->is_namespace_strict) ||
                      (parents->is_namespace_unset && parents->is_mesh_strict);
    return !is_covered;
}

static bool needs_lax_port(int mode, const struct parents *parents)
{
    if (is_lax(mode)) {
        return false;
    }
    return mode == KUBE_MTLS_STRICT || (!parents->has_lenient_namespace && parents->is_strict);
}

bool peer_authentication_convert(const struct kube_peer_authentication *policy,
    const struct kube_peer_authentication *namespace_policy, const struct kube_peer_authentication *mesh_policy,
    struct arena *arena, struct authorization *authorization)
{
    const struct parents parents = read_parents(namespace_policy, mesh_policy);
    const struct kube_metadata *metadata = &policy->object.metadata;
    *authorization = (struct authorization){
        .name = arena_format(arena, CONVERTED_PREFIX "%s", metadata->name),
        .namespace_ = metadata->namespace_,
        .scope = AUTHORIZATION_WORKLOAD_SELECTOR,
        .action = AUTHORIZATION_DENY,
        .groups = arena_allocate(arena, (policy->ports.count + 1) * sizeof *authorization->groups),
    };
    struct authorization_group shared = new_group(arena, policy->ports.count + 2);
    if (policy->mode == KUBE_MTLS_STRICT) {
        require_identity(add_clause(arena, &shared));
    }
    bool has_lax_port = false;
    for (size_t i = 0; i < policy->ports.count; i++) {
        const struct kube_port_mtls *port = &policy->ports.items[i];
        if (port->mode == KUBE_MTLS_STRICT && needs_strict_port(policy->mode, &parents)) {
            struct authorization_group group = new_group(arena, 1);
            struct authorization_match *match = add_clause(arena, &group);
            require_identity(match);
            match->destination_ports = port_text(arena, port->port);
            authorization->groups[authorization->group_count++] = group;
        } else if (is_lax(port->mode) && needs_lax_port(policy->mode, &parents)) {
            add_clause(arena, &shared)->not_destination_ports = port_text(arena, port->port);
            has_lax_port = true;
        }
    }
    if (policy->mode == KUBE_MTLS_STRICT && !has_lax_port) {
        return false; /* the static policy says as much */
    }
    if (parents.is_strict && has_lax_port) {
        require_identity(add_clause(arena, &shared));
    }
    if (shared.count > 0) {
        authorization->groups[authorization->group_count++] = shared;
    }
    return authorization->group_count > 0;
}

/* ---- the table ---- */

static void emit_static_strict(struct conversion *conversion)
{
    struct authorization_group group = new_group(conversion->arena, 1);
    require_identity(add_clause(conversion->arena, &group));
    const struct authorization authorization = {
        .name = STATIC_STRICT,
        .namespace_ = conversion->root_namespace,
        .scope = AUTHORIZATION_WORKLOAD_SELECTOR,
        .action = AUTHORIZATION_DENY,
        .groups = &group,
        .group_count = 1,
    };
    policy_emit(conversion, &authorization);
}

static void file_policy(const struct conversion *conversion, struct peer_authentication_table *table,
    const struct kube_peer_authentication *policy)
{
    const char *namespace_ = policy->object.metadata.namespace_;
    bool is_in_root = strcmp(namespace_, conversion->root_namespace) == 0;
    if (kube_peer_authentication_has_selector(policy)) {
        if (!is_in_root) {
            selector_index_add(table->selectors, namespace_, &policy->selector->match_labels, policy);
        }
        return;
    }
    const struct kube_peer_authentication *other =
        is_in_root ? table->mesh : hash_map_get(table->namespaces, bytes_of_string(namespace_));
    if (other != NULL && kube_object_compare_age(&other->object, &policy->object) <= 0) {
        return;
    }
    if (is_in_root) {
        table->mesh = policy;
    } else {
        /* The map holds what it never changes. */
        void *value;
        memcpy(&value, &policy, sizeof value);
        hash_map_put(table->namespaces, bytes_of_string(namespace_), value);
    }
}

static const struct kube_peer_authentication *namespace_policy_of(
    const struct peer_authentication_table *table, const char *namespace_)
{
    return hash_map_get(table->namespaces, bytes_of_string(namespace_));
}

static void emit_converted(struct conversion *conversion, const struct peer_authentication_table *table,
    const struct kube_peer_authentication *policy)
{
    const char *namespace_ = policy->object.metadata.namespace_;
    bool is_in_root = strcmp(namespace_, conversion->root_namespace) == 0;
    struct authorization authorization;
    if (is_in_root || policy->ports.count == 0 || !kube_peer_authentication_has_selector(policy)) {
        return;
    }
    if (peer_authentication_convert(
            policy, namespace_policy_of(table, namespace_), table->mesh, conversion->arena, &authorization)) {
        policy_emit(conversion, &authorization);
    }
}

struct peer_authentication_table *peer_authentication_table_new(struct conversion *conversion)
{
    struct peer_authentication_table *table = NEW(struct peer_authentication_table);
    table->namespaces = hash_map_new();
    table->selectors = selector_index_new();
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_PEER_AUTHENTICATION);
    bool has_any = false;
    for (size_t i = 0; i < list.count; i++) {
        if (conversion_takes(conversion, list.items[i])) {
            file_policy(conversion, table, kube_as_peer_authentication(list.items[i]));
            has_any = true;
        }
    }
    if (has_any) {
        emit_static_strict(conversion);
    }
    for (size_t i = 0; i < list.count; i++) {
        if (conversion_takes(conversion, list.items[i])) {
            emit_converted(conversion, table, kube_as_peer_authentication(list.items[i]));
        }
    }
    return table;
}

void peer_authentication_table_free(struct peer_authentication_table *table)
{
    hash_map_free(table->namespaces, NULL);
    selector_index_free(table->selectors);
    memory_free(table);
}

/* ---- one workload ---- */

static void keep_oldest(void *context, const void *item)
{
    const struct kube_peer_authentication **oldest = context;
    const struct kube_peer_authentication *policy = item;
    if (*oldest == NULL || kube_object_compare_age(&policy->object, &(*oldest)->object) < 0) {
        *oldest = policy;
    }
}

static bool has_port_mode(const struct kube_peer_authentication *policy, int mode)
{
    for (size_t i = 0; i < policy->ports.count; i++) {
        if (policy->ports.items[i].mode == mode) {
            return true;
        }
    }
    return false;
}

/* The table of §5.2: from the effective mode of the parents to what the workload lists. */
static void apply_workload_policy(
    const struct kube_peer_authentication *policy, bool *lists_static, bool *lists_converted)
{
    bool has_strict = has_port_mode(policy, KUBE_MTLS_STRICT);
    bool has_permissive = has_port_mode(policy, KUBE_MTLS_PERMISSIVE);
    bool has_disable = has_port_mode(policy, KUBE_MTLS_DISABLE);
    if (policy->mode == KUBE_MTLS_STRICT) {
        *lists_converted = has_permissive || has_disable;
        *lists_static = !*lists_converted;
    } else if (is_lax(policy->mode)) {
        *lists_converted = has_strict;
        *lists_static = false;
    } else if (*lists_static) {
        *lists_converted = has_permissive; /* DISABLE alone does not count, as in Istio */
        *lists_static = !*lists_converted;
    } else {
        *lists_converted = has_strict;
    }
}

struct kube_strings peer_authentication_of_workload(
    struct conversion *conversion, const char *namespace_, const struct kube_labels *labels)
{
    const struct peer_authentication_table *table = conversion->peer_authentication;
    const struct kube_peer_authentication *namespace_policy = namespace_policy_of(table, namespace_);
    const struct kube_peer_authentication *workload_policy = NULL;
    selector_index_visit(table->selectors, namespace_, labels, keep_oldest, &workload_policy);

    bool lists_static = is_unset(namespace_policy) ? is_strict(table->mesh) : is_strict(namespace_policy);
    bool lists_converted = false;
    if (workload_policy != NULL) {
        apply_workload_policy(workload_policy, &lists_static, &lists_converted);
    }
    struct kube_strings names = { 0 };
    if (lists_static || lists_converted) {
        names.items = arena_allocate(conversion->arena, sizeof *names.items);
        names.count = 1;
        names.items[0] = lists_static ? arena_format(conversion->arena, "%s/" STATIC_STRICT, conversion->root_namespace)
                                      : arena_format(conversion->arena, "%s/" CONVERTED_PREFIX "%s", namespace_,
                                            workload_policy->object.metadata.name);
    }
    return names;
}
