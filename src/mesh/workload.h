/* A workload: something with an identity that sends or receives traffic (wire-protocols §2, Workload).
 *
 * Immutable once made, counted: there may be 100,000 of them. What workloads have in common is kept once (interned.h): where they run
 * (a node has many) and what they are (a deployment has many: account, application, services, policies, gateways). An object holds the
 * rest: uid, name, addresses. A pod's name, the end of its uid, is stored with it. Any thread may read, reference and release. */
#ifndef AMBAR_MESH_WORKLOAD_H
#define AMBAR_MESH_WORKLOAD_H

#include "mesh/gateway_address.h"

struct writer;

enum workload_text {
    /* its own */
    WORKLOAD_UID,
    WORKLOAD_NAME,
    WORKLOAD_HOSTNAME,
    /* of the place where it runs */
    WORKLOAD_NETWORK,
    WORKLOAD_CLUSTER_ID,
    WORKLOAD_NODE,
    WORKLOAD_REGION,
    WORKLOAD_ZONE,
    WORKLOAD_SUBZONE,
    /* of its kind */
    WORKLOAD_NAMESPACE,
    WORKLOAD_TRUST_DOMAIN,
    WORKLOAD_SERVICE_ACCOUNT,
    WORKLOAD_CANONICAL_NAME,
    WORKLOAD_CANONICAL_REVISION,
    WORKLOAD_TYPE,       /* "deployment", "cronjob", "pod", "job", or as a local file has it */
    WORKLOAD_OWNER_NAME, /* workload_name on the wire: the Deployment's name, say */
    WORKLOAD_TEXT_COUNT,
};
#define WORKLOAD_OWN_TEXTS WORKLOAD_NETWORK
#define WORKLOAD_PLACE_TEXTS (WORKLOAD_NAMESPACE - WORKLOAD_NETWORK)
#define WORKLOAD_KIND_TEXTS (WORKLOAD_TEXT_COUNT - WORKLOAD_NAMESPACE)
#define WORKLOAD_TEXT_IS_NAME UINT16_MAX /* instead of an offset in a kind: the workload's own name */

enum workload_protocol { WORKLOAD_TCP = 0, WORKLOAD_HBONE = 1 };
enum workload_network_mode { WORKLOAD_STANDARD_NETWORK = 0, WORKLOAD_HOST_NETWORK = 1 };
enum tunnel_protocol { TUNNEL_NONE = 0, TUNNEL_PROXY = 1 };

/* One service this workload is an endpoint of. */
struct workload_service {
    const char *key; /* "namespace/hostname" */
    const struct port_mapping *ports;
    size_t port_count;
};

/* Derived from an interned key, whose texts it points into. */
struct workload_place {
    const char *texts;
    uint16_t offsets[WORKLOAD_PLACE_TEXTS];
};
struct workload_kind {
    const char *texts;
    uint16_t offsets[WORKLOAD_KIND_TEXTS];
    uint16_t service_count, policy_count;
    const struct gateway_address *waypoint, *network_gateway;
    const char *const *policy_keys;
    struct workload_service services[];
};

struct workload {
    _Atomic uint32_t references;
    uint32_t capacity; /* weight in load balancing; 1 unless stated */
    const struct workload_place *place;
    const struct workload_kind *kind;
    const struct workload_service *services;
    const char *const *policy_keys;                /* resource names "namespace/name" */
    const struct gateway_address *waypoint;        /* NULL: none */
    const struct gateway_address *network_gateway; /* NULL: none */
    const struct ip_address *addresses;            /* then the own texts */
    uint16_t address_count;
    uint16_t service_count;
    uint16_t policy_count;
    uint16_t application_tunnel_port; /* 0: the port asked for stays */
    uint16_t own_offsets[WORKLOAD_OWN_TEXTS];
    uint8_t protocol;        /* enum workload_protocol */
    uint8_t network_mode;    /* enum workload_network_mode */
    uint8_t tunnel_protocol; /* enum tunnel_protocol, with has_application_tunnel */
    bool is_healthy;
    bool has_native_tunnel;
    bool has_application_tunnel;
};

struct workload_service_spec {
    struct bytes key;
    const struct port_mapping *ports;
    size_t port_count;
};

/* What a workload is made from; everything borrowed for the call. Start from workload_spec_initial. */
struct workload_spec {
    struct bytes texts[WORKLOAD_TEXT_COUNT];
    const struct ip_address *addresses;
    size_t address_count;
    const struct workload_service_spec *services;
    size_t service_count;
    const struct bytes *policy_keys;
    size_t policy_count;
    struct gateway_spec waypoint;
    struct gateway_spec network_gateway;
    uint32_t capacity;
    enum workload_protocol protocol;
    enum workload_network_mode network_mode;
    enum tunnel_protocol tunnel_protocol;
    uint16_t application_tunnel_port;
    bool is_healthy;
    bool has_native_tunnel;
    bool has_application_tunnel;
};

/* Nothing set, healthy, capacity 1. */
struct workload_spec workload_spec_initial(void);

/* Fails on texts longer than MESH_TEXT_MAXIMUM or that contain a NUL (an identity must not end early), on more than 65,535 of anything and
 * on a service key without "/". */
struct result workload_new(const struct workload_spec *spec, struct workload **workload);
struct workload *workload_reference(const struct workload *workload);
void workload_release(struct workload *workload);

static inline const char *workload_own_text(const struct workload *workload, enum workload_text text)
{
    return (const char *)(workload->addresses + workload->address_count) + workload->own_offsets[text];
}

static inline const char *workload_text(const struct workload *workload, enum workload_text text)
{
    if (text < WORKLOAD_NETWORK) {
        return workload_own_text(workload, text);
    }
    if (text < WORKLOAD_NAMESPACE) {
        return workload->place->texts + workload->place->offsets[text - WORKLOAD_NETWORK];
    }
    uint16_t offset = workload->kind->offsets[text - WORKLOAD_NAMESPACE];
    return offset == WORKLOAD_TEXT_IS_NAME ? workload_own_text(workload, WORKLOAD_NAME)
                                           : workload->kind->texts + offset;
}

bool workload_has_address(const struct workload *workload, const struct ip_address *ip);

/* The entry for a service key; NULL when the workload is not an endpoint of it. */
const struct workload_service *workload_find_service(const struct workload *workload, struct bytes key);

/* "spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT", appended. */
void workload_add_identity(const struct workload *workload, struct writer *out);
bool workload_has_same_identity(const struct workload *left, const struct workload *right);

/* "Workload{NAME with uid UID (HBONE)}", as error texts show it. */
void workload_describe(const struct workload *workload, struct writer *out);

#endif
