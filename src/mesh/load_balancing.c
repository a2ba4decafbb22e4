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

const char *endpoint_verdict_text(enum endpoint_verdict verdict)
{
    static const char *const TEXTS[] = {
        [ENDPOINT_ELIGIBLE] = "eligible",
        [ENDPOINT_UNKNOWN] = "no such workload is known",
        [ENDPOINT_UNHEALTHY] = "unhealthy",
        [ENDPOINT_WITHOUT_PORT] = "has no port for this service port",
        [ENDPOINT_WITHOUT_ADDRESS] = "has no address, name or gateway",
        [ENDPOINT_OUTSIDE_PREFERENCES] = "outside the scopes that the service insists on",
    };
    return TEXTS[verdict];
}

/* §6.1: whether traffic for `service_port` could go to this endpoint at all. */
static enum endpoint_verdict judge_reachability(const struct mesh_endpoint *endpoint, const struct workload *source,
    const struct service *service, uint16_t service_port, enum endpoint_selection selection)
{
    const struct workload *workload = endpoint->workload;
    if (workload == NULL) {
        return ENDPOINT_UNKNOWN;
    }
    if (!endpoint->is_healthy && !service->allows_unhealthy) {
        return ENDPOINT_UNHEALTHY;
    }
    uint16_t service_target = 0;
    uint16_t own_target;
    bool has_port = service_find_port(service, service_port, &service_target);
    if (selection == SELECT_WAYPOINT && !has_port && !workload->has_application_tunnel) {
        return ENDPOINT_WITHOUT_PORT;
    }
    if (selection == SELECT_ENDPOINT && service_target == 0 &&
        !port_mapping_find(endpoint->ports, endpoint->port_count, service_port, &own_target)) {
        return ENDPOINT_WITHOUT_PORT;
    }
    if (workload->address_count > 0 || workload_text(workload, WORKLOAD_HOSTNAME)[0] != '\0') {
        return ENDPOINT_ELIGIBLE;
    }
    /* Nowhere to send to, unless a gateway of its network stands for it. */
    bool is_behind_gateway = workload->network_gateway != NULL && !is_in_same_scope(SCOPE_NETWORK, source, workload);
    return is_behind_gateway ? ENDPOINT_ELIGIBLE : ENDPOINT_WITHOUT_ADDRESS;
}

enum endpoint_verdict load_balancing_judge(const struct mesh_endpoint *endpoint, const struct workload *source,
    const struct service *service, uint16_t service_port, enum endpoint_selection selection, uint32_t *rank)
{
    *rank = 0;
    enum endpoint_verdict verdict = judge_reachability(endpoint, source, service, service_port, selection);
    bool is_ranked = service->mode == BALANCE_STRICT || service->mode == BALANCE_FAILOVER;
    if (verdict != ENDPOINT_ELIGIBLE || !is_ranked) {
        return verdict;
    }
    struct rank found = rank_of(service, source, endpoint->workload);
    *rank = found.value;
    bool is_left_out = service->mode == BALANCE_STRICT && found.matches != service->scope_count;
    return is_left_out ? ENDPOINT_OUTSIDE_PREFERENCES : ENDPOINT_ELIGIBLE;
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
    uint64_t weight_seen = 0;
    uint32_t best_rank = 0;
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint candidate;
    mesh_endpoints_begin(version, bytes_of_string(service->key), &iterator);
    while (mesh_endpoints_next(&iterator, &candidate)) {
        uint32_t rank;
        if (load_balancing_judge(&candidate, source, service, service_port, selection, &rank) != ENDPOINT_ELIGIBLE ||
            rank < best_rank) {
            continue;
        }
        if (rank > best_rank) {
            best_rank = rank;
            weight_seen = 0;
        }
        uint64_t weight = candidate.workload->capacity;
        weight_seen += weight;
        if (weight > 0 && decision_random_below(random, weight_seen) < weight) {
            chosen->endpoint = candidate;
        }
    }
    return weight_seen > 0 && target_port_of(&chosen->endpoint, service, service_port, &chosen->target_port);
}
