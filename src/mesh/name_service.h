/* What a host name means to a pod (ztunnel-dataplane §18.2, §18.3): which service, and which addresses it is answered with. A pure
 * function of one version and the question. */
#ifndef AMBAR_MESH_NAME_SERVICE_H
#define AMBAR_MESH_NAME_SERVICE_H

#include "mesh/version.h"

#include "base/writer.h"

#define NAME_TEXT_MAXIMUM 253 /* of a host name without the final period */
#define NAME_SEARCH_MAXIMUM 8
#define NAME_ADDRESSES_MAXIMUM 4096 /* of one answer: more do not fit in a message */

struct name_question {
    const char *name; /* lower case, without the final period */
    enum ip_family family;
    const struct workload *client;
    const char *domain;                      /* CLUSTER_DOMAIN */
    const char *search[NAME_SEARCH_MAXIMUM]; /* the search domains of the client */
    size_t search_count;
    const char *preferred_namespace; /* PREFERED_SERVICE_NAMESPACE; may be NULL */
    bool is_ipv6_disabled;
};

enum name_outcome {
    NAME_UNKNOWN, /* not ours: ask upstream */
    NAME_FOUND,
    NAME_WITHOUT_RECORDS,   /* ours, but no address of that family: an empty answer */
    NAME_FAMILY_NOT_SERVED, /* the service is of the other family: an empty answer */
};

struct name_finding {
    const struct service *service;     /* borrowed from the version */
    char alias[NAME_TEXT_MAXIMUM + 1]; /* what the name is an alias of; "": of nothing */
    struct writer addresses;           /* struct ip_address, in random order; name_finding_free */
};

enum name_outcome mesh_find_name(
    const struct mesh_version *version, const struct name_question *question, struct name_finding *finding);
void name_finding_free(struct name_finding *finding);
static inline const struct ip_address *name_finding_addresses(const struct name_finding *finding)
{
    return (const struct ip_address *)(const void *)finding->addresses.data;
}
static inline size_t name_finding_address_count(const struct name_finding *finding)
{
    return finding->addresses.length / sizeof(struct ip_address);
}

#endif
