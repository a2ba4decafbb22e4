#include "mesh/change.h"

#include "base/memory.h"
#include "mesh/index.h"

#include <stdatomic.h>

struct mesh_change {
    struct mesh_version *next; /* not visible to anybody yet */
    uint64_t number;
    bool has_changed;
    bool has_changed_policies;
    bool has_departures;
};

/* Numbers tell a change's own index lists and endpoint sets, which it may alter, from those of others; 0 is nobody's. */
static _Atomic uint64_t last_change_number;

struct mesh_change *mesh_change_begin(const struct mesh_version *base)
{
    struct mesh_change *change = NEW(struct mesh_change);
    change->next = mesh_version_copy(base);
    change->number = atomic_fetch_add(&last_change_number, 1) + 1;
    return change;
}

static void index_workload_key(struct index_key *key, const struct workload *workload, enum index_kind kind)
{
    index_key_begin(key, kind);
    if (kind == INDEX_LOCAL_WORKLOAD) {
        index_key_add_text(key, bytes_of_string(workload_text(workload, WORKLOAD_NAME)));
        index_key_add_text(key, bytes_of_string(workload_text(workload, WORKLOAD_NAMESPACE)));
        index_key_add_text(key, bytes_of_string(workload_text(workload, WORKLOAD_SERVICE_ACCOUNT)));
        return;
    }
    index_key_add_text(key, bytes_of_string(workload_text(workload, WORKLOAD_NAMESPACE)));
    index_key_add_text(key, bytes_of_string(workload_text(workload, WORKLOAD_HOSTNAME)));
}

static void index_address_key(
    struct index_key *key, enum index_kind kind, const char *network, const struct ip_address *ip)
{
    index_key_begin(key, kind);
    index_key_add_text(key, bytes_of_string(network));
    index_key_add_ip(key, ip);
}

static void index_set(struct mesh_change *change, const struct index_key *key, void *item, bool is_present)
{
    struct mesh_version *next = change->next;
    next->index = is_present ? index_add(next->index, key, item, change->number) : index_remove(next->index, key, item);
}

/* Local workloads are those that this node may be asked to serve. */
static bool is_on_this_node(const struct mesh_version *version, const struct workload *workload)
{
    const char *node_name = version->settings->node_name;
    return node_name == NULL || strcmp(workload_text(workload, WORKLOAD_NODE), node_name) == 0;
}

static bool repeats_earlier_address(const struct workload *workload, size_t position)
{
    for (size_t i = 0; i < position; i++) {
        if (ip_equal(&workload->addresses[i], &workload->addresses[position])) {
            return true;
        }
    }
    return false;
}

/* Calls `set` with each key under which the workload is found. */
static void for_each_workload_key(struct mesh_change *change, struct workload *workload,
    void (*set)(
        struct mesh_change *change, const struct index_key *key, struct workload *workload, const void *context),
    const void *context)
{
    struct index_key key;
    const char *network = workload_text(workload, WORKLOAD_NETWORK);
    bool is_found_by_address = workload->network_mode != WORKLOAD_HOST_NETWORK;
    for (size_t i = 0; is_found_by_address && i < workload->address_count; i++) {
        if (!repeats_earlier_address(workload, i)) {
            index_address_key(&key, INDEX_WORKLOAD_BY_ADDRESS, network, &workload->addresses[i]);
            set(change, &key, workload, context);
        }
    }
    if (workload_text(workload, WORKLOAD_HOSTNAME)[0] != '\0') {
        index_workload_key(&key, workload, INDEX_WORKLOAD_BY_HOSTNAME);
        set(change, &key, workload, context);
    }
    if (is_on_this_node(change->next, workload)) {
        index_workload_key(&key, workload, INDEX_LOCAL_WORKLOAD);
        set(change, &key, workload, context);
    }
}

static void add_key(
    struct mesh_change *change, const struct index_key *key, struct workload *workload, const void *context)
{
    (void)context;
    index_set(change, key, workload, true);
}

static void remove_key(
    struct mesh_change *change, const struct index_key *key, struct workload *workload, const void *context)
{
    (void)context;
    index_set(change, key, workload, false);
}

static void replace_key(
    struct mesh_change *change, const struct index_key *key, struct workload *workload, const void *old)
{
    change->next->index = index_replace(change->next->index, key, old, workload, change->number);
}

static void index_workload(struct mesh_change *change, struct workload *workload, bool is_present)
{
    for_each_workload_key(change, workload, is_present ? add_key : remove_key, NULL);
}

static bool has_same_text(const struct workload *left, const struct workload *right, enum workload_text text)
{
    return strcmp(workload_text(left, text), workload_text(right, text)) == 0;
}

