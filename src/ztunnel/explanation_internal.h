/* The steps of an explanation. */
#ifndef AMBAR_ZTUNNEL_EXPLANATION_INTERNAL_H
#define AMBAR_ZTUNNEL_EXPLANATION_INTERNAL_H

#include "base/list.h"
#include "ztunnel/explanation.h"

#define EXPLANATION_LIST_MAXIMUM 100 /* endpoints, policies, rules: the rest is counted */

struct explanation {
    const struct explanation_request *request;
    struct json_writer *json;
    struct ip_address source_address; /* IP_NONE: none */
    const struct workload *source;    /* NULL: an address that no workload has */
    struct socket_address target;
    const struct service *named_service; /* what the destination's name means */
    const struct workload *named_workload;
    struct outbound_route route;
    struct writer missing; /* sentences, each followed by a NUL */
    size_t missing_count;
};

void explanation_miss(struct explanation *explanation, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* explanation_lookup.c: what the two texts mean. */
struct result explanation_find_source(struct explanation *explanation);
struct result explanation_find_target(struct explanation *explanation);

/* explanation_policies.c: what the destination's side would decide; writes "inbound", "policies" and the verdict. */
void explanation_write_inbound(struct explanation *explanation);

#endif
