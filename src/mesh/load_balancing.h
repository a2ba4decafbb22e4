/* The choice of one endpoint of a service for one connection (ztunnel-dataplane §6). Pure: chance comes in as a number. */
#ifndef AMBAR_MESH_LOAD_BALANCING_H
#define AMBAR_MESH_LOAD_BALANCING_H

#include "mesh/version.h"

/* Numbers for one decision, all from one seed, so that the same decision can be made again. */
struct decision_random {
    uint64_t state;
};
uint64_t decision_random_next(struct decision_random *random);
/* Uniform in [0, bound), bound > 0. */
uint64_t decision_random_below(struct decision_random *random, uint64_t bound);

enum endpoint_selection {
    SELECT_ENDPOINT, /* the port must be one of the service's (§6.1, normal mode) */
    SELECT_WAYPOINT, /* a port the service has, or a workload with an application tunnel */
};

struct balanced_endpoint {
    struct mesh_endpoint endpoint;
    uint16_t target_port;
};

/* Whether an endpoint is a candidate, or why not; the one judgement that choices and explanations share. */
enum endpoint_verdict {
    ENDPOINT_ELIGIBLE,
    ENDPOINT_UNKNOWN, /* listed, but there is no such workload */
    ENDPOINT_UNHEALTHY,
    ENDPOINT_WITHOUT_PORT,
    ENDPOINT_WITHOUT_ADDRESS,
    ENDPOINT_OUTSIDE_PREFERENCES, /* STRICT: not in all of the service's scopes */
};
/* "eligible", "unhealthy", ... */
const char *endpoint_verdict_text(enum endpoint_verdict verdict);
/* `*rank` is 0 unless the service prefers by scope; then only the candidates of the highest rank are chosen from. */
enum endpoint_verdict load_balancing_judge(const struct mesh_endpoint *endpoint, const struct workload *source,
    const struct service *service, uint16_t service_port, enum endpoint_selection selection, uint32_t *rank);

/* §6.2: how near `endpoint` is to `source` by the service's preferences. */
uint32_t load_balancing_rank(
    const struct service *service, const struct workload *source, const struct workload *endpoint);

/* False when no endpoint is left, or the chosen one has no target for the port. `source` and the service are of
 * `version`. */
bool load_balancing_choose(const struct mesh_version *version, const struct workload *source,
    const struct service *service, uint16_t service_port, enum endpoint_selection selection,
    struct decision_random *random, struct balanced_endpoint *chosen);

#endif
