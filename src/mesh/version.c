#include "mesh/version.h"

#include "base/memory.h"
#include "base/text.h"
#include "mesh/index.h"

#include <stdatomic.h>

static void settings_release(struct mesh_version_settings *settings)
{
    if (atomic_fetch_sub_explicit(&settings->references, 1, memory_order_acq_rel) == 1) {
        memory_free(settings->network);
        memory_free(settings->node_name);
        memory_free(settings);
    }
}

struct mesh_version *mesh_version_new(const struct mesh_settings *settings)
{
    struct mesh_version *version = NEW(struct mesh_version);
    version->references = 1;
    version->settings = NEW(struct mesh_version_settings);
    version->settings->references = 1;
    version->settings->network = string_duplicate(settings->network != NULL ? settings->network : "");
    version->settings->node_name = settings->node_name != NULL ? string_duplicate(settings->node_name) : NULL;
    return version;
}

struct mesh_version *mesh_version_copy(const struct mesh_version *version)
{
    struct mesh_version *copy = NEW(struct mesh_version);
    copy->references = 1;
    copy->generation = version->generation;
    copy->policy_generation = version->policy_generation;
    copy->departure_generation = version->departure_generation;
    copy->settings = version->settings;
    atomic_fetch_add_explicit(&copy->settings->references, 1, memory_order_relaxed);
    copy->workloads = persistent_map_reference(version->workloads);
    copy->services = persistent_map_reference(version->services);
    copy->policies = persistent_map_reference(version->policies);
    copy->index = persistent_map_reference(version->index);
    copy->endpoints = persistent_map_reference(version->endpoints);
    return copy;
}

struct mesh_version *mesh_version_reference(const struct mesh_version *version)
{
    /* The count is the one part of an immutable object that changes. */
    struct mesh_version *counted = (struct mesh_version *)(uintptr_t)version;
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return counted;
}

void mesh_version_release(struct mesh_version *version)
{
    if (version == NULL || atomic_fetch_sub_explicit(&version->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    persistent_map_release(&workload_map_type, version->workloads);
    persistent_map_release(&service_map_type, version->services);
    persistent_map_release(&policy_map_type, version->policies);
    persistent_map_release(&index_map_type, version->index);
    persistent_map_release(&endpoint_set_map_type, version->endpoints);
    settings_release(version->settings);
    memory_free(version);
}

const char *mesh_version_network(const struct mesh_version *version)
{
    return version->settings->network;
}
uint64_t mesh_version_generation(const struct mesh_version *version)
{
    return version->generation;
}
uint64_t mesh_version_departure_generation(const struct mesh_version *version)
{
    return version->departure_generation;
}

uint64_t mesh_version_policy_generation(const struct mesh_version *version)
{
    return version->policy_generation;
}

size_t mesh_version_workload_count(const struct mesh_version *version)
{
    return persistent_map_count(version->workloads);
}

size_t mesh_version_service_count(const struct mesh_version *version)
{
    return persistent_map_count(version->services);
}

size_t mesh_version_policy_count(const struct mesh_version *version)
{
    return persistent_map_count(version->policies);
}

const struct workload *mesh_workload_by_uid(const struct mesh_version *version, struct bytes uid)
{
    return persistent_map_get(&workload_map_type, version->workloads, uid);
}

static int address_rank(const struct workload *workload)
{
    int rank = workload->protocol == WORKLOAD_HBONE ? 1 : 0;
    return strstr(workload_text(workload, WORKLOAD_UID), "//Pod/") != NULL ? rank + 2 : rank;
}

const struct workload *mesh_workload_by_address(
    const struct mesh_version *version, const char *network, const struct ip_address *ip)
{
    struct index_key key;
    index_key_begin(&key, INDEX_WORKLOAD_BY_ADDRESS);
    index_key_add_text(&key, bytes_of_string(network));
    index_key_add_ip(&key, ip);
    const struct index_list *list = index_find(version->index, &key);
    if (list == NULL) {
        return NULL;
    }
    const struct workload *best = list->items[0];
    for (uint32_t i = 1; i < list->count; i++) {
        const struct workload *candidate = list->items[i];
        if (address_rank(candidate) >= address_rank(best)) {
            best = candidate;
        }
    }
    return best;
}

const struct workload *mesh_workload_by_hostname(
    const struct mesh_version *version, const char *namespace_, const char *hostname)
{
    struct index_key key;
    index_key_begin(&key, INDEX_WORKLOAD_BY_HOSTNAME);
    index_key_add_text(&key, bytes_of_string(namespace_));
    index_key_add_text(&key, bytes_of_string(hostname));
    const struct index_list *list = index_find(version->index, &key);
    return list != NULL ? list->items[0] : NULL;
}

const struct workload *mesh_local_workload(
    const struct mesh_version *version, const char *name, const char *namespace_, const char *service_account)
{
    struct index_key key;
    index_key_begin(&key, INDEX_LOCAL_WORKLOAD);
    index_key_add_text(&key, bytes_of_string(name));
    index_key_add_text(&key, bytes_of_string(namespace_));
    index_key_add_text(&key, bytes_of_string(service_account));
    const struct index_list *list = index_find(version->index, &key);
    return list != NULL ? list->items[0] : NULL;
}

const struct service *mesh_service_by_key(const struct mesh_version *version, struct bytes key)
{
    return persistent_map_get(&service_map_type, version->services, key);
}

/* The client's own namespace first, else the last canonical one, else the first (§4). */
static const struct service *best_service(const struct index_list *list, const char *client_namespace)
{
    const struct service *canonical = NULL;
    const struct service *first = NULL;
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct service *service = list->items[i];
        if (!service_is_visible_to(service, client_namespace)) {
            continue;
        }
        if (client_namespace != NULL && strcmp(service->namespace_, client_namespace) == 0) {
            return service;
        }
        canonical = service->is_canonical ? service : canonical;
        first = first != NULL ? first : service;
    }
    return canonical != NULL ? canonical : first;
}

/* How well a CIDR address fits: same namespace, then prefix length, then canonical. */
static uint32_t cidr_fit(
    const struct service *service, const struct service_cidr_vip *vip, const char *client_namespace)
{
    bool is_same_namespace = client_namespace != NULL && strcmp(service->namespace_, client_namespace) == 0;
    return 1 + (is_same_namespace ? 1024U : 0) + vip->cidr.prefix_bits * 2U + (service->is_canonical ? 1U : 0);
}

static const struct service *service_by_cidr(
    const struct mesh_version *version, const char *network, const struct ip_address *ip, const char *client_namespace)
{
    struct index_key key;
    index_key_begin(&key, INDEX_SERVICE_WITH_CIDR);
    const struct index_list *list = index_find(version->index, &key);
    const struct service *best = NULL;
    uint32_t best_fit = 0;
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct service *service = list->items[i];
        if (!service_is_visible_to(service, client_namespace)) {
            continue;
        }
        for (size_t j = 0; j < service->cidr_vip_count; j++) {
            const struct service_cidr_vip *vip = &service->cidr_vips[j];
            uint32_t fit = cidr_fit(service, vip, client_namespace);
            if (fit > best_fit && strcmp(vip->network, network) == 0 && cidr_contains(&vip->cidr, ip)) {
                best = service;
                best_fit = fit;
            }
        }
    }
    return best;
}