/* Whether both are found under the same keys, so that the one can take the other's place. */
static bool has_same_keys(const struct workload *old, const struct workload *workload)
{
    return old->network_mode == workload->network_mode && old->address_count == workload->address_count &&
           memcmp(old->addresses, workload->addresses, old->address_count * sizeof *old->addresses) == 0 &&
           has_same_text(old, workload, WORKLOAD_NETWORK) && has_same_text(old, workload, WORKLOAD_NAME) &&
           has_same_text(old, workload, WORKLOAD_NAMESPACE) && has_same_text(old, workload, WORKLOAD_HOSTNAME) &&
           has_same_text(old, workload, WORKLOAD_SERVICE_ACCOUNT) && has_same_text(old, workload, WORKLOAD_NODE);
}

static bool has_same_services(const struct workload *old, const struct workload *workload)
{
    if (old->kind == workload->kind) {
        return true;
    }
    if (old->service_count != workload->service_count) {
        return false;
    }
    for (size_t i = 0; i < workload->service_count; i++) {
        if (strcmp(old->services[i].key, workload->services[i].key) != 0) {
            return false;
        }
    }
    return true;
}

/* The set of a service that this change may alter: one that it has put into its version itself. */
static struct endpoint_set *own_endpoint_set(struct mesh_change *change, struct bytes key)
{
    struct endpoint_set *base = persistent_map_get(&endpoint_set_map_type, change->next->endpoints, key);
    if (base != NULL && base->made_by == change->number) {
        return base;
    }
    struct persistent_map *workloads = base != NULL ? persistent_map_reference(base->workloads) : NULL;
    struct endpoint_set *own = endpoint_set_new(key, workloads, change->number);
    change->next->endpoints = persistent_map_put(&endpoint_set_map_type, change->next->endpoints, key, own);
    return own;
}

static void set_endpoints(struct mesh_change *change, struct workload *workload, bool is_present)
{
    struct bytes uid = bytes_of_string(workload_text(workload, WORKLOAD_UID));
    for (size_t i = 0; i < workload->service_count; i++) {
        struct bytes key = bytes_of_string(workload->services[i].key);
        struct endpoint_set *set = own_endpoint_set(change, key);
        set->workloads = is_present
                             ? persistent_map_put(&workload_map_type, set->workloads, uid, workload_reference(workload))
                             : persistent_map_remove(&workload_map_type, set->workloads, uid);
        if (persistent_map_count(set->workloads) == 0) {
            change->next->endpoints = persistent_map_remove(&endpoint_set_map_type, change->next->endpoints, key);
        }
    }
}

