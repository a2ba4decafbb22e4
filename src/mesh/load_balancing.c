#include "mesh/load_balancing.h"

/* splitmix64 (public domain): any seed is good, every step passes through all bits. */
uint64_t decision_random_next(struct decision_random *random)
{
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15ULL;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 31);
}

uint64_t decision_random_below(struct decision_random *random, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)decision_random_next(random) * bound) >> 64);
}

static bool is_in_same_scope(enum load_balancing_scope scope, const struct workload *left, const struct workload *right)
{
    static const enum workload_text text_of_scope[] = {
        [SCOPE_REGION] = WORKLOAD_REGION,
        [SCOPE_ZONE] = WORKLOAD_ZONE,
        [SCOPE_SUBZONE] = WORKLOAD_SUBZONE,
        [SCOPE_NODE] = WORKLOAD_NODE,
        [SCOPE_CLUSTER] = WORKLOAD_CLUSTER_ID,
        [SCOPE_NETWORK] = WORKLOAD_NETWORK,
    };
    enum workload_text text = text_of_scope[scope];
    return strcmp(workload_text(left, text), workload_text(right, text)) == 0;
}

struct rank {
    uint32_t matches; /* preferences met before the first that was not */
    uint32_t value;   /* what endpoints are compared by */
};

static struct rank rank_of(
    const struct service *service, const struct workload *source, const struct workload *endpoint)
{
    struct rank rank = { 0, 0 };
    uint32_t network_bonus = 0;
    for (size_t i = 0; i < service->scope_count; i++) {
        bool is_leading_network = i == 0 && service->scopes[i] == SCOPE_NETWORK;
        if (is_in_same_scope(service->scopes[i], source, endpoint)) {
            rank.matches++;
            /* An endpoint of our network beats any of another, however near that one is otherwise. */
            network_bonus = is_leading_network ? service->scope_count - 1U : network_bonus;
        } else if (!is_leading_network) {
            break;
        }
    }
    rank.value = rank.matches + network_bonus;
    return rank;
}

uint32_t load_balancing_rank(
    const struct service *service, const struct workload *source, const struct workload *endpoint)
{
    return rank_of(service, source, endpoint).value;
}

/* §6.1: whether traffic for `service_port` could go to this endpoint at all. */
static bool is_eligible(const struct mesh_endpoint *endpoint, const struct workload *source,
    const struct service *service, uint16_t service_port, enum endpoint_selection selection)
{
    const struct workload *workload = endpoint->workload;
    if (workload == NULL || (!endpoint->is_healthy && !service->allows_unhealthy)) {
        return false;
    }
    uint16_t service_target = 0;
    uint16_t own_target;
    bool has_port = service_find_port(service, service_port, &service_target);
    if (selection == SELECT_WAYPOINT && !has_port && !workload->has_application_tunnel) {
        return false;
    }
    if (selection == SELECT_ENDPOINT && service_target == 0 &&
        !port_mapping_find(endpoint->ports, endpoint->port_count, service_port, &own_target)) {
        return false;
    }
    if (workload->address_count > 0 || workload_text(workload, WORKLOAD_HOSTNAME)[0] != '\0') {
        return true;
    }
    /* Nowhere to send to, unless a gateway of its network stands for it. */
    return workload->network_gateway != NULL && !is_in_same_scope(SCOPE_NETWORK, source, workload);
}

/* §6.3. */
static bool target_port_of(
    const struct mesh_endpoint *endpoint, const struct service *service, uint16_t service_port, uint16_t *target_port)
{
    if (port_mapping_find(endpoint->ports, endpoint->port_count, service_port, target_port)) {
        return true;
    }
    if (service_find_port(service, service_port, target_port) && *target_port > 0) {
        return true;
    }
    *target_port = service_port;
    return endpoint->workload->has_application_tunnel && endpoint->workload->application_tunnel_port != 0;
}

/* One pass without memory: of the endpoints of the best rank so far, each takes the place of the chosen one with a
 * probability of its share of the weight seen, which comes to a choice by weight. */
bool load_balancing_choose(const struct mesh_version *version, const struct workload *source,
    const struct service *service, uint16_t service_port, enum endpoint_selection selection,
    struct decision_random *random, struct balanced_endpoint *chosen)
{
    uint16_t ignored;
    if (selection == SELECT_ENDPOINT && !service_find_port(service, service_port, &ignored)) {
        return false;
    }
    bool is_ranked = service->mode == BALANCE_STRICT || service->mode == BALANCE_FAILOVER;
    uint64_t weight_seen = 0;
    uint32_t best_rank = 0;
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint candidate;
    mesh_endpoints_begin(version, bytes_of_string(service->key), &iterator);
    while (mesh_endpoints_next(&iterator, &candidate)) {
        if (!is_eligible(&candidate, source, service, service_port, selection)) {
            continue;
        }
        if (is_ranked) {
            struct rank rank = rank_of(service, source, candidate.workload);
            bool is_left_out = service->mode == BALANCE_STRICT && rank.matches != service->scope_count;
            if (is_left_out || rank.value < best_rank) {
                continue;
            }
            if (rank.value > best_rank) {
                best_rank = rank.value;
                weight_seen = 0;
            }
        }
        uint64_t weight = candidate.workload->capacity;
        weight_seen += weight;
        if (weight > 0 && decision_random_below(random, weight_seen) < weight) {
            chosen->endpoint = candidate;
        }
    }
    return weight_seen > 0 && target_port_of(&chosen->endpoint, service, service_port, &chosen->target_port);
}
