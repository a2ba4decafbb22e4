/* A workload: something with an identity that sends or receives traffic (wire-protocols §2, Workload).
 *
 * Immutable once made, counted, in one allocation with all its texts: there may be 100,000 of them. Texts that are equal
 * to, or the end of, an earlier one are stored once (a pod's name is the end of its uid). Any thread may read, reference
 * and release. */
#ifndef AMBAR_MESH_WORKLOAD_H
#define AMBAR_MESH_WORKLOAD_H

#include "mesh/gateway_address.h"

struct writer;

enum workload_text {
    WORKLOAD_UID,
    WORKLOAD_NAME,
    WORKLOAD_NAMESPACE,
    WORKLOAD_NETWORK,
    WORKLOAD_TRUST_DOMAIN,
    WORKLOAD_SERVICE_ACCOUNT,
    WORKLOAD_NODE,
    WORKLOAD_CANONICAL_NAME,
    WORKLOAD_CANONICAL_REVISION,
    WORKLOAD_TYPE,       /* "deployment", "cronjob", "pod", "job", or as a local file has it */
    WORKLOAD_OWNER_NAME, /* workload_name on the wire: the Deployment's name, say */
    WORKLOAD_CLUSTER_ID,
    WORKLOAD_HOSTNAME,
    WORKLOAD_REGION,
    WORKLOAD_ZONE,
    WORKLOAD_SUBZONE,
    WORKLOAD_TEXT_COUNT,
};

enum workload_protocol { WORKLOAD_TCP = 0, WORKLOAD_HBONE = 1 };
enum workload_network_mode { WORKLOAD_STANDARD_NETWORK = 0, WORKLOAD_HOST_NETWORK = 1 };
enum tunnel_protocol { TUNNEL_NONE = 0, TUNNEL_PROXY = 1 };

/* One service this workload is an endpoint of. */
struct workload_service {
    const char *key; /* "namespace/hostname" */
    const struct port_mapping *ports;
    size_t port_count;
};

struct workload {
    _Atomic uint32_t references;
    uint32_t capacity; /* weight in load balancing; 1 unless stated */
    uint16_t text_offsets[WORKLOAD_TEXT_COUNT];
    const char *texts;
    const struct ip_address *addresses;
    const struct workload_service *services;
    const char *const *policy_keys;                /* resource names "namespace/name" */
    const struct gateway_address *waypoint;        /* NULL: none */
    const struct gateway_address *network_gateway; /* NULL: none */
    uint16_t address_count;
    uint16_t service_count;
    uint16_t policy_count;
    uint16_t application_tunnel_port; /* 0: the port asked for stays */
    uint8_t protocol;                 /* enum workload_protocol */
    uint8_t network_mode;             /* enum workload_network_mode */
    uint8_t tunnel_protocol;          /* enum tunnel_protocol, with has_application_tunnel */
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

static inline const char *workload_text(const struct workload *workload, enum workload_text text)
{
    return workload->texts + workload->text_offsets[text];
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