const struct service *mesh_service_by_address(
    const struct mesh_version *version, const char *network, const struct ip_address *ip, const char *client_namespace)
{
    struct index_key key;
    index_key_begin(&key, INDEX_SERVICE_BY_VIP);
    index_key_add_text(&key, bytes_of_string(network));
    index_key_add_ip(&key, ip);
    const struct service *exact = best_service(index_find(version->index, &key), client_namespace);
    return exact != NULL ? exact : service_by_cidr(version, network, ip, client_namespace);
}

const struct service *mesh_service_by_hostname(
    const struct mesh_version *version, struct bytes hostname, const char *client_namespace)
{
    struct index_key key;
    index_key_begin(&key, INDEX_SERVICE_BY_HOSTNAME);
    index_key_add_text(&key, hostname);
    return best_service(index_find(version->index, &key), client_namespace);
}

struct mesh_address mesh_find_address(
    const struct mesh_version *version, const char *network, const struct ip_address *ip, const char *client_namespace)
{
    struct mesh_address found = { .workload = mesh_workload_by_address(version, network, ip) };
    if (found.workload == NULL) {
        found.service = mesh_service_by_address(version, network, ip, client_namespace);
    }
    return found;
}

const struct policy *mesh_policy_by_key(const struct mesh_version *version, struct bytes key)
{
    return persistent_map_get(&policy_map_type, version->policies, key);
}

static struct mesh_policies policies_of(const struct index_list *list)
{
    if (list == NULL) {
        return (struct mesh_policies){ NULL, 0 };
    }
    return (struct mesh_policies){ (const struct policy *const *)list->items, list->count };
}

struct mesh_policies mesh_policies_of_namespace(const struct mesh_version *version, const char *namespace_)
{
    struct index_key key;
    index_key_begin(&key, INDEX_POLICY_BY_NAMESPACE);
    index_key_add_text(&key, bytes_of_string(namespace_));
    return policies_of(index_find(version->index, &key));
}