static bool has_same_policies(const struct workload *old, const struct workload *workload)
{
    if (old->policy_count != workload->policy_count ||
        strcmp(workload_text(old, WORKLOAD_NAMESPACE), workload_text(workload, WORKLOAD_NAMESPACE)) != 0) {
        return false;
    }
    for (size_t i = 0; i < workload->policy_count; i++) {
        if (strcmp(old->policy_keys[i], workload->policy_keys[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* Only workloads of this node have inbound connections here, so only they can make a new check necessary. Either may
 * be NULL: one that goes and comes back in another response may have come back differently. */
static void note_policing(struct mesh_change *change, const struct workload *old, const struct workload *workload)
{
    bool was_here = old != NULL && is_on_this_node(change->next, old);
    bool is_here = workload != NULL && is_on_this_node(change->next, workload);
    if (was_here != is_here || (is_here && !has_same_policies(old, workload))) {
        change->has_changed_policies = true;
    }
}

/* The object stays alive for the caller until it releases it. */
static struct workload *take_out_workload(struct mesh_change *change, struct bytes uid)
{
    struct workload *old = persistent_map_get(&workload_map_type, change->next->workloads, uid);
    if (old == NULL) {
        return NULL;
    }
    workload_reference(old);
    index_workload(change, old, false);
    set_endpoints(change, old, false);
    return old;
}

static bool has_given_up_address(const struct workload *old, const struct workload *workload)
{
    for (size_t i = 0; i < old->address_count; i++) {
        if (!workload_has_address(workload, &old->addresses[i])) {
            return true;
        }
    }
    return false;
}

void mesh_change_upsert_workload(struct mesh_change *change, struct workload *workload)
{
    struct bytes uid = bytes_of_string(workload_text(workload, WORKLOAD_UID));
    void *replaced;
    change->next->workloads =
        persistent_map_exchange(&workload_map_type, change->next->workloads, uid, workload, &replaced);
    struct workload *old = replaced;
    if (old != NULL && !has_same_services(old, workload)) {
        set_endpoints(change, old, false);
    }
    if (old != NULL && has_same_keys(old, workload)) {
        for_each_workload_key(change, workload, replace_key, old);
    } else {
        if (old != NULL) {
            index_workload(change, old, false);
        }
        index_workload(change, workload, true);
    }
    note_policing(change, old, workload);
    change->has_departures = change->has_departures || (old != NULL && has_given_up_address(old, workload));
    set_endpoints(change, workload, true);
    workload_release(old);
    change->has_changed = true;
}

static bool repeats_earlier_vip(const struct service *service, size_t position)
{
    for (size_t i = 0; i < position; i++) {
        if (ip_equal(&service->vips[i].ip, &service->vips[position].ip) &&
            strcmp(service->vips[i].network, service->vips[position].network) == 0) {
            return true;
        }
    }
    return false;
}

static void index_service(struct mesh_change *change, struct service *service, bool is_present)
{
    struct index_key key;
    for (size_t i = 0; i < service->vip_count; i++) {
        if (!repeats_earlier_vip(service, i)) {
            index_address_key(&key, INDEX_SERVICE_BY_VIP, service->vips[i].network, &service->vips[i].ip);
            index_set(change, &key, service, is_present);
        }
    }
    if (service->cidr_vip_count > 0) {
        index_key_begin(&key, INDEX_SERVICE_WITH_CIDR);
        index_set(change, &key, service, is_present);
    }
    index_key_begin(&key, INDEX_SERVICE_BY_HOSTNAME);
    index_key_add_text(&key, bytes_of_string(service->hostname));
    index_set(change, &key, service, is_present);
}

static struct service *take_out_service(struct mesh_change *change, struct bytes key)
{
    struct service *old = persistent_map_get(&service_map_type, change->next->services, key);
    if (old == NULL) {
        return NULL;
    }
    service_reference(old);
    index_service(change, old, false);
    return old;
}

void mesh_change_upsert_service(struct mesh_change *change, struct service *service)
{
    struct bytes key = bytes_of_string(service->key);
    struct service *old = take_out_service(change, key);
    index_service(change, service, true);
    change->next->services = persistent_map_put(&service_map_type, change->next->services, key, service);
    service_release(old);
    change->has_changed = true;
}

/* Policies with a selector are reached through the workloads' lists only. */
static void index_policy(struct mesh_change *change, struct policy *policy, bool is_present)
{
    if (policy->scope == POLICY_WORKLOAD_SELECTOR) {
        return;
    }
    struct index_key key;
    if (policy->scope == POLICY_GLOBAL) {
        index_key_begin(&key, INDEX_GLOBAL_POLICY);
    } else {
        index_key_begin(&key, INDEX_POLICY_BY_NAMESPACE);
        index_key_add_text(&key, bytes_of_string(policy->namespace_));
    }
    index_set(change, &key, policy, is_present);
}

static struct policy *take_out_policy(struct mesh_change *change, struct bytes key)
{
    struct policy *old = persistent_map_get(&policy_map_type, change->next->policies, key);
    if (old == NULL) {
        return NULL;
    }
    policy_reference(old);
    index_policy(change, old, false);
    return old;
}

void mesh_change_upsert_policy(struct mesh_change *change, struct policy *policy)
{
    struct bytes key = bytes_of_string(policy->key);
    struct policy *old = take_out_policy(change, key);
    index_policy(change, policy, true);
    change->next->policies = persistent_map_put(&policy_map_type, change->next->policies, key, policy);
    policy_release(old);
    change->has_changed = change->has_changed_policies = true;
}

static enum mesh_removal remove_service(struct mesh_change *change, struct bytes name)
{
    const uint8_t *slash = name.length > 0 ? memchr(name.data, '/', name.length) : NULL;
    if (slash == NULL) {
        return MESH_REMOVAL_MALFORMED;
    }
    size_t hostname_length = (size_t)(name.data + name.length - (slash + 1));
    if (hostname_length > 0 && memchr(slash + 1, '/', hostname_length) != NULL) {
        return MESH_REMOVAL_IGNORED;
    }
    struct service *old = take_out_service(change, name);
    if (old == NULL) {
        return MESH_REMOVAL_UNKNOWN;
    }
    change->next->services = persistent_map_remove(&service_map_type, change->next->services, name);
    service_release(old);
    change->has_changed = true;
    return MESH_REMOVED_SERVICE;
}

enum mesh_removal mesh_change_remove_address(struct mesh_change *change, struct bytes name)
{
    struct workload *old = take_out_workload(change, name);
    if (old == NULL) {
        return remove_service(change, name);
    }
    note_policing(change, old, NULL);
    change->next->workloads = persistent_map_remove(&workload_map_type, change->next->workloads, name);
    workload_release(old);
    change->has_changed = change->has_departures = true;
    return MESH_REMOVED_WORKLOAD;
}

bool mesh_change_remove_policy(struct mesh_change *change, struct bytes key)
{
    struct policy *old = take_out_policy(change, key);
    if (old == NULL) {
        return false;
    }
    change->next->policies = persistent_map_remove(&policy_map_type, change->next->policies, key);
    policy_release(old);
    change->has_changed = change->has_changed_policies = true;
    return true;
}

bool mesh_change_is_empty(const struct mesh_change *change)
{
    return !change->has_changed;
}

struct mesh_version *mesh_change_commit(struct mesh_change *change)
{
    struct mesh_version *next = change->next;
    next->generation++;
    if (change->has_changed_policies) {
        next->policy_generation = next->generation;
    }
    if (change->has_departures) {
        next->departure_generation = next->generation;
    }
    memory_free(change);
    return next;
}

void mesh_change_discard(struct mesh_change *change)
{
    mesh_version_release(change->next);
    memory_free(change);
}
