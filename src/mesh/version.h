/* One version of the mesh: every workload, service and policy with the indexes that decisions need.
 *
 * Immutable and counted. A decision reads one version from start to end, so that it never sees a new service with an old
 * policy. Whatever a lookup returns is borrowed from the version. The next version is made by a mesh_change from this one
 * and shares everything that did not change. Any thread may read, reference and release. */
#ifndef AMBAR_MESH_VERSION_H
#define AMBAR_MESH_VERSION_H

#include "base/persistent_map.h"
#include "mesh/policy.h"
#include "mesh/service.h"
#include "mesh/workload.h"

struct mesh_version;

struct mesh_settings {
    const char *network;   /* NETWORK: the network we are on; NULL is "" */
    const char *node_name; /* NODE_NAME; NULL: local workloads may be on any node */
};

/* The empty version, generation 0. The settings are copied. */
struct mesh_version *mesh_version_new(const struct mesh_settings *settings);
struct mesh_version *mesh_version_reference(const struct mesh_version *version);
void mesh_version_release(struct mesh_version *version);

const char *mesh_version_network(const struct mesh_version *version);

/* Counts committed changes. */
uint64_t mesh_version_generation(const struct mesh_version *version);
/* The generation in which a policy last changed, or a workload of this node came, went or got other policies: live
 * connections need a new check only when this differs from what they were checked against. */
uint64_t mesh_version_policy_generation(const struct mesh_version *version);
/* The generation in which a workload last left, or gave up an address: tunnels may lead to what is gone. */
uint64_t mesh_version_departure_generation(const struct mesh_version *version);

size_t mesh_version_workload_count(const struct mesh_version *version);
size_t mesh_version_service_count(const struct mesh_version *version);
size_t mesh_version_policy_count(const struct mesh_version *version);

const struct workload *mesh_workload_by_uid(const struct mesh_version *version, struct bytes uid);

/* Host-network workloads are never found by address. Where several share one, a pod's uid counts 2, HBONE 1, and the
 * highest wins, the latest among equals (ztunnel-dataplane §4). */
const struct workload *mesh_workload_by_address(
    const struct mesh_version *version, const char *network, const struct ip_address *ip);

/* The workload whose `hostname` this is, within one namespace. */
const struct workload *mesh_workload_by_hostname(
    const struct mesh_version *version, const char *namespace_, const char *hostname);

/* A workload of this node by pod name, namespace and service account. */
const struct workload *mesh_local_workload(
    const struct mesh_version *version, const char *name, const char *namespace_, const char *service_account);

const struct service *mesh_service_by_key(const struct mesh_version *version, struct bytes key);

/* By VIP, exact before CIDR; ranked for a client of `client_namespace`, NULL sees all and prefers none (§4). */
const struct service *mesh_service_by_address(
    const struct mesh_version *version, const char *network, const struct ip_address *ip, const char *client_namespace);
const struct service *mesh_service_by_hostname(
    const struct mesh_version *version, struct bytes hostname, const char *client_namespace);

/* Workload by address first, then service by VIP. At most one of the two is set. */
struct mesh_address {
    const struct workload *workload;
    const struct service *service;
};
struct mesh_address mesh_find_address(
    const struct mesh_version *version, const char *network, const struct ip_address *ip, const char *client_namespace);

const struct policy *mesh_policy_by_key(const struct mesh_version *version, struct bytes key);

/* A list inside the version. */
struct mesh_policies {
    const struct policy *const *policies;
    size_t count;
};
struct mesh_policies mesh_policies_of_namespace(const struct mesh_version *version, const char *namespace_);
struct mesh_policies mesh_global_policies(const struct mesh_version *version);

/* In no particular order; NULL at the end. */
void mesh_workloads_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator);
const struct workload *mesh_workloads_next(struct persistent_map_iterator *iterator);
void mesh_services_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator);
const struct service *mesh_services_next(struct persistent_map_iterator *iterator);
void mesh_policies_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator);
const struct policy *mesh_policies_next(struct persistent_map_iterator *iterator);

/* An endpoint of a service. */
struct mesh_endpoint {
    const char *workload_uid;
    const struct workload *workload; /* NULL: listed by a local file, but unknown */
    const struct port_mapping *ports;
    size_t port_count;
    bool is_healthy;
};

/* All endpoints of a service, healthy or not, in no particular order; also of one that is not known yet ("staged"). */
struct mesh_endpoint_iterator {
    const struct mesh_version *version;
    const struct service *service; /* NULL when not known */
    struct bytes key;
    struct persistent_map_iterator workloads;
    size_t listed; /* position among the endpoints the service itself lists */
};
void mesh_endpoints_begin(
    const struct mesh_version *version, struct bytes service_key, struct mesh_endpoint_iterator *iterator);
bool mesh_endpoints_next(struct mesh_endpoint_iterator *iterator, struct mesh_endpoint *endpoint);

/* One endpoint by workload uid; false when there is none, or an unhealthy one that the service does not take. */
bool mesh_find_endpoint(const struct mesh_version *version, const struct service *service, struct bytes workload_uid,
    struct mesh_endpoint *endpoint);

/* Keys that workloads name but no service has, for dumps: the borrowed next key, a NUL behind it, or false at the end. */
void mesh_staged_services_begin(const struct mesh_version *version, struct persistent_map_iterator *iterator);
bool mesh_staged_services_next(
    const struct mesh_version *version, struct persistent_map_iterator *iterator, struct bytes *key);

#endif