struct mesh_policies mesh_global_policies(const struct mesh_version *version)
{
    struct index_key key;
    index_key_begin(&key, INDEX_GLOBAL_POLICY);
    return policies_of(index_find(version->index, &key));
}

void mesh_workloads_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    persistent_map_begin(version->workloads, iterator);
}

const struct workload *mesh_workloads_next(struct persistent_map_iterator *iterator)
{
    return persistent_map_next(iterator);
}

void mesh_services_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    persistent_map_begin(version->services, iterator);
}

const struct service *mesh_services_next(struct persistent_map_iterator *iterator)
{
    return persistent_map_next(iterator);
}

void mesh_policies_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    persistent_map_begin(version->policies, iterator);
}

const struct policy *mesh_policies_next(struct persistent_map_iterator *iterator)
{
    return persistent_map_next(iterator);
}

static const struct persistent_map *workloads_of_service(const struct mesh_version *version, struct bytes key)
{
    const struct endpoint_set *set = persistent_map_get(&endpoint_set_map_type, version->endpoints, key);
    return set != NULL ? set->workloads : NULL;
}

static struct mesh_endpoint endpoint_of_workload(const struct workload *workload, struct bytes service_key)
{
    const struct workload_service *entry = workload_find_service(workload, service_key);
    return (struct mesh_endpoint){
        .workload_uid = workload_text(workload, WORKLOAD_UID),
        .workload = workload,
        .ports = entry->ports,
        .port_count = entry->port_count,
        .is_healthy = workload->is_healthy,
    };
}

static struct mesh_endpoint endpoint_of_list(const struct mesh_version *version, const struct service_endpoint *listed)
{
    return (struct mesh_endpoint){
        .workload_uid = listed->workload_uid,
        .workload = mesh_workload_by_uid(version, bytes_of_string(listed->workload_uid)),
        .ports = listed->ports,
        .port_count = listed->port_count,
        .is_healthy = listed->is_healthy,
    };
}

void mesh_endpoints_begin(
    const struct mesh_version *version, struct bytes service_key, struct mesh_endpoint_iterator *iterator)
{
    iterator->version = version;
    iterator->service = mesh_service_by_key(version, service_key);
    iterator->key = service_key;
    iterator->listed = 0;
    persistent_map_begin(workloads_of_service(version, service_key), &iterator->workloads);
}

bool mesh_endpoints_next(struct mesh_endpoint_iterator *iterator, struct mesh_endpoint *endpoint)
{
    const struct workload *workload = persistent_map_next(&iterator->workloads);
    if (workload != NULL) {
        *endpoint = endpoint_of_workload(workload, iterator->key);
        return true;
    }
    const struct service *service = iterator->service;
    while (service != NULL && iterator->listed < service->endpoint_count) {
        *endpoint = endpoint_of_list(iterator->version, &service->endpoints[iterator->listed++]);
        /* A workload that names the service itself was given already. */
        if (endpoint->workload == NULL || workload_find_service(endpoint->workload, iterator->key) == NULL) {
            return true;
        }
    }
    return false;
}

static bool find_any_endpoint(const struct mesh_version *version, const struct service *service,
    struct bytes workload_uid, struct mesh_endpoint *endpoint)
{
    struct bytes key = bytes_of_string(service->key);
    const struct workload *workload =
        persistent_map_get(&workload_map_type, workloads_of_service(version, key), workload_uid);
    if (workload != NULL) {
        *endpoint = endpoint_of_workload(workload, key);
        return true;
    }
    for (size_t i = 0; i < service->endpoint_count; i++) {
        if (bytes_equal_string(workload_uid, service->endpoints[i].workload_uid)) {
            *endpoint = endpoint_of_list(version, &service->endpoints[i]);
            return true;
        }
    }
    return false;
}

bool mesh_find_endpoint(const struct mesh_version *version, const struct service *service, struct bytes workload_uid,
    struct mesh_endpoint *endpoint)
{
    return find_any_endpoint(version, service, workload_uid, endpoint) &&
           (endpoint->is_healthy || service->allows_unhealthy);
}

void mesh_staged_services_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    persistent_map_begin(version->endpoints, iterator);
}

bool mesh_staged_services_next(
    const struct mesh_version *version, struct persistent_map_iterator *iterator, struct bytes *key)
{
    const struct endpoint_set *set;
    while ((set = persistent_map_next(iterator)) != NULL) {
        *key = bytes_of(set->key, set->key_length);
        if (mesh_service_by_key(version, *key) == NULL) {
            return true;
        }
    }
    return false;
}
